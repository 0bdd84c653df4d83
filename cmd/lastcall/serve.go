package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"os"
	"time"

	"github.com/alecthomas/kong"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/daemon"
	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/serveflags"
	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/servescreen"
	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/systemd"
	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/terminal"
	"github.com/lastcall-go/lastcall/transport/gateway"
	"github.com/lastcall-go/lastcall/transport/tracing"
)

// serveCmd is the flags of the gateway and its log.
type serveCmd struct {
	serveflags.Flags

	LogFormat string `group:"Telemetry" default:"auto" enum:"auto,text,json" placeholder:"FORMAT" help:"text, json, or auto: short lines for a person on a terminal, else json."`
	LogLevel  string `group:"Telemetry" default:"info" enum:"debug,info,warn,error" placeholder:"LEVEL" help:"debug, info, warn or error (default ${default})."`

	LogSessions bool `group:"Telemetry" help:"Log the begin and the end of every session. Without it they are debug records, but for ends that are refusals or failures."`

	settings []string          // for the page
	services []gateway.Service // besides those of the flags
}

// Help is shown by "lastcall serve --help".
func (*serveCmd) Help() string {
	return `The first SIGTERM or SIGINT drains: running workflows are stopped at their agents, clients
are closed with 1001, and the process ends when the last session has, at --shutdown-timeout at the latest.
A second signal makes the deadline now, a third exits at once. SIGHUP reads the files of --auth-tokens
and --contract again, and ends the sessions of a token that was removed or replaced. Without such a file
SIGHUP counts as one of the other signals.

Delay, grace, stop and close timeout must fit into --shutdown-timeout, with a second (or a tenth of it)
for the HTTP server. The defaults of --stop-timeout and --close-timeout give way when it is short.
Values that are set and can't fit are rejected at start. The platform must wait longer than
--shutdown-timeout before it kills the process.

Where --listen is no loopback address, --auth must say which clients may connect. The same rule holds for
--admin: a client that may open sessions may then drain them too. Keep that port private where this is
not meant. With --auth none, whatever reaches the port may do everything.

Log records of a session carry its session and request_id (the client's X-Request-Id, which the agent
gets too), its workflow when it is known, and with --otlp-endpoint its trace_id. Nothing waits for the
reader of the log: records that find no room are dropped, counted in
lastcall_log_records_dropped_total, and reported when records flow again.

Exit codes: 0 drained; 1 the server failed, or its report was not written; 2 nothing was started, since
a flag, a port or a target is wrong; 3 a session was killed, at the deadline or by a second signal.

Every flag is an environment variable too: --stop-timeout is LASTCALL_STOP_TIMEOUT.

Example:
  lastcall serve --listen 0.0.0.0:8080 --auth tokens --auth-tokens tokens --agent agent.example:50052 --agent-tls --drain-grace 5s`
}

// Run implements the command. Nothing of it waits for a reader of the standard error.
func (c *serveCmd) Run(std streams, command *kong.Context) error {
	c.settings = serveflags.Settings(command.Selected().Flags)
	signals := daemon.WatchSignals(c.HangupDrains(), func() { os.Exit(exitKilled) }) // before anything can know that there is a process to signal
	defer signals.Stop()
	var console *terminal.Console
	log := daemon.OpenLog(std.err, func(lines io.Writer) *slog.Logger {
		console = terminal.NewConsole(lines, terminal.Is(std.err))
		return newLogger(console, c.LogFormat, c.LogLevel)
	})
	width := func() int {
		columns, _ := terminal.Size(std.err)
		return columns
	}
	deadline, err := c.serve(console, width, log, signals)
	code := exitCode(err, console)
	log.Close(deadline)
	return exited(code)
}

// serve returns the deadline of the process with how it went. Zero: there is none.
func (c *serveCmd) serve(console *terminal.Console, width func() int, log *daemon.Log, signals *daemon.Signals) (deadline time.Time, err error) {
	slog.SetDefault(log.Logger) // hollywood, grpc-go and package log log there
	g, err := c.open(console, width, log, func(until time.Time) { deadline = until })
	if err != nil {
		return time.Time{}, usageError{err}
	}
	defer context.AfterFunc(signals.Patience, g.Hurry)()
	ctx, cancel := signals.Context(log.Logger)
	defer cancel()
	err = g.Run(ctx)
	if signals.Patience.Err() != nil {
		deadline = time.Now()
	}
	var killed *actors.KilledError
	if errors.As(err, &killed) {
		err = killedError{err}
	}
	return deadline, err
}

// open opens the gateway and the systemd notifier. An error is one of a flag or a socket. ending is called when the
// last drain begins.
func (c *serveCmd) open(console *terminal.Console, width func() int, log *daemon.Log, ending func(deadline time.Time)) (*gateway.Gateway, error) {
	passed, err := systemd.Inherited()
	if err != nil {
		return nil, err
	}
	options, err := c.Options(passed, version(), log.Logger)
	if err != nil {
		return nil, errors.Join(err, passed.Close())
	}
	var g *gateway.Gateway
	alive := func(ctx context.Context) error { // everything depends on the supervisor
		_, err := g.Supervisor().Overview(ctx)
		return err
	}
	notifier := systemd.NewNotifier(alive, log.Logger)
	options.Profiles = profiles()
	options.LogDropped = log.Dropped
	options.LogSessions = c.LogSessions
	options.Settings = c.settings
	options.Services = append(options.Services, c.services...)
	options.Observers = []func(any){notifier.Observe}
	screen := &servescreen.Screen{Console: console, Width: width, Snapshot: func(ctx context.Context) (actors.Snapshot, error) { return g.Supervisor().Snapshot(ctx) }}
	options.Progress = screen.Show
	options.Started = func() {
		c.sayListening(console, g, options)
		notifier.Started()
	}
	options.Draining = func(deadline time.Time) {
		ending(deadline)
		notifier.Ending(deadline)
	}
	if g, err = gateway.New(options); err != nil {
		return nil, serveflags.Error(err)
	}
	return g, g.Supervisor().Add("notifier", actors.AfterSessions, notifier) // first: systemd hears to the end
}

// sayListening says where the gateway is reached: to a person with what a drain will be, else as a record.
func (c *serveCmd) sayListening(console *terminal.Console, g *gateway.Gateway, options gateway.Options) {
	defer c.WarnOfLimit(options.Log)
	where := c.Listening(options)
	drain, err := g.Supervisor().Estimate(context.Background(), options.Drain.Drain())
	if err != nil || !forPerson(console, c.LogFormat) { // an error: a drain has begun already
		options.Log.Info("listening", "sessions", where.Sessions, "admin", where.Admin, "agent", where.Agent)
		return
	}
	_, _ = io.WriteString(console, servescreen.Start(version(), where, drain))
}

// profiles are those of net/http/pprof but for the command line, which may have secrets.
func profiles() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return mux
}

// forPerson reports whether the log is read by a person on a terminal.
func forPerson(c *terminal.Console, format string) bool { return format == "auto" && c.IsTerminal() }

func newLogger(c *terminal.Console, format, level string) *slog.Logger {
	var least slog.Level
	_ = least.UnmarshalText([]byte(level)) // the grammar has checked it
	options := &slog.HandlerOptions{Level: least}
	var handler slog.Handler
	switch {
	case format == "text":
		handler = slog.NewTextHandler(c, options)
	case forPerson(c, format):
		handler = servescreen.Handler(c, least)
	default:
		handler = slog.NewJSONHandler(c, options)
	}
	return slog.New(tracing.LogHandler(handler))
}
