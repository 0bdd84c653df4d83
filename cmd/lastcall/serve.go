package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/test/bufconn"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/transport"
	"github.com/lastcall-go/lastcall/transport/redislease"
	"github.com/lastcall-go/lastcall/transport/scripted"
)

// serveCmd is the gateway's flags.
type serveCmd struct {
	Listen string `default:"127.0.0.1:8080" placeholder:"ADDR" help:"Where clients open sessions (default ${default})."`
	Admin  string `default:"127.0.0.1:8081" placeholder:"ADDR" help:"Where /healthz and /readyz are served (default ${default})."`
	Path   string `default:"/api/v4/ai/duo_workflows/ws" help:"Path of the WebSocket (default ${default})."`

	Agent          string        `placeholder:"TARGET" help:"gRPC target of the agent, such as agent.example:50052. Without it a scripted agent runs in process."`
	AgentTLS       bool          `help:"Encrypt the connections to the agent."`
	AgentStreams   int           `default:"100" placeholder:"N" help:"Streams that share a connection to the agent (default ${default})."`
	AgentKeepalive time.Duration `default:"6m" placeholder:"D" help:"Silence after which a connection to the agent is pinged. A stock gRPC server permits no less than 5m, the Duo service 20s (default ${default})."`

	ShutdownTimeout time.Duration  `default:"25s" placeholder:"D" help:"From the signal to the deadline of the drain (default ${default})."`
	DrainDelay      time.Duration  `default:"0s" placeholder:"D" help:"Go on admitting this long after the signal, not ready any more, while load balancers notice (default ${default})."`
	DrainGrace      time.Duration  `default:"0s" placeholder:"D" help:"Let running workflows go on this long before they are stopped (default ${default})."`
	StopTimeout     *time.Duration `placeholder:"D" help:"What an agent gets to end a stopped workflow (default 10s, or what --shutdown-timeout leaves)."`
	CloseTimeout    *time.Duration `placeholder:"D" help:"What a client gets to answer the close frame, at most 5s (default 5s, or what --shutdown-timeout leaves)."`
	WaveSize        int            `default:"0" placeholder:"N" help:"Drain this many sessions at a time; 0 is all at once."`
	WaveInterval    time.Duration  `default:"1s" placeholder:"D" help:"Time between two waves (default ${default})."`
	MaxSessions     int            `default:"0" placeholder:"N" help:"Sessions at a time; 0 is no limit."`

	LogFormat string `default:"auto" enum:"auto,text,json" placeholder:"FORMAT" help:"text, json, or auto: text on a terminal, else json."`
	LogLevel  string `default:"info" enum:"debug,info,warn,error" placeholder:"LEVEL" help:"debug, info, warn or error (default ${default})."`
	Report    string `type:"path" placeholder:"FILE" help:"Write the drain's report to this file, as JSON."`

	authFlags
	toolFlags
	leaseFlags

	services []extraService // besides the gateway's own
}

type extraService struct {
	name  string
	stage actors.Stage
	run   actors.Service
}

// Help is shown by "lastcall serve --help".
func (*serveCmd) Help() string {
	return `The first SIGTERM or SIGINT drains: running workflows are stopped at their agents, clients
are told 1001, and the process ends when the last session has, at --shutdown-timeout at the latest.
A second signal makes the deadline now, a third exits at once.

Exit codes: 0 drained; 1 the server failed; 2 nothing was started; 3 somebody had to be killed.

Every flag is an environment variable too: --stop-timeout is LASTCALL_STOP_TIMEOUT.

Example:
  lastcall serve --listen 0.0.0.0:8080 --auth tokens --auth-tokens tokens --agent agent.example:50052 --agent-tls --drain-grace 5s`
}

// Run implements the command.
func (c *serveCmd) Run(std streams) error {
	limits, err := c.fit()
	if err != nil {
		return usageError{err}
	}
	if err := cmp.Or(checkPath(c.Path), c.toolFlags.check()); err != nil {
		return usageError{err}
	}
	signals := watchSignals(c.Auth != "tokens") // before anybody can know that there is a process to signal
	defer signals.stop()
	gateway, err := c.open(limits, std)
	if err != nil {
		return usageError{err}
	}
	return gateway.run(c, signals)
}

