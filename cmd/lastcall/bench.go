package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/daemon"
	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/serveflags"
	adminapi "github.com/lastcall-go/lastcall/transport/admin"
	"github.com/lastcall-go/lastcall/transport/httpserver"
	"github.com/lastcall-go/lastcall/transport/loadtest"
	"github.com/lastcall-go/lastcall/transport/logqueue"
)

// benchCmd is the load test's flags.
type benchCmd struct {
	URL   string `env:"-" placeholder:"URL" help:"Gateway to measure. Without it one is started on this machine for the time being, with an agent that answers at once."`
	Admin string `placeholder:"ADDR" help:"Admin listener of the gateway at --url, for its memory and for --drain: host:port or a URL."`
	Token string `placeholder:"TOKEN" help:"Bearer token for --url and --admin. Better set as LASTCALL_TOKEN: others can see a command line."`
	Drain bool   `env:"-" help:"Drain the gateway at --url in the end, and have it admit sessions again. Everybody's sessions there are drained."`

	Sessions    int           `default:"1000" env:"-" placeholder:"N" help:"Sessions to open (default ${default})."`
	Concurrency int           `default:"32" env:"-" placeholder:"N" help:"Sessions that connect at a time (default ${default})."`
	Busy        int           `default:"64" env:"-" placeholder:"N" help:"Sessions that exchange messages, as fast as they are answered; 0 is none (default ${default})."`
	Duration    time.Duration `default:"10s" env:"-" placeholder:"D" help:"How long they do (default ${default})."`
	JSON        bool          `name:"json" env:"-" help:"Print the result as JSON."`

	launch benchLauncher // of the gateway. Nil: launchBenchGateway
}

// Help is shown by "lastcall bench --help".
func (*benchCmd) Help() string {
	return `It opens sessions against a gateway and measures, one after the other: how fast they open; what
memory they take while they are idle; how long a round trip takes, from a client's answer to the
agent's next action, while some are busy; how long a drain takes, and how each client is told.

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
	if err := c.check(); err != nil {
		return usageError{err}
	}
	mortal := daemon.OutliveReaders() // as long as there is a gateway to end
	defer mortal()
	run, err := c.prepare(ctx, std)
	if err != nil {
		return benchInterrupted(ctx, err)
	}
	defer run.close()
	err = run.measure()
	run.close() // before the result is told: it is there to be used then
	mortal()
	if ctx.Err() != nil {
		return benchInterrupted(ctx, err)
	}
	if run.result.Sessions != nil {
		err = errors.Join(err, run.result.print(std.out, c.JSON))
	}
	return errors.Join(err, run.result.verdict())
}

// benchInterrupted hides what an interruption made fail.
func benchInterrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return errors.New("interrupted")
	}
	return err
}

func (c *benchCmd) check() error {
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
		return errors.New("--drain needs --admin: it is the admin listener that is told to drain")
	}
	return c.checkFiles()
}

// maxBenchSessions is more than one machine can open.
const maxBenchSessions = 1_000_000

// checkFiles refuses what would fail half-way. Go has raised the soft limit to the hard one already.
func (c *benchCmd) checkFiles() error {
	const streams = 100 // that share a connection of a gateway of our own's to the agent
	limit, known := httpserver.DescriptorLimit()
	if known && serveflags.SessionsIn(limit, streams) < c.Sessions {
		needed := serveflags.DescriptorsFor(c.Sessions, streams)
		return fmt.Errorf("--sessions %d needs %d open files, and the limit is %d: raise it with 'ulimit -n %d', or open fewer", c.Sessions, needed, limit, needed)
	}
	return nil
}

// benchRun is one run of the command.
type benchRun struct {
	flags   *benchCmd
	ctx     context.Context // is over with the user's patience, or with the gateway of our own
	over    context.CancelCauseFunc
	options loadtest.Options
	fleet   *loadtest.Fleet
	memory  *loadtest.Memory // nil: there is no way to know it
	admin   *adminapi.Client // nil with memory, and of a gateway of our own
	own     *benchGateway    // nil: the gateway is somebody's
	agent   *benchAgent      // nil with own
	empty   int64            // bytes: the gateway's memory without sessions
	shown   benchProgress
	lines   *logqueue.Queue // in front of the reader of what is shown
	result  *benchResult
}

// prepare finds the gateway, or starts one.
func (c *benchCmd) prepare(ctx context.Context, std streams) (*benchRun, error) {
	b := &benchRun{flags: c, options: loadtest.Options{URL: c.URL, Header: c.header()}}
	b.lines = logqueue.New(std.err, logqueue.Options{})
	b.shown.console = newConsole(std.err)
	b.shown.console.w = b.lines
	b.ctx, b.over = context.WithCancelCause(ctx)
	err := b.findGateway()
	if err == nil {
		b.fleet, err = loadtest.New(b.options)
	}
	if err != nil {
		b.close()
		return nil, err
	}
	b.result = &benchResult{
		URL: b.options.URL, Gateway: "given", Shares: c.shares(), CPUs: runtime.NumCPU(),
		EndedEarly: []benchClosing{}, Memory: benchMemory{NotMeasured: benchNotReached}, Drain: benchDrain{NotMeasured: benchNotReached},
	}
	if b.own != nil {
		b.result.Gateway = "own"
	}
	return b, nil
}

func (c *benchCmd) header() http.Header {
	header := http.Header{"User-Agent": {"lastcall-bench/" + version()}}
	if c.Token != "" {
		header.Set("Authorization", "Bearer "+c.Token)
	}
	return header
}

func (b *benchRun) findGateway() error {
	if b.flags.URL == "" {
		return b.startOwn()
	}
	if _, err := loadtest.New(b.options); err != nil {
		return usageError{err}
	}
	if b.flags.Admin == "" {
		return nil
	}
	admin, err := adminURL(b.flags.Admin)
	if err != nil {
		return usageError{err}
	}
	b.memory = &loadtest.Memory{Admin: admin, Token: b.flags.Token}
	b.admin = adminapi.NewClient(admin, b.flags.Token)
	return nil
}

func (b *benchRun) startOwn() (err error) {
	b.shown.during("starting a gateway", nil, func() { err = b.startBoth() })
	if err != nil {
		return err
	}
	b.options.URL = b.own.sessions
	b.options.Header.Del("Authorization")
	admin, err := adminURL(b.own.admin)
	b.memory = &loadtest.Memory{Admin: admin}
	return err
}

func (b *benchRun) startBoth() (err error) {
	launch := b.flags.launch
	if launch == nil {
		launch = launchBenchGateway
	}
	if b.agent, err = startBenchAgent(); err != nil {
		return err
	}
	b.own, err = startBenchGateway(b.ctx, launch, b.agent.address, b.over)
	return err
}

// close ends everything that was started: first the clients, then the gateway, then the agent. It
// takes at most benchEndTimeout, what the agent takes, 5 s, and a second where nothing reads what is
// shown, and is idempotent.
func (b *benchRun) close() {
	if b.fleet != nil {
		b.fleet.Cut()
	}
	if b.own != nil {
		b.own.end()
	}
	if b.agent != nil {
		b.agent.end()
	}
	if b.admin != nil {
		b.admin.Close()
	}
	b.over(nil)
	daemon.Flush(b.lines, daemon.FlushTimeout)
}
