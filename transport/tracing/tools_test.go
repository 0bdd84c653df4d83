package tracing_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/lastcall-go/lastcall/actors/relay"
	"github.com/lastcall-go/lastcall/proto/dap"
)

// fakeTool plays run.
type fakeTool struct {
	relay.Tool
	run func(ctx context.Context) (*dap.ActionResponse, error)
}

func (f *fakeTool) Takes(action *dap.Action) bool { return action.GetGrep() != nil }

func (f *fakeTool) Run(ctx context.Context, _ *dap.Action) (*dap.ActionResponse, error) {
	return f.run(ctx)
}

func grep() *dap.Action {
	return &dap.Action{RequestID: "r1", Action: &dap.Action_Grep{Grep: &dap.Grep{Pattern: "secret"}}}
}

func plain(response, failure string) *dap.ActionResponse {
	return &dap.ActionResponse{ResponseType: &dap.ActionResponse_PlainTextResponse{PlainTextResponse: &dap.PlainTextResponse{Response: response, Error: failure}}}
}

func TestACallsSpanTellsWhatCameOfIt(t *testing.T) {
	web := func(status int32, failure string) *dap.ActionResponse {
		return &dap.ActionResponse{ResponseType: &dap.ActionResponse_HttpResponse{HttpResponse: &dap.HttpResponse{StatusCode: status, Error: failure}}}
	}
	for name, c := range map[string]struct {
		answer  *dap.ActionResponse
		err     error
		code    otlp.Status_StatusCode
		message string
	}{
		"an answer":           {plain("secret", ""), nil, otlp.Status_STATUS_CODE_UNSET, ""},
		"an error":            {nil, errors.New("timed out\nmore"), otlp.Status_STATUS_CODE_ERROR, "timed out"},
		"no answer":           {nil, nil, otlp.Status_STATUS_CODE_UNSET, ""},
		"an answer's error":   {plain("", "secret"), nil, otlp.Status_STATUS_CODE_ERROR, "the answer is an error"},
		"a request's error":   {web(0, "API request failed: refused"), nil, otlp.Status_STATUS_CODE_ERROR, "API request failed: refused"},
		"a status of the API": {web(404, ""), nil, otlp.Status_STATUS_CODE_UNSET, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := newReceiver(t)
			w := watch(t, "http://"+r.address)
			tool := w.tracing.Tools([]relay.Tool{&fakeTool{run: func(context.Context) (*dap.ActionResponse, error) { return c.answer, c.err }}})[0]
			answer, err := tool.Run(context.Background(), grep())
			if answer != c.answer || err != c.err {
				t.Errorf("the call returns %v, %v", answer, err)
			}
			w.drain(5 * time.Second)
			span := r.span(t, "tool grep")
			wantStatus(t, span, c.code, c.message)
			wantAttributes(t, span.GetAttributes(), map[string]string{"lastcall.tool.kind": "grep", "lastcall.tool.request_id": "r1"})
			if strings.Contains(span.String(), "secret") {
				t.Errorf("content is in the span: %v", span)
			}
		})
	}
}

func TestAPanicOfAToolPassesThroughAndEndsItsSpan(t *testing.T) {
	r := newReceiver(t)
	w := watch(t, "http://"+r.address)
	value := new(int)
	tool := w.tracing.Tools([]relay.Tool{&fakeTool{run: func(context.Context) (*dap.ActionResponse, error) { panic(value) }}})[0]
	func() {
		defer func() {
			if got := recover(); got != value {
				t.Errorf("the panic comes out as %v", got)
			}
		}()
		_, _ = tool.Run(context.Background(), grep())
	}()
	w.drain(5 * time.Second)
	wantStatus(t, r.span(t, "tool grep"), otlp.Status_STATUS_CODE_ERROR, "panic")
}

func TestACallRunsInItsSpan(t *testing.T) {
	r := newReceiver(t)
	w := watch(t, "http://"+r.address)
	var inside trace.SpanContext
	tool := w.tracing.Tools([]relay.Tool{&fakeTool{run: func(ctx context.Context) (*dap.ActionResponse, error) {
		inside = trace.SpanContextFromContext(ctx)
		return plain("", ""), nil
	}}})[0]
	if tool.Takes(&dap.Action{}) || !tool.Takes(grep()) {
		t.Error("the tool takes other actions than before")
	}
	_, _ = tool.Run(context.Background(), &dap.Action{})
	w.drain(5 * time.Second)
	if trace, id, _ := ids(r.span(t, "tool unknown")); inside.TraceID().String() != trace || inside.SpanID().String() != id {
		t.Error("the call's context doesn't carry its span")
	}
}

func TestNoToolsStayNoTools(t *testing.T) {
	w := watch(t, "http://"+newReceiver(t).address)
	if got := w.tracing.Tools(nil); len(got) != 0 {
		t.Errorf("%d tools", len(got))
	}
	w.drain(5 * time.Second)
}
