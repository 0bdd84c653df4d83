package metrics_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/actors/actorstest"
	"github.com/lastcall-go/lastcall/actors/relay"
	"github.com/lastcall-go/lastcall/proto/dap"
	"github.com/lastcall-go/lastcall/transport"
	"github.com/lastcall-go/lastcall/transport/agentpool"
	"github.com/lastcall-go/lastcall/transport/grant"
	"github.com/lastcall-go/lastcall/transport/metrics"
)

// A scenario with known numbers: every figure has exactly those, and all others are 0.
func TestEveryFigureIsExact(t *testing.T) {
	figuresOf := func(o *metrics.Options) {
		o.Pool = func() agentpool.Stats { return agentpool.Stats{Connections: 2, Streams: 7} }
		o.LeaseStore = func() metrics.LeaseStats {
			return metrics.LeaseStats{Reachable: true, Unguarded: 1, Unavailable: 3, Failures: 4}
		}
	}
	in(t, actors.Options{}, figuresOf, func(t *testing.T, h *house) {
		want := figures{
			"lastcall_agent_connections":                               2,
			"lastcall_agent_streams":                                   7,
			"lastcall_leases_unguarded":                                1,
			`lastcall_lease_store_failures_total{operation="acquire"}`: 3,
			`lastcall_lease_store_failures_total{operation="renew"}`:   4,
		}
		for _, play := range []func(*house, figures){ends, refuses, calls, leases, misreads, panicsEverywhere, drains} {
			play(h, want)
		}
		h.now().is(t, addBuild(want), "")
	})
}

// ends: sessions end in all the ways that no other scene shows.
func ends(h *house, want figures) {
	h.serve(nil).completes()
	h.serve(http1).completes()
	h.serve(func(s *relay.Session) { s.Transport = "carrier pigeon" }).completes()
	h.serve(nil).closes(1000)
	h.serve(nil).closes(1001)
	h.serve(nil).closes(1005)
	h.serve(nil).closes(3333)
	h.serve(nil).clientEnds(errors.New("connection reset"))
	h.serve(nil).agentEnds(&actors.CloseError{Code: 4400, Reason: "no such flow"})
	h.serve(nil).agentEnds(&actors.CloseError{Code: 1009, Reason: "too large"})
	h.serve(nil).agentEnds(&actors.CloseError{Code: 4999, Reason: "an embedder's own"})
	h.serve(nil).agentEnds(errors.New("broken"))
	h.serve(nil).agentEnds(relay.AgentUnavailable(nil))
	stubborn := h.serve(nil)
	stubborn.Agent.OnStop.Hangs = true
	stubborn.closes(1000)
	talkative := h.serve(nil)
	for range 3 {
		talkative.clientSays(actorstest.Heartbeat(0))
		talkative.agentSays(mkdir())
	}
	talkative.agentSays(mkdir())
	talkative.completes()
	time.Sleep(20 * time.Second)
	synctest.Wait()

	want[`lastcall_sessions_opened_total{kind="dap",transport="websocket"}`] += 13
	want[`lastcall_sessions_opened_total{kind="dap",transport="http"}`] += 1
	want[`lastcall_sessions_opened_total{kind="dap",transport="other"}`] += 1
	want[`lastcall_sessions_ended_total{code="1000",outcome="completed"}`] += 4
	want[`lastcall_sessions_ended_total{code="1000",outcome="client_gone"}`] += 1
	want[`lastcall_sessions_ended_total{code="1001",outcome="client_gone"}`] += 1
	want[`lastcall_sessions_ended_total{code="1005",outcome="client_gone"}`] += 1
	want[`lastcall_sessions_ended_total{code="other",outcome="client_gone"}`] += 1
	want[`lastcall_sessions_ended_total{code="none",outcome="client_gone"}`] += 1
	want[`lastcall_sessions_ended_total{code="4400",outcome="refused"}`] += 1
	want[`lastcall_sessions_ended_total{code="1009",outcome="failed"}`] += 1
	want[`lastcall_sessions_ended_total{code="other",outcome="failed"}`] += 1
	want[`lastcall_sessions_ended_total{code="1011",outcome="failed"}`] += 1
	want[`lastcall_sessions_ended_total{code="1001",outcome="failed"}`] += 1
	want[`lastcall_sessions_ended_total{code="1000",outcome="cancelled"}`] += 1
	want.lasted("completed", 4, 0)
	want.lasted("client_gone", 5, 0)
	want.lasted("refused", 1, 0)
	want.lasted("failed", 4, 0)
	want.lasted("cancelled", 1, 10)
	want.phased("opening", 15, 0)
	want.phased("stopping", 6, 10)
	want.phased("closing", 10, 0) // where the client is gone there is nothing to close
	want.passed(15+3, 4)
}