// gateway is a running server.
type gateway struct {
	supervisor *actors.Supervisor
	console    *console
	log        *slog.Logger
	failed     chan actors.ServiceStopped // a service that ended unasked
	leases     func() redislease.Stats    // nil: they are this process's own
	badInput   map[actors.BadInput]int    // of all sessions that have stopped
	unobserve  func()
}

// open starts everything that can fail at start: first what needs no undoing, then the ports.
func (c *serveCmd) open(limits timeouts, std streams) (*gateway, error) {
	g := &gateway{console: newConsole(std.err), failed: make(chan actors.ServiceStopped, 1), badInput: make(map[actors.BadInput]int)}
	g.log = newLogger(g.console, c.LogFormat, c.LogLevel)
	slog.SetDefault(g.log) // hollywood logs there
	authorizer, reload, err := c.authorizer(c.Listen, g.log)
	if err != nil {
		return nil, err
	}
	leaser, leases, err := c.leaser(g.log)
	if err != nil {
		return nil, err
	}
	if store, shared := leaser.(*redislease.Store); shared {
		g.leases = store.Stats
	}
	agent, pool, err := c.agent()
	if err != nil {
		return nil, err
	}
	sessions, admin, err := c.listeners(g.log)
	if err != nil {
		return nil, err
	}
	g.supervisor, err = actors.NewSupervisor(c.options(limits))
	if err != nil {
		return nil, errors.Join(err, sessions.Close(), admin.Close())
	}
	g.unobserve = g.supervisor.Listen(g.observe) // first: a service may fail at once
	shared, connections := toolConnections()
	routes := c.routes(&transport.Handler{
		Supervisor:         g.supervisor,
		Agents:             pool,
		Authorizer:         authorizer,
		Tools:              toolbox(pool, shared, g.log),
		Leaser:             leaser,
		LockAll:            c.Lock,
		ClientCapabilities: c.ClientCapabilities,
		ServerCapabilities: c.ServerCapabilities,
		AllowOrigins:       c.AllowOrigin,
		Log:                g.log,
	})
	// After the sessions the last one goes first: the sessions' port, the connections to the agent,
	// the agent, what else sessions needed; the admin port answers to the end.
	services := []extraService{{"admin server", actors.AfterSessions, &transport.HTTPServer{Listener: admin, Handler: transport.Health(g.supervisor), Log: g.log}}}
	services = append(services, slices.Concat(leases, reload, []extraService{connections}, agent)...)
	services = append(services,
		extraService{"agent connections", actors.AfterSessions, pool},
		extraService{"session server", actors.AfterSessions, &transport.HTTPServer{Listener: sessions, Handler: routes, Log: g.log}},
	)
	for _, s := range append(services, c.services...) {
		if err := g.supervisor.Add(s.name, s.stage, s.run); err != nil {
			return nil, fmt.Errorf("start %s: %w", s.name, err)
		}
	}
	g.log.Info("listening", "sessions", c.sessionsURL(sessions.Addr()), "admin", "http://"+admin.Addr().String(), "agent", cmp.Or(c.Agent, "scripted, in process"))
	return g, nil
}

// options are the supervisor's.
func (c *serveCmd) options(limits timeouts) actors.Options {
	return actors.Options{
		MaxSessions:             c.MaxSessions,
		MaxSessionsPerPrincipal: c.MaxSessionsPerPrincipal,
		StopTimeout:             limits.stop,
		CloseTimeout:            limits.close,
		ToolConcurrency:         c.ToolConcurrency,
		ToolTimeout:             c.ToolTimeout,
	}
}

// routes are those of the sessions' port.
func (c *serveCmd) routes(handler *transport.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET "+c.Path, handler)
	mux.Handle("POST "+transport.DefaultExecutePath, handler.Execute())
	if c.Auth == "" {
		return onlyLoopback(mux)
	}
	return mux
}

