package tracing

import (
	"context"
	"net/http"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// maxTraceState is how many bytes of a tracestate are passed on: as many as W3C Trace Context,
// section 3.3.1.5, wants to be. A longer one is dropped; the trace goes on without.
const maxTraceState = 512

// extract returns ctx with the client's span in it, if the request names one.
func extract(ctx context.Context, header http.Header) context.Context {
	ctx = propagation.TraceContext{}.Extract(ctx, propagation.HeaderCarrier(header))
	client := trace.SpanContextFromContext(ctx)
	if len(client.TraceState().String()) > maxTraceState {
		ctx = trace.ContextWithRemoteSpanContext(ctx, client.WithTraceState(trace.TraceState{}))
	}
	return ctx
}

// Interceptor passes the trace of a stream's context on in the stream's metadata. It is
// [agentpool.Options].Interceptor.
func Interceptor(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, streamer grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	if trace.SpanContextFromContext(ctx).IsValid() {
		sent, _ := metadata.FromOutgoingContext(ctx) // a copy
		sent = metadata.Join(sent)                   // or nil
		propagation.TraceContext{}.Inject(ctx, carrier(sent))
		ctx = metadata.NewOutgoingContext(ctx, sent)
	}
	return streamer(ctx, desc, conn, method, opts...)
}

// carrier makes a propagator's carrier of metadata.
type carrier metadata.MD

func (c carrier) Get(string) string     { return "" } // nothing is extracted
func (c carrier) Set(key, value string) { metadata.MD(c).Set(key, value) }
func (c carrier) Keys() []string        { return nil }

// RoundTripper passes the trace of a request's context on in the request's headers, in place of what
// is there. It is for the tools' Transport.
func RoundTripper(next http.RoundTripper) http.RoundTripper { return roundTripper{next} }

type roundTripper struct{ next http.RoundTripper }

// RoundTrip implements [http.RoundTripper].
func (t roundTripper) RoundTrip(r *http.Request) (*http.Response, error) {
	if trace.SpanContextFromContext(r.Context()).IsValid() {
		r = r.Clone(r.Context()) // a round tripper must not change the request
		propagation.TraceContext{}.Inject(r.Context(), propagation.HeaderCarrier(r.Header))
	}
	return t.next.RoundTrip(r)
}
