package relay

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/anthdm/hollywood/actor"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/proto/dap"
)

// Session is what a session is made of. The session owns all of it from [Start] on, and has
// let go of all of it when it has stopped.
type Session struct {
	Client Client // required
	Agent  Agent  // required
	Leaser Leaser // nil: workflows are not leased
	Tools  []Tool // run actions here; the first that takes an action runs it

	// Remote is the client's address, Transport what it is connected by, and AgentName what the agent
	// is called, for events, snapshots and selections. Each may be empty.
	Remote    string
	Transport string
	AgentName string

	// Authorized ends when the authorization is withdrawn that the session began with: the agent is then
	// stopped in order, and the client told [actors.CloseUnauthorized]. Nil: it never is.
	Authorized context.Context

	// Context's values are there in all that is done for the session: its agent's stream, its lease,
	// its tools, its events. Its end means nothing. Nil: there are none.
	Context context.Context

	// Limits bound the session. Zero: their defaults.
	Limits Limits

	// Prepare may look at the startRequest, and change it, before anything is done for it. An error
	// ends the session; a [*actors.CloseError] becomes the client's close frame. Nil: it is taken as it is.
	Prepare func(*dap.StartWorkflowRequest) error

	// HasAction reports whether the Client can take an action that is in this field of Action. One that it
	// can't is answered to the agent with an error. It must be fast. Nil: those of package dap.
	HasAction func(field protowire.Number) bool
}

// Kind is the kind of the sessions that [Start] makes.
const Kind = "dap"

// Start makes a session of what an upgrade brought and returns its ID. From here on the session owns
// all of parts, also if a drain has begun since: the session is then drained at once. On an error
// ([actors.ErrTicketVoid], [actors.ErrClosed]) the caller still owns it, and should close the
// connection with [actors.CloseGoingAway].
func Start(ticket *actors.Ticket, parts Session) (id string, err error) {
	if parts.Client == nil || parts.Agent == nil {
		return "", errors.New("a session needs a Client and an Agent")
	}
	if err := parts.Limits.check(); err != nil {
		return "", err
	}
	if parts.HasAction == nil {
		parts.HasAction = builtInAction
	}
	return ticket.Start(parts.info(), func(at actors.Place) actors.Member { return newSession(at, parts) })
}

func (s *Session) info() actors.Info {
	return actors.Info{Kind: Kind, Remote: s.Remote, Transport: s.Transport, AgentName: s.AgentName, Authorized: s.Authorized, Context: s.Context}
}

// session is the actor: it turns messages into events, asks its lifecycle what to do, and does it.
// Receive never blocks. What blocks runs in a goroutine that ends with a message to the session,
// and the session ends when the last of them has.
type session struct {
	Session
	place  actors.Place
	limits Limits
	engine *actor.Engine
	self   *actor.PID

	life     lifecycle
	now      atomic.Pointer[moment] // what others may see of it
	running  sync.WaitGroup
	timer    *time.Timer
	out      *outgoing
	calls    *calls
	requests requests
	stream   context.Context    // what the agent's stream and the questions about the lease live in
	sever    context.CancelFunc // ends it

	left       actors.PhaseSpan          // the phase before this one
	start      *dap.StartWorkflowRequest // the startRequest, until the agent's stream is open
	workflow   string
	agent      Stream
	lease      *held // nil: none. Written by openAgent
	stopBegan  time.Time
	drained    ending    // how a drain ends this session
	graceUntil time.Time // zero: no drain with a grace came
	deadline   time.Time // zero: no drain came
	err        error     // what ended the session, for the log
}

// message carries an event to the session, with what the lifecycle doesn't look at.
type message struct {
	event
	start  *dap.StartWorkflowRequest
	stream Stream
	err    error
}

// lostStopTimeout is what an agent gets to end its stream when the workflow's lease was lost: by then
// another session may run it.
const lostStopTimeout = time.Second

func newSession(at actors.Place, parts Session) *session {
	s := &session{Session: parts, place: at, limits: parts.Limits.orDefault()}
	s.out = newOutgoing(s.confirm)
	s.now.Store(&moment{since: s.place.Began})
	s.stream, s.sever = context.WithCancel(s.place.Context)
	if len(parts.Tools) > 0 {
		s.calls = newCalls(s.place.Context, s.limits.ToolConcurrency)
	}
	return s
}

// Receive implements [actor.Receiver]. No panic leaves it: hollywood would restart an actor whose
// socket is half used, and past the restarts end the process.
func (s *session) Receive(c *actor.Context) {
	defer func() {
		if v := recover(); v != nil {
			s.panicked(v)
		}
	}()
	switch m := c.Message().(type) {
	case actor.Started:
		s.engine, s.self = c.Engine(), c.PID()
		s.enter(begin())
	case actors.Stop:
		s.told(m)
	case *message:
		s.take(m)
	case actor.Stopped:
		s.stopped()
	}
}

// take keeps what a goroutine brought, and lets the lifecycle decide.
func (s *session) take(m *message) {
	switch m.kind {
	case startReceived:
		s.start, s.workflow = m.start, m.start.GetWorkflowID()
		s.spawn(readClient, s.relayClient)
	case agentOpened:
		s.agent, s.start = m.stream, nil
	}
	if !s.life.expects(m.kind) {
		s.keepError(m.err)
	}
	s.step(m.event)
}

// told: a stop may come again, and then only brings forward what the one before set.
func (s *session) told(m actors.Stop) {
	if m.Cause == actors.CauseKill {
		s.step(event{kind: killed, end: killedEnding})
		return
	}
	s.deadline = actors.Earlier(s.deadline, m.Deadline)
	s.graceUntil = actors.Earlier(s.graceUntil, m.GraceUntil)
	s.drained = ending{outcome: actors.Drained, code: m.CloseCode(), reason: cutReason(m.Reason)}
	s.step(event{kind: drainAsked, end: s.drained, stop: stopShutdown, grace: time.Until(s.graceUntil) > 0})
}

