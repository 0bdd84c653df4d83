package metrics

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/transport/agentpool"
)

// snapshotTimeout bounds a scrape's wait for the supervisor. Prometheus' own is 10 s by default.
const snapshotTimeout = 3 * time.Second

// view is what is read anew for each scrape.
type view struct {
	options  Options
	kinds    label
	failures atomic.Uint64 // scrapes that got no snapshot

	sessions, tickets, toolsRunning     *prometheus.Desc
	messages, bytes                     *prometheus.Desc
	draining, drainLeft, drainDeadline  *prometheus.Desc
	drainEstimate, drainLimit, drainCut *prometheus.Desc
	connections, streams                *prometheus.Desc
	reachable, unguarded, storeFailures *prometheus.Desc
	logDropped, scrapeErrors            *prometheus.Desc
}

func newView(options Options) *view {
	if options.Pool == nil {
		options.Pool = func() agentpool.Stats { return agentpool.Stats{} }
	}
	if options.LeaseStore == nil {
		options.LeaseStore = func() LeaseStats { return LeaseStats{Reachable: true} }
	}
	if options.LogDropped == nil {
		options.LogDropped = func() uint64 { return 0 }
	}
	return &view{
		options:       options,
		kinds:         sessionKinds(options.Kinds),
		sessions:      describe("sessions", "Sessions that there are.", "kind", "phase", "transport"),
		tickets:       describe("tickets", "Requests that were admitted and are on their way to a session."),
		toolsRunning:  describe("tool_calls_running", "Tool calls under way."),
		messages:      describe("messages_total", "Messages that were received from clients and sent to them.", "direction"),
		bytes:         describe("message_bytes_total", "Bytes of the messages that were received from clients and sent to them, as JSON.", "direction"),
		draining:      describe("draining", "1 from the first moment of a drain of everything until it is resumed, as /readyz says; else 0."),
		drainLeft:     describe("drain_sessions_left", "Sessions, and requests on their way to one, that the drains under way wait for.", "scope"),
		drainDeadline: describe("drain_deadline_timestamp_seconds", "By when the last of the drains under way is over, in Unix time; 0: there is none.", "scope"),
		drainEstimate: describe("drain_estimate_seconds", "How long a drain of everything would take until no session is left, by the stops of sessions so far. Absent while everything drains, and before a session has stopped.", "quantile"),
		drainLimit:    describe("drain_estimate_limit_seconds", "When sessions that are left would be killed in a drain of everything, from its begin. Absent with the estimate."),
		drainCut:      describe("drain_estimate_cut_sessions", "Sessions that are likely to run into the stop timeout or the deadline in a drain of everything. Absent with the estimate."),
		connections:   describe("agent_connections", "Connections to agents."),
		streams:       describe("agent_streams", "Streams on these connections."),
		reachable:     describe("lease_store_reachable", "1 while the lease store keeps leases, as far as was seen last, or where there is none that can fail; else 0."),
		unguarded:     describe("leases_unguarded", "Leases that are held though the store could not be reached."),
		storeFailures: describe("lease_store_failures_total", "Calls of the lease store that failed: leases asked for, rounds of renewal.", "operation"),
		logDropped:    describe("log_records_dropped_total", "Log records that were dropped: nothing read the log, or it could not be written."),
		scrapeErrors:  describe("scrape_errors_total", "Scrapes without what the supervisor knows: it gave no snapshot in time."),
	}
}

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prefix+name, help, labels, nil)
}

// Describe implements [prometheus.Collector].
func (v *view) Describe(all chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{
		v.sessions, v.tickets, v.toolsRunning, v.messages, v.bytes, v.draining, v.drainLeft, v.drainDeadline,
		v.drainEstimate, v.drainLimit, v.drainCut,
		v.connections, v.streams, v.reachable, v.unguarded, v.storeFailures, v.logDropped, v.scrapeErrors,
	} {
		all <- desc
	}
}

