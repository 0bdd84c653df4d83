package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/operator"
	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/serveflags"
	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/terminal"
	adminapi "github.com/lastcall-go/lastcall/transport/admin"
)

// drainCmd is the flags of "lastcall drain". nil is a flag that was not given. An empty flag, as of a shell variable
// that isn't set, must not drain everything.
type drainCmd struct {
	ID        *string        `arg:"" optional:"" help:"Session to drain (default: all)."`
	Sessions  *int           `env:"-" placeholder:"N" help:"Only so many sessions, the oldest."`
	OlderThan *time.Duration `env:"-" placeholder:"D" help:"Only sessions older than this."`
	Agent     *string        `env:"-" placeholder:"ADDR" help:"Only sessions at this agent."`
	Kind      *string        `env:"-" placeholder:"KIND" help:"Only sessions of this kind."`
	Principal *string        `env:"-" placeholder:"NAME" help:"Only sessions of this principal: the name of its token, or what --auth-url says."`
	drainOptions
	DryRun bool `env:"-" help:"Drain nothing: show the timeline, how long the drain would take, and whether its deadline suffices."`
	operator.Flags
}

// Help is shown by "lastcall drain --help".
func (*drainCmd) Help() string {
	return `It drains all sessions of a gateway, one, or a part, and shows how that goes until it is over.
After a drain of everything the gateway stays up and refuses new sessions, until 'lastcall resume' or
SIGTERM. One session or a part is drained while the others go on and new ones are admitted, to rebalance
after scaling out. --sessions, --older-than, --agent, --kind and --principal can be combined.

Draining everything is asked about first. Where there is no terminal to ask on it needs --yes.
Ctrl-C leaves the drain to the gateway, where it goes on.

--dry-run says beforehand what the same drain would take, by how long sessions took to stop so far.

Exit codes: 0 drained; 1 nothing was drained, or the connection was lost; 2 a flag is wrong; 3 a
session or service was killed, or is likely to be in a dry run.

Example:
  lastcall drain --dry-run
  lastcall drain
  lastcall drain --older-than 4h --sessions 100 --batch-size 10 --reason "moving to another host"
  lastcall drain qj3k5m7x2aqbc4de --grace 30s --deadline 1m`
}

// Run implements the command.
func (c *drainCmd) Run(std streams) error {
	ctx, stop := untilInterrupted()
	defer stop()
	return c.run(ctx, std)
}

func (c *drainCmd) run(ctx context.Context, std streams) error {
	if err := c.check(); err != nil {
		return usageError{err}
	}
	gateway, err := c.Open()
	if err != nil {
		return usageError{err}
	}
	defer gateway.Close()
	if c.DryRun {
		return c.estimate(ctx, gateway, std.out)
	}
	if c.everything() && !c.Yes {
		if err := c.confirm(ctx, gateway, std); err != nil {
			return err
		}
	}
	drain, err := operator.Follow(ctx, gateway, std.out, c.begin)
	if err != nil {
		return operator.Explain(err)
	}
	if c.everything() {
		if err := tellAfterwards(ctx, gateway, std.out); err != nil {
			return err
		}
	}
	if len(drain.Killed) > 0 || drain.Totals[actors.Killed] > 0 {
		return killedError{errors.New(operator.Summary(drain))}
	}
	return nil
}

// estimate says what the drain would take.
func (c *drainCmd) estimate(ctx context.Context, gateway *adminapi.Client, w io.Writer) error {
	var e *adminapi.Estimate
	var err error
	if c.ID != nil {
		e, err = gateway.EstimateSession(ctx, *c.ID, c.options())
	} else {
		e, err = gateway.Estimate(ctx, c.part(), c.options())
	}
	if err != nil {
		return operator.Explain(rejected(err))
	}
	if _, err := io.WriteString(w, operator.EstimateText(e, c.everything())); err != nil {
		return err
	}
	if e.Stops > 0 && !e.InTime {
		return killedError{errors.New("sessions are likely to be killed")}
	}
	return nil
}

func (c *drainCmd) check() error {
	switch {
	case c.ID != nil && *c.ID == "":
		return errors.New("the session's ID is empty")
	case c.ID != nil && (c.Sessions != nil || c.OlderThan != nil || c.Agent != nil || c.Kind != nil || c.Principal != nil):
		return errors.New("a session's ID can't be combined with --sessions, --older-than, --agent, --kind and --principal")
	case c.Agent != nil && *c.Agent == "":
		return errors.New("--agent is empty")
	case c.Kind != nil && *c.Kind == "":
		return errors.New("--kind is empty")
	case c.Principal != nil && *c.Principal == "":
		return errors.New("--principal is empty")
	case c.Sessions != nil && *c.Sessions < 1:
		return fmt.Errorf("--sessions %d: must be at least 1", *c.Sessions)
	}
	return cmp.Or(checkDuration("older-than", c.OlderThan, time.Millisecond), c.drainOptions.check())
}

