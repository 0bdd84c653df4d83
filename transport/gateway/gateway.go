// Package gateway is all of "lastcall serve" as a library: sessions over WebSocket with their agents,
// the tools of their grants, leases, an admin server with metrics and a page, traces, records of a log,
// and the drain that ends it all.
//
// [New] opens a [Gateway], and [Gateway.Run] serves until its context is done and then drains. What of
// it is wanted alone is in the packages that this one puts together; [Observers] attaches metrics, traces
// and records to a supervisor of one's own.
package gateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/actors/relay"
	"github.com/lastcall-go/lastcall/transport"
	"github.com/lastcall-go/lastcall/transport/agentpool"
	"github.com/lastcall-go/lastcall/transport/auth"
	"github.com/lastcall-go/lastcall/transport/codec"
	"github.com/lastcall-go/lastcall/transport/grant"
	"github.com/lastcall-go/lastcall/transport/history"
	"github.com/lastcall-go/lastcall/transport/httpserver"
	"github.com/lastcall-go/lastcall/transport/httpsession"
	"github.com/lastcall-go/lastcall/transport/metrics"
	"github.com/lastcall-go/lastcall/transport/redislease"
	"github.com/lastcall-go/lastcall/transport/tracing"
)

// Gateway is sessions with all that they need and all that shows them.
type Gateway struct {
	options    Options
	report     *reportFile
	history    *history.History
	supervisor *actors.Supervisor
	agents     *agentpool.Pool
	leaser     relay.Leaser
	store      *redislease.Store // nil: leases are in this process
	metrics    *metrics.Metrics
	traces     *tracing.Tracing // nil: none are asked for
	dropped    *droppedFields
	detach     func()                     // the observers
	failed     chan actors.ServiceStopped // a service that ended unasked
	sessions   *httpserver.Server
	patience   context.Context // done: the deadline is now
	hurry      context.CancelFunc
}

// New opens a gateway. It takes over the listeners and Agents, and closes them where it fails. An
// [*OptionError] names the option that it can't work with. A lease store or an agent that can't be
// reached yet is no error.
//
// The caller must call [Gateway.Run], which ends what New has begun.
func New(options Options) (*Gateway, error) {
	g := &Gateway{options: options, agents: options.Agents, failed: make(chan actors.ServiceStopped, 1)}
	if err := g.open(); err != nil {
		return nil, errors.Join(err, g.abandon())
	}
	g.patience, g.hurry = context.WithCancel(context.Background())
	g.detach = Observers{
		Metrics:     g.metrics,
		Traces:      g.traces,
		Log:         g.options.Log,
		LogSessions: g.options.LogSessions,
		Progress:    g.options.Progress,
		LeaseStore:  g.leaseStats(),
		Others:      append([]func(any){g.serviceEnded, g.keepReport, g.history.Observe}, g.options.Observers...),
	}.Attach(g.supervisor)
	return g, nil
}

// open makes all parts. Those that need no undoing come first.
func (g *Gateway) open() (err error) {
	if err := g.options.complete(); err != nil {
		return err
	}
	g.report = &reportFile{path: g.options.ReportPath}
	if err := g.report.check(); err != nil {
		return wrong("ReportPath", err)
	}
	if err := g.openAgents(); err != nil {
		return wrong("Agent", err)
	}
	if err := g.openLeaser(); err != nil {
		return wrong("LeaseStore", err)
	}
	if g.supervisor, err = actors.NewSupervisor(g.options.Supervisor); err != nil {
		return wrong("Supervisor", err)
	}
	g.history = history.New(g.supervisor.Snapshot)
	return g.openWatch()
}

// abandon ends what open has made, and what the options bring.
func (g *Gateway) abandon() (err error) {
	if g.supervisor != nil {
		g.supervisor.Close()
	}
	over, end := context.WithCancel(context.Background())
	end()
	if g.agents != nil {
		err = errors.Join(err, g.agents.Serve(over))
	}
	if g.store != nil {
		err = errors.Join(err, g.store.Serve(over))
	}
	for _, listener := range []net.Listener{g.options.Sessions, g.options.Admin} {
		if listener != nil {
			err = errors.Join(err, listener.Close())
		}
	}
	return err
}

// openAgents opens a pool unless the options bring one.
func (g *Gateway) openAgents() (err error) {
	if g.agents = g.options.Agents; g.agents != nil {
		return nil
	}
	options := g.options.Agent
	options.UserAgent = cmp.Or(options.UserAgent, g.userAgent())
	if g.options.Tracing.Endpoint != "" {
		options.Interceptor = tracing.Interceptor
	}
	g.agents, err = agentpool.New(options)
	return err
}

func (g *Gateway) userAgent() string { return strings.TrimSuffix("lastcall/"+g.options.Version, "/") }

// Supervisor is where sessions of other kinds can be started too, and where services can be added before
// Run that are to stop last.
func (g *Gateway) Supervisor() *actors.Supervisor { return g.supervisor }

// Hurry makes the deadline of the last drain now, or that of one that has not begun yet. It may be
// called at any time and by any goroutine.
func (g *Gateway) Hurry() { g.hurry() }

