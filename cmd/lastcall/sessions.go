package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/operator"
	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/terminal"
	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/top"
	adminapi "github.com/lastcall-go/lastcall/transport/admin"
)

// sessionsCmd is the flags of "lastcall sessions".
type sessionsCmd struct {
	Phase     string `default:"" enum:",opening,serving,stopping,closing" env:"-" placeholder:"PHASE" help:"Only those in this phase: opening, serving, stopping or closing."`
	Workflow  string `env:"-" placeholder:"ID" help:"Only those of this workflow."`
	Agent     string `env:"-" placeholder:"ADDR" help:"Only those at this agent."`
	Kind      string `env:"-" placeholder:"KIND" help:"Only those of this kind."`
	Principal string `env:"-" placeholder:"NAME" help:"Only those of this principal."`
	JSON      bool   `name:"json" env:"-" help:"Print each session as a line of JSON."`
	Watch     bool   `env:"-" help:"Go on until Ctrl-C: as 'lastcall top' does or, where there is no terminal or with --json, with a line for each event of the gateway."`
	operator.Flags
}

// Help is shown by "lastcall sessions --help".
func (*sessionsCmd) Help() string {
	return `It lists the sessions of a gateway, the oldest first, and what each one waits for. Under FOR is
how long it has been in its phase, under LAST how long ago a message passed, either way.

With --json it prints the sessions as the admin API has them, one a line. With --watch and --json a
line is an event: {"event":"session-phase","data":{...}}.

Exit codes: 0 listed, or a watch was ended by Ctrl-C; 1 the gateway didn't answer, or ended the
watch; 2 a flag is wrong.

Example:
  lastcall sessions --phase stopping
  lastcall sessions --watch
  lastcall sessions --json --workflow w1`
}

// Run implements the command.
func (c *sessionsCmd) Run(std streams) error {
	ctx, stop := untilInterrupted()
	defer stop()
	return c.run(ctx, std)
}

func (c *sessionsCmd) run(ctx context.Context, std streams) error {
	gateway, err := c.Open()
	if err != nil {
		return usageError{err}
	}
	defer gateway.Close()
	switch {
	case c.Watch && !c.JSON && terminal.Is(std.in) && terminal.Is(std.out):
		err = top.Run(ctx, top.Options{Gateway: gateway, Name: c.Admin, Only: c.query()}, std.in, std.out)
	case c.Watch && c.Phase+c.Workflow+c.Agent+c.Kind+c.Principal != "":
		return usageError{errors.New("--phase, --workflow, --agent, --kind and --principal are for the table: a watch without it shows the events of all sessions")}
	case c.Watch:
		err = gateway.Events(ctx, func(e adminapi.Event) error { return c.printEvent(std.out, e) })
	case c.JSON:
		err = c.printJSON(ctx, gateway, std.out)
	default:
		err = c.print(ctx, gateway, std.out)
	}
	if c.Watch && ctx.Err() != nil {
		return nil
	}
	return operator.Explain(err)
}

func (c *sessionsCmd) query() adminapi.Query {
	return adminapi.Query{Phase: c.Phase, Workflow: c.Workflow, Agent: c.Agent, Kind: c.Kind, Principal: c.Principal}
}

func (c *sessionsCmd) print(ctx context.Context, gateway *adminapi.Client, w io.Writer) error {
	sessions, state, err := operator.LookAt(ctx, gateway, c.query())
	if err != nil {
		return err
	}
	now := time.Now()
	lines := append([]string{operator.Headline(sessions, state, now), ""}, operator.SessionTable(sessions.Sessions, now)...)
	if len(sessions.Sessions) == 0 {
		lines = lines[:1]
	}
	_, err = fmt.Fprintln(w, strings.Join(lines, "\n"))
	return err
}

func (c *sessionsCmd) printJSON(ctx context.Context, gateway *adminapi.Client, w io.Writer) error {
	sessions, err := gateway.Sessions(ctx, c.query())
	if err != nil {
		return err
	}
	for i := range sessions.Sessions {
		if err := terminal.WriteJSON(w, &sessions.Sessions[i]); err != nil {
			return err
		}
	}
	return nil
}

// printEvent prints an event as a line, of the time at which it came.
func (c *sessionsCmd) printEvent(w io.Writer, e adminapi.Event) error {
	if c.JSON {
		return terminal.WriteJSON(w, struct {
			Event string          `json:"event"`
			Data  json.RawMessage `json:"data"`
		}{e.Name, e.Data})
	}
	_, err := fmt.Fprintln(w, time.Now().Format(time.RFC3339), terminal.OneLine(e.Name), terminal.OneLine(operator.EventText(e)))
	return err
}
