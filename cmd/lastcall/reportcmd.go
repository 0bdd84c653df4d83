package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/lastcall-go/lastcall/actors"
)

// maxReport bounds what is read of a report: some two million sessions.
const maxReport = 256 << 20

// reportCmd is the report reader's flags.
type reportCmd struct {
	File    string `arg:"" type:"path" help:"Report that 'serve --report' wrote; - is the standard input."`
	Slowest int    `env:"-" default:"10" placeholder:"N" help:"How many of the sessions that took longest to stop are shown (default ${default})."`
	JSON    bool   `name:"json" env:"-" help:"Print the summary as JSON."`
}

// Help is shown by "lastcall report --help".
func (*reportCmd) Help() string {
	return `It sums up how a drain went: the sessions by outcome, who took longest to stop, how long
stopping took, the services, and who had to be killed.

A session that ended before it was told to stop has no stop time, and is counted apart; so is one that
stopped within half a millisecond, which a report rounds to the same 0.

Exit codes: 0 the report was read, whoever had to be killed; 1 it can't be read; 2 a flag is wrong.

Example:
  lastcall report report.json --slowest 5`
}

// Run implements the command.
func (c *reportCmd) Run(std streams) error {
	if c.Slowest < 0 {
		return usageError{fmt.Errorf("--slowest %d: must be at least 0", c.Slowest)}
	}
	report, err := readReportFile(c.File, std.in)
	if err != nil {
		return err
	}
	s := summarize(report, c.Slowest)
	if c.JSON {
		return s.writeJSON(std.out)
	}
	width, _ := screenSize(std.out)
	return s.writeText(std.out, width)
}

// readReportFile reads a file, or for "-" what comes in.
func readReportFile(path string, in io.Reader) (*actors.Report, error) {
	if path == "-" {
		return decodeReport("the standard input", in, maxReport)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return decodeReport(path, file, maxReport)
}

// decodeReport wants what a drain leaves behind, and bears what later versions may add to it.
func decodeReport(name string, r io.Reader, most int64) (*actors.Report, error) {
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
		return nil, fmt.Errorf("%s is no drain report, which 'lastcall serve --report FILE' writes as JSON: %s", name, oneLine(err.Error()))
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
