package metrics_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/actors/actorstest"
	"github.com/lastcall-go/lastcall/actors/relay"
	"github.com/lastcall-go/lastcall/proto/dap"
	"github.com/lastcall-go/lastcall/transport/agentpool"
	"github.com/lastcall-go/lastcall/transport/httpsession"
	"github.com/lastcall-go/lastcall/transport/metrics"
)

// quiet is a gateway at which nothing happens.
func quiet() metrics.Options {
	snapshot := func(context.Context) (actors.Snapshot, error) {
		return actors.Snapshot{Overview: actors.Overview{State: actors.Serving}}, nil
	}
	estimate := func(context.Context) (actors.Estimate, error) { return actors.Estimate{Stops: 1}, nil }
	return metrics.Options{Snapshot: snapshot, Estimate: estimate, Version: "v1"}
}

func TestASnapshotIsRequired(t *testing.T) {
	if _, err := metrics.New(metrics.Options{}); err == nil {
		t.Error("metrics without one were made")
	}
}

func TestEverySeriesIsThereFromTheBeginningAndIsZero(t *testing.T) {
	m := open(t, quiet())
	all := scraped(t, m)
	all.is(t, addBuild(figures{
		`lastcall_sessions_ended_total{code="none",outcome="killed"}`:     0,
		`lastcall_sessions_opened_total{kind="dap",transport="http"}`:     0,
		`lastcall_sessions{kind="dap",phase="closing",transport="other"}`: 0,
		`lastcall_tool_calls_total{kind="runMCPTool",result="panic"}`:     0,
		`lastcall_bad_input_total{kind="unknown_field"}`:                  0,
		`lastcall_requests_refused_total{reason="origin"}`:                0,
		`lastcall_session_duration_seconds_count{outcome="client_gone"}`:  0,
		`lastcall_drain_deadline_timestamp_seconds{scope="all"}`:          0,
		`lastcall_messages_total{direction="sent"}`:                       0,
		`lastcall_scrape_errors_total`:                                    0,
		`lastcall_leases_held`:                                            0,
	}), "")
	if n := len(all); n > 400 {
		t.Errorf("%d series", n)
	}
	for _, name := range []string{"go_goroutines", "process_start_time_seconds"} {
		if families(t, m)[name] == nil {
			t.Errorf("%s is missing", name)
		}
	}
}

func TestPromlintFindsNothing(t *testing.T) {
	in(t, actors.Options{}, nil, func(t *testing.T, h *house) {
		h.serve(h.tooled).closes(1000)
		problems, err := promlint.New(fetch(t, h.Metrics, "").Body).Lint()
		if err != nil || len(problems) > 0 {
			t.Errorf("%v %v", problems, err)
		}
	})
}

func TestSessionsAreCountedWhereTheyAre(t *testing.T) {
	in(t, actors.Options{}, nil, func(t *testing.T, h *house) {
		h.join(nil)
		h.join(http1)
		h.serve(nil)
		stopping := h.serve(nil)
		stopping.Agent.OnStop.Hangs = true
		stopping.closes(1000)
		closing := h.serve(func(s *relay.Session) { s.Transport = "smoke" })
		closing.Client.OnClose.Hangs = true
		closing.completes()
		if _, err := h.Admit(t.Context()); err != nil {
			t.Error(err)
		}
		busy := h.serve(h.tooled)
		busy.agentSays(runHTTP("waits-1"))
		busy.agentSays(runHTTP("waits-2"))
		h.now().is(t, figures{
			`lastcall_sessions{kind="dap",phase="opening",transport="websocket"}`:  1,
			`lastcall_sessions{kind="dap",phase="opening",transport="http"}`:       1,
			`lastcall_sessions{kind="dap",phase="serving",transport="websocket"}`:  2,
			`lastcall_sessions{kind="dap",phase="stopping",transport="websocket"}`: 1,
			`lastcall_sessions{kind="dap",phase="closing",transport="other"}`:      1,
			`lastcall_tickets`:            1,
			`lastcall_tool_calls_running`: 2,
		}, "lastcall_sessions{", "lastcall_tickets", "lastcall_tool_calls_running")
	})
}

