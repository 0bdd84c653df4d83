package main

import (
	"fmt"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/operator"
	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/terminal"
)

// resumeCmd is the flags of "lastcall resume".
type resumeCmd struct {
	operator.Flags
}

// Help is shown by "lastcall resume --help".
func (*resumeCmd) Help() string {
	return `After 'lastcall drain', or POST /drain, the gateway refuses new sessions: this lets it admit
them again. If the drain is still under way, sessions that were asked to stop do so, and no others are asked.
What SIGTERM began can't be taken back.

Exit codes: 0 the gateway admits sessions; 1 it doesn't, or didn't answer; 2 a flag is wrong.

Example:
  lastcall resume --admin 127.0.0.1:8081`
}

// Run implements the command.
func (c *resumeCmd) Run(std streams) error {
	ctx, stop := untilInterrupted()
	defer stop()
	gateway, err := c.Open()
	if err != nil {
		return usageError{err}
	}
	defer gateway.Close()
	state, err := gateway.Resume(ctx)
	if err != nil {
		return operator.Explain(err)
	}
	if state.State != actors.Serving {
		return fmt.Errorf("the gateway is still %s", terminal.OneLine(string(state.State)))
	}
	stopping := 0
	for _, d := range state.Drains {
		if !d.Over {
			stopping += d.Left
		}
	}
	line := "the gateway admits sessions"
	if stopping > 0 {
		line += fmt.Sprintf("; %d sessions that were asked to stop are still here", stopping)
	}
	_, err = fmt.Fprintln(std.out, line)
	return err
}
