package loadtest

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/coder/websocket"

	"github.com/lastcall-go/lastcall/proto/dap"
	"github.com/lastcall-go/lastcall/transport/client"
)

const closeNormal = int(websocket.StatusNormalClosure)

// maxAsked is how many unanswered actions are remembered: agents have one at a time. What is past
// it stays unanswered.
const maxAsked = 16

// session is one client. Between hold and release it belongs to a goroutine that reads, so that
// pings and close frames are answered; else to the caller of release.
type session struct {
	fleet *Fleet
	conn  *client.Conn

	begun    time.Time     // connecting
	heard    chan struct{} // closed with the first action
	silent   bool          // until then
	first    time.Duration // from begun to it
	asked    []string      // request IDs that wait for an answer
	answered time.Time     // when the round trip that is under way began; zero: none is

	release context.CancelFunc
	held    chan struct{} // closed when hold's goroutine has returned
	ended   chan struct{} // closed when the connection has ended, for good
	how     error         // set before
}

func newSession(f *Fleet, conn *client.Conn, begun time.Time) *session {
	return &session{
		fleet:  f,
		conn:   conn,
		begun:  begun,
		heard:  make(chan struct{}),
		silent: true,
		ended:  make(chan struct{}),
	}
}

// hold reads, and answers nothing, until release is called or the connection ends.
func (s *session) hold() {
	ctx, cancel := context.WithCancel(s.fleet.life)
	s.release, s.held = cancel, make(chan struct{})
	go func() {
		defer close(s.held)
		defer cancel()
		err := s.receive(ctx)
		for err == nil {
			err = s.receive(ctx)
		}
		if connectionEnded(err) {
			s.finish(err)
		}
	}()
}

// take takes a session over from its goroutine. It reports whether it is still open.
func (s *session) take() bool {
	s.release()
	<-s.held
	return !s.over()
}

func (s *session) over() bool {
	select {
	case <-s.ended:
		return true
	default:
		return false
	}
}

// receive takes the agent's next action.
func (s *session) receive(ctx context.Context) error {
	action, err := s.conn.Receive(ctx)
	if err != nil {
		return err
	}
	if s.silent {
		s.silent, s.first = false, time.Since(s.begun)
		close(s.heard)
	}
	if action.GetNewCheckpoint() == nil && len(s.asked) < maxAsked {
		s.asked = append(s.asked, action.GetRequestID())
	}
	return nil
}

// finish notes how the connection ended.
func (s *session) finish(err error) {
	s.conn.Cut()
	s.how = err
	if !s.silent {
		s.fleet.count(err)
	}
	close(s.ended)
}

// reopen begins a new workflow in place of one that is done.
func (s *session) reopen(ctx context.Context) error {
	s.conn.Cut()
	conn, err := s.fleet.dial(ctx)
	if err != nil {
		return err
	}
	s.conn, s.asked, s.answered = conn, s.asked[:0], time.Time{}
	s.fleet.opened.Add(1)
	return nil
}

// answer answers what the agent has asked, which begins a round trip, and returns the number of
// messages that took.
func (s *session) answer(ctx context.Context) (int, error) {
	if len(s.asked) == 0 {
		return 0, nil
	}
	s.answered = time.Now()
	for i, requestID := range s.asked {
		if err := s.conn.Send(ctx, answerTo(requestID, s.fleet.answer)); err != nil {
			return i, err
		}
	}
	n := len(s.asked)
	s.asked = s.asked[:0]
	return n, nil
}

func answerTo(requestID, text string) *dap.ClientEvent {
	return &dap.ClientEvent{Response: &dap.ClientEvent_ActionResponse{ActionResponse: &dap.ActionResponse{
		RequestID:    requestID,
		ResponseType: &dap.ActionResponse_PlainTextResponse{PlainTextResponse: &dap.PlainTextResponse{Response: text}},
	}}}
}

// connectionEnded distinguishes an error that says how a connection ended from one that says that a call
// has given up waiting.
func connectionEnded(err error) bool {
	var closed *client.CloseError
	return errors.As(err, &closed) || errors.Is(err, net.ErrClosed)
}

// completed reports whether the connection ended because the workflow did.
func completed(err error) bool {
	var closed *client.CloseError
	return errors.As(err, &closed) && closed.Code == closeNormal
}