func http1(s *relay.Session) { s.Transport = "http" }

// refuses: requests that become no session.
func refuses(h *house, want figures) {
	full := limited(h, actors.Options{MaxSessions: 1})
	greedy := limited(h, actors.Options{MaxSessionsPerPrincipal: 1})
	going := limited(h, actors.Options{})
	_, _ = going.Drain(context.Background(), actors.Drain{})
	upgrades := func(s *actors.Supervisor, err error) *transport.Handler {
		decide := authorizer(func(*http.Request) (*grant.Grant, error) {
			time.Sleep(time.Second)
			return &grant.Grant{Principal: "ada"}, err
		})
		return &transport.Handler{Supervisor: s, Authorizer: h.Authorizer(decide), Refused: h.Refused}
	}
	ask(h.t, upgrades(full, nil), "GET")
	for range 2 {
		ask(h.t, upgrades(greedy, nil), "GET")
	}
	for range 3 {
		ask(h.t, upgrades(going, nil), "GET")
	}
	ask(h.t, upgrades(h.Supervisor.Supervisor, &grant.RefusedError{Status: 401}), "GET")
	ask(h.t, upgrades(h.Supervisor.Supervisor, errors.New("endpoint down")), "GET")
	ask(h.t, upgrades(h.Supervisor.Supervisor, nil), "GET")
	ask(h.t, upgrades(h.Supervisor.Supervisor, nil).Execute(), "POST", "Origin", "https://elsewhere")
	ask(h.t, upgrades(h.Supervisor.Supervisor, nil).Execute(), "POST")
	h.Refused("a reason of next year")

	for reason, n := range map[string]float64{
		"full": 1, "principal_full": 2, "draining": 3, "denied": 1, "undecided": 1, "handshake": 1, "origin": 1, "invalid_body": 1, "other": 1,
	} {
		want[`lastcall_requests_refused_total{reason="`+reason+`"}`] += n
	}
	for result, n := range map[string]float64{"allowed": 8, "denied": 1, "unavailable": 1} {
		want[`lastcall_authorization_duration_seconds_count{result="`+result+`"}`] += n
		want[`lastcall_authorization_duration_seconds_sum{result="`+result+`"}`] += n
	}
}

// limited is another supervisor that has given ada one ticket.
func limited(h *house, limits actors.Options) *actors.Supervisor {
	supervisor := actorstest.New(h.t, limits)
	if _, err := supervisor.AdmitAs(context.Background(), "ada"); err != nil {
		h.t.Fatal(err)
	}
	return supervisor.Supervisor
}

