package gateway

import (
	"cmp"
	"context"
	"net/http"
	"os"
	"time"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/transport/admin"
	"github.com/lastcall-go/lastcall/transport/admin/page"
	"github.com/lastcall-go/lastcall/transport/grant"
	"github.com/lastcall-go/lastcall/transport/httpserver"
	"github.com/lastcall-go/lastcall/transport/metrics"
	"github.com/lastcall-go/lastcall/transport/tracing"
)

// openWatch makes the metrics and the traces. The traces come last: what they are made of ends with their
// service alone.
func (g *Gateway) openWatch() (err error) {
	o := &g.options
	options := metrics.Options{Snapshot: g.supervisor.Snapshot, Pool: g.agents.Stats, LogDropped: o.LogDropped, Version: o.Version}
	options.Estimate = func(ctx context.Context) (actors.Estimate, error) { return g.supervisor.Estimate(ctx, o.Drain.Drain()) }
	if g.store != nil {
		options.LeaseStore = func() metrics.LeaseStats {
			stats := g.store.Stats()
			return metrics.LeaseStats{Reachable: stats.Reachable, Unguarded: stats.Unguarded, Unavailable: stats.Unavailable, Failures: stats.Failures}
		}
	}
	if g.metrics, err = metrics.New(options); err != nil {
		return err
	}
	g.dropped = &droppedFields{log: o.Log, metric: g.metrics.FieldDropped, counts: make(map[string]int)}
	if o.Tracing.Endpoint == "" {
		return nil
	}
	traces := o.Tracing
	traces.Version = cmp.Or(traces.Version, o.Version)
	if traces.OnError == nil {
		traces.OnError = func(err error) { o.Log.Warn("traces not sent", "error", err) }
	}
	g.traces, err = tracing.New(context.Background(), traces)
	return wrong("Tracing", err)
}

// watch is around the HTTP requests of tools.
func (g *Gateway) watch(next http.RoundTripper) http.RoundTripper {
	if g.traces == nil {
		return next
	}
	return tracing.RoundTripper(next)
}

// adminServer shows the gateway to its operator, and takes orders. Only where no other machine reaches it
// does it ask for no authorization.
func (g *Gateway) adminServer() *httpserver.Server {
	o := &g.options
	authorizer := o.Authorizer
	if IsLoopback(o.Admin.Addr().String()) {
		authorizer = nil
	}
	handler := admin.New(admin.Options{
		Supervisor: g.supervisor,
		Authorizer: authorizer,
		Proxies:    o.Proxies,
		Ready:      g.leaseStoreReached,
		LeaseStore: g.leaseStoreView(),
		Metrics:    g.metrics.Handler(),
		History:    g.history,
		Instance:   g.instance(),
		Profiles:   o.Profiles,
		Page:       page.Handler(),
		Drain:      o.Drain,
		Log:        o.Log,
	})
	return &httpserver.Server{Listener: o.Admin, Handler: handler, Log: o.Log, RequestGrace: requestGrace, OnShutdown: handler.Close}
}

// instance is which gateway this is.
func (g *Gateway) instance() *admin.Instance {
	name, _ := os.Hostname() // what has none is known by its address
	o := &g.options
	return &admin.Instance{Name: cmp.Or(o.Name, name), Version: o.Version, Since: time.Now().UTC().Truncate(time.Second), Agent: g.agents.Name(grant.Target{}), Flags: o.Settings, TraceURL: o.TraceURL}
}
