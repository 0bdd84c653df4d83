// Package tracktool reports the model calls of a self-hosted installation to a cloud service: it
// runs the agent's trackLlmCallForSelfHosted actions.
package tracktool

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc/metadata"

	"github.com/lastcall-go/lastcall/actors/relay"
	"github.com/lastcall-go/lastcall/proto/dap"
)

// Opener opens a stream to the cloud service. The stream must end when ctx is done, and so must
// the attempt to open it. The metadata to send is in ctx.
type Opener func(ctx context.Context) (dap.DuoWorkflow_TrackSelfHostedExecuteWorkflowClient, error)

// Tool reports the model calls of one session. It takes every trackLlmCallForSelfHosted. The stream
// is opened by the first call and kept; when it has ended, the calls that wait for an answer fail,
// and the next one opens another. It costs one goroutine.
type Tool struct {
	open    Opener
	headers metadata.MD
	life    context.Context // of the streams, from Open on
	cut     context.CancelFunc

	turn   chan struct{} // full while the stream is opened, written to or closed, each of which may block
	stream *stream       // nil: none was needed yet
	closed bool
}

var (
	errClosed    = errors.New("tracking is closed")
	errDuplicate = errors.New("a tracking call with this requestID is running")
)

var _ relay.Tool = (*Tool)(nil)

// New makes a tool that opens its streams with open, and sends headers as their metadata.
func New(open Opener, headers map[string]string) *Tool {
	return &Tool{open: open, headers: metadata.New(headers), turn: make(chan struct{}, 1)}
}

// Open implements [relay.Tool]: the stream is opened when it is needed. It has the
// values of ctx, and not its end.
func (t *Tool) Open(ctx context.Context, _ *dap.StartWorkflowRequest) error {
	t.life, t.cut = context.WithCancel(context.WithoutCancel(ctx))
	return nil
}

// Takes reports whether action is a trackLlmCallForSelfHosted.
func (t *Tool) Takes(action *dap.Action) bool { return action.GetTrackLlmCallForSelfHosted() != nil }

// Run reports one model call, and answers with an empty text once the service has acknowledged it.
// Calls that run at the same time must differ in their requestID. An error names the gRPC code of
// the service at most. It returns once ctx is done.
func (t *Tool) Run(ctx context.Context, action *dap.Action) (*dap.ActionResponse, error) {
	id, report := action.GetRequestID(), action.GetTrackLlmCallForSelfHosted()
	s, answered, err := t.send(ctx, &dap.TrackSelfHostedClientEvent{
		RequestID:            id,
		WorkflowID:           report.GetWorkflowID(),
		FeatureQualifiedName: report.GetFeatureQualifiedName(),
		FeatureAiCatalogItem: report.GetFeatureAiCatalogItem(),
	})
	if err != nil {
		return nil, err
	}
	defer s.forget(id, answered)
	if err := s.wait(ctx, answered); err != nil {
		return nil, err
	}
	return &dap.ActionResponse{ResponseType: &dap.ActionResponse_PlainTextResponse{PlainTextResponse: &dap.PlainTextResponse{}}}, nil
}

// Close ends the stream in order, and cuts it once ctx is done. The service has until then to end
// its side. Nothing of the tool is left after it.
func (t *Tool) Close(ctx context.Context) error {
	stop := context.AfterFunc(ctx, t.cut)
	defer stop()
	defer t.cut()
	t.turn <- struct{}{} // what holds it is over when the streams are cut
	t.closed = true
	s := t.stream
	if s != nil {
		_ = s.CloseSend() // a stream that broke has ended
	}
	<-t.turn
	if s != nil {
		<-s.ended
	}
	return nil
}

// send puts a report on the stream, opening one if there is none. Whoever waits too long for
// either breaks the stream, since gRPC can't cancel a Send alone.
func (t *Tool) send(ctx context.Context, report *dap.TrackSelfHostedClientEvent) (*stream, <-chan struct{}, error) {
	select {
	case t.turn <- struct{}{}:
		defer func() { <-t.turn }()
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	if t.closed {
		return nil, nil, errClosed
	}
	s, err := t.current(ctx)
	if err != nil {
		return nil, nil, err
	}
	answered, ok := s.expect(report.GetRequestID())
	if !ok {
		return nil, nil, errDuplicate
	}
	stop := context.AfterFunc(ctx, s.cut)
	defer stop()
	if err := s.Send(report); err != nil && err != io.EOF { // the stream's end says more of it
		s.cut()
	}
	return s, answered, nil
}

// current returns the stream, or a new one where it has ended.
func (t *Tool) current(ctx context.Context) (*stream, error) {
	if t.stream != nil && !t.stream.over() {
		return t.stream, nil
	}
	life, cut := context.WithCancel(metadata.NewOutgoingContext(t.life, t.headers))
	stop := context.AfterFunc(ctx, cut)
	client, err := t.open(life)
	if err != nil {
		cut()
		return nil, explain(ctx, err)
	}
	t.stream = listen(client, cut)
	if !stop() {
		return nil, ctx.Err()
	}
	return t.stream, nil
}