// calls: tool calls of every kind end in every way.
func calls(h *house, want figures) {
	s := h.serve(h.tooled)
	s.agentSays(runHTTP("works"))
	s.agentSays(runHTTP("works-too"))
	s.agentSays(runHTTP("answers"))
	s.agentSays(runHTTP("late")) // is cut by the time limit
	s.agentSays(runMCP("fails"))
	s.agentSays(runMCP("says"))
	s.agentSays(runMCP("nothing"))
	s.agentSays(track("works-3"))
	s.agentSays(&dap.Action{RequestID: "fails-other"})
	time.Sleep(time.Minute)
	synctest.Wait()
	s.agentSays(track("waits")) // is cut by the session's end
	s.closes(1000)
	panicking := h.serve(h.tooled)
	panicking.agentSays(runMCP("panics"))

	for series, n := range map[string]float64{
		`kind="runHTTPRequest",result="ok"`:                   2,
		`kind="runHTTPRequest",result="error"`:                1,
		`kind="runHTTPRequest",result="timeout"`:              1,
		`kind="runMCPTool",result="error"`:                    3,
		`kind="runMCPTool",result="panic"`:                    1,
		`kind="trackLlmCallForSelfHosted",result="ok"`:        1,
		`kind="trackLlmCallForSelfHosted",result="cancelled"`: 1,
		`kind="other",result="error"`:                         1,
	} {
		want[`lastcall_tool_calls_total{`+series+`}`] += n
	}
	for kind, took := range map[string][2]float64{
		"runHTTPRequest": {4, 64}, "runMCPTool": {4, 0}, "trackLlmCallForSelfHosted": {2, 2}, "other": {1, 0},
	} {
		want[`lastcall_tool_call_duration_seconds_count{kind="`+kind+`"}`] += took[0]
		want[`lastcall_tool_call_duration_seconds_sum{kind="`+kind+`"}`] += took[1]
	}
	want[`lastcall_tool_http_calls_total{method="other",status="none"}`] += 4 // without a method, and without an HTTP answer or with its error
	want[`lastcall_panics_total{where="tool"}`]++
	want[`lastcall_sessions_opened_total{kind="dap",transport="websocket"}`] += 2
	want[`lastcall_sessions_ended_total{code="1000",outcome="client_gone"}`]++
	want[`lastcall_sessions_ended_total{code="1011",outcome="failed"}`]++
	want.lasted("client_gone", 1, 60)
	want.lasted("failed", 1, 0)
	want.phased("opening", 2, 0)
	want.phased("stopping", 2, 0)
	want.phased("closing", 2, 0)
	want.passed(2, 0)
}

// leases are taken, refused, lost, and not released.
func leases(h *house, want figures) {
	h.serve(h.leased(&actorstest.Leaser{})).completes()
	h.serve(h.leased(&actorstest.Leaser{OnRelease: actorstest.Call{Err: errors.New("store down")}})).completes()
	h.serve(h.leased(&actorstest.Leaser{OnAcquire: actorstest.Call{Err: relay.LeaseHeld(nil)}}))
	h.serve(h.leased(&actorstest.Leaser{OnAcquire: actorstest.Call{Err: &actors.CloseError{Code: 1013, Reason: "workflow lease unavailable, try again"}}}))
	losing := &actorstest.Leaser{}
	h.serve(h.leased(losing))
	losing.Lose(errors.New("taken"))
	synctest.Wait()

	want[`lastcall_lease_acquisitions_total{result="acquired"}`] += 3
	want[`lastcall_lease_acquisitions_total{result="held"}`]++
	want[`lastcall_lease_acquisitions_total{result="unavailable"}`]++
	want[`lastcall_leases_lost_total`]++
	want[`lastcall_lease_release_failures_total`]++
	want[`lastcall_sessions_opened_total{kind="dap",transport="websocket"}`] += 5
	want[`lastcall_sessions_ended_total{code="1000",outcome="completed"}`] += 2
	want[`lastcall_sessions_ended_total{code="1013",outcome="refused"}`] += 2
	want[`lastcall_sessions_ended_total{code="1013",outcome="failed"}`]++
	want.lasted("completed", 2, 0)
	want.lasted("refused", 2, 0)
	want.lasted("failed", 1, 0)
	want.phased("opening", 5, 0)
	want.phased("stopping", 1, 0)
	want.phased("closing", 5, 0)
	want.passed(5, 0)
}

