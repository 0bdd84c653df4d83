package main

import (
	"context"
	"errors"
	"os/signal"
	"syscall"

	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/measure"
)

// benchCmd is the load test's flags.
type benchCmd struct {
	measure.Flags
	JSON bool `name:"json" env:"-" help:"Print the result as JSON."`
}

// Help is shown by "lastcall bench --help".
func (*benchCmd) Help() string {
	return `It opens sessions against a gateway and measures, one after the other: how fast they open; what
memory they take while they are idle; how long a round trip takes, from a client's answer to the
agent's next action, while some are busy; how long a drain takes, and with which code each
client is closed.

Without --url all of it runs on this machine, and shares it: the gateway is then a process of its own,
drained by SIGTERM, the clients and the agent are this one. With --url a gateway that runs is measured
with the agent that it has, and drained only with --drain. That agent gets a workflow for each session,
and answers that say nothing: mind what it costs.

Exit codes: 0 measured; 1 most sessions failed, or something else did; 2 a flag is wrong.

Example:
  lastcall bench --sessions 5000 --busy 200
  lastcall bench --url wss://gateway.example/api/v4/ai/duo_workflows/ws --sessions 100 --json`
}

// Run implements the command.
func (c *benchCmd) Run(std streams) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process
	return c.run(ctx, std)
}

func (c *benchCmd) run(ctx context.Context, std streams) error {
	if err := c.Check(); err != nil {
		return usageError{err}
	}
	c.Version = version()
	result, err := c.Measure(ctx, std.err)
	if err != nil && ctx.Err() != nil {
		return errors.New("interrupted")
	}
	if result != nil {
		err = errors.Join(err, result.Print(std.out, c.JSON), result.Verdict())
	}
	return err
}