func TestWhatHasPassedNeverShrinks(t *testing.T) {
	in(t, actors.Options{}, nil, func(t *testing.T, h *house) {
		want := make(figures)
		for range 3 {
			s := h.serve(nil)
			s.agentSays(mkdir())
			s.clientSays(actorstest.Heartbeat(0))
			want.passed(2, 1)
			h.now().has(t, want) // while it lives
			s.completes()
			h.now().has(t, want) // and after
		}
		given := h.serve(nil) // one that is given up, and isn't there any more
		given.Client.OnClose.Hangs, given.Agent.OnStop.Hangs = true, true
		want.passed(1, 0)
		h.now().has(t, want)
		_, _ = h.Drain(t.Context(), actors.Drain{Deadline: time.Now()})
		h.now().has(t, want)
	})
}

func TestADrainIsSeenWhileItGoesOn(t *testing.T) {
	const of = "lastcall_drain"
	in(t, actors.Options{}, nil, func(t *testing.T, h *house) {
		for range 3 {
			h.serve(nil).Agent.OnStop.Takes = 5 * time.Second
		}
		h.now().is(t, nil, of)
		soon, late := time.Now().Add(time.Minute), time.Now().Add(2*time.Minute)
		begin := func(d actors.Drain) {
			t.Helper()
			if _, err := h.Begin(t.Context(), d); err != nil {
				t.Error(err)
			}
		}
		begin(actors.Drain{Deadline: late, Only: &actors.Selection{Most: 1}})
		begin(actors.Drain{Deadline: soon, Only: &actors.Selection{Most: 1}})
		parts := figures{
			`lastcall_drain_sessions_left{scope="part"}`:              2,
			`lastcall_drain_deadline_timestamp_seconds{scope="part"}`: float64(late.Unix()),
		}
		h.now().is(t, parts, of)
		begin(actors.Drain{Deadline: soon, Standby: true, Delay: time.Second})
		parts[`lastcall_draining`] = 1
		parts[`lastcall_drain_sessions_left{scope="all"}`] = 3
		parts[`lastcall_drain_deadline_timestamp_seconds{scope="all"}`] = float64(soon.Unix())
		h.now().is(t, parts, of)
		time.Sleep(20 * time.Second)
		h.now().has(t, figures{ // over, and refusing
			`lastcall_draining`:                                       1,
			`lastcall_drain_sessions_left{scope="all"}`:               0,
			`lastcall_drain_sessions_left{scope="part"}`:              0,
			`lastcall_drain_deadline_timestamp_seconds{scope="all"}`:  0,
			`lastcall_drain_deadline_timestamp_seconds{scope="part"}`: 0,
		})
		if err := h.Resume(t.Context()); err != nil {
			t.Error(err)
		}
		h.now().has(t, figures{`lastcall_draining`: 0})
	})
}

func TestThePhasesOfASessionAreTimed(t *testing.T) {
	in(t, actors.Options{}, nil, func(t *testing.T, h *house) {
		s := h.join(nil)
		s.Agent.OnOpen.Takes, s.Agent.OnStop.Takes, s.Client.OnClose.Hangs = 2*time.Second, 3*time.Second, true
		time.Sleep(time.Second)
		s.clientSays(actorstest.StartRequest("w1"))
		time.Sleep(time.Hour)
		synctest.Wait()
		if _, err := h.Drain(t.Context(), actors.Drain{}); err != nil {
			t.Error(err)
		}
		want := make(figures)
		want.lasted("drained", 1, 1+3600+3+5)
		want.phased("opening", 1, 1+2)
		want.phased("stopping", 1, 3)
		want.phased("closing", 1, 5)
		h.now().is(t, want, "lastcall_session_duration", "lastcall_session_phase")
	})
}

