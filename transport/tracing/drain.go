package tracing

import (
	"context"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/lastcall-go/lastcall/actors"
)

// drain is the span of a drain under way. Of its progress the SDK keeps the last 128 events.
type drain struct {
	span     trace.Span
	part     bool
	deadline time.Time
	totals   map[actors.Outcome]int // of all sessions that stopped since it began
	first    int                    // its first session in ended, counted from the first there ever was
}

// ended is a session that has ended while a drain was under way.
type ended struct {
	id   string
	span trace.SpanContext
}

// The methods below are called with mu held.

// drainStarted leaves out the drain of a session that has reached its age limit: its own span says so.
func (t *Tracing) drainStarted(e actors.DrainStarted) {
	if e.Age {
		return
	}
	_, span := t.tracer.Start(context.Background(), "drain", trace.WithTimestamp(e.Began), trace.WithAttributes(
		text("lastcall.drain.id", e.ID),
		text("lastcall.drain.reason", e.Reason),
		attribute.Int("lastcall.drain.sessions", e.Sessions),
		attribute.Int("lastcall.drain.services", e.Services),
		text("lastcall.drain.deadline", e.Deadline.Format(time.RFC3339Nano)),
	))
	d := &drain{span: span, totals: make(map[actors.Outcome]int), first: t.dropped + len(t.ended)}
	d.update(e.DrainStatus)
	t.drains[e.ID] = d
}

func (t *Tracing) drainProgress(e actors.DrainProgress) {
	d := t.drains[e.ID]
	if d == nil {
		return
	}
	d.update(e.DrainStatus)
	attributes := append(totals(e.Totals), attribute.Int("lastcall.drain.left", e.Left), attribute.Int("lastcall.drain.untold", e.Untold))
	d.span.AddEvent("progress", trace.WithAttributes(attributes...))
}

// drainFinished: the report knows which sessions were the drain's.
func (t *Tracing) drainFinished(e actors.DrainFinished) {
	d := t.drains[e.ID]
	if d == nil {
		return
	}
	d.update(e.DrainStatus)
	its := make(map[string]bool, len(e.Report.Sessions))
	for _, s := range e.Report.Sessions {
		its[s.ID] = true
	}
	t.conclude(e.ID, d, e.Totals, func(s ended) bool { return its[s.id] })
}

// update takes what may change in a drain's course: a standby that is resumed becomes a part.
func (d *drain) update(status actors.DrainStatus) {
	d.part, d.deadline = status.Part, status.Deadline
	d.span.SetAttributes(attribute.Bool("lastcall.drain.part", status.Part), attribute.Bool("lastcall.drain.standby", status.Standby))
}

// conclude links a drain's span to those of its sessions, and ends it.
func (t *Tracing) conclude(id string, d *drain, outcomes map[actors.Outcome]int, its func(ended) bool) {
	for _, s := range t.ended[max(0, d.first-t.dropped):] {
		if its(s) {
			d.span.AddLink(trace.Link{SpanContext: s.span, Attributes: []attribute.KeyValue{text("lastcall.session.id", s.id)}})
		}
	}
	d.span.SetAttributes(totals(outcomes)...)
	if n := outcomes[actors.Killed]; n > 0 {
		d.span.SetStatus(codes.Error, fmt.Sprintf("%d sessions had to be killed", n))
	}
	d.span.End()
	delete(t.drains, id)
	if len(t.drains) == 0 {
		t.ended, t.dropped = nil, 0
	}
}

// countEnd counts a session for the drains under way.
func (t *Tracing) countEnd(outcome actors.Outcome) {
	for _, d := range t.drains {
		d.totals[outcome]++
	}
}

// rememberEnd keeps a session's span for the drains under way: each learns at its end whether the session
// was one of its own.
func (t *Tracing) rememberEnd(id string, span trace.SpanContext) {
	if len(t.drains) == 0 {
		return
	}
	t.ended = append(t.ended, ended{id, span})
	if len(t.ended) > maxLinks {
		t.ended = t.ended[1:]
		t.dropped++
	}
}

func totals(outcomes map[actors.Outcome]int) (attributes []attribute.KeyValue) {
	for _, outcome := range actors.Outcomes() {
		if n := outcomes[outcome]; n > 0 {
			attributes = append(attributes, attribute.Int("lastcall.drain.outcome."+string(outcome), n))
		}
	}
	return attributes
}
