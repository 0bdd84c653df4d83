package main

import (
	"bytes"
	"io"
	"log/slog"
	"testing"

	"google.golang.org/grpc/grpclog"
)

func TestErrorsOfGRPCAreRecords(t *testing.T) {
	before := slog.Default()
	defer slog.SetDefault(before)
	var shown bytes.Buffer
	slog.SetDefault(newLogger(&console{w: &shown}, "json", "info"))
	log := grpclog.NewLoggerV2(io.Discard, io.Discard, grpcLog{})
	log.Infof("not %s", "this")
	log.Warningf("nor %s", "this")
	log.Errorf("stream %d: broken", 7)
	if got := records(t, &shown); len(got) != 1 || got[0]["level"] != "ERROR" || got[0]["error"] != "ERROR: stream 7: broken" {
		t.Errorf("%v", got)
	}
}
