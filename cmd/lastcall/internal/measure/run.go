package measure

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"time"

	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/daemon"
	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/operator"
	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/serveflags"
	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/terminal"
	adminapi "github.com/lastcall-go/lastcall/transport/admin"
	"github.com/lastcall-go/lastcall/transport/httpserver"
	"github.com/lastcall-go/lastcall/transport/loadtest"
	"github.com/lastcall-go/lastcall/transport/logqueue"
)

// Flags say what is measured, and how.
type Flags struct {
	URL   string `env:"-" placeholder:"URL" help:"Gateway to measure. Without it one is started on this machine for the time being, with an agent that answers at once."`
	Admin string `placeholder:"ADDR" help:"Admin listener of the gateway at --url, for its memory and for --drain: host:port or a URL."`
	Token string `placeholder:"TOKEN" help:"Bearer token for --url and --admin. Better set as LASTCALL_TOKEN: others can see a command line."`
	Drain bool   `env:"-" help:"Drain the gateway at --url in the end, and have it admit sessions again. Everybody's sessions there are drained."`

	Sessions    int           `default:"1000" env:"-" placeholder:"N" help:"Sessions to open (default ${default})."`
	Concurrency int           `default:"32" env:"-" placeholder:"N" help:"Sessions that connect at a time (default ${default})."`
	Busy        int           `default:"64" env:"-" placeholder:"N" help:"Sessions that exchange messages, as fast as they are answered; 0 is none (default ${default})."`
	Duration    time.Duration `default:"10s" env:"-" placeholder:"D" help:"How long they do (default ${default})."`

	Version string   `kong:"-"` // of the program, for the gateway's logs
	Launch  Launcher `kong:"-"` // of the gateway. Nil: Launch
}

// Measure measures the gateway. The result is nil where no session was opened. With an error it has what was
// measured before.
func (c *Flags) Measure(ctx context.Context, progress io.Writer) (*Result, error) {
	mortal := daemon.OutliveReaders() // as long as there is a gateway to end
	defer mortal()
	run, err := c.prepare(ctx, progress)
	if err != nil {
		return nil, err
	}
	defer run.close()
	err = run.measure()
	if ctx.Err() != nil {
		err = errors.Join(err, ctx.Err())
	}
	if run.result.Sessions == nil {
		return nil, err
	}
	return run.result, err
}

func (c *Flags) Check() error {
	for _, flag := range []struct {
		name         string
		value, least int
	}{
		{"sessions", c.Sessions, 1},
		{"concurrency", c.Concurrency, 1},
		{"busy", c.Busy, 0},
	} {
		if flag.value < flag.least || flag.value > maxBenchSessions {
			return fmt.Errorf("--%s %d: must be from %d to %d", flag.name, flag.value, flag.least, maxBenchSessions)
		}
	}
	if c.Duration < time.Millisecond || c.Duration > serveflags.MaxDuration {
		return fmt.Errorf("--duration %v: must be from 1ms to %v", c.Duration, serveflags.MaxDuration)
	}
	if c.URL != "" && c.Drain && c.Admin == "" {
		return errors.New("--drain needs --admin: the drain is requested there")
	}
	if c.URL != "" {
		if _, err := loadtest.New(loadtest.Options{URL: c.URL}); err != nil {
			return err
		}
	}
	if c.URL != "" && c.Admin != "" {
		if _, err := operator.URL(c.Admin); err != nil {
			return err
		}
	}
	return c.checkFiles()
}

// maxBenchSessions is more than one machine can open.
const maxBenchSessions = 1_000_000

// checkFiles refuses what would fail half-way. Go has raised the soft limit to the hard one already.
func (c *Flags) checkFiles() error {
	const streams = 100 // that share a connection of a gateway of our own's to the agent
	limit, known := httpserver.DescriptorLimit()
	if known && serveflags.SessionsIn(limit, streams) < c.Sessions {
		needed := serveflags.DescriptorsFor(c.Sessions, streams)
		return fmt.Errorf("--sessions %d needs %d open files, and the limit is %d: raise it with 'ulimit -n %d', or open fewer", c.Sessions, needed, limit, needed)
	}
	return nil
}

// run is one run of the command.
type run struct {
	flags   *Flags
	ctx     context.Context // is over with the user's patience, or with the gateway of our own
	over    context.CancelCauseFunc
	options loadtest.Options
	fleet   *loadtest.Fleet
	memory  *loadtest.Memory // nil: there is no way to know it
	admin   *adminapi.Client // nil with memory, and of a gateway of our own
	own     *ownGateway      // nil: the gateway was given by --url
	agent   *Agent           // nil with own
	empty   int64            // bytes: the gateway's memory without sessions
	shown   progressLine
	lines   *logqueue.Queue // in front of the reader of what is shown
	result  *Result
}

// prepare finds the gateway, or starts one.
func (c *Flags) prepare(ctx context.Context, progress io.Writer) (*run, error) {
	b := &run{flags: c, options: loadtest.Options{URL: c.URL, Header: c.header()}}
	b.lines = logqueue.New(progress, logqueue.Options{})
	b.shown.console = terminal.NewConsole(b.lines, terminal.Is(progress))
	b.ctx, b.over = context.WithCancelCause(ctx)
	err := b.findGateway()
	if err == nil {
		b.fleet, err = loadtest.New(b.options)
	}
	if err != nil {
		b.close()
		return nil, err
	}
	b.result = &Result{
		URL: b.options.URL, Gateway: "given", Shares: c.shares(), CPUs: runtime.NumCPU(),
		EndedEarly: []Closing{}, Memory: Memory{NotMeasured: notReached}, Drain: Drain{NotMeasured: notReached},
	}
	if b.own != nil {
		b.result.Gateway = "own"
	}
	return b, nil
}

func (c *Flags) header() http.Header {
	header := http.Header{"User-Agent": {"lastcall-bench/" + c.Version}}
	if c.Token != "" {
		header.Set("Authorization", "Bearer "+c.Token)
	}
	return header
}

func (b *run) findGateway() error {
	if b.flags.URL == "" {
		return b.startOwn()
	}
	if b.flags.Admin == "" {
		return nil
	}
	admin, err := operator.URL(b.flags.Admin)
	if err != nil {
		return err
	}
	b.memory = &loadtest.Memory{Admin: admin, Token: b.flags.Token}
	b.admin = adminapi.NewClient(admin, b.flags.Token)
	return nil
}

func (b *run) startOwn() (err error) {
	b.shown.during("starting a gateway", nil, func() { err = b.startBoth() })
	if err != nil {
		return err
	}
	b.options.URL = b.own.sessions
	b.options.Header.Del("Authorization")
	admin, err := operator.URL(b.own.admin)
	b.memory = &loadtest.Memory{Admin: admin}
	return err
}

func (b *run) startBoth() (err error) {
	launch := b.flags.Launch
	if launch == nil {
		launch = Launch
	}
	if b.agent, err = StartAgent(); err != nil {
		return err
	}
	b.own, err = startBenchGateway(b.ctx, launch, b.agent.Address, b.over)
	return err
}

// close ends everything that was started: first the clients, then the gateway, then the agent. It
// takes at most endTimeout, what the agent takes, 5 s, and a second where nothing reads what is
// shown, and is idempotent.
func (b *run) close() {
	if b.fleet != nil {
		b.fleet.Cut()
	}
	if b.own != nil {
		b.own.end()
	}
	if b.agent != nil {
		b.agent.End()
	}
	if b.admin != nil {
		b.admin.Close()
	}
	b.over(nil)
	daemon.Flush(b.lines, daemon.FlushTimeout)
}
