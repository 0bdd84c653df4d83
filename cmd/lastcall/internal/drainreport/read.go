// Package drainreport reads the report of a drain, and writes what it comes to.
package drainreport

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/terminal"
)

// maxReport bounds what is read of a report: some two million sessions.
const maxReport = 256 << 20

// Read reads a file, or for "-" what comes in.
func Read(path string, in io.Reader) (*actors.Report, error) {
	if path == "-" {
		return Decode("the standard input", in, maxReport)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return Decode(path, file, maxReport)
}

// Decode wants what a drain leaves behind, and bears what later versions may add to it.
func Decode(name string, r io.Reader, most int64) (*actors.Report, error) {
	data, err := io.ReadAll(io.LimitReader(r, most+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if int64(len(data)) > most {
		return nil, fmt.Errorf("%s is larger than %d MiB", name, most>>20)
	}
	var report actors.Report
	if err = json.Unmarshal(data, &report); err == nil {
		err = checkReport(&report)
	}
	if err != nil {
		return nil, fmt.Errorf("%s is no drain report, which 'lastcall serve --report FILE' writes as JSON: %s", name, terminal.OneLine(err.Error()))
	}
	return &report, nil
}

func checkReport(r *actors.Report) error {
	switch {
	case r.Started.IsZero():
		return errors.New(`it has no "started"`)
	case r.Sessions == nil:
		return errors.New(`it has no "sessions"`)
	case r.Took < 0:
		return errors.New(`"took_seconds" is out of range`)
	}
	for _, s := range r.Sessions {
		if s.Took < 0 || s.Age < 0 {
			return fmt.Errorf("a time of session %q is out of range", s.ID)
		}
	}
	for _, s := range r.Services {
		if s.Took < 0 {
			return fmt.Errorf("the time of service %q is out of range", s.Name)
		}
	}
	return nil
}