func TestAScrapeWithoutASnapshotServesAllElse(t *testing.T) {
	var stuck atomic.Bool
	in(t, actors.Options{}, func(o *metrics.Options) {
		inTime := o.Snapshot
		o.Snapshot = func(ctx context.Context) (actors.Snapshot, error) {
			if stuck.Load() {
				<-ctx.Done()
				return actors.Snapshot{}, ctx.Err()
			}
			return inTime(ctx)
		}
		o.Pool = func() agentpool.Stats { return agentpool.Stats{Connections: 1} }
	}, func(t *testing.T, h *house) {
		h.serve(nil)
		before := h.now()
		began := time.Now()
		stuck.Store(true)
		without := h.now()
		if took := time.Since(began); took != 3*time.Second {
			t.Errorf("the scrape took %v", took)
		}
		without.has(t, figures{
			`lastcall_scrape_errors_total`:                                     1,
			`lastcall_agent_connections`:                                       1,
			`lastcall_sessions_opened_total{kind="dap",transport="websocket"}`: 1,
		})
		for _, name := range before.names() {
			snapshots := []string{"lastcall_sessions{", "lastcall_tickets", "lastcall_tool_calls_running", "lastcall_message", "lastcall_draining", "lastcall_drain_sessions", "lastcall_drain_deadline"}
			known := slices.ContainsFunc(snapshots, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
			if _, there := without[name]; there == known {
				t.Errorf("%s: served without a snapshot is %v", name, there)
			}
		}
		stuck.Store(false)
		before[`lastcall_scrape_errors_total`] = 1
		h.now().is(t, before, "")
	})
}

func TestALeaseStoreThatIsAwayIsShown(t *testing.T) {
	options := quiet()
	for reachable, want := range map[bool]float64{true: 1, false: 0} {
		options.LeaseStore = func() metrics.LeaseStats { return metrics.LeaseStats{Reachable: reachable} }
		scraped(t, open(t, options)).has(t, figures{"lastcall_lease_store_reachable": want})
	}
}

func TestASupervisorThatIsClosedFailsNoScrape(t *testing.T) {
	in(t, actors.Options{}, nil, func(t *testing.T, h *house) {
		h.Close()
		h.now().has(t, figures{`lastcall_scrape_errors_total`: 1})
	})
}

func TestScrapesAtATimeAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		options := quiet()
		options.Snapshot = func(ctx context.Context) (actors.Snapshot, error) {
			<-ctx.Done()
			return actors.Snapshot{}, ctx.Err()
		}
		handler := open(t, options).Handler()
		var served, refused atomic.Int64
		var scrapes sync.WaitGroup
		for range 10 {
			scrapes.Go(func() {
				answer := httptest.NewRecorder()
				handler.ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
				switch answer.Code {
				case http.StatusOK:
					served.Add(1)
				case http.StatusServiceUnavailable:
					refused.Add(1)
				}
			})
		}
		scrapes.Wait()
		if served.Load() != 4 || refused.Load() != 6 {
			t.Errorf("%d served, %d refused", served.Load(), refused.Load())
		}
	})
}

const protobuf = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"

func TestHistogramsAreNativeInProtobuf(t *testing.T) {
	m := open(t, quiet())
	for _, age := range []time.Duration{0, time.Second, time.Hour} {
		m.Observe(actors.SessionStopped{
			SessionReport: actors.SessionReport{Outcome: actors.Drained, Age: actors.Seconds(age)},
			Left:          actors.PhaseSpan{Phase: actors.PhaseServing, Lasted: age},
		})
	}
	answer := fetch(t, m, protobuf)
	decoder := expfmt.NewDecoder(answer.Body, expfmt.ResponseFormat(answer.Header))
	native := 0
	for {
		var family dto.MetricFamily
		if err := decoder.Decode(&family); err != nil {
			break
		}
		if !strings.HasPrefix(family.GetName(), "lastcall_") || family.GetType() != dto.MetricType_HISTOGRAM {
			continue
		}
		for _, metric := range family.GetMetric() {
			if h := metric.GetHistogram(); h.GetSchema() != 3 || h.ZeroThreshold == nil {
				t.Errorf("%s is no native histogram of schema 3", family.GetName())
			} else if len(h.GetBucket()) == 0 {
				t.Errorf("%s has no classic buckets", family.GetName())
			} else if h.GetSampleCount() > 0 {
				native++
				if len(h.GetPositiveDelta()) != 2 || h.GetZeroCount() != 1 {
					t.Errorf("%s holds %v", family.GetName(), h)
				}
			}
		}
	}
	if native != 1 {
		t.Errorf("%d histograms with observations", native)
	}
}

