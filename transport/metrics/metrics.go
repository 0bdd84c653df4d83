package metrics

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/transport/agentpool"
	"github.com/lastcall-go/lastcall/transport/httpsession"
)

// maxScrapes is how many scrapes there can be at a time; each waits for a snapshot and holds one.
const maxScrapes = 4

// MaxKinds is how many kinds of sessions can be shown.
const MaxKinds = 16

// Options say where the figures are.
type Options struct {
	// Snapshot is that of the supervisor. It must return once ctx is done. Required.
	Snapshot func(ctx context.Context) (actors.Snapshot, error)

	// Estimate is what the last drain would take if it began now. It must return once ctx is done. Nil: it is not shown.
	Estimate func(ctx context.Context) (actors.Estimate, error)

	// Pool is the agents' connections. Nil: there are none.
	Pool func() agentpool.Stats

	// LeaseStore reports the state of the lease store. Nil: leases in memory, which can't fail.
	LeaseStore func() LeaseStats

	// LogDropped is how many records of the program's log were dropped; only grows. Nil: none ever is.
	LogDropped func() uint64

	// Kinds are the kinds of sessions that are shown besides relay.Kind, at most [MaxKinds]; any
	// other is shown as "other". Nil: none.
	Kinds []string

	// Version is the program's.
	Version string
}

// LeaseStats are the figures of a lease store that sessions may do without.
type LeaseStats struct {
	Reachable   bool   // as far as was seen last
	Unguarded   int    // leases that were granted without the store, and are held
	Unavailable uint64 // leases that were asked for while the store could not be reached; only grows
	Failures    uint64 // rounds of renewal that failed; only grows
}

// Metrics are the figures of one gateway, in a registry of their own. Its methods may be called by
// any goroutine.
type Metrics struct {
	registry *prometheus.Registry
	instruments
}

// New returns metrics at which nothing has happened yet.
func New(options Options) (*Metrics, error) {
	if options.Snapshot == nil {
		return nil, errors.New("metrics need a Snapshot")
	}
	if len(options.Kinds) > MaxKinds {
		return nil, fmt.Errorf("metrics show %d kinds of sessions, at most %d", len(options.Kinds), MaxKinds)
	}
	r := &registrar{registry: prometheus.NewRegistry()}
	m := &Metrics{registry: r.registry, instruments: newInstruments(r, sessionKinds(options.Kinds))}
	build := r.gauge("build_info", "1, for what is running.", label{"version", []string{options.Version}}, label{"goversion", []string{runtime.Version()}})
	build.with(options.Version, runtime.Version()).Set(1)
	r.register(newView(options))
	r.register(collectors.NewGoCollector())
	r.register(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if err := errors.Join(r.errs...); err != nil {
		return nil, err
	}
	return m, nil
}

// Handler serves the metrics, in the format that is asked for: Prometheus' text, OpenMetrics, or its
// protobuf, in which the histograms are native ones too. Past 4 requests at a time the answer is 503.
//
// A supervisor that gives no snapshot within 3 s fails the scrape in part: what is read from the
// snapshot is left out, never an old value, lastcall_scrape_errors_total says so, and all else is
// there, since that is when it is needed.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		EnableOpenMetrics:   true,
		ErrorHandling:       promhttp.ContinueOnError,
		MaxRequestsInFlight: maxScrapes,
	})
}

// Refused counts a request that doesn't become a session. It is a [transport.Handler]'s Refused.
func (m *Metrics) Refused(reason httpsession.Refusal) { m.refused.with(string(reason)).Inc() }

// FieldDropped counts a field of an agent's message that its client doesn't get.
func (m *Metrics) FieldDropped() { m.fieldsDropped.with().Inc() }
