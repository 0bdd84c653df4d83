package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lastcall-go/lastcall/actors"
)

// Who waits for the report's file never reads half of it.
func TestReportIsWrittenInOnePiece(t *testing.T) {
	g, log := observed(false)
	path := filepath.Join(t.TempDir(), "report.json")
	report := &actors.Report{Reason: "server shutdown", Sessions: make([]actors.SessionReport, 500)}

	written, read := make(chan struct{}), make(chan int)
	go func() {
		times := 0
		defer func() { read <- times }()
		for {
			data, err := os.ReadFile(path)
			if err == nil && !json.Valid(data) {
				t.Errorf("read half of a report, %d bytes", len(data))
				return
			}
			if err == nil {
				times++
			}
			select {
			case <-written:
				return
			default:
			}
		}
	}()
	for range 50 {
		g.writeReport(path, report)
	}
	close(written)
	if times := <-read; times == 0 {
		t.Error("nothing was read")
	}
	if got := readReport(t, path); got.Reason != report.Reason || len(got.Sessions) != len(report.Sessions) {
		t.Errorf("read a report of %d sessions, want %d", len(got.Sessions), len(report.Sessions))
	}
	if files, err := os.ReadDir(filepath.Dir(path)); err != nil || len(files) != 1 {
		t.Errorf("files %v, %v; want the report alone", files, err)
	}
	if log.Len() > 0 {
		t.Errorf("logged %s", log)
	}
}

func TestReportThatCannotBeWrittenIsLogged(t *testing.T) {
	g, log := observed(false)
	g.writeReport(filepath.Join(t.TempDir(), "missing", "report.json"), &actors.Report{})
	if !strings.Contains(log.String(), "report not written") {
		t.Errorf("logged %q", log)
	}
}
