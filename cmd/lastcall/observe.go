package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/lastcall-go/lastcall/actors"
)

// observe turns the supervisor's events into records, and on a terminal into progress.
func (g *gateway) observe(event any) {
	switch e := event.(type) {
	case actors.SessionStarted:
		g.log.Info("session started", "session", e.ID, "remote", e.Remote)
	case actors.SessionStopped:
		g.sessionStopped(e)
	case actors.ToolUnavailable:
		g.log.Warn("tool unavailable", "session", e.Session, "error", e.Err)
	case actors.ServiceStopped:
		g.serviceStopped(e)
	case actors.DrainStarted:
		g.log.Info("drain started", "sessions", e.Sessions, "services", e.Services, "deadline", e.Deadline)
		g.console.show(fmt.Sprintf("draining: %d sessions", e.Sessions))
	case actors.DrainProgress:
		g.drainProgress(e)
	case actors.DrainFinished:
		g.drainFinished(e.Report)
	case actors.SupervisorPanicked:
		g.log.Error("panic in the supervisor", "error", e.Err)
	}
}

func (g *gateway) sessionStopped(e actors.SessionStopped) {
	level := slog.LevelInfo
	var panicked *actors.PanicError
	switch {
	case errors.As(e.Err, &panicked):
		level = slog.LevelError
	case e.Outcome == actors.Failed, e.Outcome == actors.Cancelled, e.Outcome == actors.Killed:
		level = slog.LevelWarn
	}
	attrs := []any{
		"session", e.ID, "workflow", e.Workflow, "remote", e.Remote,
		"outcome", e.Outcome, "code", e.Code, "reason", e.Reason,
		"age", e.Age.String(), "stop", e.Took.String(),
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
	g.log.Log(context.Background(), level, "session stopped", attrs...)
}

// serviceStopped: a service that ended unasked takes the server with it.
func (g *gateway) serviceStopped(e actors.ServiceStopped) {
	if e.Err != nil {
		g.log.Error("service failed", "service", e.Name, "error", e.Err)
	} else {
		g.log.Debug("service stopped", "service", e.Name, "outcome", e.Outcome, "stop", e.Took.String())
	}
	if e.Outcome == actors.Failed || e.Outcome == actors.Completed {
		select {
		case g.failed <- e:
		default: // one is enough
		}
	}
}

func (g *gateway) drainProgress(e actors.DrainProgress) {
	left := max(0, time.Until(e.Deadline)).Round(100 * time.Millisecond)
	if g.console.terminal {
		g.console.show(fmt.Sprintf("draining: %d sessions left, %v to the deadline%s", e.Left, left, suffix(": ", totals(e.Totals))))
		return
	}
	g.log.Info("drain progress", "left", e.Left, "totals", e.Totals, "elapsed", e.Elapsed.Round(time.Millisecond).String(), "to_deadline", left.String())
}

func (g *gateway) drainFinished(r *actors.Report) {
	line := fmt.Sprintf("drained %d sessions in %v%s", len(r.Sessions), r.Took, suffix(": ", totals(r.Totals)))
	if g.console.terminal {
		g.console.conclude(line + suffix("; ", errorText(r.Err())))
		return
	}
	attrs := []any{"sessions", len(r.Sessions), "took", r.Took.String(), "totals", r.Totals, "killed", errorText(r.Err()), "bad_input", g.badInput}
	if g.leases != nil {
		stats := g.leases()
		attrs = append(attrs, "leases_unavailable", stats.Unavailable, "leases_lost", stats.Lost)
	}
	g.log.Info("drain finished", attrs...)
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
