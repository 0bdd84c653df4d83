package actors_test

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/proto/dap"
)

// fakeClient is a client in memory. What it does is up to the test, by the channels' other ends.
type fakeClient struct {
	events   chan *dap.ClientEvent // what the client says
	failure  chan error            // ends Receive with this error
	actions  chan *dap.Action      // what it is sent
	closed   chan closeFrame       // the close frames it was sent
	answer   chan struct{}         // closed: it answers the close frame
	aborted  chan struct{}
	abort    sync.Once
	onAbort  func()
	onCancel func()
}

type closeFrame struct {
	code   int
	reason string
}

var errCut = errors.New("connection cut")

func newFakeClient() *fakeClient {
	c := &fakeClient{
		events:  make(chan *dap.ClientEvent, 8),
		failure: make(chan error, 1),
		actions: make(chan *dap.Action, 8),
		closed:  make(chan closeFrame, 8),
		answer:  make(chan struct{}),
		aborted: make(chan struct{}),
	}
	return c
}

func (c *fakeClient) Receive() (*dap.ClientEvent, error) {
	select {
	case ev := <-c.events:
		return ev, nil
	case err := <-c.failure:
		return nil, err
	case <-c.aborted:
		return nil, errCut
	}
}

func (c *fakeClient) Send(a *dap.Action) error {
	select {
	case c.actions <- a:
		return nil
	case <-c.aborted:
		return errCut
	}
}

func (c *fakeClient) Close(code int, reason string) error {
	c.closed <- closeFrame{code, reason}
	select {
	case <-c.answer:
		return nil
	case <-c.aborted:
		return errCut
	}
}

func (c *fakeClient) Abort() {
	c.abort.Do(func() { close(c.aborted) })
	if c.onAbort != nil {
		c.onAbort()
	}
}

// fakeAgent opens fakeStreams.
type fakeAgent struct {
	opened chan *fakeStream
	open   func(ctx context.Context) error // nil: at once
}

func newFakeAgent() *fakeAgent { return &fakeAgent{opened: make(chan *fakeStream, 1)} }

func (a *fakeAgent) Open(ctx context.Context) (actors.Stream, error) {
	if a.open != nil {
		if err := a.open(ctx); err != nil {
			return nil, err
		}
	}
	s := &fakeStream{
		ctx:    ctx,
		got:    make(chan *dap.ClientEvent, 8),
		says:   make(chan *dap.Action),
		ending: make(chan error, 1),
	}
	a.opened <- s
	return s, nil
}

// fakeStream is the agent's end of one session.
type fakeStream struct {
	ctx    context.Context
	got    chan *dap.ClientEvent // what the session sent
	says   chan *dap.Action      // what the agent says
	ending chan error            // how it ends; io.EOF is in order
}

func (s *fakeStream) Send(ev *dap.ClientEvent) error {
	select {
	case s.got <- ev:
		return nil
	case <-s.ctx.Done():
		return io.EOF
	}
}

func (s *fakeStream) Receive() (*dap.Action, error) {
	select {
	case a := <-s.says:
		return a, nil
	case err := <-s.ending:
		return nil, err
	case <-s.ctx.Done():
		return nil, s.ctx.Err()
	}
}

func startRequest(workflow string) *dap.ClientEvent {
	return &dap.ClientEvent{Response: &dap.ClientEvent_StartRequest{StartRequest: &dap.StartWorkflowRequest{WorkflowID: workflow}}}
}
