package metrics

import (
	"slices"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/actors/relay"
	"github.com/lastcall-go/lastcall/transport/httpsession"
)

// instruments are what is counted and timed as it happens.
type instruments struct {
	opened, ended, refused, badInput, panics vec[prometheus.Counter]
	sessionSeconds, phaseSeconds             vec[prometheus.Observer]

	drains                          vec[prometheus.Counter]
	drainSeconds, drainPhaseSeconds vec[prometheus.Observer]

	toolCalls, httpCalls, toolsUnavailable vec[prometheus.Counter]
	fieldsDropped                          vec[prometheus.Counter]
	toolSeconds                            vec[prometheus.Observer]

	leasesAcquired, leasesLost, releaseFailures vec[prometheus.Counter]
	leasesHeld                                  vec[prometheus.Gauge]

	authorizationSeconds vec[prometheus.Observer]

	agents *agents
}

func newInstruments(r *registrar, sessions label) instruments {
	return instruments{
		opened:         r.counter("sessions_opened_total", "Sessions that have begun.", sessions, transports()),
		ended:          r.counter("sessions_ended_total", "Sessions that have ended, by outcome, and by the close code that the client got or sent; none: the connection was lost or cut.", outcomes(), codes()),
		refused:        r.counter("requests_refused_total", "Requests that did not become a session.", reasons()),
		badInput:       r.counter("bad_input_total", "What was wrong with messages, counted when their session ends.", badInputs()),
		panics:         r.counter("panics_total", "Panics that were survived. tool: in a tool call; it is not counted as its session's too.", label{"where", []string{whereSession, whereService, whereSupervisor, whereTool}}),
		sessionSeconds: r.seconds("session_duration_seconds", "How long sessions lasted.", hours(), outcomes()),
		phaseSeconds:   r.seconds("session_phase_duration_seconds", "How long sessions were opening, stopping and closing. What is between is serving.", waits(), timedPhases()),

		drains:            r.counter("drains_total", "Drains that are over. part: of some sessions, or of one that had reached its age limit; killed: at least one session was.", scopes(), label{"result", []string{drained, killed}}),
		drainSeconds:      r.seconds("drain_duration_seconds", "How long drains took.", waits(), scopes()),
		drainPhaseSeconds: r.seconds("drain_phase_duration_seconds", "How long the parts of a drain of everything took. services: where it stopped them.", waits(), label{"phase", []string{phaseDelay, phaseSessions, phaseServices}}),

		toolCalls:        r.counter("tool_calls_total", "Tool calls that have ended. error: also one whose answer says so.", kinds(), label{"result", []string{ok, failed, timedOut, cancelled, panicked}}),
		toolSeconds:      r.seconds("tool_call_duration_seconds", "How long tool calls took.", calls(), kinds()),
		httpCalls:        r.counter("tool_http_calls_total", "Calls of runHTTPRequest that have ended, by the class of the answer's status; none: there was no answer.", methods(), statusClasses()),
		fieldsDropped:    r.counter("agent_fields_dropped_total", "Fields of agents' messages that clients did not get: the contract does not have them."),
		toolsUnavailable: r.counter("tools_unavailable_total", "Tools, or parts of them, that a session could not open and went on without."),

		leasesAcquired:  r.counter("lease_acquisitions_total", "Leases that were asked for. held: another session has it; cancelled: the session ended first.", label{"result", []string{acquired, held, unavailable, cancelled}}),
		leasesHeld:      r.gauge("leases_held", "Leases that sessions hold."),
		leasesLost:      r.counter("leases_lost_total", "Leases that were lost while they were held."),
		releaseFailures: r.counter("lease_release_failures_total", "Leases that could not be released; the store frees them by itself."),

		authorizationSeconds: r.seconds("authorization_duration_seconds", "How long it took to authorize requests. cancelled: the client has gone.", calls(), label{"result", []string{allowed, denied, unavailable, cancelled}}),

		agents: newAgents(r),
	}
}