func (s *session) step(ev event) {
	s.enter(s.life.next(ev))
}

func (s *session) enter(next lifecycle, effects []effect) {
	if next.phase == actors.PhaseStopping && s.life.phase < actors.PhaseStopping {
		s.stopBegan = time.Now()
	}
	s.life = next
	s.publish()
	for _, e := range effects {
		s.perform(e)
	}
}

func (s *session) perform(e effect) {
	switch e.kind {
	case doReadClient:
		s.spawn(readClient, s.readClient)
	case doOpenAgent:
		start := s.start
		s.spawn(openAgent, func() *message { return s.openAgent(start) })
	case doReceiveAgent:
		stream := s.agent
		s.spawn(receiveAgent, func() *message { return s.receiveAgent(stream) })
	case doStopAgent:
		s.spawn(sendStop, func() *message { return s.stopAgent(e.stop) })
	case doSeverAgent:
		s.sever()
	case doRelease:
		s.spawn(releasing, s.release)
	case doTellClient:
		s.spawn(tellClient, func() *message { return s.tellClient(e.end) })
	case doCutClient:
		s.guard(s.Client.Abort)
	case doAbandon:
		s.out.abandon()
	case doArm:
		s.arm(e.timer)
	case doDisarm:
		s.disarm()
	case doFinish:
		s.engine.Poison(s.self) // the actor's last message is actor.Stopped
	}
}

// arm starts a timer in place of the one before: a session waits for one thing at a time.
func (s *session) arm(which timer) {
	s.disarm()
	ev := event{kind: timedOut, timer: which}
	var due time.Time
	switch which {
	case startTimer:
		ev.end, due = startExpected, s.place.Began.Add(s.limits.StartTimeout)
	case openTimer:
		ev.end, due = agentUnavailable, time.Now().Add(s.limits.OpenTimeout)
	case graceTimer:
		ev.end, ev.stop, due = s.drained, stopShutdown, s.graceUntil
	case stopTimer:
		due = s.stopBy(s.place.StopTimeout)
	case hurriedStopTimer:
		due = s.stopBy(min(s.place.StopTimeout, lostStopTimeout))
	case closeTimer:
		due = time.Now().Add(s.place.CloseTimeout)
	}
	wait := time.Until(due)
	if wait <= 0 { // a deadline that has passed
		s.post(&message{event: ev})
		return
	}
	s.timer = time.AfterFunc(wait, func() { s.post(&message{event: ev}) })
}

func (s *session) stopBy(timeout time.Duration) time.Time {
	return actors.StopBy(s.stopBegan, s.deadline, timeout, s.place.CloseTimeout)
}

func (s *session) disarm() {
	if s.timer != nil {
		s.timer.Stop()
		s.timer = nil
	}
}

// spawn runs a goroutine of the session's. Whatever becomes of it, its end reaches the session.
func (s *session) spawn(w work, run func() *message) {
	s.running.Add(1)
	go func() {
		defer s.running.Done()
		defer func() {
			if v := recover(); v != nil {
				s.post(&message{event: event{kind: panicked, done: w, end: internalError}, err: actors.NewPanicError(v)})
			}
		}()
		s.post(run())
	}()
}

func (s *session) post(m *message) {
	s.engine.Send(s.self, m)
}

// panicked ends the session after a panic in Receive. If even that panics, everything is let go of
// without asking the lifecycle.
func (s *session) panicked(v any) {
	defer func() {
		if recover() != nil {
			s.sever()
			s.engine.Poison(s.self)
		}
	}()
	s.keepError(actors.NewPanicError(v))
	s.step(event{kind: panicked, end: internalError})
}

// guard recovers a panic of a port, so that the remaining effects are still done.
func (s *session) guard(run func()) {
	defer func() {
		if v := recover(); v != nil {
			s.keepError(actors.NewPanicError(v))
		}
	}()
	run()
}

// keepError keeps the first error, which is the one that the log gets.
func (s *session) keepError(err error) {
	if s.err == nil {
		s.err = err
	}
}

// stopped is the last thing an actor does; hollywood has taken it off its registry before. If it
// was not the lifecycle that ended it, all is cut here, and waited for elsewhere: Receive never
// blocks.
func (s *session) stopped() {
	if s.life.phase == actors.PhaseStopped {
		s.acknowledge()
		return
	}
	s.life.end = killedEnding
	s.disarm()
	s.sever()
	go s.letGo()
}

// letGo ends a session after its actor has gone.
func (s *session) letGo() {
	s.guard(s.Client.Abort)
	s.out.abandon()
	s.running.Wait()
	if s.lease != nil || len(s.Tools) > 0 {
		s.guard(func() { s.keepError(s.release().err) })
	}
	s.acknowledge()
}

func (s *session) acknowledge() {
	s.calls.finish()
	s.sever() // nothing listens to it any more; a context that is never cancelled is never freed
	var badInput map[actors.BadInput]int
	s.guard(func() { badInput = s.requests.counts(s.Client) })
	s.engine.Send(s.place.Supervisor, actors.Stopped{
		ID:       s.place.ID,
		Workflow: s.shownWorkflow(),
		Outcome:  s.life.end.outcome,
		Code:     s.life.end.code,
		Reason:   s.life.end.reason,
		Err:      s.err,

		Left:      s.left,
		StopBegan: s.stopBegan,
		ToolCalls: s.calls.count(),
		BadInput:  badInput,
	})
}

func (s *session) shownWorkflow() string { return actors.CutText(s.workflow, actors.MaxWorkflow) }
