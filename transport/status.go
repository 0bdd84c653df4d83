package transport

import (
	"io"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/lastcall-go/lastcall/actors"
)

// quotaExceeded is how the service says in a status that there are no credits.
const quotaExceeded = "USAGE_QUOTA_EXCEEDED"

// fault tells how the end of an agent's stream is told to the client. io.EOF, an end in order, is
// passed on. The status' message reaches the client only with INVALID_ARGUMENT, where the protocol
// means it for the user.
func fault(err error) error {
	if err == io.EOF {
		return err
	}
	s := status.Convert(err)
	switch {
	case s.Code() == codes.Unavailable:
		return actors.AgentUnavailable(err)
	case s.Code() == codes.InvalidArgument:
		return &actors.Fault{Code: actors.CloseInvalidInput, Reason: s.Message(), Err: err}
	case s.Code() == codes.ResourceExhausted && strings.Contains(s.Message(), quotaExceeded):
		return &actors.Fault{Code: actors.ClosePolicy, Reason: "usage quota exceeded", Err: err}
	}
	// The names of the codes as the gRPC specification spells them, not as Go does.
	return &actors.Fault{Code: actors.CloseInternal, Reason: "agent error: " + code.Code(s.Code()).String(), Err: err}
}
