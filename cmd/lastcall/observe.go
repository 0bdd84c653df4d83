package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/actors/relay"
	"github.com/lastcall-go/lastcall/transport"
)

// react does what the process itself has to do about the supervisor's events: it counts sessions, tells
// systemd, and ends with a service that ends unasked.
func (g *gateway) react(event any) {
	switch e := event.(type) {
	case actors.SessionStarted:
		g.sessions.Add(1)
	case actors.SessionStopped:
		g.sessions.Add(-1)
	case actors.ServiceStopped:
		g.serviceEnded(e)
	case actors.DrainStarted:
		g.notifyDrain(e.DrainStatus)
	case actors.DrainProgress:
		g.notifyDrain(e.DrainStatus)
	case actors.DrainFinished:
		g.notifyDrain(e.DrainStatus)
	case actors.Resumed:
		g.notifier.resumed()
	}
}

// serviceEnded: a service that ended unasked takes the server with it.
func (g *gateway) serviceEnded(e actors.ServiceStopped) {
	if e.Outcome == actors.Failed || e.Outcome == actors.Completed {
		select {
		case g.failed <- e:
		default: // one is enough
		}
	}
}

// keepReport writes the report of a drain that the process survives.
func (g *gateway) keepReport(event any) {
	if e, is := event.(actors.DrainFinished); is && e.Standby {
		if err := g.report.standby(e.Report); err != nil {
			g.log.Error("report not written", "error", err)
		}
	}
}

// observe turns the supervisor's events into records, and on a terminal into progress.
func (g *gateway) observe(event any) {
	switch e := event.(type) {
	case actors.SessionStarted:
		g.sessionStarted(e)
	case actors.SessionPhase:
		g.log.DebugContext(e.Context, "session phase", "session", e.ID, "request_id", transport.RequestID(e.Context), "workflow", e.Workflow, "phase", e.Phase.String())
	case actors.SessionStopped:
		g.sessionStopped(e)
	case relay.ToolUnavailable:
		g.log.WarnContext(e.Context, "tool unavailable", "session", e.Session, "request_id", transport.RequestID(e.Context), "workflow", e.Workflow, "error", e.Err)
	case relay.ActionUnknown:
		g.log.WarnContext(e.Context, "action unknown", "session", e.Session, "request_id", transport.RequestID(e.Context), "workflow", e.Workflow, "fields", e.Fields)
	case actors.ServiceStopped:
		g.serviceStopped(e)
	case actors.DrainStarted:
		g.drainStarted(e)
	case actors.DrainProgress:
		g.drainProgress(e.DrainStatus)
	case actors.DrainFinished:
		g.drainFinished(e)
	case actors.Resumed:
		g.log.Info("resumed")
	case actors.SupervisorPanicked:
		g.log.Error("panic in the supervisor", "error", e.Err)
	case actors.EventsMissed:
		g.log.Warn("events missed", "events", e.Count)
	}
}

func (g *gateway) sessionStarted(e actors.SessionStarted) {
	g.log.InfoContext(e.Context, "session started",
		"session", e.ID, "request_id", transport.RequestID(e.Context),
		"kind", e.Kind, "remote", e.Remote, "transport", e.Transport, "agent", e.AgentName)
}

// sessionStopped is the one record with everything about a session.
func (g *gateway) sessionStopped(e actors.SessionStopped) {
	attrs := []any{
		"session", e.ID, "request_id", transport.RequestID(e.Context), "workflow", e.Workflow,
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
		for kind, n := range e.BadInput {
			g.badInput[kind] += n
		}
	}
	g.log.Log(e.Context, stoppedLevel(e), "session stopped", attrs...)
}

func stoppedLevel(e actors.SessionStopped) slog.Level {
	var panicked *actors.PanicError
	switch {
	case errors.As(e.Err, &panicked):
		return slog.LevelError
	case e.Outcome == actors.Failed, e.Outcome == actors.Cancelled, e.Outcome == actors.Killed:
		return slog.LevelWarn
	}
	return slog.LevelInfo
}

func (g *gateway) serviceStopped(e actors.ServiceStopped) {
	if e.Err != nil {
		g.log.Error("service failed", "service", e.Name, "error", e.Err)
	} else {
		g.log.Debug("service stopped", "service", e.Name, "outcome", e.Outcome, "stop", e.Took.String())
	}
}

func (g *gateway) drainStarted(e actors.DrainStarted) {
	g.logDrain(e.DrainStatus, "drain started", "drain", e.ID, "part", e.Part, "reason", e.Reason, "sessions", e.Sessions, "services", e.Services, "deadline", e.Deadline)
	if !e.Part {
		g.console.show(fmt.Sprintf("draining: %d sessions", e.Sessions))
	}
}

func (g *gateway) drainProgress(d actors.DrainStatus) {
	left := max(0, time.Until(d.Deadline)).Round(100 * time.Millisecond)
	if g.console.terminal && !d.Part {
		g.console.show(fmt.Sprintf("draining: %d sessions left, %v to the deadline%s", d.Left, left, suffix(": ", totals(d.Totals))))
		return
	}
	g.logDrain(d, "drain progress", "drain", d.ID, "left", d.Left, "totals", d.Totals, "elapsed", d.Elapsed.Round(time.Millisecond).String(), "to_deadline", left.String())
}

func (g *gateway) drainFinished(e actors.DrainFinished) {
	r := e.Report
	if g.console.terminal && !e.Part {
		line := fmt.Sprintf("drained %d sessions in %v%s", len(r.Sessions), r.Took, suffix(": ", totals(r.Totals)))
		g.console.conclude(line + suffix("; ", errorText(r.Err())))
		return
	}
	attrs := []any{"drain", e.ID, "part", e.Part, "sessions", len(r.Sessions), "took", r.Took.String(), "totals", r.Totals, "killed", errorText(r.Err()), "bad_input", g.badInput}
	if g.leases != nil {
		stats := g.leases()
		attrs = append(attrs, "leases_unavailable", stats.Unavailable, "leases_lost", stats.Lost)
	}
	g.logDrain(e.DrainStatus, "drain finished", attrs...)
}

// logDrain: that a session has reached its age limit is in its own last record.
func (g *gateway) logDrain(d actors.DrainStatus, message string, attrs ...any) {
	level := slog.LevelInfo
	if d.Age || d.Revoked {
		level = slog.LevelDebug
	}
	g.log.Log(context.Background(), level, message, attrs...)
}

// notifyDrain passes on what becomes of all sessions.
func (g *gateway) notifyDrain(d actors.DrainStatus) {
	switch {
	case d.Part:
	case d.Standby && d.Over:
		g.notifier.drained()
	default:
		g.notifier.draining(d.Left, d.Deadline, !d.Standby)
	}
}

// totals lists the outcomes that occurred.
func totals(counts map[actors.Outcome]int) string {
	var parts []string
	for _, outcome := range actors.Outcomes() {
		if n := counts[outcome]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, outcome))
		}
	}
	return strings.Join(parts, ", ")
}

func suffix(separator, text string) string {
	if text == "" {
		return ""
	}
	return separator + text
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
