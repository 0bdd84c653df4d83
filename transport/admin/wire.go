package admin

import (
	"context"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/actors/relay"
)

// maxError is how many bytes of an error are sent.
const maxError = 1 << 10

func sessionsOf(infos []*actors.SessionInfo) []Session {
	all := make([]Session, len(infos))
	for i, info := range infos {
		all[i] = sessionOf(info)
	}
	return all
}

func sessionOf(info *actors.SessionInfo) Session {
	return Session{
		ID:           info.ID,
		Kind:         info.Kind,
		Principal:    info.Principal,
		Workflow:     info.Workflow,
		Phase:        info.Phase.String(),
		Since:        moment(info.Since),
		Started:      moment(info.Started),
		Told:         moment(info.Told),
		WaitsFor:     info.WaitsFor,
		Remote:       info.Remote,
		Transport:    info.Transport,
		Agent:        info.AgentName,
		Received:     Flow(info.Traffic.Received),
		Sent:         Flow(info.Traffic.Sent),
		ToolsRunning: info.ToolsRunning,
		LastMessage:  moment(info.Traffic.Last),
	}
}

// moment is a time as it is sent: UTC, to the millisecond.
func moment(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }

func stateOf(view actors.Overview) State {
	drains := make([]Drain, len(view.Drains))
	for i, status := range view.Drains {
		drains[i] = DrainOf(status)
	}
	slices.SortStableFunc(drains, func(a, b Drain) int { return a.Began.Compare(b.Began) })
	return State{State: view.State, Final: view.Final, Drains: drains}
}

// DrainOf is how the API shows a drain.
func DrainOf(status actors.DrainStatus) Drain {
	d := Drain{
		ID:       status.ID,
		Part:     status.Part,
		Reason:   status.Reason,
		Sessions: status.Sessions,
		Left:     status.Left,
		Untold:   status.Untold,
		Totals:   status.Totals,
		Began:    moment(status.Began),
		Deadline: moment(status.Deadline),
		Over:     status.Over,
		Killed:   status.Killed,
	}
	if d.Over {
		d.Took = actors.Seconds(status.Elapsed)
	}
	return d
}

// EstimateOf is how the API shows an estimate.
func EstimateOf(e actors.Estimate) Estimate {
	return Estimate{
		Sessions: e.Sessions,
		Batches:  e.Batches,
		Stops:    e.Stops,
		Unknown:  e.Unknown,
		Cut:      e.Cut,
		Closes:   actors.Seconds(e.Closes),
		LastAsk:  actors.Seconds(e.LastAsk),
		GraceEnd: actors.Seconds(e.GraceEnd),
		Kill:     actors.Seconds(e.Kill),
		Deadline: actors.Seconds(e.Deadline),
		StopP50:  actors.Seconds(e.Stop.P50),
		StopP99:  actors.Seconds(e.Stop.P99),
		TookP50:  actors.Seconds(e.Took.P50),
		TookP99:  actors.Seconds(e.Took.P99),
		InTime:   e.InTime(),
	}
}

// eventOf returns an event's name and data, or no name if it is not sent. That of
// [actors.Resumed] is not in the event itself.
func eventOf(event any) (name string, data any) {
	switch e := event.(type) {
	case actors.SessionStarted:
		return EventSessionStarted, SessionStarted{e.ID, e.Kind, e.Remote, e.Transport, e.AgentName, moment(e.At)}
	case actors.SessionPhase:
		return EventSessionPhase, SessionPhase{e.ID, e.Workflow, e.Phase.String(), moment(e.At)}
	case actors.SessionStopped:
		return EventSessionStopped, stoppedOf(e)
	case relay.ToolUnavailable:
		return EventToolUnavailable, ToolUnavailable{e.Session, errorText(e.Err)}
	case actors.ServiceStopped:
		return EventServiceStopped, ServiceStopped{e.Name, e.Outcome, e.Took, errorText(e.Err)}
	case actors.DrainStarted:
		return drainEvent(EventDrainStarted, e.DrainStatus)
	case actors.DrainProgress:
		return drainEvent(EventDrainProgress, e.DrainStatus)
	case actors.DrainFinished:
		return drainEvent(EventDrainFinished, e.DrainStatus)
	case actors.Resumed:
		return EventResumed, nil
	}
	return "", nil
}

// drainEvent leaves out the drain of a session that has reached its age limit or lost its authorization:
// its phases and its end are sent.
func drainEvent(name string, status actors.DrainStatus) (string, any) {
	if status.Age || status.Revoked {
		return "", nil
	}
	return name, DrainOf(status)
}

func stoppedOf(e actors.SessionStopped) SessionStopped {
	return SessionStopped{
		ID:       e.ID,
		Workflow: e.Workflow,
		Remote:   e.Remote,
		Outcome:  e.Outcome,
		Code:     e.Code,
		Reason:   e.Reason,
		Age:      e.Age,
		Took:     e.Took,
		Error:    errorText(e.Err),

		WaitedFor: e.WaitedFor,
		TraceID:   traceID(e.Context),
	}
}

// traceID is that of the span in a context. Empty: there is none.
func traceID(ctx context.Context) string {
	if ctx == nil {
		return ""
	}
	if span := trace.SpanContextFromContext(ctx); span.HasTraceID() {
		return span.TraceID().String()
	}
	return ""
}

// errorText is the first line of an error: a panic's stack is for the log.
func errorText(err error) string {
	if err == nil {
		return ""
	}
	text, _, _ := strings.Cut(err.Error(), "\n")
	if len(text) > maxError {
		text = text[:maxError]
	}
	return strings.ToValidUTF8(text, "")
}
