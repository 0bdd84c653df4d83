package tracing

import (
	"cmp"
	"context"
	"net/http"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/transport/requestid"
)

// sessionKey is under what a session's span is in its context. Another span there, say of a
// middleware around the handler, is not ours to end.
type sessionKey struct{}

// Context begins the span of a session that the request is about to become, as a child of the span
// that is in the request's context, or else of its traceparent. It is [transport.Handler].Context. The
// span is exported when the session has stopped. One whose session never starts is never exported,
// and nothing is left of it.
func (t *Tracing) Context(r *http.Request) context.Context {
	ctx := r.Context()
	if !trace.SpanContextFromContext(ctx).IsValid() {
		ctx = extract(ctx, r.Header)
	}
	ctx, span := t.tracer.Start(ctx, "session", trace.WithSpanKind(trace.SpanKindServer))
	return context.WithValue(ctx, sessionKey{}, span)
}

// The methods below are called with mu held.

func (t *Tracing) sessionStarted(e actors.SessionStarted) {
	span, ok := e.Context.Value(sessionKey{}).(trace.Span)
	if !ok || !span.IsRecording() {
		return
	}
	t.sessions[e.ID] = span
	span.SetAttributes(
		text("lastcall.session.id", e.ID),
		text("lastcall.kind", e.Kind),
		text("lastcall.transport", e.Transport),
		text("lastcall.agent", e.AgentName),
		text("lastcall.request.id", requestid.Of(e.Context)),
	)
	entered(span, actors.PhaseOpening, e.At)
}

func (t *Tracing) sessionPhase(e actors.SessionPhase) {
	if span := t.sessions[e.ID]; span != nil {
		entered(span, e.Phase, e.At)
	}
}

func entered(span trace.Span, phase actors.Phase, at time.Time) {
	span.AddEvent(phase.String(), trace.WithTimestamp(at))
}

func (t *Tracing) sessionStopped(e actors.SessionStopped) {
	t.countEnd(e.Outcome)
	span := t.sessions[e.ID]
	if span == nil {
		return
	}
	delete(t.sessions, e.ID)
	t.rememberEnd(e.ID, span.SpanContext())
	span.SetAttributes(
		text("lastcall.workflow", e.Workflow),
		text("lastcall.outcome", string(e.Outcome)),
		attribute.Int("lastcall.close.code", e.Code),
		text("lastcall.close.reason", e.Reason),
		count("lastcall.received.messages", e.Traffic.Received.Messages),
		count("lastcall.received.bytes", e.Traffic.Received.Bytes),
		count("lastcall.sent.messages", e.Traffic.Sent.Messages),
		count("lastcall.sent.bytes", e.Traffic.Sent.Bytes),
		attribute.Int("lastcall.tool.calls", e.ToolCalls),
		attribute.Float64("lastcall.stop.seconds", time.Duration(e.Took).Seconds()),
	)
	switch e.Outcome {
	case actors.Failed, actors.Killed, actors.Cancelled:
		span.SetStatus(codes.Error, cmp.Or(errorLine(e.Err), valid(e.Reason), string(e.Outcome)))
	}
	now := time.Now()
	entered(span, actors.PhaseStopped, now)
	span.End(trace.WithTimestamp(now))
}

// text is an attribute of text that may come from anywhere. A span with a byte that isn't UTF-8 could
// not be exported, nor could those around it. The SDK cuts what is long.
func text(key, value string) attribute.KeyValue { return attribute.String(key, valid(value)) }

func valid(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

func count(key string, n uint64) attribute.KeyValue { return attribute.Int64(key, int64(n)) }

// errorLine is the first line of an error: a panic's stack follows it, and is for the log.
func errorLine(err error) string {
	if err == nil {
		return ""
	}
	return firstLine(err.Error())
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return actors.CutText(line, maxText)
}
