package relay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/proto/dap"
)

// This file holds what a session's goroutines do. Each method runs on a goroutine of its own and
// returns the session's next message; none touches what the actor changes. The lease is theirs:
// openAgent sets it before it says so and before anything is relayed, and release starts after that.

// toolGrace is how long cancelled tool calls have to return before the agent gets stopWorkflow without
// their answers.
const toolGrace = time.Second

// readClient receives the first message. Then relayClient goes on.
func (s *session) readClient() *message {
	start, err := s.readStart()
	if err != nil {
		return s.clientEnded(err)
	}
	return &message{event: event{kind: startReceived}, start: start}
}

// relayClient is the pump from client to agent. It holds one message at a time, and while the agent
// takes no more it reads no more. It runs on a goroutine of its own, whose stack is small: that of
// readClient has grown with the first message, which alone is decoded, and would stay large for hours.
func (s *session) relayClient() *message {
	for {
		next, err := s.Client.Receive()
		if err == nil {
			err = s.relay(next)
		}
		if err != nil {
			return s.clientEnded(err)
		}
	}
}

func (s *session) clientEnded(err error) *message {
	s.requests.refused(err)
	return &message{event: clientEvent(err), err: unlessClosed(err)}
}

// readStart receives the first message. It is the only one of the client's that is decoded.
func (s *session) readStart() (*dap.StartWorkflowRequest, error) {
	first, err := s.Client.Receive()
	if err != nil {
		return nil, err
	}
	defer first.free()
	event := new(dap.ClientEvent)
	if err := first.Decode(event); err != nil {
		return nil, err
	}
	if event.GetStartRequest() == nil {
		return nil, &actors.CloseError{Code: startExpected.code, Reason: startExpected.reason, Side: actors.SideClient}
	}
	return event.GetStartRequest(), nil
}

// relay passes a message of the client's on.
func (s *session) relay(next Message) error {
	defer next.free()
	view, err := viewEvent(next.Bytes)
	switch {
	case err != nil:
		return err
	case view.kind == eventStart:
		return &actors.CloseError{Code: actors.CloseInvalidInput, Reason: "start request sent twice", Side: actors.SideClient}
	case view.kind != eventResponse || s.requests.answered(view.requestID):
		s.out.send(next)
	}
	return nil
}

// answer sends a response of the gateway's own to an action, if it is still open.
func (s *session) answer(requestID string, response *dap.ActionResponse) {
	response.RequestID = requestID
	encoded, err := MessageOf(&dap.ClientEvent{Response: &dap.ClientEvent_ActionResponse{ActionResponse: response}})
	if err != nil {
		s.answer(requestID, errorAnswer("the answer is not valid UTF-8"))
		return
	}
	if s.requests.answered(requestID) {
		s.out.send(encoded)
	}
}

// unlessClosed: a client that says goodbye is no error.
func unlessClosed(err error) error {
	if errors.As(err, new(*actors.ClosedError)) {
		return nil
	}
	return err
}

// openAgent takes the lease, opens the agent's stream and puts the startRequest on it.
func (s *session) openAgent(start *dap.StartWorkflowRequest) *message {
	opened := false
	defer func() {
		if !opened { // also after a panic: the client's pump may be waiting
			s.out.abandon()
		}
	}()
	stream, err := s.openStream(start)
	var request Message
	if err == nil {
		request, err = MessageOf(&dap.ClientEvent{Response: &dap.ClientEvent_StartRequest{StartRequest: start}})
	}
	if err == nil && !s.out.start(stream, request) {
		err = context.Canceled // the session was stopped meanwhile; the stream ends with its context
	}
	if err != nil {
		return &message{event: event{kind: openFailed, done: openAgent, end: endingOf(err)}, err: err}
	}
	opened = true
	return &message{event: event{kind: agentOpened, done: openAgent}, stream: stream}
}