// Run serves until ctx is done, or until a service ends unasked. Then it drains, until Drain.Timeout has
// passed at the latest, and ends all that New began. It is called once.
//
// An error is that of the service, or an [*actors.KilledError] if the drain had to kill a session or a
// service, or says that the report could not be written.
func (g *Gateway) Run(ctx context.Context) error {
	defer g.hurry()
	defer g.supervisor.Close()
	defer g.detach()
	failure := g.serve(ctx)
	until, cancel := context.WithTimeout(g.patience, g.options.Drain.Timeout)
	defer cancel()
	deadline, _ := until.Deadline()
	if g.options.Draining != nil {
		g.options.Draining(deadline)
	}
	g.stopAccepting(until)
	report, err := g.supervisor.Drain(until, g.options.Drain.Drain())
	g.detach()
	g.dropped.logAll()
	if g.patience.Err() != nil {
		deadline = time.Now()
	}
	return cmp.Or(failure, err, g.writeReport(report, deadline))
}

// serve starts all services, and waits until ctx is done or one has failed.
func (g *Gateway) serve(ctx context.Context) error {
	for _, s := range g.services() {
		if err := g.supervisor.Add(s.Name, s.Stage, s.Run); err != nil {
			return fmt.Errorf("start %s: %w", s.Name, err)
		}
	}
	if g.options.Started != nil {
		g.options.Started()
	}
	select {
	case <-ctx.Done():
		return nil
	case s := <-g.failed:
		return fmt.Errorf("%s ended: %w", s.Name, cmp.Or(s.Err, errors.New("it was not asked to stop")))
	}
}

// serviceEnded: a service that ended unasked takes the gateway with it.
func (g *Gateway) serviceEnded(event any) {
	e, is := event.(actors.ServiceStopped)
	if is && (e.Outcome == actors.Failed || e.Outcome == actors.Completed) {
		select {
		case g.failed <- e:
		default: // one is enough
		}
	}
}

// requestGrace is what plain requests get once the sessions have ended. It is less than the second that
// the sessions leave of a drain's time to all that is stopped after them. A request that takes longer is
// to be authorized, and would be refused.
const requestGrace = 750 * time.Millisecond

// services are the gateway's own and those of the options. After the sessions the last one goes first:
// the sessions' listener, the connections to the agent, what else sessions needed, and the traces of it
// all. The admin server answers to the end.
func (g *Gateway) services() (all []Service) {
	after := func(name string, run actors.Service) { all = append(all, Service{name, actors.AfterSessions, run}) }
	if g.options.Admin != nil {
		after("admin server", g.adminServer())
		after("history", g.history)
	}
	if g.traces != nil {
		after("traces", g.traces)
	}
	if g.store != nil {
		after("lease store", g.store)
	}
	all = append(all, g.options.Services...)
	keepFree := keptFree()
	shared := toolConnections(keepFree / 2)
	after("connections of tools", closeIdle(shared))
	after("agent connections", g.agents)
	g.sessions = g.sessionServer(keepFree, g.watch(shared))
	after("session server", g.sessions)
	return all
}

func (g *Gateway) sessionServer(keepFree int, shared http.RoundTripper) *httpserver.Server {
	o := &g.options
	handler := &transport.Handler{
		Supervisor:         g.supervisor,
		Agents:             g.agents,
		Authorizer:         g.metrics.Authorizer(cmp.Or[grant.Authorizer](o.Authorizer, &auth.None{})),
		Tools:              g.tools(shared),
		Leaser:             g.metrics.Leaser(g.leaser),
		LockAll:            o.LockAll,
		Contract:           o.Contract,
		FieldDropped:       g.dropped.add,
		Limits:             o.Limits,
		ClientCapabilities: o.ClientCapabilities,
		ServerCapabilities: o.ServerCapabilities,
		AllowOrigins:       o.AllowOrigins,
		Subprotocols:       o.Subprotocols,
		Refused:            g.metrics.Refused,
		Log:                o.Log,
	}
	if g.traces != nil {
		handler.Context = g.traces.Context
	}
	return &httpserver.Server{
		Listener:     o.Sessions,
		Handler:      o.routes(handler),
		MaxBody:      codec.MaxJSON,
		RequestGrace: requestGrace,
		KeepFree:     keepFree,
		OnFull:       func() { g.metrics.Refused(httpsession.RefusedFull) },
		Log:          o.Log,
	}
}

// keptFree is how many descriptors sessions leave to everything else.
func keptFree() int {
	if limit, known := httpserver.DescriptorLimit(); known {
		return httpserver.KeptFree(limit)
	}
	return 0
}

// stopAccepting leaves new clients to the next process, where one accepts from the same socket.
func (g *Gateway) stopAccepting(ctx context.Context) {
	if !g.options.SessionsOutlive || g.sessions == nil {
		return
	}
	if err := g.sessions.StopAccepting(ctx); err != nil {
		g.options.Log.Warn("the sessions' socket was not let go of", "error", err)
	}
}
