package actorstest

import (
	"context"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/lastcall-go/lastcall/actors/relay"
	"github.com/lastcall-go/lastcall/proto/dap"
)

// ErrInterrupted is how an agent's stream ends after stopWorkflow, unless [Agent.OnStop] says otherwise.
var ErrInterrupted = errors.New("UNAVAILABLE: workflow execution interrupted")

// Agent is a [relay.Agent] in memory. Its zero value opens streams that take every message at once and
// end after stopWorkflow. Set its fields before the session starts.
// It notes in its journal:
//
//	agent got startRequest          Send was called with it; so with any other message:
//	agent got stopWorkflow REASON
//	agent got heartbeat TIMESTAMP
//	agent got ID [ERROR]            the answer to the action of this requestID
//	agent ended                     Receive has returned the stream's end
//	agent cancelled                 the stream's context was done before; may come after later lines
//	opening cancelled               the context was done before Open had returned
type Agent struct {
	Journal *Journal // nil: nothing is noted

	OnOpen Call // Open; interrupted by its context
	OnSend Call // Send of the streams; interrupted by the stream's context. Hangs: the agent is deaf

	// OnStop is what the agent does after stopWorkflow. Takes: it takes that long. Hangs: it never
	// ends its stream. Err: how it ends its stream; nil: with ErrInterrupted.
	OnStop    Call
	LastWords []string // the requestIDs of actions that it sends between stopWorkflow and the end

	mu      sync.Mutex
	streams []*Stream
}

// Open implements [relay.Agent].
func (a *Agent) Open(ctx context.Context) (relay.Stream, error) {
	a.OnOpen.panics("Agent.Open")
	if !a.OnOpen.pass(ctx.Done()) {
		a.Journal.Note("opening cancelled")
		return nil, ctx.Err()
	}
	if a.OnOpen.Err != nil {
		return nil, a.OnOpen.Err
	}
	s := &Stream{agent: a, ctx: ctx, says: make(chan func() (*dap.Action, error))}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.streams = append(a.streams, s)
	return s, nil
}

// Streams returns the streams that were opened so far.
func (a *Agent) Streams() []*Stream {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.streams)
}

// Stream is the [relay.Stream] of one session to its [Agent], which scripts it.
type Stream struct {
	agent *Agent
	ctx   context.Context
	says  chan func() (*dap.Action, error)
}

// Context returns the context that the stream was opened with.
func (s *Stream) Context() context.Context { return s.ctx }

// Say has the agent say something. It returns when that is received, or the stream's context is done.
func (s *Stream) Say(action *dap.Action) {
	s.say(func() (*dap.Action, error) { return action, nil })
}

// End has the agent end the stream: with io.EOF in order, or with any other error. It returns when
// that is received, or the stream's context is done.
func (s *Stream) End(err error) {
	s.say(func() (*dap.Action, error) {
		s.agent.Journal.Note("agent ended")
		return nil, err
	})
}

// Panic has Receive panic with "in Stream.Receive".
func (s *Stream) Panic() {
	s.say(func() (*dap.Action, error) { panic("in Stream.Receive") })
}

func (s *Stream) say(what func() (*dap.Action, error)) {
	select {
	case s.says <- what:
	case <-s.ctx.Done():
	}
}

// Receive implements [relay.Stream].
func (s *Stream) Receive() (relay.Message, error) {
	select {
	case said := <-s.says:
		action, err := said()
		if err != nil {
			return relay.Message{}, err
		}
		return relay.MessageOf(action)
	case <-s.ctx.Done():
		s.agent.Journal.Note("agent cancelled")
		return relay.Message{}, s.ctx.Err()
	}
}

// Send implements [relay.Stream].
func (s *Stream) Send(message relay.Message) error {
	event := new(dap.ClientEvent)
	if err := message.Decode(event); err != nil {
		return err
	}
	s.agent.OnSend.panics("Stream.Send")
	if !s.agent.OnSend.pass(s.ctx.Done()) || s.ctx.Err() != nil {
		return io.EOF
	}
	if s.agent.OnSend.Err != nil {
		return s.agent.OnSend.Err
	}
	s.agent.Journal.Note("agent got %s", describe(event))
	if event.GetStopWorkflow() != nil {
		go s.stop()
	}
	return nil
}

func (s *Stream) stop() {
	if !s.agent.OnStop.pass(s.ctx.Done()) {
		return
	}
	for _, word := range s.agent.LastWords {
		s.Say(Action(word))
	}
	if err := s.agent.OnStop.Err; err != nil {
		s.End(err)
		return
	}
	s.End(ErrInterrupted)
}

func describe(event *dap.ClientEvent) string {
	answer := event.GetActionResponse()
	switch {
	case event.GetStartRequest() != nil:
		return "startRequest"
	case event.GetStopWorkflow() != nil:
		return "stopWorkflow " + event.GetStopWorkflow().GetReason()
	case event.GetHeartbeat() != nil:
		return "heartbeat " + strconv.FormatInt(event.GetHeartbeat().GetTimestamp(), 10)
	}
	return strings.TrimSpace(answer.GetRequestID() + " " + answer.GetPlainTextResponse().GetError())
}
