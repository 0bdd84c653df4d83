package main

import (
	"context"
	"errors"

	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/operator"
	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/terminal"
	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/top"
)

// topCmd is the flags of "lastcall top".
type topCmd struct {
	operator.Flags
}

// Help is shown by "lastcall top --help".
func (*topCmd) Help() string {
	return `It shows the sessions of a gateway as they are each second, the last hour in a line, and how a drain
goes, and can drain one or all. Enter shows all of the selected session. Of many sessions it asks only for those on the screen. Press ? for the keys. Colours are left
out where NO_COLOR is set.

Exit codes: 0 ended with q or Ctrl-C; 1 the gateway can't be asked at the start; 2 a flag is wrong, or
there is no terminal.

Example:
  lastcall top --admin 127.0.0.1:8081`
}

// Run implements the command.
func (c *topCmd) Run(std streams) error {
	ctx, stop := untilInterrupted()
	defer stop()
	return c.run(ctx, std)
}

func (c *topCmd) run(ctx context.Context, std streams) error {
	if !terminal.Is(std.in) || !terminal.Is(std.out) {
		return usageError{errors.New("top needs a terminal: 'lastcall sessions' prints the sessions anywhere")}
	}
	gateway, err := c.Open()
	if err != nil {
		return usageError{err}
	}
	defer gateway.Close()
	return operator.Explain(top.Run(ctx, top.Options{Gateway: gateway, Name: c.Admin}, std.in, std.out))
}