func TestOpenMetricsIsServedToWhoAsksForIt(t *testing.T) {
	answer := fetch(t, open(t, quiet()), "application/openmetrics-text;version=1.0.0")
	if kind := answer.Header.Get("Content-Type"); !strings.HasPrefix(kind, "application/openmetrics-text; version=1.0.0") {
		t.Errorf("it is %s", kind)
	}
	text := body(t, answer)
	if !strings.HasSuffix(text, "\n# EOF\n") || !strings.Contains(text, "\n# TYPE lastcall_sessions_opened counter\n") {
		t.Errorf("it is\n%s", text)
	}
}

func TestTwoGatewaysHaveTheirOwnFigures(t *testing.T) {
	one, two := open(t, quiet()), open(t, quiet())
	one.Observe(actors.SessionStarted{Info: actors.Info{Transport: "http"}})
	scraped(t, one).has(t, figures{`lastcall_sessions_opened_total{kind="other",transport="http"}`: 1})
	scraped(t, two).has(t, figures{`lastcall_sessions_opened_total{kind="other",transport="http"}`: 0})
}

// Whatever clients, agents and embedders say, the series are the same.
func TestHostileInputsAddNoSeries(t *testing.T) {
	options := quiet()
	var sessions []actors.SessionInfo
	for range 100 {
		sessions = append(sessions, actors.SessionInfo{ID: noise(), Workflow: noise(), Remote: noise(), Transport: noise(), AgentName: noise(), Phase: actors.Phase(rand.N(5))})
	}
	options.Snapshot = func(context.Context) (actors.Snapshot, error) {
		return actors.Snapshot{
			Overview: actors.Overview{State: actors.State(noise()), Drains: []actors.DrainStatus{{ID: noise(), Reason: noise()}}},
			Sessions: sessions,
		}, nil
	}
	m := open(t, options)
	for range metrics.MaxAgents {
		m.Observe(actors.SessionStarted{ID: noise(), Info: actors.Info{AgentName: noise()}})
	}
	before := scraped(t, m).names()
	for range 1000 {
		hostile(m)
	}
	if after := scraped(t, m).names(); !slices.Equal(before, after) {
		t.Errorf("there were %d series, and now are %d", len(before), len(after))
	}
}

func hostile(m *metrics.Metrics) {
	id := noise()
	m.Observe(actors.SessionStarted{ID: id, Info: actors.Info{Kind: noise(), Transport: noise(), Remote: noise(), AgentName: noise()}})
	m.Observe(actors.SessionPhase{ID: id, Workflow: noise(), Phase: actors.Phase(rand.N(5))})
	m.Observe(actors.SessionStopped{
		SessionReport: actors.SessionReport{ID: id, Workflow: noise(), Outcome: actors.Outcomes()[rand.N(7)], Age: actors.Seconds(rand.Int64())},
		Info:          actors.Info{Transport: noise()}, Code: rand.N(1 << 16), Reason: noise(), Err: errors.New(noise()),
		BadInput: map[actors.BadInput]int{actors.BadInput(noise()): 1},
	})
	m.Observe(relay.ToolUnavailable{Session: noise(), Err: errors.New(noise())})
	m.Observe(actors.DrainFinished{DrainStatus: actors.DrainStatus{Reason: noise()}, Report: &actors.Report{}})
	m.Observe(noise())
	m.Refused(httpsession.Refusal(noise()))
	for _, timed := range m.Tools([]relay.Tool{tool{}}) {
		_, _ = timed.Run(context.Background(), runMCP("fails-"+noise()))
		_, _ = timed.Run(context.Background(), &dap.Action{RequestID: "fails-" + noise()})
		_, _ = timed.Run(context.Background(), runHTTP("status-"+noise()))
	}
	_, _ = m.Leaser(&actorstest.Leaser{OnAcquire: actorstest.Call{Err: errors.New(noise())}}).Acquire(context.Background(), noise(), func(error) {})
}

func noise() string { return fmt.Sprintf("%x", rand.Uint64()) }

