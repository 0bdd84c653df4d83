package gateway

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/actors/relay"
	"github.com/lastcall-go/lastcall/transport/redislease"
	"github.com/lastcall-go/lastcall/transport/requestid"
)

// records makes records of events. It is called with one event at a time.
type records struct {
	log      *slog.Logger
	progress func(event any) (shown bool)
	leases   func() redislease.Stats
	sessions bool                    // records of the sessions that end as they should, too
	badInput map[actors.BadInput]int // of all sessions that have stopped
}

// observe turns the supervisor's events into records.
func (r *records) observe(event any) {
	switch e := event.(type) {
	case actors.SessionStarted:
		r.sessionStarted(e)
	case actors.SessionPhase:
		r.log.DebugContext(e.Context, "session phase", "session", e.ID, "request_id", requestid.Of(e.Context), "workflow", e.Workflow, "phase", e.Phase.String())
	case actors.SessionStopped:
		r.sessionStopped(e)
	case relay.ToolUnavailable:
		r.log.WarnContext(e.Context, "tool unavailable", "session", e.Session, "request_id", requestid.Of(e.Context), "workflow", e.Workflow, "error", e.Err)
	case relay.ActionUnknown:
		r.log.WarnContext(e.Context, "action unknown", "session", e.Session, "request_id", requestid.Of(e.Context), "workflow", e.Workflow, "fields", e.Fields)
	case actors.ServiceStopped:
		r.serviceStopped(e)
	case actors.DrainStarted:
		r.drainStarted(e)
	case actors.DrainProgress:
		r.drainProgress(e)
	case actors.DrainFinished:
		r.drainFinished(e)
	case actors.Resumed:
		r.log.Info("resumed")
	case actors.SupervisorPanicked:
		r.log.Error("panic in the supervisor", "error", e.Err)
	case actors.EventsMissed:
		r.log.Warn("events missed", "events", e.Count)
	}
}

func (r *records) sessionStarted(e actors.SessionStarted) {
	level := r.ordinary()
	if !r.log.Enabled(e.Context, level) {
		return
	}
	r.log.Log(e.Context, level, "session started",
		"session", e.ID, "request_id", requestid.Of(e.Context),
		"kind", e.Kind, "remote", e.Remote, "transport", e.Transport, "agent", e.AgentName)
}

// sessionStopped is the one record with everything about a session.
func (r *records) sessionStopped(e actors.SessionStopped) {
	for kind, n := range e.BadInput {
		r.badInput[kind] += n
	}
	level := r.stoppedLevel(e)
	if !r.log.Enabled(e.Context, level) {
		return
	}
	attrs := []any{
		"session", e.ID, "request_id", requestid.Of(e.Context), "workflow", e.Workflow,
		"kind", e.Kind, "remote", e.Remote, "transport", e.Transport, "agent", e.AgentName,
		"outcome", e.Outcome, "code", e.Code, "reason", e.Reason,
		"age", e.Age.String(), "stop", e.Took.String(),
		"received", e.Traffic.Received.Messages, "received_bytes", e.Traffic.Received.Bytes,
		"sent", e.Traffic.Sent.Messages, "sent_bytes", e.Traffic.Sent.Bytes, "tool_calls", e.ToolCalls,
	}
	if e.Err != nil {
		attrs = append(attrs, "error", e.Err)
	}
	if e.BadInput != nil {
		attrs = append(attrs, "bad_input", e.BadInput)
	}
	r.log.Log(e.Context, level, "session stopped", attrs...)
}

// ordinary is the level of the records of sessions that start, and end as they should.
func (r *records) ordinary() slog.Level {
	if r.sessions {
		return slog.LevelInfo
	}
	return slog.LevelDebug
}

func (r *records) stoppedLevel(e actors.SessionStopped) slog.Level {
	var panicked *actors.PanicError
	switch {
	case errors.As(e.Err, &panicked):
		return slog.LevelError
	case e.Outcome == actors.Failed, e.Outcome == actors.Cancelled, e.Outcome == actors.Killed:
		return slog.LevelWarn
	case e.Outcome == actors.Refused, e.Code == actors.CloseUnauthorized:
		return slog.LevelInfo
	}
	return r.ordinary()
}

func (r *records) serviceStopped(e actors.ServiceStopped) {
	if e.Err != nil {
		r.log.Error("service failed", "service", e.Name, "error", e.Err)
	} else {
		r.log.Debug("service stopped", "service", e.Name, "outcome", e.Outcome, "stop", e.Took.String())
	}
}

func (r *records) drainStarted(e actors.DrainStarted) {
	r.logDrain(e.DrainStatus, "drain started", "drain", e.ID, "part", e.Part, "reason", e.Reason, "sessions", e.Sessions, "services", e.Services, "deadline", e.Deadline)
	if !e.Part {
		r.progress(e)
	}
}

func (r *records) drainProgress(e actors.DrainProgress) {
	if !e.Part && r.progress(e) {
		return
	}
	left := max(0, time.Until(e.Deadline)).Round(100 * time.Millisecond)
	r.logDrain(e.DrainStatus, "drain progress", "drain", e.ID, "left", e.Left, "totals", e.Totals, "elapsed", e.Elapsed.Round(time.Millisecond).String(), "to_deadline", left.String())
}

func (r *records) drainFinished(e actors.DrainFinished) {
	if !e.Part && r.progress(e) {
		return
	}
	killed := ""
	if err := e.Report.Err(); err != nil {
		killed = err.Error()
	}
	attrs := []any{"drain", e.ID, "part", e.Part, "sessions", len(e.Report.Sessions), "took", e.Report.Took.String(), "totals", e.Report.Totals, "killed", killed, "bad_input", r.badInput}
	if r.leases != nil {
		stats := r.leases()
		attrs = append(attrs, "leases_unavailable", stats.Unavailable, "leases_lost", stats.Lost)
	}
	r.logDrain(e.DrainStatus, "drain finished", attrs...)
}

// logDrain: that a session has reached its age limit is in its own last record.
func (r *records) logDrain(d actors.DrainStatus, message string, attrs ...any) {
	level := slog.LevelInfo
	if d.Age || d.Revoked {
		level = slog.LevelDebug
	}
	r.log.Log(context.Background(), level, message, attrs...)
}
