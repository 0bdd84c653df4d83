package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/actors/relay"
	"github.com/lastcall-go/lastcall/transport"
	"github.com/lastcall-go/lastcall/transport/codec"
	"github.com/lastcall-go/lastcall/transport/grant"
	"github.com/lastcall-go/lastcall/transport/redislease"
)

// gateway is a running server.
type gateway struct {
	flags      *serveCmd
	console    *console
	log        *slog.Logger
	logDropped func() uint64 // records
	report     *reportFile
	failed     chan actors.ServiceStopped // a service that ended unasked
	badInput   map[actors.BadInput]int    // of all sessions that have stopped
	sessions   atomic.Int64               // that there are
	supervisor *actors.Supervisor
	dropped    *droppedFields
	watch      *watchers
	notifier   *notifier
	leases     func() redislease.Stats // nil: they are this process's own
	door       *transport.HTTPServer   // of sessions, where its socket outlives the process. nil: it doesn't
	unobserve  func()
}

// parts are what a gateway is made of that needs no undoing if it isn't started.
type parts struct {
	authorizer grant.Authorizer
	leaser     relay.Leaser
	pool       *transport.Pool
	contract   *contract
	services   []extraService // that belong to them
}

// open starts everything that can fail at start: first what needs no undoing, then the ports.
func (c *serveCmd) open(limits actors.Budget, passed sockets, log *serverLog) (*gateway, error) {
	g := &gateway{
		flags:      c,
		console:    log.console,
		log:        log.Logger,
		logDropped: log.lines.Dropped,
		failed:     make(chan actors.ServiceStopped, 1),
		badInput:   make(map[actors.BadInput]int),
		report:     &reportFile{path: c.Report},
	}
	if err := g.report.check(); err != nil {
		return nil, fmt.Errorf("--report: %w", err)
	}
	slog.SetDefault(g.log) // hollywood, grpc-go and package log log there
	parts, err := c.parts(passed, g.log)
	if err != nil {
		return nil, err
	}
	ports, err := c.ports(passed, g.log)
	if err != nil {
		return nil, err
	}
	if err := g.start(limits, parts, ports); err != nil {
		return nil, errors.Join(err, ports.close())
	}
	g.log.Info("listening",
		"sessions", c.urlOf("ws", ports.sessions)+c.Path, "admin", c.urlOf("http", ports.admin),
		"agent", parts.pool.Name(grant.Target{}))
	c.warnOfLimit(g.log)
	g.notifier.started()
	return g, nil
}

func (c *serveCmd) parts(passed sockets, log *slog.Logger) (parts, error) {
	authorizer, tokens, err := c.authorizer(addressOf(passed.sessions, c.Listen), addressOf(passed.admin, c.Admin))
	if err != nil {
		return parts{}, err
	}
	leaser, leases, err := c.leaser(log)
	if err != nil {
		return parts{}, err
	}
	agent, pool, err := c.agent(log)
	if err != nil {
		return parts{}, err
	}
	contract, contracts, err := c.contractFlags.open(pool, log)
	if err != nil {
		return parts{}, err
	}
	reload := reloadOnHangup(slices.Concat(tokens, contracts), log)
	return parts{authorizer, leaser, pool, contract, slices.Concat(leases, reload, agent)}, nil
}

func (g *gateway) start(limits actors.Budget, p parts, on ports) (err error) {
	if g.supervisor, err = actors.NewSupervisor(g.flags.options(limits)); err != nil {
		return err
	}
	if store, shared := p.leaser.(*redislease.Store); shared {
		g.leases = store.Stats
	}
	if g.watch, err = newWatchers(g, p); err != nil {
		g.supervisor.Close()
		return err
	}
	g.notifier = newNotifier(func() int { return int(g.sessions.Load()) }, g.alive, g.log)
	g.unobserve = g.listen() // before the first service, which may fail at once
	for _, s := range append(g.services(p, on), g.flags.services...) {
		if err := g.supervisor.Add(s.name, s.stage, s.run); err != nil {
			return fmt.Errorf("start %s: %w", s.name, err)
		}
	}
	return nil
}

// listen starts the listeners of the supervisor's events, each for itself: what holds one up holds up no
// other. stop ends them.
func (g *gateway) listen() (stop func()) {
	var stops []func()
	for _, hear := range []func(event any){g.react, g.watch.metrics.Observe, g.observe, g.keepReport} {
		stops = append(stops, g.supervisor.Listen(hear))
	}
	return func() {
		var all sync.WaitGroup
		for _, stop := range stops {
			all.Go(stop)
		}
		all.Wait()
	}
}

// requestGrace is what plain requests get once the sessions have ended. It is less than the second that
// the sessions leave of a drain's time to all that is stopped after them. A request that takes longer is
// to be authorized, and would be refused.
const requestGrace = 750 * time.Millisecond

