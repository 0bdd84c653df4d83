package tracktool

import (
	"context"
	"errors"
	"io"
	"sync"

	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/grpc/status"

	"github.com/lastcall-go/lastcall/proto/dap"
)

// stream is a stream with the calls that wait for an answer on it.
type stream struct {
	dap.DuoWorkflow_TrackSelfHostedExecuteWorkflowClient
	cut   context.CancelFunc
	ended chan struct{} // closed when the stream has ended
	err   error         // how; written before ended is closed

	mu      sync.Mutex
	waiting map[string]chan struct{} // by requestID; closed by the answer
}

// listen receives answers until the stream ends.
func listen(client dap.DuoWorkflow_TrackSelfHostedExecuteWorkflowClient, cut context.CancelFunc) *stream {
	s := &stream{client, cut, make(chan struct{}), nil, sync.Mutex{}, make(map[string]chan struct{})}
	go func() {
		defer close(s.ended)
		defer cut()
		for {
			answer, err := client.Recv()
			if err != nil {
				s.err = explain(context.Background(), err)
				return
			}
			s.answer(answer.GetRequestID())
		}
	}()
	return s
}

func (s *stream) over() bool {
	select {
	case <-s.ended:
		return true
	default:
		return false
	}
}

// expect registers a waiter for the answer to id. It reports false if there is one already.
func (s *stream) expect(id string) (<-chan struct{}, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting[id] != nil {
		return nil, false
	}
	answered := make(chan struct{})
	s.waiting[id] = answered
	return answered, true
}

// answer wakes the waiter for id. An answer that is not awaited, or came too late, is
// dropped.
func (s *stream) answer(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if answered := s.waiting[id]; answered != nil {
		delete(s.waiting, id)
		close(answered)
	}
}

// forget drops a waiter, but not a later one with the same id.
func (s *stream) forget(id string, answered <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting[id] == answered {
		delete(s.waiting, id)
	}
}

// wait returns when the answer has come, the stream has ended or ctx is done.
func (s *stream) wait(ctx context.Context, answered <-chan struct{}) error {
	select {
	case <-answered:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-s.ended:
	}
	select {
	case <-answered: // the last thing before the end
		return nil
	default:
	}
	if ctx.Err() != nil { // the call itself may have cut the stream
		return ctx.Err()
	}
	return s.err
}

// explain names the code of a status and no more: its message may hold addresses.
func explain(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, io.EOF):
		return errors.New("the tracking service ended the stream")
	}
	return errors.New("tracking failed: " + code.Code(status.Code(err)).String())
}
