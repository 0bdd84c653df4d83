package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/serveflags"
	adminapi "github.com/lastcall-go/lastcall/transport/admin"
)

// drainCmd is the flags of "lastcall drain". nil is a flag that was not given: one that is empty, such
// as of a variable that isn't set, must not drain everything.
type drainCmd struct {
	ID            *string        `arg:"" optional:"" help:"Session to drain (default: all)."`
	Sessions      *int           `env:"-" placeholder:"N" help:"Only so many sessions, the oldest."`
	OlderThan     *time.Duration `env:"-" placeholder:"D" help:"Only sessions older than this."`
	Agent         *string        `env:"-" placeholder:"ADDR" help:"Only sessions at this agent."`
	Kind          *string        `env:"-" placeholder:"KIND" help:"Only sessions of this kind."`
	Principal     *string        `env:"-" placeholder:"NAME" help:"Only sessions of this principal: the name of its token, or what --auth-url says."`
	Deadline      *time.Duration `env:"-" placeholder:"D" help:"When the drain ends, from now (default: the gateway's)."`
	Grace         *time.Duration `env:"-" placeholder:"D" help:"Let running workflows go on this long before they are stopped (default: the gateway's)."`
	BatchSize     *int           `env:"-" placeholder:"N" help:"Drain this many sessions at a time; 0 is all at once (default: the gateway's)."`
	BatchInterval *time.Duration `env:"-" aliases:"wave-interval" placeholder:"D" help:"Time between two batches (default: the gateway's)."`
	Reason        string         `env:"-" placeholder:"TEXT" help:"What clients are told (default: the gateway's)."`
	Yes           bool           `env:"-" help:"Don't ask before everything is drained."`
	adminFlags
}

