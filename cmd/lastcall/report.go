package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/drainreport"
	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/operator"
	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/terminal"
	"github.com/lastcall-go/lastcall/transport/history"
)

// reportCmd is the report reader's flags.
type reportCmd struct {
	File    string `arg:"" optional:"" type:"path" help:"Report that 'serve --report' wrote; - is the standard input. Without it the drains of the gateway at --admin are listed."`
	Drain   string `env:"-" placeholder:"ID" help:"A drain of the gateway at --admin, by its ID."`
	Slowest int    `env:"-" default:"10" placeholder:"N" help:"How many of the sessions that took longest to stop are shown (default ${default})."`
	JSON    bool   `name:"json" env:"-" help:"Print the summary as JSON."`
	operator.Flags
}

// Help is shown by "lastcall report --help".
func (*reportCmd) Help() string {
	return `It sums up a drain: the sessions by outcome, the slowest of them, how long stopping took, the
services, and what was killed and had waited for what. A running gateway keeps its last 20 drains:
without a file they are listed, and --drain reads one.

A session that ended before it was asked to stop has no stop time, and is counted apart; so is a session that
stopped within half a millisecond, which a report rounds to the same 0.

Exit codes: 0 the report was read, also if something was killed; 1 it can't be read; 2 a flag is wrong.

Example:
  lastcall report --admin 127.0.0.1:8081
  lastcall report --drain qj3k5m7x2aqbc4de
  lastcall report report.json --slowest 5`
}

// Run implements the command.
func (c *reportCmd) Run(std streams) error {
	ctx, stop := untilInterrupted()
	defer stop()
	return c.run(ctx, std)
}

func (c *reportCmd) run(ctx context.Context, std streams) error {
	if c.Slowest < 0 {
		return usageError{fmt.Errorf("--slowest %d: must be at least 0", c.Slowest)}
	}
	switch {
	case c.File != "" && c.Drain != "":
		return usageError{errors.New("a file and --drain can't be combined")}
	case c.File == "" && c.Drain == "":
		return c.list(ctx, std.out)
	}
	s, err := c.read(ctx, std.in)
	if err != nil {
		return err
	}
	if c.JSON {
		return drainreport.WriteJSON(std.out, s)
	}
	width, _ := terminal.Size(std.out)
	return drainreport.WriteText(std.out, s, width)
}

func (c *reportCmd) read(ctx context.Context, in io.Reader) (*history.Summary, error) {
	if c.Drain != "" {
		return c.ask(ctx)
	}
	report, err := drainreport.Read(c.File, in)
	if err != nil {
		return nil, err
	}
	return history.Summarize(report, c.Slowest), nil
}

func (c *reportCmd) ask(ctx context.Context) (*history.Summary, error) {
	gateway, err := c.Open()
	if err != nil {
		return nil, usageError{err}
	}
	defer gateway.Close()
	s, err := gateway.DrainReport(ctx, c.Drain)
	if err != nil {
		return nil, operator.Explain(err)
	}
	s.Slowest = s.Slowest[:min(c.Slowest, len(s.Slowest))]
	return s, nil
}

// list shows the drains that a gateway keeps, the newest last.
func (c *reportCmd) list(ctx context.Context, w io.Writer) error {
	gateway, err := c.Open()
	if err != nil {
		return usageError{err}
	}
	defer gateway.Close()
	kept, err := gateway.History(ctx)
	if err != nil {
		return operator.Explain(err)
	}
	if c.JSON {
		for i := range kept.Drains {
			if err := terminal.WriteJSON(w, &kept.Drains[i]); err != nil {
				return err
			}
		}
		return nil
	}
	return listDrains(w, kept.Drains)
}

func listDrains(w io.Writer, drains []history.Over) error {
	if len(drains) == 0 {
		_, err := fmt.Fprintln(w, "no drain is over yet")
		return err
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "STARTED\tID\tOF\tSESSIONS\tKILLED\tTOOK\tREASON")
	for _, d := range drains {
		of := "everything"
		if d.Part {
			of = "a part"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%d\t%d\t%v\t%s\n", d.Started.Local().Format(time.DateTime), operator.SafeCell(d.ID), of, d.Sessions, d.Killed, d.Took, operator.SafeCell(d.Reason))
	}
	return table.Flush()
}