func (s *session) openStream(start *dap.StartWorkflowRequest) (Stream, error) {
	if s.Prepare != nil {
		if err := s.Prepare(start); err != nil {
			return nil, err
		}
	}
	if err := s.takeLease(start.GetWorkflowID()); err != nil {
		return nil, err
	}
	if s.lease != nil || len(s.Tools) > 0 {
		s.post(&message{event: event{kind: taken}})
	}
	s.openTools(start)
	return s.Agent.Open(s.withFencingToken(s.stream))
}

// receiveAgent is the pump from agent to client. What the agent said before its end is delivered
// before that end is reported. Once the client is lost it goes on without it: the agent's end must
// be seen.
func (s *session) receiveAgent(stream Stream) *message {
	lost := false
	for {
		action, err := stream.Receive()
		if err != nil {
			return &message{event: event{kind: agentEnded, done: receiveAgent, end: agentEnding(err)}, err: unlessCompleted(err)}
		}
		if !lost {
			lost = !s.deliver(action)
		}
	}
}

// deliver takes an action to a tool or to the client. It reports false when nothing more can be
// delivered.
func (s *session) deliver(action Message) bool {
	defer action.free()
	view, err := viewAction(action.Bytes, s.HasAction)
	fresh := false
	if err == nil {
		fresh, err = s.requests.asked(view)
	}
	if err == nil && fresh && !s.decline(view) {
		if !s.confirm() {
			return false
		}
		if !s.callTool(view, action) {
			err = s.Client.Send(action)
		}
	}
	if err != nil {
		s.post(&message{event: sendEvent(err), err: unlessClosed(err)})
	}
	return err == nil
}

// decline answers an action that is newer than the contract: the workflow would wait for ever. It reports
// false for one that is known.
func (s *session) decline(action actionView) bool {
	if action.unknown == nil {
		return false
	}
	if s.requests.unknown() {
		s.engine.BroadcastEvent(ActionUnknown{Session: s.place.ID, Workflow: s.now.Load().workflow, Fields: action.unknown, Context: s.place.Context})
	}
	if action.requestID != "" {
		s.answer(action.requestID, errorAnswer(fmt.Sprintf("this gateway does not know the action: its contract has no field %v", action.unknown)))
	}
	return true
}

func unlessCompleted(err error) error {
	if err == io.EOF {
		return nil
	}
	return err
}

// stopAgent cuts the tool calls, whose answers the agent may wait for, and sends stopWorkflow; the
// agent's end, which receiveAgent sees, acknowledges it. Where no workflow was started there is
// nothing to acknowledge.
func (s *session) stopAgent(reason string) *message {
	s.calls.finish()
	s.calls.settle(s.stream, toolGrace)
	if !s.out.stop(reason) {
		s.sever()
	}
	return &message{event: event{kind: stopSent, done: sendStop}}
}

// release lets go of the tools, and then of the lease. Each has a quarter of the close timeout of
// its own, so that a tool that hangs costs the lease nothing; at least half is left to the client. A
// tool's panic costs the lease nothing either, and then fails the session.
func (s *session) release() *message {
	if s.lease != nil {
		s.lease.end()
	}
	share := s.place.CloseTimeout / 4
	err := errors.Join(s.releaseTools(share), s.releaseLease(share))
	ended := event{kind: released, done: releasing}
	if errors.As(err, new(*actors.PanicError)) {
		ended.kind, ended.end = panicked, internalError
	}
	return &message{event: ended, err: err}
}

func (s *session) releaseTools(timeout time.Duration) error {
	if len(s.Tools) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	s.calls.finish()
	s.calls.settle(ctx, timeout)
	return s.closeTools(ctx)
}

func (s *session) releaseLease(timeout time.Duration) error {
	if s.lease == nil || s.lease.released {
		return nil
	}
	s.lease.released = true
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return s.lease.Release(ctx)
}

func (s *session) tellClient(end ending) *message {
	err := s.Client.Close(actors.CloseError{Code: end.code, Reason: end.reason, Side: end.side})
	return &message{event: event{kind: clientTold, done: tellClient}, err: err}
}