// onlyLoopback is for a gateway that lets everybody in because only this machine can reach it. A
// browser on this machine can be led here under another name, which makes any page one of the
// gateway's own (DNS rebinding); so that name must be a local one.
func onlyLoopback(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if _, _, err := net.SplitHostPort(host); err != nil {
			host = net.JoinHostPort(strings.Trim(host, "[]"), "80")
		}
		if !isLoopback(host) {
			http.Error(w, "without --auth this gateway is for localhost alone", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (c *serveCmd) sessionsURL(address net.Addr) string {
	scheme := "ws://"
	if c.TLSCert != "" {
		scheme = "wss://"
	}
	return scheme + address.String() + c.Path
}

// listeners opens both ports, or none.
func (c *serveCmd) listeners(log *slog.Logger) (sessions, admin net.Listener, err error) {
	if sessions, err = listen("listen", c.Listen); err != nil {
		return nil, nil, err
	}
	encrypted, err := c.encrypt(sessions, log)
	if err == nil {
		admin, err = listen("admin", c.Admin)
	}
	if err != nil {
		return nil, nil, errors.Join(err, sessions.Close())
	}
	return encrypted, admin, nil
}

// checkPath refuses what an http.ServeMux would panic at, or take for a pattern of many paths.
func checkPath(p string) error {
	if !strings.HasPrefix(p, "/") || p == "/" || p != path.Clean(p) || strings.ContainsAny(p, "{}?#% ") {
		return fmt.Errorf("--path %q: must be a plain absolute path, such as %s", p, transport.DefaultPath)
	}
	return nil
}

func listen(flag, address string) (net.Listener, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("--%s %s: %w", flag, address, err)
	}
	return listener, nil
}

// scriptedPace is how fast the scripted agent plays: slow enough to watch.
const scriptedPace = 2 * time.Second

// agent is the pool of connections to the agent, with the agent itself where none was named.
func (c *serveCmd) agent() ([]extraService, *transport.Pool, error) {
	options := transport.PoolOptions{
		Target:               c.Agent,
		StreamsPerConnection: c.AgentStreams,
		Keepalive:            c.AgentKeepalive,
		UserAgent:            gatewayName(),
	}
	if c.AgentTLS {
		options.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if c.Agent != "" {
		pool, err := transport.NewPool(options)
		return nil, pool, err
	}
	if c.AgentTLS {
		return nil, nil, errors.New("--agent-tls needs --agent: the scripted agent is in process")
	}
	inProcess := bufconn.Listen(1 << 20)
	agent := scripted.New(scripted.Options{Pace: scriptedPace})
	run := actors.ServiceFunc(func(ctx context.Context) error { return agent.Serve(ctx, inProcess) })
	options.Target = "passthrough:///scripted"
	options.DialOptions = []grpc.DialOption{grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
		return inProcess.DialContext(ctx)
	})}
	pool, err := transport.NewPool(options)
	return []extraService{{"scripted agent", actors.AfterSessions, run}}, pool, err
}

// run serves until a signal or a failure, drains, and tells how that went.
func (g *gateway) run(c *serveCmd, signals *signals) error {
	defer g.supervisor.Close()
	defer g.unobserve()

	var failure error
	select {
	case received := <-signals.first:
		g.log.Info("signal received", "signal", received.String())
	case s := <-g.failed:
		failure = fmt.Errorf("%s ended: %w", s.Name, cmp.Or(s.Err, errors.New("nobody had told it to")))
	}
	ctx, cancel := context.WithTimeout(signals.patience, c.ShutdownTimeout)
	defer cancel()
	report, err := g.supervisor.Drain(ctx, actors.Drain{
		Delay:        c.DrainDelay,
		Grace:        c.DrainGrace,
		WaveSize:     c.WaveSize,
		WaveInterval: c.WaveInterval,
	})
	g.unobserve()
	g.writeReport(c.Report, report)
	if failure != nil {
		return failure
	}
	if err != nil {
		return killedError{err}
	}
	return nil
}

// writeReport writes the file in one piece: who waits for it never reads half of it.
func (g *gateway) writeReport(path string, report *actors.Report) {
	if path == "" || report == nil {
		return
	}
	data, err := json.MarshalIndent(report, "", "  ")
	if err == nil {
		err = os.WriteFile(path+".tmp", append(data, '\n'), 0o644)
	}
	if err == nil {
		err = os.Rename(path+".tmp", path)
	}
	if err != nil {
		g.log.Error("report not written", "error", err)
	}
}
