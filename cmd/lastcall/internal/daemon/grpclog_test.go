package daemon

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"strings"
	"testing"

	"google.golang.org/grpc/grpclog"
)

func TestErrorsOfGRPCAreRecords(t *testing.T) {
	before := slog.Default()
	defer slog.SetDefault(before)
	var shown bytes.Buffer
	slog.SetDefault(slog.New(slog.NewJSONHandler(&shown, nil)))
	log := grpclog.NewLoggerV2(io.Discard, io.Discard, grpcLog{})
	log.Infof("not %s", "this")
	log.Warningf("nor %s", "this")
	log.Errorf("stream %d: broken", 7)
	if got := records(t, &shown); len(got) != 1 || got[0]["level"] != "ERROR" || got[0]["error"] != "ERROR: stream 7: broken" {
		t.Errorf("%v", got)
	}
}

func records(t *testing.T, log *bytes.Buffer) []map[string]any {
	t.Helper()
	var all []map[string]any
	for line := range strings.Lines(log.String()) {
		var record map[string]any
		if err := json.Unmarshal([]byte(line), &record); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		all = append(all, record)
	}
	return all
}