// Values of labels.
const (
	whereSession    = "session"
	whereService    = "service"
	whereSupervisor = "supervisor"
	whereTool       = "tool"

	scopeAll  = "all"
	scopePart = "part"
	drained   = "drained"
	killed    = "killed"

	phaseDelay    = "delay"
	phaseSessions = "sessions"
	phaseServices = "services"

	ok          = "ok"
	failed      = "error"
	timedOut    = "timeout"
	cancelled   = "cancelled"
	panicked    = "panic"
	acquired    = "acquired"
	held        = "held"
	unavailable = "unavailable"
	allowed     = "allowed"
	denied      = "denied"

	noCode = "none"
)

// sessionKinds are the agent platform's and those of embedders.
func sessionKinds(more []string) label {
	l := label{"kind", []string{relay.Kind}}
	for _, kind := range more {
		if !slices.Contains(l.values, kind) {
			l.values = append(l.values, kind)
		}
	}
	if !slices.Contains(l.values, other) {
		l.values = append(l.values, other)
	}
	return l
}

func transports() label {
	return label{"transport", []string{"websocket", "http", "sse", "grpc", other}}
}

func scopes() label { return label{"scope", []string{scopeAll, scopePart}} }

// phases are those in which a snapshot finds sessions.
func phases() label {
	return label{"phase", []string{
		actors.PhaseOpening.String(), actors.PhaseServing.String(), actors.PhaseStopping.String(), actors.PhaseClosing.String(),
	}}
}

// timedPhases are the phases in which a client or a drain waits for the session.
func timedPhases() label {
	return label{"phase", []string{actors.PhaseOpening.String(), actors.PhaseStopping.String(), actors.PhaseClosing.String()}}
}

func outcomes() label {
	l := label{name: "outcome"}
	for _, outcome := range actors.Outcomes() {
		l.values = append(l.values, string(outcome))
	}
	return l
}

// codes are those of the protocol. A client can close with any other.
func codes() label {
	l := label{"code", []string{noCode}}
	for _, code := range []int{
		actors.CloseNormal, actors.CloseGoingAway, actors.CloseProtocolError, actors.CloseNoStatus, actors.CloseInvalidData,
		actors.ClosePolicy, actors.CloseTooBig, actors.CloseInternal, actors.CloseTryAgainLater, actors.CloseUnauthorized,
		actors.CloseForbidden, actors.CloseInvalidInput,
	} {
		l.values = append(l.values, strconv.Itoa(code))
	}
	l.values = append(l.values, other)
	return l
}

func reasons() label {
	l := label{name: "reason"}
	for _, reason := range []httpsession.Refusal{
		httpsession.RefusedDraining, httpsession.RefusedFull, httpsession.RefusedPrincipalFull, httpsession.RefusedDenied,
		httpsession.RefusedUndecided, httpsession.RefusedOrigin, httpsession.RefusedHandshake, httpsession.RefusedBody,
	} {
		l.values = append(l.values, string(reason))
	}
	l.values = append(l.values, other)
	return l
}

func badInputs() label {
	l := label{name: "kind"}
	for _, kind := range []actors.BadInput{
		relay.UnknownRequest, relay.DuplicateRequest, relay.UnknownAction, relay.UnknownEvent, relay.UnknownField,
		relay.InvalidMessage, relay.TooBig, relay.ProtocolError, relay.NotAllowed,
	} {
		l.values = append(l.values, string(kind))
	}
	l.values = append(l.values, other)
	return l
}

// The classic buckets, in seconds: of sessions, of what a drain waits for, and of single calls.
func hours() []float64 {
	return []float64{1, 5, 15, 60, 300, 900, 1800, 3600, 2 * 3600, 4 * 3600, 8 * 3600, 24 * 3600}
}

func waits() []float64 { return []float64{.005, .025, .1, .25, .5, 1, 2.5, 5, 10, 15, 20, 30, 60, 300} }

func calls() []float64 { return slices.Concat(prometheus.DefBuckets, []float64{30, 60}) }
