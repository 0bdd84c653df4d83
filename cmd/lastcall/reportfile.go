package main

import (
	"encoding/json"
	"log/slog"
	"os"

	"github.com/lastcall-go/lastcall/actors"
)

// reportFile is where the report of a drain is left.
type reportFile struct {
	path string // empty: nowhere
	log  *slog.Logger
	kept bool // there is one of a standby
}

// write writes the file in one piece: who waits for it never reads half of it. After a standby, the
// report of a final drain that found no session, and killed nobody, is not worth that one's place.
func (f *reportFile) write(report *actors.Report) {
	if f.path == "" || report == nil || f.kept && len(report.Sessions) == 0 && report.Err() == nil {
		return
	}
	data, err := json.MarshalIndent(report, "", "  ")
	if err == nil {
		err = os.WriteFile(f.path+".tmp", append(data, '\n'), 0o644)
	}
	if err == nil {
		err = os.Rename(f.path+".tmp", f.path)
	}
	if err != nil {
		f.log.Error("report not written", "error", err)
	}
}

// standby writes the report of a drain that the process survives.
func (f *reportFile) standby(report *actors.Report) {
	f.kept = false
	f.write(report)
	f.kept = len(report.Sessions) > 0
}