// services are the gateway's own. After the sessions the last one goes first: the sessions' port, the
// connections to the agent, the agent, what else sessions needed, and the traces of it all. The admin
// port answers to the end, and systemd hears to the end.
func (g *gateway) services(p parts, on ports) []extraService {
	g.dropped = &droppedFields{log: g.log, metric: g.watch.metrics.FieldDropped, counts: make(map[string]int)}
	keepFree := keptFree()
	shared, connections := toolConnections(keepFree / 2)
	full := func() { g.watch.metrics.Refused(transport.RefusedFull) }
	server := &transport.HTTPServer{Listener: on.sessions, KeepFree: keepFree, OnFull: full, Log: g.log, MaxBody: codec.MaxJSON, RequestGrace: requestGrace, Handler: g.flags.routes(&transport.Handler{
		Supervisor:         g.supervisor,
		Agents:             p.pool,
		Authorizer:         g.watch.metrics.Authorizer(p.authorizer),
		Tools:              g.watch.tools(g.flags.toolbox(p.pool, g.watch.roundTripper(shared), g.log)),
		Leaser:             g.watch.metrics.Leaser(p.leaser),
		LockAll:            g.flags.Lock,
		Contract:           p.contract.now.Load,
		FieldDropped:       g.dropped.add,
		Limits:             relay.Limits{StartTimeout: g.flags.StartTimeout, ToolConcurrency: g.flags.ToolConcurrency, ToolTimeout: g.flags.ToolTimeout},
		ClientCapabilities: g.flags.ClientCapabilities,
		ServerCapabilities: g.flags.ServerCapabilities,
		AllowOrigins:       g.flags.AllowOrigin,
		Subprotocols:       g.flags.Subprotocol,
		Context:            g.watch.context(),
		Refused:            g.watch.metrics.Refused,
		Log:                g.log,
	})}
	if on.inherited {
		g.door = server
	}
	after := func(name string, run actors.Service) []extraService {
		return []extraService{{name, actors.AfterSessions, run}}
	}
	return slices.Concat(
		after("notifier", g.notifier),
		after("admin server", g.adminServer(on.admin, p.authorizer)),
		g.watch.services(),
		p.services,
		[]extraService{connections},
		after("agent connections", p.pool),
		after("session server", server),
	)
}

// run serves until a signal or a failure, drains, and tells how that went, and what the deadline of the
// process was.
func (g *gateway) run(signals *signals) (deadline time.Time, err error) {
	defer g.supervisor.Close()
	defer g.unobserve()

	var failure error
	select {
	case received := <-signals.first:
		g.log.Info("signal received", "signal", received.String())
	case s := <-g.failed:
		failure = fmt.Errorf("%s ended: %w", s.Name, cmp.Or(s.Err, errors.New("nobody had told it to")))
	}
	ctx, cancel := context.WithTimeout(signals.patience, g.flags.ShutdownTimeout)
	defer cancel()
	deadline, _ = ctx.Deadline()
	g.notifier.draining(int(g.sessions.Load()), deadline, true) // a short drain is over before its events are heard
	g.leaveTheDoor(ctx)
	report, err := g.supervisor.Drain(ctx, actors.Drain{
		Delay:         g.flags.DrainDelay,
		Grace:         g.flags.DrainGrace,
		BatchSize:     g.flags.BatchSize,
		BatchInterval: g.flags.BatchInterval,
	})
	g.unobserve()
	g.dropped.tell()
	if signals.patience.Err() != nil {
		deadline = time.Now()
	}
	unwritten := g.writeReport(report, deadline)
	switch {
	case failure != nil:
		return deadline, failure
	case err != nil:
		return deadline, killedError{err}
	}
	return deadline, unwritten
}

// leastReport is what the report gets to be written in any case, such as on a network's file system.
const leastReport = time.Second

// writeReport returns when the report is written, or when there is no time left for it.
func (g *gateway) writeReport(report *actors.Report, deadline time.Time) (err error) {
	written := make(chan error, 1)
	go func() { written <- g.report.write(report) }()
	select {
	case err = <-written:
	case <-time.After(max(leastReport, time.Until(deadline))):
		err = errors.New("write the report: it takes too long")
	}
	if err != nil {
		g.log.Error("report not written", "error", err)
	}
	return err
}

// leaveTheDoor leaves those who come from now on to the next process, where there will be one that
// accepts from the same socket.
func (g *gateway) leaveTheDoor(ctx context.Context) {
	if g.door == nil {
		return
	}
	if err := g.door.StopAccepting(ctx); err != nil {
		g.log.Warn("the sessions' socket was not let go of", "error", err)
	}
}

// alive asks the supervisor, which everything depends on.
func (g *gateway) alive(ctx context.Context) error {
	_, err := g.supervisor.Overview(ctx)
	return err
}
