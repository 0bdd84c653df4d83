package main

import (
	"context"
	"fmt"
	"os/signal"
	"syscall"
	"time"

	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/daemon"
	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/serveflags"
	"github.com/lastcall-go/lastcall/transport/logqueue"
	"github.com/lastcall-go/lastcall/transport/scripted"
)

// agentCmd is the scripted agent's flags.
type agentCmd struct {
	Listen string        `default:"127.0.0.1:50052" placeholder:"ADDR" help:"Where gateways open streams (default ${default})."`
	Pace   time.Duration `default:"2s" placeholder:"D" help:"Pause before each step of the scenario (default ${default})."`

	Scenario string `default:"look" enum:"look,tools" placeholder:"NAME" help:"look: look around in the client's folder; tools: ask for what the gateway runs itself (default ${default})."`
}

// Help is shown by "lastcall agent --help".
func (*agentCmd) Help() string {
	return `It plays a small scenario for every workflow, keeps checkpoints in memory, and resumes from
the last one.

Example:
  lastcall agent --pace 1s &
  lastcall serve --agent 127.0.0.1:50052`
}

// Run implements the command.
func (c *agentCmd) Run(std streams) error {
	if c.Pace < 0 {
		return usageError{fmt.Errorf("--pace %v: must be at least 0s", c.Pace)}
	}
	listener, err := serveflags.Listen("listen", c.Listen)
	if err != nil {
		return usageError{err}
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process
	defer daemon.OutliveReaders()()
	lines := logqueue.New(std.err, logqueue.Options{})
	defer daemon.Flush(lines, daemon.FlushTimeout)
	fmt.Fprintln(lines, "scripted agent on", listener.Addr())
	options := scripted.Options{Pace: c.Pace}
	if c.Scenario == "tools" {
		options.Steps = scripted.ToolScenario()
	}
	return scripted.New(options).Serve(ctx, listener)
}