// misreads: what was wrong with messages.
func misreads(h *house, want figures) {
	bad := h.serve(nil)
	bad.Client.Bad = map[actors.BadInput]int{relay.UnknownField: 5, relay.UnknownEvent: 2, "a kind of next year": 1}
	bad.clientSays(actorstest.Answer("nobody asked"))
	bad.agentSays(&dap.Action{RequestID: "twice"})
	bad.agentSays(&dap.Action{RequestID: "twice"})
	bad.completes()
	h.serve(nil).clientEnds(&actors.CloseError{Code: 1007, Reason: "not a ClientEvent"})
	h.serve(nil).clientEnds(&actors.CloseError{Code: 1009, Reason: "message over 4 MiB"})
	h.join(nil).clientSays(actorstest.Heartbeat(0))
	h.serve(nil).clientEnds(&actors.CloseError{Code: 1002, Reason: "received unknown opcode 3"})

	for kind, n := range map[string]float64{
		"unknown_field": 5, "unknown_event": 2, "other": 1, "unknown_request": 1, "duplicate_request": 1,
		"invalid_message": 1, "too_big": 1, "not_allowed": 1, "protocol_error": 1,
	} {
		want[`lastcall_bad_input_total{kind="`+kind+`"}`] += n
	}
	want[`lastcall_sessions_opened_total{kind="dap",transport="websocket"}`] += 5
	want[`lastcall_sessions_ended_total{code="1000",outcome="completed"}`]++
	want[`lastcall_sessions_ended_total{code="1007",outcome="failed"}`]++
	want[`lastcall_sessions_ended_total{code="1009",outcome="failed"}`]++
	want[`lastcall_sessions_ended_total{code="4400",outcome="refused"}`]++
	want[`lastcall_sessions_ended_total{code="1002",outcome="failed"}`]++
	want.lasted("completed", 1, 0)
	want.lasted("failed", 3, 0)
	want.lasted("refused", 1, 0)
	want.phased("opening", 5, 0)
	want.phased("stopping", 3, 0)
	want.phased("closing", 5, 0)
	want.passed(6, 1)
}

// panicsEverywhere: one in each place that survives one, and one in a session with tools that isn't the tool's.
func panicsEverywhere(h *house, want figures) {
	for _, change := range []func(*relay.Session){nil, h.tooled} {
		s := h.serve(change)
		s.Client.OnSend.Panics = true
		s.agentSays(mkdir())
	}
	serve := actors.ServiceFunc(func(context.Context) error { panic("in Service.Serve") })
	if err := h.Add("broken", actors.AfterSessions, serve); err != nil {
		h.t.Error(err)
	}
	stop := h.Listen(func(event any) {
		if _, told := event.(relay.ToolUnavailable); told {
			panic("in a listener")
		}
	})
	h.Engine().BroadcastEvent(relay.ToolUnavailable{Session: "x"})
	synctest.Wait()
	stop()

	want[`lastcall_panics_total{where="session"}`] += 2
	want[`lastcall_panics_total{where="service"}`]++
	want[`lastcall_panics_total{where="supervisor"}`]++
	want[`lastcall_tools_unavailable_total`]++
	want[`lastcall_sessions_opened_total{kind="dap",transport="websocket"}`] += 2
	want[`lastcall_sessions_ended_total{code="1011",outcome="failed"}`] += 2
	want.lasted("failed", 2, 0)
	want.phased("opening", 2, 0)
	want.phased("closing", 2, 0)
	want.passed(2, 0)
}

