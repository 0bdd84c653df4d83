package actors

import (
	"context"
	"errors"
	"io"

	"github.com/lastcall-go/lastcall/proto/dap"
)

// This file holds what a session's goroutines do. Each method runs on a goroutine of its own and
// returns the session's next message; none touches what the actor changes. The lease is theirs:
// openAgent sets it before it says so, and releaseLease starts after that.

// readClient is the pump from client to agent. It holds one message at a time, and while the agent
// takes no more it reads no more.
func (s *session) readClient() message {
	start, err := s.Client.Receive()
	if err == nil && start.GetStartRequest() == nil {
		err = &Fault{Code: startExpected.code, Reason: startExpected.reason}
	}
	if err == nil {
		s.post(message{event: event{kind: startReceived}, start: start})
	}
	for err == nil {
		var next *dap.ClientEvent
		if next, err = s.Client.Receive(); err == nil {
			s.out.send(next)
		}
	}
	return message{event: clientEvent(err), err: unlessClosed(err)}
}

// unlessClosed: a client that says goodbye is no error.
func unlessClosed(err error) error {
	if errors.As(err, new(*ClosedError)) {
		return nil
	}
	return err
}

// openAgent takes the lease, opens the agent's stream and puts the startRequest on it.
func (s *session) openAgent(start *dap.ClientEvent) message {
	opened := false
	defer func() {
		if !opened { // also after a panic: the client's pump may be waiting
			s.out.abandon()
		}
	}()
	stream, err := s.openStream(start.GetStartRequest().GetWorkflowID())
	if err == nil && !s.out.start(stream, start) {
		err = context.Canceled // stopped meanwhile; the stream ends with its context
	}
	if err != nil {
		return message{event: event{kind: openFailed, done: openAgent, end: faultEnding(err)}, err: err}
	}
	opened = true
	return message{event: event{kind: agentOpened, done: openAgent}, stream: stream}
}

func (s *session) openStream(workflow string) (Stream, error) {
	if s.Leaser != nil && workflow != "" {
		lease, err := s.Leaser.Acquire(s.stream, workflow)
		if err != nil {
			return nil, err
		}
		s.lease = lease
		s.post(message{event: event{kind: leaseTaken}})
	}
	return s.Agent.Open(s.stream)
}

// receiveAgent is the pump from agent to client. What the agent said before its end is delivered
// before that end is reported. Once the client is lost it goes on without it: the agent's end must
// be seen.
func (s *session) receiveAgent(stream Stream) message {
	lost := false
	for {
		action, err := stream.Receive()
		if err != nil {
			return message{event: event{kind: agentEnded, done: receiveAgent, end: agentEnding(err)}, err: unlessCompleted(err)}
		}
		if lost {
			continue
		}
		if err := s.Client.Send(action); err != nil {
			lost = true
			s.post(message{event: sendEvent(err), err: err})
		}
	}
}

func unlessCompleted(err error) error {
	if err == io.EOF {
		return nil
	}
	return err
}

// stopAgent sends stopWorkflow; the agent's end, which receiveAgent sees, acknowledges it. Where
// no workflow was started there is nothing to acknowledge.
func (s *session) stopAgent(reason string) message {
	if !s.out.stop(reason) {
		s.sever()
	}
	return message{event: event{kind: stopSent, done: sendStop}}
}

// releaseLease leaves at least half of the close timeout to the client.
func (s *session) releaseLease() message {
	lease := s.lease
	s.lease = nil
	ctx, cancel := context.WithTimeout(context.Background(), s.limits.CloseTimeout/2)
	defer cancel()
	err := lease.Release(ctx)
	return message{event: event{kind: leaseReleased, done: releaseLease}, err: err}
}

func (s *session) tellClient(end ending) message {
	err := s.Client.Close(end.code, end.reason)
	return message{event: event{kind: clientTold, done: tellClient}, err: err}
}
