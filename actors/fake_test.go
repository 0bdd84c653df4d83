package actors_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lastcall-go/lastcall/actors/relay"
	"github.com/lastcall-go/lastcall/proto/dap"
)

// boom, said by a client or an agent, makes the session's own side of it panic.
type boom struct{}

var (
	errCut         = errors.New("connection cut")
	errInterrupted = errors.New("UNAVAILABLE: workflow execution interrupted")
)

// journal is what happened to one session's peers, in order, each with the time since the bubble's
// beginning.
type journal struct {
	mu    sync.Mutex
	began time.Time
	lines []string
}

func (j *journal) note(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, fmt.Sprintf("%v ", time.Since(j.began))+fmt.Sprintf(format, args...))
}

func (j *journal) all() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.lines)
}

// count is how many lines hold what.
func (j *journal) count(what string) (n int) {
	for _, line := range j.all() {
		if strings.Contains(line, what) {
			n++
		}
	}
	return n
}

// at is where the first line that holds what stands, or -1.
func (j *journal) at(what string) int {
	return slices.IndexFunc(j.all(), func(line string) bool { return strings.Contains(line, what) })
}

// pass lets time pass, and reports false if it was interrupted. It makes no timer of no time: the
// race detector of Go 1.26 crashes where two goroutines of a bubble find one due at the same time
// (https://go.dev/issue/78156).
func pass(d time.Duration, interrupted <-chan struct{}) bool {
	if d <= 0 {
		return true
	}
	select {
	case <-time.After(d):
		return true
	case <-interrupted:
		return false
	}
}

// fakeClient is a client in memory. Its zero settings are those of one that behaves.
type fakeClient struct {
	*journal
	mute     bool            // never answers a close frame
	stubborn <-chan struct{} // not nil: it returns from nothing before this is closed, not even when cut
	reads    time.Duration   // what it takes to read a message
	failing  bool            // its connection takes no writes
	panicIn  string          // the method that panics

	says    chan any // *dap.ClientEvent, error, boom
	aborted chan struct{}
	abort   sync.Once
}

func newClient() *fakeClient {
	return &fakeClient{
		journal: &journal{began: time.Now()},
		says:    make(chan any, 64),
		aborted: make(chan struct{}),
	}
}

func (c *fakeClient) Receive() (*dap.ClientEvent, error) {
	select {
	case said := <-c.says:
		switch said := said.(type) {
		case *dap.ClientEvent:
			return said, nil
		case error:
			return nil, said
		}
		panic("in Client.Receive")
	case <-c.gone():
		return nil, errCut
	}
}

func (c *fakeClient) Send(a *dap.Action) error {
	c.panics("Send")
	if c.failing {
		return errors.New("write: broken pipe")
	}
	if !pass(c.reads, c.gone()) {
		return errCut
	}
	c.note("client got %s", a.GetRequestID())
	return nil
}

func (c *fakeClient) Close(code int, reason string) error {
	c.note("client told %d %s", code, reason)
	c.panics("Close")
	if c.mute || c.stubborn != nil {
		<-c.gone()
		return errCut
	}
	return nil
}

func (c *fakeClient) Abort() {
	c.abort.Do(func() {
		c.note("client cut")
		close(c.aborted)
	})
	c.panics("Abort")
}

func (c *fakeClient) panics(method string) {
	if c.panicIn == method {
		panic("in Client." + method)
	}
}

// gone is closed when blocked methods return.
func (c *fakeClient) gone() <-chan struct{} {
	if c.stubborn != nil {
		return c.stubborn
	}
	return c.aborted
}

// fakeAgent opens fakeStreams. Its zero settings are those of one that behaves.
type fakeAgent struct {
	*journal
	opens     time.Duration // what it takes to open a stream
	openErr   error
	openPanic bool
	deaf      bool          // takes no messages
	ignores   bool          // stopWorkflow
	stopping  time.Duration // what it takes to stop
	lastWords []string      // what it says after stopWorkflow
	stopErr   error         // how it stops; nil: errInterrupted

	opened chan *fakeStream
}

func newAgent(j *journal) *fakeAgent {
	return &fakeAgent{journal: j, opened: make(chan *fakeStream, 1)}
}

