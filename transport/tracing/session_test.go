package tracing_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/transport/requestid"
)

// session is one that starts and completes, for a request with these headers.
func (w *watched) session(id string, headers ...string) {
	w.broadcast(
		actors.SessionStarted{ID: id, At: time.Now(), Info: actors.Info{Context: w.tracing.Context(request(headers...))}},
		actors.SessionStopped{SessionReport: actors.SessionReport{ID: id, Outcome: actors.Completed}},
	)
}

func TestTheEndOfASessionIsInItsSpan(t *testing.T) {
	long := strings.Repeat("x", 5000)
	for name, c := range map[string]struct {
		stopped actors.SessionStopped
		code    otlp.Status_StatusCode
		message string
	}{
		"failed": {
			actors.SessionStopped{SessionReport: actors.SessionReport{Outcome: actors.Failed}, Code: 1011, Reason: "internal error", Err: errors.New("no route\nsecond line")},
			otlp.Status_STATUS_CODE_ERROR, "no route",
		},
		"cancelled, with a reason alone": {
			actors.SessionStopped{SessionReport: actors.SessionReport{Outcome: actors.Cancelled}, Code: 1001, Reason: "server shutdown"},
			otlp.Status_STATUS_CODE_ERROR, "server shutdown",
		},
		"killed": {
			actors.SessionStopped{SessionReport: actors.SessionReport{Outcome: actors.Killed}},
			otlp.Status_STATUS_CODE_ERROR, "killed",
		},
		"a panic, without its stack": {
			actors.SessionStopped{SessionReport: actors.SessionReport{Outcome: actors.Failed}, Err: &actors.PanicError{Value: "oh", Stack: []byte("stack")}},
			otlp.Status_STATUS_CODE_ERROR, "panic: oh",
		},
		"a long error": {
			actors.SessionStopped{SessionReport: actors.SessionReport{Outcome: actors.Failed}, Err: errors.New(long)},
			otlp.Status_STATUS_CODE_ERROR, long[:1024],
		},
		"client gone": {actors.SessionStopped{SessionReport: actors.SessionReport{Outcome: actors.ClientGone}, Err: errors.New("reset")}, otlp.Status_STATUS_CODE_UNSET, ""},
		"refused":     {actors.SessionStopped{SessionReport: actors.SessionReport{Outcome: actors.Refused}}, otlp.Status_STATUS_CODE_UNSET, ""},
		"text that isn't UTF-8": {
			actors.SessionStopped{SessionReport: actors.SessionReport{Outcome: actors.Failed, Workflow: "w\xff"}, Reason: "\xff", Err: errors.New("bad \xff byte")},
			otlp.Status_STATUS_CODE_ERROR, "bad \uFFFD byte",
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newReceiver(t)
			w := watch(t, "http://"+r.address)
			c.stopped.ID, c.stopped.Took = "a", actors.Seconds(1500*time.Millisecond)
			c.stopped.Traffic = actors.Traffic{Received: actors.Flow{Messages: 1, Bytes: 2}, Sent: actors.Flow{Messages: 3, Bytes: 4}}
			w.broadcast(actors.SessionStarted{ID: "a", At: time.Now(), Info: actors.Info{AgentName: "far", Context: w.tracing.Context(request())}}, c.stopped)
			w.drain(5 * time.Second)
			session := r.span(t, "session")
			wantStatus(t, session, c.code, c.message)
			wantAttributes(t, session.GetAttributes(), map[string]string{
				"lastcall.session.id": "a", "lastcall.agent": "far", "lastcall.outcome": string(c.stopped.Outcome),
				"lastcall.close.code": fmt.Sprint(c.stopped.Code), "lastcall.close.reason": strings.ToValidUTF8(c.stopped.Reason, "\uFFFD"),
				"lastcall.received.messages": "1", "lastcall.received.bytes": "2", "lastcall.sent.messages": "3", "lastcall.sent.bytes": "4",
				"lastcall.stop.seconds": "1.5",
			})
		})
	}
}

func TestASessionThatNeverStartsIsNotExportedAndLeavesNothing(t *testing.T) {
	r := newReceiver(t)
	w := watch(t, "http://"+r.address)
	freed := make(chan struct{})
	runtime.SetFinalizer(trace.SpanFromContext(w.tracing.Context(request())), func(trace.Span) { close(freed) })
	w.await("the span to be freed", func() bool {
		runtime.GC()
		select {
		case <-freed:
			return true
		default:
			return false
		}
	})
	w.drain(5 * time.Second)
	if got := len(r.spans("session")); got != 0 {
		t.Errorf("%d spans were exported", got)
	}
}

// A request whose ticket comes too late, or which isn't an upgrade, has no session.
func TestARefusedRequestHasNoSpan(t *testing.T) {
	r := newReceiver(t)
	h := open(t, "http://"+r.address, idle())
	response, err := http.Get(strings.Replace(h.url, "ws://", "http://", 1))
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	h.drain(5 * time.Second)
	if got := len(r.spans("session")); got != 0 {
		t.Errorf("%d spans were exported", got)
	}
}

func TestTheRequestsOwnValuesStay(t *testing.T) {
	w := watch(t, "http://"+newReceiver(t).address)
	type key struct{}
	ctx := w.tracing.Context(request().WithContext(context.WithValue(context.Background(), key{}, "there")))
	if ctx.Value(key{}) != "there" {
		t.Error("a value of the request's context is gone")
	}
	if got := requestid.Of(ctx); got != "" {
		t.Errorf("the request ID is %q", got)
	}
	w.drain(5 * time.Second)
}

// Somebody's middleware around the handler has begun a span for the request.
func TestTheSpanOfAMiddlewareIsTheParentAndIsLeftAlone(t *testing.T) {
	r, others := newReceiver(t), &ending{}
	w := watch(t, "http://"+r.address)
	id := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled})
	others.Span = trace.SpanFromContext(trace.ContextWithSpanContext(context.Background(), id))
	around := trace.ContextWithSpan(context.Background(), others)
	w.broadcast(
		actors.SessionStarted{ID: "a", At: time.Now(), Info: actors.Info{Context: w.tracing.Context(request("traceparent", traceparent(clientTrace, clientSpan)).WithContext(around))}},
		actors.SessionStopped{SessionReport: actors.SessionReport{ID: "a"}},
		actors.SessionStarted{ID: "b", At: time.Now(), Info: actors.Info{Context: around}}, // of a handler without Context
		actors.SessionStopped{SessionReport: actors.SessionReport{ID: "b"}},
	)
	w.drain(5 * time.Second)
	if got, _, parent := ids(r.span(t, "session")); got != id.TraceID().String() || parent != id.SpanID().String() {
		t.Errorf("the session's span is in trace %s below %s", got, parent)
	}
	if others.ended {
		t.Error("the middleware's span was ended")
	}
}

// ending is a span that knows whether it was ended.
type ending struct {
	trace.Span
	ended bool
}

func (e *ending) IsRecording() bool { return true }

func (e *ending) End(...trace.SpanEndOption) { e.ended = true }