// Collect implements [prometheus.Collector].
func (v *view) Collect(metrics chan<- prometheus.Metric) {
	s := scrape{metrics}
	ctx, cancel := context.WithTimeout(context.Background(), snapshotTimeout)
	defer cancel()
	snapshot, err := v.options.Snapshot(ctx)
	if err != nil {
		v.failures.Add(1)
	} else {
		v.collectSnapshot(s, &snapshot)
	}
	v.collectEstimate(ctx, s)
	pool, leases := v.options.Pool(), v.options.LeaseStore()
	s.gauge(v.connections, float64(pool.Connections))
	s.gauge(v.streams, float64(pool.Streams))
	s.gauge(v.reachable, oneIf(leases.Reachable))
	s.gauge(v.unguarded, float64(leases.Unguarded))
	s.counter(v.storeFailures, leases.Unavailable, "acquire")
	s.counter(v.storeFailures, leases.Failures, "renew")
	s.counter(v.logDropped, v.options.LogDropped())
	s.counter(v.scrapeErrors, v.failures.Load())
}

// collectEstimate leaves out what can't be said: during a drain, and where nothing is known.
func (v *view) collectEstimate(ctx context.Context, s scrape) {
	if v.options.Estimate == nil {
		return
	}
	e, err := v.options.Estimate(ctx)
	if err != nil || e.Stops == 0 {
		return
	}
	s.gauge(v.drainEstimate, e.Took.P50.Seconds(), "0.5")
	s.gauge(v.drainEstimate, e.Took.P99.Seconds(), "0.99")
	s.gauge(v.drainLimit, e.Kill.Seconds())
	s.gauge(v.drainCut, float64(e.Cut))
}

func (v *view) collectSnapshot(s scrape, snapshot *actors.Snapshot) {
	v.collectSessions(s, snapshot.Sessions)
	s.gauge(v.tickets, float64(snapshot.Tickets))
	for direction, flow := range map[string]actors.Flow{"received": snapshot.Traffic.Received, "sent": snapshot.Traffic.Sent} {
		s.counter(v.messages, flow.Messages, direction)
		s.counter(v.bytes, flow.Bytes, direction)
	}
	s.gauge(v.draining, oneIf(snapshot.State != actors.Serving))
	v.collectDrains(s, snapshot.Drains)
}

// collectSessions: a stopped session counts as closing until its supervisor has handled its end.
func (v *view) collectSessions(s scrape, sessions []actors.SessionInfo) {
	type place struct{ kind, phase, transport string }
	transports, running := transports(), 0
	count := make(map[place]int)
	for i := range sessions {
		info := &sessions[i]
		count[place{v.kinds.fold(info.Kind), min(info.Phase, actors.PhaseClosing).String(), transports.fold(info.Transport)}]++
		running += info.ToolsRunning
	}
	for _, values := range combinations([]label{v.kinds, phases(), transports}) {
		s.gauge(v.sessions, float64(count[place{values[0], values[1], values[2]}]), values...)
	}
	s.gauge(v.toolsRunning, float64(running))
}

func (v *view) collectDrains(s scrape, drains []actors.DrainStatus) {
	left, deadline := make(map[string]int), make(map[string]time.Time)
	for _, d := range drains {
		if d.Over {
			continue
		}
		scope := scopeOf(d)
		left[scope] += d.Left
		if d.Deadline.After(deadline[scope]) {
			deadline[scope] = d.Deadline
		}
	}
	for _, scope := range scopes().values {
		s.gauge(v.drainLeft, float64(left[scope]), scope)
		s.gauge(v.drainDeadline, unixSeconds(deadline[scope]), scope)
	}
}

func oneIf(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

func unixSeconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}

// scrape takes the metrics of one scrape.
type scrape struct{ metrics chan<- prometheus.Metric }

func (s scrape) gauge(desc *prometheus.Desc, value float64, labels ...string) {
	s.metrics <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
}

func (s scrape) counter(desc *prometheus.Desc, value uint64, labels ...string) {
	s.metrics <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(value), labels...)
}
