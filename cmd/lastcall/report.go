package main

import (
	"fmt"

	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/drainreport"
	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/terminal"
)

// reportCmd is the report reader's flags.
type reportCmd struct {
	File    string `arg:"" type:"path" help:"Report that 'serve --report' wrote; - is the standard input."`
	Slowest int    `env:"-" default:"10" placeholder:"N" help:"How many of the sessions that took longest to stop are shown (default ${default})."`
	JSON    bool   `name:"json" env:"-" help:"Print the summary as JSON."`
}

// Help is shown by "lastcall report --help".
func (*reportCmd) Help() string {
	return `It sums up a drain: the sessions by outcome, the slowest of them, how long stopping took, the
services, and what was killed.

A session that ended before it was asked to stop has no stop time, and is counted apart; so is a session that
stopped within half a millisecond, which a report rounds to the same 0.

Exit codes: 0 the report was read, also if something was killed; 1 it can't be read; 2 a flag is wrong.

Example:
  lastcall report report.json --slowest 5`
}

// Run implements the command.
func (c *reportCmd) Run(std streams) error {
	if c.Slowest < 0 {
		return usageError{fmt.Errorf("--slowest %d: must be at least 0", c.Slowest)}
	}
	report, err := drainreport.Read(c.File, std.in)
	if err != nil {
		return err
	}
	s := drainreport.Summarize(report, c.Slowest)
	if c.JSON {
		return s.WriteJSON(std.out)
	}
	width, _ := terminal.Size(std.out)
	return s.WriteText(std.out, width)
}
