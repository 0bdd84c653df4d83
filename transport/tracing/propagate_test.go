package tracing_test

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/lastcall-go/lastcall/transport/tracing"
)

// spanned is a context with the client's span.
func spanned(ctx context.Context) context.Context {
	traceID, _ := trace.TraceIDFromHex(clientTrace)
	spanID, _ := trace.SpanIDFromHex(clientSpan)
	return trace.ContextWithSpanContext(ctx, trace.NewSpanContext(trace.SpanContextConfig{TraceID: traceID, SpanID: spanID, TraceFlags: trace.FlagsSampled}))
}

// intercepted is the metadata with which a stream is opened.
func intercepted(t *testing.T, ctx context.Context) metadata.MD {
	t.Helper()
	var sent metadata.MD
	streamer := func(ctx context.Context, _ *grpc.StreamDesc, _ *grpc.ClientConn, method string, _ ...grpc.CallOption) (grpc.ClientStream, error) {
		sent, _ = metadata.FromOutgoingContext(ctx)
		if method != "/m" {
			t.Errorf("the method is %s", method)
		}
		return nil, nil
	}
	if _, err := tracing.Interceptor(ctx, nil, nil, "/m", streamer); err != nil {
		t.Fatal(err)
	}
	return sent
}

func TestAStreamsMetadataGetsTheTraceOfItsContext(t *testing.T) {
	given := metadata.Pairs("authorization", "Bearer x", "traceparent", "somebody's")
	sent := intercepted(t, spanned(metadata.NewOutgoingContext(context.Background(), given)))
	if got := sent.Get("traceparent"); len(got) != 1 || got[0] != traceparent(clientTrace, clientSpan) {
		t.Errorf("traceparent is %q", got)
	}
	if len(sent.Get("authorization")) != 1 || given.Get("traceparent")[0] != "somebody's" {
		t.Errorf("the metadata is %v, and what was given became %v", sent, given)
	}
	if got := intercepted(t, spanned(context.Background())); got.Get("traceparent") == nil {
		t.Error("without other metadata there is no traceparent")
	}
}

func TestWithoutATraceNothingIsAdded(t *testing.T) {
	if got := intercepted(t, context.Background()); got != nil {
		t.Errorf("a stream's metadata is %v", got)
	}
	if got := passedOn(t, context.Background()); len(got) != 0 {
		t.Errorf("a request's headers are %v", got)
	}
}

func TestTheRequestItselfIsNotChanged(t *testing.T) {
	given := request("Traceparent", "somebody's").WithContext(spanned(context.Background()))
	var sent http.Header
	_, _ = tracing.RoundTripper(roundTrip(func(r *http.Request) (*http.Response, error) {
		sent = r.Header
		return nil, nil
	})).RoundTrip(given)
	if sent.Get("Traceparent") != traceparent(clientTrace, clientSpan) || given.Header.Get("Traceparent") != "somebody's" {
		t.Errorf("sent is %v, and the request became %v", sent, given.Header)
	}
}

func TestRecordsGetTheTraceOfTheirContext(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(tracing.LogHandler(slog.NewTextHandler(&out, nil))).With("a", 1)
	log.InfoContext(spanned(context.Background()), "traced")
	log.Info("untraced")
	lines := strings.Split(out.String(), "\n")
	if !strings.Contains(lines[0], "a=1 trace_id="+clientTrace) {
		t.Errorf("the record is %s", lines[0])
	}
	if strings.Contains(lines[1], "trace_id") {
		t.Errorf("the record is %s", lines[1])
	}
	out.Reset()
	log.WithGroup("g").InfoContext(spanned(context.Background()), "grouped")
	if !strings.Contains(out.String(), "g.trace_id="+clientTrace) {
		t.Errorf("the record is %s", out.String())
	}
}
