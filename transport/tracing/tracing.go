// Package tracing makes OpenTelemetry spans of sessions, tool calls and drains, and exports them with
// OTLP over gRPC:
//
//	"session"               kind server; child of the traceparent in the client's request
//	  "tool runHTTPRequest" kind internal; one for each action that runs in the gateway
//	"drain"                 a trace of its own, linked to the spans of the sessions that it ended
//
// A session's trace goes on at its agent, as metadata of the stream, and in the requests of its tools,
// as headers. That is W3C Trace Context: traceparent and tracestate. Baggage, which is the client's
// choice, goes nowhere.
//
// [New] makes a [Tracing]. Its parts go where sessions are made:
//
//	supervisor.Add("tracing", actors.AfterSessions, tracing)                 // first, to be stopped last
//	tracing.Follow(supervisor)
//	agentpool.Options{Interceptor: tracing.Interceptor}
//	transport.Handler{Context: tracing.Context, Tools: …tracing.Tools(tools)…}
//	httptool.Options{Transport: tracing.RoundTripper(http.DefaultTransport)} // and mcptool's
//
// Nothing of OpenTelemetry's global state is set. Its environment variables hold where the options
// leave something open: OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES, OTEL_TRACES_SAMPLER (without it
// all is sampled, unless the client's traceparent says otherwise), OTEL_BSP_*, OTEL_SPAN_*, and
// OTEL_EXPORTER_OTLP_* but for the endpoint.
package tracing

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
)

const (
	// maxQueue is how many spans may wait to be exported; a drain ends thousands in one second.
	maxQueue = 16 << 10

	// maxLinks is how many sessions a drain's span is linked to at most. As many are remembered while
	// drains are under way.
	maxLinks = 10_000

	// maxText is how many bytes of an attribute's value or of an error are kept.
	maxText = 1 << 10

	maxBackoff = 5 * time.Second // between two attempts to reach the receiver
)

// Options say where spans go, and which service sends them.
type Options struct {
	// Endpoint is the receiver: http://host:4317 for plaintext, https://host:4317 for TLS. Without a
	// port it is 4317.
	Endpoint string

	// ServiceName and Version are the resource's service.name and service.version. An empty name is
	// "lastcall". The environment goes first.
	ServiceName string
	Version     string

	// OnError is called when spans can't be exported: the first time, and then once they could be in
	// between. It is called by one goroutine at a time, and must not block. Nil: errors are dropped.
	OnError func(error)
}

// Tracing makes spans and exports them. Sessions never wait for it: spans that find no room are lost.
type Tracing struct {
	tracer    trace.Tracer
	processor sdk.SpanProcessor
	exporter  *exporter

	mu       sync.Mutex
	unfollow func()
	sessions map[string]trace.Span // by ID, if recorded
	drains   map[string]*drain     // by ID, those under way
	ended    []ended               // sessions that ended meanwhile, the last of them
	dropped  int                   // of ended, from its begin
}

// New checks the options; it doesn't connect. The receiver need not be there. The caller has to run
// Serve, which lets go of what New has made. An error says what is wrong with the endpoint, or with
// OTEL_RESOURCE_ATTRIBUTES.
func New(ctx context.Context, o Options) (*Tracing, error) {
	endpoint, err := parseEndpoint(o.Endpoint)
	if err != nil {
		return nil, err
	}
	described, err := describe(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("describe the service: %w", err)
	}
	if o.OnError == nil {
		o.OnError = func(error) {}
	}
	next, err := otlptracegrpc.New(ctx, otlptracegrpc.WithEndpointURL(endpoint), otlptracegrpc.WithRetry(retries()), otlptracegrpc.WithDialOption(dialing()))
	if err != nil {
		return nil, fmt.Errorf("start the exporter: %w", err)
	}
	t := &Tracing{
		exporter: newExporter(next, o.OnError),
		unfollow: func() {},
		sessions: make(map[string]trace.Span),
		drains:   make(map[string]*drain),
	}
	t.processor = sdk.NewBatchSpanProcessor(t.exporter, batching()...)
	provider := sdk.NewTracerProvider(sdk.WithSpanProcessor(t.processor), sdk.WithRawSpanLimits(limits()), sdk.WithResource(described))
	t.tracer = provider.Tracer("github.com/lastcall-go/lastcall", trace.WithInstrumentationVersion(o.Version))
	return t, nil
}

// describe is the resource. It fails if the environment's attributes are no list of key=value.
func describe(ctx context.Context, o Options) (*resource.Resource, error) {
	attributes := []attribute.KeyValue{text("service.name", cmp.Or(o.ServiceName, "lastcall"))}
	if o.Version != "" {
		attributes = append(attributes, text("service.version", o.Version))
	}
	return resource.New(ctx, resource.WithAttributes(attributes...), resource.WithTelemetrySDK(), resource.WithFromEnv())
}

// limits are the SDK's, raised for drains and lowered for what peers can choose.
func limits() sdk.SpanLimits {
	l := sdk.NewSpanLimits()
	if l.LinkCountLimit == sdk.DefaultLinkCountLimit {
		l.LinkCountLimit = maxLinks
	}
	if l.AttributeValueLengthLimit == sdk.DefaultAttributeValueLengthLimit {
		l.AttributeValueLengthLimit = maxText
	}
	return l
}

func batching() (options []sdk.BatchSpanProcessorOption) {
	if os.Getenv("OTEL_BSP_MAX_QUEUE_SIZE") == "" {
		options = append(options, sdk.WithMaxQueueSize(maxQueue))
	}
	return options
}

// retries are quicker than the SDK's, whose first comes after 5 s: a drain doesn't wait that long.
// OTEL_EXPORTER_OTLP_TIMEOUT, 10 s by default, bounds them all together.
func retries() otlptracegrpc.RetryConfig {
	return otlptracegrpc.RetryConfig{Enabled: true, InitialInterval: 250 * time.Millisecond, MaxInterval: maxBackoff, MaxElapsedTime: time.Minute}
}

// dialing finds a receiver that is back sooner than grpc-go would, which waits up to two minutes.
func dialing() grpc.DialOption {
	pause := backoff.DefaultConfig
	pause.MaxDelay = maxBackoff
	return grpc.WithConnectParams(grpc.ConnectParams{Backoff: pause, MinConnectTimeout: maxBackoff})
}