// Help is shown by "lastcall drain --help".
func (*drainCmd) Help() string {
	return `It drains all sessions of a gateway, one, or a part, and shows how that goes until it is over.
After a drain of everything the gateway stays up and refuses new sessions, until 'lastcall resume' or
SIGTERM. One session or a part is drained while the others go on and new ones are admitted, to rebalance
after scaling out. --sessions, --older-than, --agent, --kind and --principal can be combined.

Draining everything is asked about first. Where there is no terminal to ask on it needs --yes.
Ctrl-C leaves the drain to the gateway, where it goes on.

Exit codes: 0 drained; 1 nothing was drained, or the connection was lost; 2 a flag is wrong; 3 somebody
had to be killed.

Example:
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
	gateway, err := c.open()
	if err != nil {
		return err
	}
	defer gateway.Close()
	if c.everything() && !c.Yes {
		if err := c.confirm(ctx, gateway, std); err != nil {
			return err
		}
	}
	drain, err := c.drain(ctx, gateway, std.out)
	if err != nil {
		return explainAdmin(err)
	}
	if c.everything() {
		if err := tellAfterwards(ctx, gateway, std.out); err != nil {
			return err
		}
	}
	if len(drain.Killed) > 0 || drain.Totals[actors.Killed] > 0 {
		return killedError{errors.New(drainSummary(drain))}
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
	case c.BatchSize != nil && *c.BatchSize < 0:
		return fmt.Errorf("--batch-size %d: must be at least 0", *c.BatchSize)
	}
	return cmp.Or(
		checkDuration("older-than", c.OlderThan, time.Millisecond),
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
	if _, isTerminal := terminalOf(std.in); !isTerminal {
		return usageError{errors.New("draining everything is asked about first, and there is no terminal to ask on: it needs --yes")}
	}
	sessions, err := gateway.Sessions(ctx, adminapi.Query{Limit: 1})
	if err != nil {
		return explainAdmin(err)
	}
	question := fmt.Sprintf("Drain all %d %s at %s? New ones are refused until 'lastcall resume'.", sessions.Total, plural(sessions.Total, "session"), oneLine(c.Admin))
	if !newPrompt(std).ask(ctx, question) {
		return errors.New("nothing was drained")
	}
	return nil
}

func (c *drainCmd) options() adminapi.DrainOptions {
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

// drain begins the drain and follows it to its end.
func (c *drainCmd) drain(ctx context.Context, gateway *adminapi.Client, w io.Writer) (*adminapi.Drain, error) {
	following, cancel := context.WithCancel(ctx)
	news, ended := make(chan drainNews, 64), make(chan struct{})
	go func() {
		defer close(ended)
		followDrains(following, gateway, news)
	}()
	defer func() {
		cancel()
		<-ended
	}()
	f := &drainFollower{gateway: gateway, console: newConsole(w), news: news}
	f.awaitStream(ctx) // before the drain can have anything to tell
	if ctx.Err() != nil {
		return nil, errors.New("interrupted: nothing was drained")
	}
	begun, err := c.begin(context.WithoutCancel(ctx), gateway) // half of a request would leave it open whether it drains
	if err != nil {
		return nil, err
	}
	f.drain = begun
	err = f.follow(ctx)
	return f.drain, err
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
	var status *adminapi.StatusError
	if errors.As(err, &status) && status.Status == http.StatusBadRequest {
		err = usageError{err}
	}
	return begun, err
}

// tellAfterwards says what a drain of everything has left behind.
func tellAfterwards(ctx context.Context, gateway *adminapi.Client, w io.Writer) error {
	state, err := gateway.State(ctx)
	line := "the gateway refuses new sessions until 'lastcall resume', or ends with SIGTERM"
	switch {
	case err != nil:
		line = "the gateway doesn't answer any more: " + oneLine(err.Error())
	case state.Final:
		line = "the gateway's process is ending"
	case state.State == actors.Serving:
		line = "the gateway admits sessions again: somebody has resumed it"
	}
	_, err = fmt.Fprintln(w, line)
	return err
}

// drainNews is what the stream of events has told: a drain, that news were missed, or that it began.
type drainNews struct {
	drain  *adminapi.Drain
	missed bool
	lost   bool // the stream; there is no other news after it
}

// followDrains tells the news until the stream is lost or ctx ends.
func followDrains(ctx context.Context, gateway *adminapi.Client, news chan<- drainNews) {
	tell := func(n drainNews) error {
		select {
		case news <- n:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	_ = gateway.Events(ctx, func(e adminapi.Event) error { // however it ends, it is lost
		switch e.Name {
		case adminapi.EventState:
			return tell(drainNews{})
		case adminapi.EventLagged:
			return tell(drainNews{missed: true})
		case adminapi.EventDrainProgress, adminapi.EventDrainFinished: // its start is what the request was answered
			drain := new(adminapi.Drain)
			if err := json.Unmarshal(e.Data, drain); err != nil {
				return err
			}
			return tell(drainNews{drain: drain})
		}
		return nil
	})
	_ = tell(drainNews{lost: true}) // fails only where nobody listens any more
}

// How a drain is followed.
const (
	streamPatience = 5 * time.Second        // what the stream of events may take to begin, before it is done without
	followPulse    = 500 * time.Millisecond // how often the line is drawn anew; without the stream, how often the gateway is asked
	newsPatience   = 3 * time.Second        // there is news every second, if only of the time
	lostPatience   = 5 * time.Second        // how long a gateway may not answer
)

// drainFollower shows a drain. It learns of it from events, and without them by asking.
type drainFollower struct {
	gateway *adminapi.Client
	console *console
	news    <-chan drainNews // nil: the stream is lost
	drain   *adminapi.Drain
	heard   time.Time // when there was news last
	shown   string
}

func (f *drainFollower) awaitStream(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, streamPatience)
	defer cancel()
	select {
	case n := <-f.news:
		f.lose(n)
	case <-ctx.Done():
	}
}

func (f *drainFollower) lose(n drainNews) {
	if n.lost {
		f.news = nil
	}
}

// follow returns when the drain is over. It shows each change, and a summary at the end.
func (f *drainFollower) follow(ctx context.Context) error {
	pulse := time.NewTicker(followPulse)
	defer pulse.Stop()
	f.heard = time.Now()
	for !f.drain.Over {
		f.show()
		var err error
		select {
		case n := <-f.news:
			err = f.take(ctx, n)
		case <-pulse.C:
			if f.news == nil || time.Since(f.heard) > newsPatience {
				err = f.ask(ctx)
			}
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			err = errors.New("interrupted: the drain goes on at the gateway")
		}
		if err != nil {
			f.conclude(f.shown)
			return err
		}
	}
	f.show()
	f.conclude(drainSummary(f.drain))
	return nil
}

func (f *drainFollower) take(ctx context.Context, n drainNews) error {
	f.lose(n)
	if n.missed || n.lost {
		return f.ask(ctx)
	}
	if n.drain != nil && n.drain.ID == f.drain.ID {
		f.drain, f.heard = n.drain, time.Now()
	}
	return nil
}

// ask bears for a while that the gateway doesn't answer.
func (f *drainFollower) ask(ctx context.Context) error {
	state, err := f.gateway.State(ctx)
	if err != nil {
		if time.Since(f.heard) > lostPatience {
			return fmt.Errorf("the gateway is lost, and how its drain ends: %w", err)
		}
		return nil
	}
	for i := range state.Drains {
		if d := &state.Drains[i]; d.ID == f.drain.ID {
			f.drain, f.heard = d, time.Now()
			return nil
		}
	}
	return errors.New("the gateway knows nothing of the drain any more: was it started anew?")
}

// show draws the bar, or prints a line where the counts have changed.
func (f *drainFollower) show() {
	if f.console.terminal {
		width, _ := screenSize(f.console.w)
		f.shown = drainBarLine(f.drain, time.Now(), width-1)
		f.console.show(f.shown)
		return
	}
	counts := *f.drain
	counts.Over = true // without the time, which always changes
	if text := drainText(&counts, time.Time{}); text != f.shown {
		f.shown = text
		fmt.Fprintln(f.console.w, drainText(f.drain, time.Now()))
	}
}

// conclude leaves a last line. What was printed already isn't printed again.
func (f *drainFollower) conclude(line string) {
	if f.console.terminal {
		f.console.conclude(line)
	} else if line != f.shown {
		fmt.Fprintln(f.console.w, line)
	}
}
