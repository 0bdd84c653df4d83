package tracing_test

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// receiver takes spans over OTLP, on a real socket.
type receiver struct {
	collector.UnimplementedTraceServiceServer
	address string
	server  *grpc.Server

	mu       sync.Mutex
	hangs    bool // it takes exports and never answers
	refuses  bool // it answers them with an error
	refused  int
	all      []*otlp.Span
	resource map[string]string
	headers  metadata.MD // of the last export
}

func newReceiver(t *testing.T, options ...grpc.ServerOption) *receiver {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &receiver{address: listener.Addr().String(), server: grpc.NewServer(options...)}
	collector.RegisterTraceServiceServer(r.server, r)
	served := make(chan error, 1)
	go func() { served <- r.server.Serve(listener) }()
	t.Cleanup(func() {
		r.server.Stop()
		<-served
	})
	return r
}

// nowhere is an address without a listener.
func nowhere(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

func (r *receiver) Export(ctx context.Context, request *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.hangs {
		r.mu.Unlock()
		<-ctx.Done()
		r.mu.Lock()
		return nil, ctx.Err()
	}
	if r.refuses {
		r.refused++
		return nil, status.Error(codes.Internal, "refused")
	}
	r.headers, _ = metadata.FromIncomingContext(ctx)
	for _, resource := range request.GetResourceSpans() {
		r.resource = attributes(resource.GetResource().GetAttributes())
		for _, scope := range resource.GetScopeSpans() {
			r.all = append(r.all, scope.GetSpans()...)
		}
	}
	return &collector.ExportTraceServiceResponse{}, nil
}

func (r *receiver) behave(hangs, refuses bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hangs, r.refuses = hangs, refuses
}

func (r *receiver) refusals() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.refused
}

// spans are those of this name that were received.
func (r *receiver) spans(name string) (found []*otlp.Span) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, span := range r.all {
		if span.GetName() == name {
			found = append(found, span)
		}
	}
	return found
}

// span is the only one of this name.
func (r *receiver) span(t *testing.T, name string) *otlp.Span {
	t.Helper()
	found := r.spans(name)
	if len(found) != 1 {
		t.Fatalf("%d spans %q were received, want 1", len(found), name)
	}
	return found[0]
}

func attributes(list []*common.KeyValue) map[string]string {
	found := make(map[string]string)
	for _, attribute := range list {
		value := attribute.GetValue()
		switch v := value.GetValue().(type) {
		case *common.AnyValue_StringValue:
			found[attribute.GetKey()] = v.StringValue
		case *common.AnyValue_IntValue:
			found[attribute.GetKey()] = fmt.Sprint(v.IntValue)
		case *common.AnyValue_BoolValue:
			found[attribute.GetKey()] = fmt.Sprint(v.BoolValue)
		case *common.AnyValue_DoubleValue:
			found[attribute.GetKey()] = fmt.Sprint(v.DoubleValue)
		default:
			found[attribute.GetKey()] = value.String()
		}
	}
	return found
}

func wantAttributes(t *testing.T, of []*common.KeyValue, want map[string]string) {
	t.Helper()
	got := attributes(of)
	for key, value := range want {
		if got[key] != value {
			t.Errorf("attribute %s is %q, want %q", key, got[key], value)
		}
	}
}

func wantStatus(t *testing.T, span *otlp.Span, code otlp.Status_StatusCode, message string) {
	t.Helper()
	if got := span.GetStatus(); got.GetCode() != code || got.GetMessage() != message {
		t.Errorf("the span's status is %v %q, want %v %q", got.GetCode(), got.GetMessage(), code, message)
	}
}

func eventNames(span *otlp.Span) (names []string) {
	for _, event := range span.GetEvents() {
		names = append(names, event.GetName())
	}
	return names
}

// linked are the sessions that a drain's span says it ended, in order.
func linked(drain *otlp.Span) []string {
	ids := []string{}
	for _, link := range drain.GetLinks() {
		ids = append(ids, attributes(link.GetAttributes())["lastcall.session.id"])
	}
	slices.Sort(ids)
	return ids
}
