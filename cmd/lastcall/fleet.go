package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/fleet"
	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/terminal"
	"github.com/lastcall-go/lastcall/transport/gateway"
	"github.com/lastcall-go/lastcall/transport/httpserver"
)

// fleetCmd is the flags of "lastcall fleet".
type fleetCmd struct {
	Admin        []string      `placeholder:"ADDR" required:"" help:"Admin listener of an instance, or of all that a host name has addresses of. Give it once for each, or separated by commas."`
	Token        string        `placeholder:"TOKEN" help:"Bearer token for the admin listeners. Better set as LASTCALL_TOKEN: others can see a command line."`
	Listen       string        `env:"-" placeholder:"ADDR" help:"Serve a page with all instances on this loopback address, until Ctrl-C."`
	Drain        bool          `env:"-" help:"Drain the instances one after the other."`
	Resume       bool          `env:"-" help:"With --drain: let each instance admit again after its drain. Otherwise wait until it is started anew, or resumed."`
	ReadyTimeout time.Duration `env:"-" default:"5m" placeholder:"D" help:"With --drain: how long an instance may take from its drain until it is ready (default ${default})."`
	drainOptions
}

// Help is shown by "lastcall fleet --help".
func (*fleetCmd) Help() string {
	return `It shows how several gateways stand, and their oldest sessions: in a terminal anew each second until q
or Ctrl-C, elsewhere once, and with --listen on a page.

With --drain it drains one instance after the other. Before each all others must be ready, so that its
clients find a place, and after each it waits until the instance is ready again. It stops at the first
kill, or where an instance doesn't answer. The flags of a drain hold for each instance.

Exit codes: 0 ended, or all drained; 1 it stopped; 2 a flag is wrong; 3 a session or service was killed.

Example:
  lastcall fleet --admin a.example:8081 --admin b.example:8081
  lastcall fleet --admin gateway.internal:8081 --listen 127.0.0.1:8090
  lastcall fleet --admin a.example:8081 --admin b.example:8081 --drain --ready-timeout 10m`
}

// Run implements the command.
func (c *fleetCmd) Run(std streams) error {
	ctx, stop := untilInterrupted()
	defer stop()
	return c.run(ctx, std)
}

func (c *fleetCmd) run(ctx context.Context, std streams) error {
	if err := c.check(); err != nil {
		return usageError{err}
	}
	instances, err := fleet.Open(ctx, c.Admin, c.Token)
	if err != nil {
		return usageError{err}
	}
	defer instances.Close()
	switch {
	case c.Drain:
		return c.drain(ctx, instances, std)
	case c.Listen != "":
		return c.serve(ctx, instances, std)
	case terminal.Is(std.in) && terminal.Is(std.out):
		return fleet.Watch(ctx, instances, std.in, std.out)
	}
	_, err = fmt.Fprintln(std.out, strings.Join(fleet.Lines(instances.Look(ctx, 1), time.Now()), "\n"))
	return err
}

func (c *fleetCmd) check() error {
	switch {
	case c.Drain && c.Listen != "":
		return errors.New("--drain and --listen can't be combined")
	case c.Resume && !c.Drain:
		return errors.New("--resume is for --drain: 'lastcall resume' lets one gateway admit again")
	case c.Listen != "" && !gateway.IsLoopback(c.Listen):
		return fmt.Errorf("--listen %s: must be a loopback address, such as 127.0.0.1:8090: the page asks for no token", c.Listen)
	case c.ReadyTimeout <= 0:
		return fmt.Errorf("--ready-timeout %v: must be positive", c.ReadyTimeout)
	}
	return c.drainOptions.check()
}

func (c *fleetCmd) drain(ctx context.Context, instances fleet.Fleet, std streams) error {
	if len(instances) < 2 {
		return usageError{errors.New("one instance is no fleet: its clients would find no other; 'lastcall drain' drains it")}
	}
	if !c.Yes {
		if !terminal.Is(std.in) {
			return usageError{errors.New("a drain of all instances is asked about first, and there is no terminal to ask on: it needs --yes")}
		}
		question := fmt.Sprintf("Drain %d instances, one after the other?", len(instances))
		if !terminal.NewPrompt(std.in, std.out).Ask(ctx, question) {
			return errors.New("nothing was drained")
		}
	}
	rolling := fleet.Rolling{Fleet: instances, Options: c.options(), Resume: c.Resume, ReadyTimeout: c.ReadyTimeout, Out: std.out}
	err := rolling.Run(ctx)
	if killed := new(fleet.KilledError); errors.As(err, &killed) {
		fmt.Fprintln(std.err, "lastcall:", err)
		return killedError{err}
	}
	return err
}

// serve serves the page until ctx is done.
func (c *fleetCmd) serve(ctx context.Context, instances fleet.Fleet, std streams) error {
	listener, err := httpserver.Listen(c.Listen)
	if err != nil {
		return usageError{fmt.Errorf("--listen: %w", err)}
	}
	fmt.Fprintf(std.out, "the fleet's page is at http://%s/\n", listener.Addr())
	return fleet.Serve(ctx, instances, listener)
}
