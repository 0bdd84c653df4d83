package main

import (
	"context"
	"fmt"
	"net"
	"net/http"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/actors/relay"
	"github.com/lastcall-go/lastcall/transport"
	adminapi "github.com/lastcall-go/lastcall/transport/admin"
	"github.com/lastcall-go/lastcall/transport/admin/page"
	"github.com/lastcall-go/lastcall/transport/grant"
	"github.com/lastcall-go/lastcall/transport/metrics"
	"github.com/lastcall-go/lastcall/transport/tracing"
)

// watchers are what shows an operator the gateway, beside its log.
type watchers struct {
	metrics *metrics.Metrics
	traces  *tracing.Tracing // nil: none are asked for
}

func newWatchers(g *gateway, p parts) (*watchers, error) {
	options := metrics.Options{Snapshot: g.supervisor.Snapshot, Pool: p.pool.Stats, LogDropped: g.logDropped, Version: version()}
	if g.leases != nil {
		options.LeaseStore = func() metrics.LeaseStats {
			stats := g.leases()
			return metrics.LeaseStats{Reachable: stats.Reachable, Unguarded: stats.Unguarded, Unavailable: stats.Unavailable, Failures: stats.Failures}
		}
	}
	figures, err := metrics.New(options)
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	w := &watchers{metrics: figures}
	if g.flags.OTLPEndpoint == "" {
		return w, nil
	}
	w.traces, err = tracing.New(context.Background(), tracing.Options{
		Endpoint: g.flags.OTLPEndpoint,
		Version:  version(),
		OnError:  func(err error) { g.log.Warn("traces not sent", "error", err) },
	})
	if err != nil {
		return nil, fmt.Errorf("--otlp-endpoint: %w", err)
	}
	w.traces.Follow(g.supervisor)
	return w, nil
}

func (w *watchers) services() []extraService {
	if w.traces == nil {
		return nil
	}
	return []extraService{{"traces", actors.AfterSessions, w.traces}}
}

// context is a [transport.Handler]'s.
func (w *watchers) context() func(*http.Request) context.Context {
	if w.traces == nil {
		return nil
	}
	return w.traces.Context
}

func (w *watchers) roundTripper(next http.RoundTripper) http.RoundTripper {
	if w.traces == nil {
		return next
	}
	return tracing.RoundTripper(next)
}

type toolMaker func(*grant.Grant, *http.Request) []relay.Tool

func (w *watchers) tools(next toolMaker) toolMaker {
	return func(granted *grant.Grant, r *http.Request) []relay.Tool {
		tools := next(granted, r)
		if w.traces != nil {
			tools = w.traces.Tools(tools)
		}
		return w.metrics.Tools(tools)
	}
}

// adminServer shows the gateway to its operator, and takes orders. Only where nobody else reaches it
// does it ask nobody who they are.
func (g *gateway) adminServer(listener net.Listener, authorizer grant.Authorizer) *transport.HTTPServer {
	if isLoopback(listener.Addr().String()) {
		authorizer = nil
	}
	trusted, _ := g.flags.trusted() // has been checked
	handler := adminapi.New(adminapi.Options{
		Supervisor: g.supervisor,
		Authorizer: authorizer,
		Proxies:    trusted,
		Ready:      g.leaseStoreReached,
		LeaseStore: g.leaseStoreView(),
		Metrics:    g.watch.metrics.Handler(),
		Page:       page.Handler,
		Drain: adminapi.Defaults{
			Timeout:       g.flags.ShutdownTimeout,
			Delay:         g.flags.DrainDelay,
			Grace:         g.flags.DrainGrace,
			BatchSize:     g.flags.BatchSize,
			BatchInterval: g.flags.BatchInterval,
		},
		Log: g.log,
	})
	return &transport.HTTPServer{Listener: listener, Handler: handler, Log: g.log, RequestGrace: requestGrace, OnShutdown: handler.Close}
}
