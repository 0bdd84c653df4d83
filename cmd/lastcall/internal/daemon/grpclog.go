package daemon

import (
	"bytes"
	"io"
	"log/slog"
	"os"

	"google.golang.org/grpc/grpclog"
)

// LogGRPC has grpc-go log its errors where the program logs. By default it writes them to the standard
// error, and waits for its reader. It does so where GRPC_GO_LOG_SEVERITY_LEVEL asks for it. To be called
// before anything of grpc-go is used.
func LogGRPC() {
	if os.Getenv("GRPC_GO_LOG_SEVERITY_LEVEL") == "" {
		grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, grpcLog{}))
	}
}

// grpcLog takes lines of grpc-go's log.
type grpcLog struct{}

// Write implements [io.Writer].
func (grpcLog) Write(line []byte) (int, error) {
	text := line[min(len(line), len("2006/01/02 15:04:05 ")):]
	slog.Error("grpc", "error", string(bytes.TrimSpace(text)))
	return len(line), nil
}
