package gateway

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/transport/history"
)

// Who waits for the report's file never reads half of it.
func TestReportIsWrittenInOnePiece(t *testing.T) {
	path := filepath.Join(t.TempDir(), "report.json")
	file := reportFile{path: path}
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
		if err := file.write(report); err != nil {
			t.Error(err)
		}
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
}

// What can be written is found to be so, and stays as it is.
func TestACheckLeavesTheReportBefore(t *testing.T) {
	before := filepath.Join(t.TempDir(), "before")
	if err := os.WriteFile(before, []byte("kept"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := (&reportFile{path: before}).check(); err != nil {
		t.Error(err)
	}
	if kept, err := os.ReadFile(before); err != nil || string(kept) != "kept" {
		t.Errorf("the report before holds %q, %v", kept, err)
	}
	if files, err := os.ReadDir(filepath.Dir(before)); err != nil || len(files) != 1 {
		t.Errorf("files %v, %v; want the report alone", files, err)
	}
}

// An operator drains, and then the process is asked to end: the sessions are in the first report.
func TestAnEmptyFinalReportLeavesTheStandbysInPlace(t *testing.T) {
	g := &Gateway{report: new(reportFile)}
	g.report.path = filepath.Join(t.TempDir(), "report.json")
	full, empty := someReport, &actors.Report{}
	stuck := &actors.Report{Services: []actors.ServiceReport{{Name: "server", Outcome: actors.Killed}}}
	for _, test := range []struct {
		standby, final *actors.Report
		want           *actors.Report
	}{{full, empty, full}, {empty, empty, empty}, {full, someReport, someReport}, {empty, full, full}, {full, stuck, stuck}} {
		g.keepReport(actors.DrainFinished{DrainStatus: actors.DrainStatus{Standby: true}, Report: test.standby})
		if got := readReport(t, g.report.path); len(got.Sessions) != len(test.standby.Sessions) {
			t.Errorf("after a standby with %d sessions the file has %d", len(test.standby.Sessions), len(got.Sessions))
		}
		if err := g.report.write(test.final); err != nil {
			t.Error(err)
		}
		if got := readReport(t, g.report.path); len(got.Sessions) != len(test.want.Sessions) {
			t.Errorf("after a final drain with %d sessions the file has %d, want %d", len(test.final.Sessions), len(got.Sessions), len(test.want.Sessions))
		}
	}
}

func readReport(t *testing.T, path string) *actors.Report {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	report := new(actors.Report)
	if err := json.Unmarshal(data, report); err != nil {
		t.Fatal(err)
	}
	return report
}

// A folder keeps a file of each of the last drains, those of parts too, and nothing else of it is touched.
func TestAFolderKeepsTheReportsOfTheLastDrains(t *testing.T) {
	folder := t.TempDir()
	other := filepath.Join(folder, "other.json")
	if err := os.WriteFile(other, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	file := &reportFile{path: folder}
	if err := file.check(); err != nil {
		t.Fatal(err)
	}
	began := time.Date(2026, 11, 27, 9, 0, 0, 0, time.UTC)
	for i := range history.Drains + 3 {
		report := &actors.Report{ID: fmt.Sprint("d", i), Started: began.Add(time.Duration(i) * time.Minute), Sessions: []actors.SessionReport{}}
		write := file.standby
		if i%2 == 0 {
			write = file.write
		}
		if err := write(report); err != nil {
			t.Fatal(err)
		}
	}
	files, err := filepath.Glob(filepath.Join(folder, "drain-*.json"))
	if err != nil || len(files) != history.Drains || filepath.Base(files[0]) != "drain-20261127T090300.000Z-d3.json" || readReport(t, files[history.Drains-1]).ID != "d22" {
		t.Errorf("%d files, %q, %v", len(files), files, err)
	}
	if all, err := os.ReadDir(folder); err != nil || len(all) != history.Drains+1 {
		t.Errorf("%v, %v: want the reports and the other file", all, err)
	}
}