// drainOptions are the flags that every drain takes. nil is a flag that was not given.
type drainOptions struct {
	Deadline      *time.Duration `env:"-" placeholder:"D" help:"When the drain ends, from now (default: the gateway's)."`
	Grace         *time.Duration `env:"-" placeholder:"D" help:"Let running workflows go on this long before they are stopped (default: the gateway's)."`
	BatchSize     *int           `env:"-" placeholder:"N" help:"Drain this many sessions at a time; 0 is all at once (default: the gateway's)."`
	BatchInterval *time.Duration `env:"-" aliases:"wave-interval" placeholder:"D" help:"Time between two batches (default: the gateway's)."`
	Reason        string         `env:"-" placeholder:"TEXT" help:"Reason in the close frames (default: the gateway's)."`
	Yes           bool           `env:"-" help:"Don't ask before everything is drained."`
}

func (c *drainOptions) check() error {
	if c.BatchSize != nil && *c.BatchSize < 0 {
		return fmt.Errorf("--batch-size %d: must be at least 0", *c.BatchSize)
	}
	return cmp.Or(
		checkDuration("deadline", c.Deadline, time.Millisecond),
		checkDuration("grace", c.Grace, 0),
		checkDuration("batch-interval", c.BatchInterval, time.Millisecond),
	)
}

func checkDuration(flag string, value *time.Duration, least time.Duration) error {
	if value != nil && (*value < least || *value > serveflags.MaxDuration) {
		return fmt.Errorf("--%s %v: must be from %v to %v", flag, *value, least, serveflags.MaxDuration)
	}
	return nil
}

func (c *drainCmd) everything() bool {
	return c.ID == nil && c.Sessions == nil && c.OlderThan == nil && c.Agent == nil && c.Kind == nil && c.Principal == nil
}

// confirm asks on the terminal.
func (c *drainCmd) confirm(ctx context.Context, gateway *adminapi.Client, std streams) error {
	if !terminal.Is(std.in) {
		return usageError{errors.New("draining everything is asked about first, and there is no terminal to ask on: it needs --yes")}
	}
	sessions, err := gateway.Sessions(ctx, adminapi.Query{Limit: 1})
	if err != nil {
		return operator.Explain(err)
	}
	question := fmt.Sprintf("Drain all %d %s at %s? New ones are refused until 'lastcall resume'.", sessions.Total, terminal.Plural(sessions.Total, "session"), terminal.OneLine(c.Admin))
	if !terminal.NewPrompt(std.in, std.out).Ask(ctx, question) {
		return errors.New("nothing was drained")
	}
	return nil
}

func (c *drainOptions) options() adminapi.DrainOptions {
	return adminapi.DrainOptions{
		Deadline:      valueOf(c.Deadline),
		Grace:         c.Grace,
		BatchSize:     c.BatchSize,
		BatchInterval: c.BatchInterval,
		Reason:        c.Reason,
	}
}

func (c *drainCmd) part() adminapi.Part {
	return adminapi.Part{
		Sessions:  valueOf(c.Sessions),
		OlderThan: valueOf(c.OlderThan),
		Agent:     valueOf(c.Agent),
		Kind:      valueOf(c.Kind),
		Principal: valueOf(c.Principal),
	}
}

// valueOf is a flag's value, or the zero value where it was not given.
func valueOf[T any](flag *T) (value T) {
	if flag != nil {
		value = *flag
	}
	return value
}

func (c *drainCmd) begin(ctx context.Context, gateway *adminapi.Client) (*adminapi.Drain, error) {
	var begun *adminapi.Drain
	var err error
	switch {
	case c.ID != nil:
		begun, err = gateway.DrainSession(ctx, *c.ID, c.options())
	case c.everything():
		begun, err = gateway.Drain(ctx, c.options())
	default:
		begun, err = gateway.DrainPart(ctx, c.part(), c.options())
	}
	return begun, rejected(err)
}

// rejected: what the gateway rejects is a wrong flag.
func rejected(err error) error {
	var status *adminapi.StatusError
	if errors.As(err, &status) && status.Status == http.StatusBadRequest {
		return usageError{err}
	}
	return err
}

// tellAfterwards says what a drain of everything has left behind.
func tellAfterwards(ctx context.Context, gateway *adminapi.Client, w io.Writer) error {
	state, err := gateway.State(ctx)
	line := "the gateway refuses new sessions until 'lastcall resume', or ends with SIGTERM"
	switch {
	case err != nil:
		line = "the gateway doesn't answer any more: " + terminal.OneLine(err.Error())
	case state.Final:
		line = "the gateway's process is ending"
	case state.State == actors.Serving:
		line = "the gateway admits sessions again: it was resumed meanwhile"
	}
	_, err = fmt.Fprintln(w, line)
	return err
}
