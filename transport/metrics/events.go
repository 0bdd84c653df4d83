package metrics

import (
	"errors"
	"strconv"
	"time"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/actors/relay"
)

// Observe counts an event. It is for [actors.Supervisor.Listen], from before the first session on.
func (m *Metrics) Observe(event any) {
	switch e := event.(type) {
	case actors.SessionStarted:
		m.opened.with(e.Kind, e.Transport).Inc()
		m.agents.begin(e.AgentName)
	case actors.SessionPhase:
		m.phaseOver(e.Left, e.AgentName)
	case actors.SessionStopped:
		m.sessionStopped(e)
	case relay.ToolUnavailable:
		m.toolsUnavailable.with().Inc()
	case actors.ServiceStopped:
		if errors.As(e.Err, new(*actors.PanicError)) {
			m.panics.with(whereService).Inc()
		}
	case actors.DrainFinished:
		m.drainFinished(e)
	case actors.SupervisorPanicked:
		m.panics.with(whereSupervisor).Inc()
	}
}

func (m *Metrics) sessionStopped(e actors.SessionStopped) {
	m.ended.with(string(e.Outcome), codeText(e.Code)).Inc()
	m.sessionSeconds.with(string(e.Outcome)).Observe(time.Duration(e.Age).Seconds())
	m.phaseOver(e.Left, e.AgentName)
	for kind, n := range e.BadInput {
		m.badInput.with(string(kind)).Add(float64(n))
	}
	if errors.As(e.Err, new(*actors.PanicError)) && !errors.As(e.Err, new(*relay.ToolPanicError)) {
		m.panics.with(whereSession).Inc()
	}
}

// phaseOver takes a phase that a session has left.
func (m *Metrics) phaseOver(left actors.PhaseSpan, agent string) {
	switch left.Phase {
	case actors.PhaseOpening, actors.PhaseStopping, actors.PhaseClosing:
		m.phaseSeconds.with(left.Phase.String()).Observe(left.Lasted.Seconds())
	}
	if left.Phase == actors.PhaseStopping {
		m.agents.stopped(agent, left.Lasted.Seconds())
	}
}

func (m *Metrics) drainFinished(e actors.DrainFinished) {
	scope, result := scopeOf(e.DrainStatus), drained
	if len(e.Killed) > 0 {
		result = killed
	}
	m.drains.with(scope, result).Inc()
	m.drainSeconds.with(scope).Observe(e.Elapsed.Seconds())
	if e.Part {
		return
	}
	phases := e.Report.Phases
	m.drainPhaseSeconds.with(phaseDelay).Observe(time.Duration(phases.Delay).Seconds())
	m.drainPhaseSeconds.with(phaseSessions).Observe(time.Duration(phases.Sessions).Seconds())
	if !e.Standby {
		m.drainPhaseSeconds.with(phaseServices).Observe(time.Duration(phases.Services).Seconds())
	}
}

func scopeOf(d actors.DrainStatus) string {
	if d.Part {
		return scopePart
	}
	return scopeAll
}

func codeText(code int) string {
	if code == 0 {
		return noCode
	}
	return strconv.Itoa(code)
}
