package client

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/lastcall-go/lastcall/proto/dap"
)

// maxPending is how many actions may wait for their turn. An agent has one outstanding; past the
// bound reading pauses until one is answered.
const maxPending = 16

// session is one connection being served. Its state belongs to the goroutine in serve, which never
// blocks on the wire or on the user's code: a long action must delay neither the answer to a ping
// nor the close.
type session struct {
	conn *Conn
	cfg  *Config

	received bool // an action came: the connection was of use
	pending  []*dap.Action
	busy     bool // an action is being answered

	answered chan struct{}
	beaten   chan struct{} // a heartbeat was sent
	work     sync.WaitGroup
}

func newSession(conn *Conn, cfg *Config) *session {
	return &session{conn: conn, cfg: cfg, answered: make(chan struct{}, 1), beaten: make(chan struct{}, 1)}
}

// serve answers actions until the connection ends and returns how it did. If ctx is done it closes
// the connection with 1000.
func (s *session) serve(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer s.work.Wait()
	defer cancel()
	heartbeat := time.NewTimer(s.cfg.Heartbeat)
	defer heartbeat.Stop()
	for {
		s.startNext(ctx)
		select {
		case action := <-s.incoming():
			s.take(action)
		case <-s.answered:
			s.busy = false
		case <-heartbeat.C:
			s.work.Go(s.beat)
		case <-s.beaten:
			heartbeat.Reset(s.cfg.Heartbeat)
		case <-s.conn.done:
			return s.conn.err
		case <-ctx.Done():
			s.conn.Close(codeNormal, "")
			return ctx.Err()
		}
	}
}

func (s *session) incoming() <-chan *dap.Action {
	if len(s.pending) == maxPending {
		return nil
	}
	return s.conn.actions
}

func (s *session) take(action *dap.Action) {
	s.received = true
	s.cfg.Observe(Received{Action: action})
	if action.GetNewCheckpoint() == nil {
		s.pending = append(s.pending, action)
	}
}

func (s *session) startNext(ctx context.Context) {
	if s.busy || len(s.pending) == 0 {
		return
	}
	action := s.pending[0]
	s.pending[0] = nil
	s.pending = s.pending[1:]
	s.busy = true
	s.work.Go(func() {
		s.answer(ctx, action)
		s.answered <- struct{}{}
	})
}

// answer has one action answered. A send that fails is no concern of it: the connection is then
// over, and reading says why.
func (s *session) answer(ctx context.Context, action *dap.Action) {
	answer := failure("this client answers no actions")
	if s.cfg.Handle != nil {
		answer = s.cfg.Handle(ctx, action)
	}
	if answer == nil {
		return
	}
	answer.RequestID = action.RequestID
	message, err := encode(answerEvent(answer))
	if err != nil {
		// The agent waits for an answer, and this one can't be sent.
		answer = failure("the answer can't be sent: " + err.Error())
		answer.RequestID = action.RequestID
		message, err = encode(answerEvent(answer))
	}
	if err != nil {
		return
	}
	defer message.Free()
	// Cancelling a write cuts the connection, where it should be closed properly.
	_ = s.conn.write(context.WithoutCancel(ctx), message)
}

func failure(text string) *dap.ActionResponse {
	plain := &dap.PlainTextResponse{Error: strings.ToValidUTF8(text, "\uFFFD")}
	return &dap.ActionResponse{ResponseType: &dap.ActionResponse_PlainTextResponse{PlainTextResponse: plain}}
}

// beat sends a heartbeat. As with answers, reading says why it failed.
func (s *session) beat() {
	_ = s.conn.Send(context.Background(), heartbeatEvent(time.Now()))
	s.beaten <- struct{}{}
}
