package tracing

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	sdk "go.opentelemetry.io/otel/sdk/trace"
)

// exporter reports failures to OnError, where the SDK would write to the standard error, and can be cut. The
// batch processor calls it by one goroutine at a time.
type exporter struct {
	next    sdk.SpanExporter
	onError func(error)
	failing bool                       // the last export failed, and that was reported
	stall   atomic.Pointer[time.Timer] // set back by every export that succeeds. nil: none runs

	life   context.Context // of every export
	cut    context.CancelFunc
	closed chan struct{} // closed when nothing is left of it
}

func newExporter(next sdk.SpanExporter, onError func(error)) *exporter {
	e := &exporter{next: next, onError: onError, closed: make(chan struct{})}
	e.life, e.cut = context.WithCancel(context.Background())
	return e
}

// ExportSpans implements the SDK's SpanExporter. It returns no error: the SDK would hand it to its
// global handler.
func (e *exporter) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(e.life, cancel)
	defer stop()
	err := e.next.ExportSpans(ctx, spans)
	if err != nil && !e.failing {
		e.onError(fmt.Errorf("%d spans lost: %w", len(spans), err))
	}
	if stall := e.stall.Load(); stall != nil && err == nil {
		stall.Reset(flushLimit)
	}
	e.failing = err != nil
	return nil
}

// Shutdown implements the SDK's SpanExporter. The processor calls it after the last export.
func (e *exporter) Shutdown(ctx context.Context) error {
	defer close(e.closed)
	return e.next.Shutdown(ctx)
}