// drains: a part that goes well, one that must be killed, a standby, and then everything.
func drains(h *house, want figures) {
	drain := func(d actors.Drain, seconds time.Duration) {
		d.Deadline = time.Now().Add(seconds * time.Second)
		_, _ = h.Drain(context.Background(), d)
		synctest.Wait()
	}
	ready := h.serve(nil)
	ready.Agent.OnStop.Takes = 2 * time.Second
	drain(actors.Drain{Only: &actors.Selection{IDs: []string{ready.ID}}}, 20)
	deaf := h.serve(nil)
	deaf.Client.OnClose.Hangs, deaf.Agent.OnStop.Hangs = true, true
	drain(actors.Drain{Only: &actors.Selection{IDs: []string{deaf.ID}}}, 1)
	h.serve(nil).Agent.OnStop.Takes = 4 * time.Second
	drain(actors.Drain{Delay: 3 * time.Second, Standby: true}, 20)
	if err := h.Resume(context.Background()); err != nil {
		h.t.Error(err)
	}
	slow := actors.ServiceFunc(func(ctx context.Context) error {
		<-ctx.Done()
		time.Sleep(time.Second)
		return nil
	})
	if err := h.Add("slow", actors.AfterSessions, slow); err != nil {
		h.t.Error(err)
	}
	drain(actors.Drain{Delay: 5 * time.Second}, 30)

	want[`lastcall_drains_total{result="drained",scope="part"}`]++
	want[`lastcall_drains_total{result="killed",scope="part"}`]++
	want[`lastcall_drains_total{result="drained",scope="all"}`] += 2
	want[`lastcall_drain_duration_seconds_count{scope="part"}`] += 2
	want[`lastcall_drain_duration_seconds_sum{scope="part"}`] += 2 + 1
	want[`lastcall_drain_duration_seconds_count{scope="all"}`] += 2
	want[`lastcall_drain_duration_seconds_sum{scope="all"}`] += 7 + 6
	want[`lastcall_drain_phase_duration_seconds_count{phase="delay"}`] += 2
	want[`lastcall_drain_phase_duration_seconds_sum{phase="delay"}`] += 3 + 5
	want[`lastcall_drain_phase_duration_seconds_count{phase="sessions"}`] += 2
	want[`lastcall_drain_phase_duration_seconds_sum{phase="sessions"}`] += 4
	want[`lastcall_drain_phase_duration_seconds_count{phase="services"}`]++ // the standby left them
	want[`lastcall_drain_phase_duration_seconds_sum{phase="services"}`]++
	want[`lastcall_draining`] = 1
	want[`lastcall_sessions_opened_total{kind="dap",transport="websocket"}`] += 3
	want[`lastcall_sessions_ended_total{code="1001",outcome="drained"}`] += 2
	want[`lastcall_sessions_ended_total{code="none",outcome="killed"}`]++
	want.lasted("drained", 2, 2+7)
	want.lasted("killed", 1, 1)
	want.phased("opening", 3, 0)
	want.phased("stopping", 3, 2+.475+4)
	want.phased("closing", 3, .525)
	want.passed(3, 0)
}

func (f figures) lasted(outcome string, sessions, seconds float64) {
	f[`lastcall_session_duration_seconds_count{outcome="`+outcome+`"}`] += sessions
	f[`lastcall_session_duration_seconds_sum{outcome="`+outcome+`"}`] += seconds
}

func (f figures) phased(phase string, sessions, seconds float64) {
	f[`lastcall_session_phase_duration_seconds_count{phase="`+phase+`"}`] += sessions
	f[`lastcall_session_phase_duration_seconds_sum{phase="`+phase+`"}`] += seconds
	if phase == "stopping" { // all at an agent without a name
		f[`lastcall_agent_stop_duration_seconds_count{agent="other"}`] += sessions
		f[`lastcall_agent_stop_duration_seconds_sum{agent="other"}`] += seconds
	}
}

func (f figures) passed(received, sent float64) {
	f[`lastcall_messages_total{direction="received"}`] += received
	f[`lastcall_messages_total{direction="sent"}`] += sent
	f[`lastcall_message_bytes_total{direction="received"}`] += 10 * received
	f[`lastcall_message_bytes_total{direction="sent"}`] += 100 * sent
}