func TestANativeHistogramIsBoundedAndLosesNothing(t *testing.T) {
	m := open(t, quiet())
	const sessions = 20_000
	for range sessions {
		age := actors.Seconds(rand.N(1 << rand.N(60) * time.Nanosecond))
		m.Observe(actors.SessionStopped{SessionReport: actors.SessionReport{Outcome: actors.Drained, Age: age}})
	}
	answer := fetch(t, m, protobuf)
	decoder := expfmt.NewDecoder(answer.Body, expfmt.ResponseFormat(answer.Header))
	for {
		var family dto.MetricFamily
		if err := decoder.Decode(&family); err != nil {
			t.Fatalf("the histogram is missing: %v", err)
		}
		for _, metric := range family.GetMetric() {
			if h := metric.GetHistogram(); h.GetSampleCount() == sessions {
				if n := len(h.GetPositiveDelta()); n > 160 {
					t.Errorf("%d buckets", n)
				}
				return
			}
		}
	}
}

// A session that has stopped is there until its supervisor has heard of it, and the sum is of all.
func TestASessionThatHasJustStoppedIsStillClosing(t *testing.T) {
	options := quiet()
	options.Snapshot = func(context.Context) (actors.Snapshot, error) {
		return actors.Snapshot{Sessions: []actors.SessionInfo{{Phase: actors.PhaseStopped, Transport: "http"}}}, nil
	}
	scraped(t, open(t, options)).is(t, figures{`lastcall_sessions{kind="other",phase="closing",transport="http"}`: 1}, "lastcall_sessions{")
}

// An embedder's kinds are its own labels; whatever else a session says it is, is other.
func TestSessionsAreCountedByKind(t *testing.T) {
	m, err := metrics.New(metrics.Options{
		Snapshot: func(context.Context) (actors.Snapshot, error) {
			return actors.Snapshot{Sessions: []actors.SessionInfo{{Kind: "terminal", Phase: actors.PhaseServing}, {Kind: "chosen by a client"}}}, nil
		},
		Kinds: []string{"terminal"},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"terminal", "chosen by a client", relay.Kind} {
		m.Observe(actors.SessionStarted{ID: kind, Info: actors.Info{Kind: kind, Transport: "websocket"}})
	}
	scraped(t, m).has(t, figures{
		`lastcall_sessions_opened_total{kind="terminal",transport="websocket"}`: 1,
		`lastcall_sessions_opened_total{kind="other",transport="websocket"}`:    1,
		`lastcall_sessions_opened_total{kind="dap",transport="websocket"}`:      1,
		`lastcall_sessions{kind="terminal",phase="serving",transport="other"}`:  1,
		`lastcall_sessions{kind="other",phase="opening",transport="other"}`:     1,
		`lastcall_sessions{kind="terminal",phase="opening",transport="other"}`:  0,
	})
	if _, err := metrics.New(metrics.Options{Snapshot: quiet().Snapshot, Kinds: make([]string, metrics.MaxKinds+1)}); err == nil {
		t.Error("any number of kinds is taken")
	}
}

// What can't be foreseen is absent: a 0 would be a drain that takes no time.
func TestTheEstimateOfADrainIsShownWhereThereIsOne(t *testing.T) {
	options := quiet()
	foreseen, failure := actors.Estimate{Stops: 10, Cut: 3, Kill: 24 * time.Second, Took: actors.Quantiles{P50: 2 * time.Second, P99: 3 * time.Second}}, error(nil)
	options.Estimate = func(context.Context) (actors.Estimate, error) { return foreseen, failure }
	m := open(t, options)
	scraped(t, m).has(t, figures{
		`lastcall_drain_estimate_seconds{quantile="0.5"}`:  2,
		`lastcall_drain_estimate_seconds{quantile="0.99"}`: 3,
		`lastcall_drain_estimate_limit_seconds`:            24,
		`lastcall_drain_estimate_cut_sessions`:             3,
	})
	for _, err := range []error{actors.ErrDraining, nil} {
		failure = err
		if all := families(t, m); all["lastcall_drain_estimate_seconds"] != nil || all["lastcall_drain_estimate_cut_sessions"] != nil {
			t.Errorf("shown with %+v, %v", foreseen, failure)
		}
		foreseen = actors.Estimate{} // nothing is known yet
	}
}