func (a *fakeAgent) Open(ctx context.Context) (relay.Stream, error) {
	if a.openPanic {
		panic("in Agent.Open")
	}
	if !pass(a.opens, ctx.Done()) {
		a.note("opening cancelled")
		return nil, ctx.Err()
	}
	if a.openErr != nil {
		return nil, a.openErr
	}
	s := &fakeStream{fakeAgent: a, ctx: ctx, says: make(chan any)}
	a.opened <- s
	return s, nil
}

// fakeStream is the agent's end of one session.
type fakeStream struct {
	*fakeAgent
	ctx  context.Context
	says chan any // *dap.Action, error, boom
}

func (s *fakeStream) Send(ev *dap.ClientEvent) error {
	if s.deaf {
		<-s.ctx.Done()
	}
	if s.ctx.Err() != nil {
		return io.EOF
	}
	switch {
	case ev.GetStartRequest() != nil:
		s.note("agent got startRequest")
	case ev.GetStopWorkflow() != nil:
		s.note("agent got stopWorkflow %s", ev.GetStopWorkflow().GetReason())
		if !s.ignores {
			go s.stop()
		}
	case ev.GetHeartbeat() != nil:
		s.note("agent got heartbeat %d", ev.GetHeartbeat().GetTimestamp())
	default:
		answer := ev.GetActionResponse()
		s.note("agent got %s", strings.TrimSpace(answer.GetRequestID()+" "+answer.GetPlainTextResponse().GetError()))
	}
	return nil
}

func (s *fakeStream) stop() {
	time.Sleep(s.stopping)
	for _, word := range s.lastWords {
		s.say(action(word))
	}
	if s.stopErr == nil {
		s.say(errInterrupted)
	} else {
		s.say(s.stopErr)
	}
}

// say brings something to the session: an action, the stream's end, boom.
func (s *fakeStream) say(what any) {
	select {
	case s.says <- what:
	case <-s.ctx.Done():
	}
}

func (s *fakeStream) Receive() (*dap.Action, error) {
	select {
	case said := <-s.says:
		switch said := said.(type) {
		case *dap.Action:
			return said, nil
		case error:
			s.note("agent ended")
			return nil, said
		}
		panic("in Stream.Receive")
	case <-s.ctx.Done():
		s.note("agent cancelled")
		return nil, s.ctx.Err()
	}
}

// fakeLeaser leases every workflow, unless it is set not to.
type fakeLeaser struct {
	*journal
	acquireErr error
	acquires   time.Duration // what taking takes; the lease comes also where nobody wants it any more
	releaseErr error
	releases   time.Duration // what a release takes, if its context lasts as long
	panics     bool          // in Release
	lost       func(error)   // what the session gave for a lease that is lost
}

func (l *fakeLeaser) Acquire(_ context.Context, workflow string, lost func(error)) (relay.Lease, error) {
	time.Sleep(l.acquires)
	if l.acquireErr != nil {
		return nil, l.acquireErr
	}
	l.lost = lost
	l.note("lease on %s taken", workflow)
	return l, nil
}

func (l *fakeLeaser) Token() uint64 { return 1 }

func (l *fakeLeaser) Confirm(context.Context) error { return nil }

func (l *fakeLeaser) Release(ctx context.Context) error {
	pass(l.releases, ctx.Done())
	l.note("lease released")
	if l.panics {
		panic("in Lease.Release")
	}
	return l.releaseErr
}

func startRequest(workflow string) *dap.ClientEvent {
	return &dap.ClientEvent{Response: &dap.ClientEvent_StartRequest{StartRequest: &dap.StartWorkflowRequest{WorkflowID: workflow}}}
}

// heartbeat is any message of a client's but the first.
func heartbeat(n int64) *dap.ClientEvent {
	return &dap.ClientEvent{Response: &dap.ClientEvent_Heartbeat{Heartbeat: &dap.HeartbeatRequest{Timestamp: n}}}
}

// response is a client's answer to the action with that ID.
func response(id string) *dap.ClientEvent {
	return &dap.ClientEvent{Response: &dap.ClientEvent_ActionResponse{ActionResponse: &dap.ActionResponse{RequestID: id}}}
}

func action(id string) *dap.Action { return &dap.Action{RequestID: id} }
