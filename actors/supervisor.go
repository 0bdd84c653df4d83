package actors

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/anthdm/hollywood/actor"
)

// Options are the limits of a supervisor and of its sessions. A zero value is the default that the
// field names.
type Options struct {
	// Engine is the actor engine to run on. Nil: one of the supervisor's own.
	Engine *actor.Engine

	// MaxSessions is how many sessions there may be, requests on their way to one included. 0: no
	// limit.
	MaxSessions int

	// MaxSessionsPerPrincipal is the same for those admitted with [Supervisor.AdmitAs] for one
	// principal. 0: no limit.
	MaxSessionsPerPrincipal int

	// StopTimeout is what an agent has to end its stream once it was asked to stop; then the stream
	// is cancelled. 0: 10 s.
	StopTimeout time.Duration

	// CloseTimeout is what a session has to release its lease and a client to answer the close
	// frame; then the connection is cut. 0: 5 s.
	CloseTimeout time.Duration

	// MaxSessionAge is the age at which a session is drained alone, with AgeGrace for a running
	// workflow, and closed with [ReasonAge]; for some sessions it is up to a tenth less, so that those that
	// began together don't all end together. 0: sessions grow as old as they like.
	MaxSessionAge time.Duration
	AgeGrace      time.Duration
}

// The defaults of [Options].
const (
	DefaultStopTimeout  = 10 * time.Second
	DefaultCloseTimeout = 5 * time.Second
)

// inboxSize is the number of messages that a session's inbox starts with; hollywood's default
// would cost 24 KiB a session. Only control passes through it.
const inboxSize = 2

// Errors of [Supervisor.Admit] and [Ticket.Start]. Only after a standby a draining supervisor admits
// again.
var (
	ErrDraining      = errors.New("draining: no new sessions")
	ErrFull          = errors.New("full: no more sessions at a time")
	ErrPrincipalFull = errors.New("full: no more sessions at a time for this principal")
	ErrTicketVoid    = errors.New("ticket void: it was used, cancelled, or too old")
	ErrClosed        = errors.New("supervisor closed")
)

// Supervisor admits sessions, knows them and drains them. Its methods may be called from any
// goroutine; all but Ready go through its actor's mailbox, one after the other.
type Supervisor struct {
	engine *actor.Engine
	pid    *actor.PID
	ready  *atomic.Bool
	gone   chan struct{} // closed when the actor has ended
	close  sync.Once
}

// check rejects negative limits.
func (o *Options) check() error {
	least := min(o.StopTimeout, o.CloseTimeout, o.MaxSessionAge, o.AgeGrace,
		time.Duration(o.MaxSessions), time.Duration(o.MaxSessionsPerPrincipal))
	if least < 0 {
		return errors.New("a limit of the supervisor's options is negative")
	}
	return nil
}

// NewSupervisor starts a supervisor. The caller ends it with [Supervisor.Close].
func NewSupervisor(options Options) (*Supervisor, error) {
	if err := options.check(); err != nil {
		return nil, err
	}
	options.StopTimeout = cmp.Or(options.StopTimeout, DefaultStopTimeout)
	options.CloseTimeout = cmp.Or(options.CloseTimeout, DefaultCloseTimeout)
	if options.Engine == nil {
		engine, err := actor.NewEngine(actor.NewEngineConfig())
		if err != nil {
			return nil, fmt.Errorf("start an actor engine: %w", err)
		}
		options.Engine = engine
	}
	s := &Supervisor{engine: options.Engine, ready: new(atomic.Bool), gone: make(chan struct{})}
	s.ready.Store(true)
	child := &supervisor{
		options:    options,
		engine:     options.Engine,
		ready:      s.ready,
		gone:       s.gone,
		admits:     true,
		sessions:   make(map[string]*child),
		tickets:    make(map[uint64]issued),
		principals: make(map[string]int),
		stops:      make(map[stopKey]*stopTimes),
	}
	s.pid = s.engine.Spawn(func() actor.Receiver { return child }, "supervisor")
	return s, nil
}

// PID is where a [Drain] can be sent: engine.Send(supervisor.PID(), actors.Drain{…}).
func (s *Supervisor) PID() *actor.PID { return s.pid }

// Engine is the engine that the supervisor runs on.
func (s *Supervisor) Engine() *actor.Engine { return s.engine }

// Ready is false from the first moment of a drain of everything on, also while its delay still
// admits, until [Supervisor.Resume].
func (s *Supervisor) Ready() bool { return s.ready.Load() }

// Admit asks for leave to upgrade one request. It returns [ErrDraining] while draining and [ErrFull] at the session
// limit. The caller must use the ticket within [TicketLife], or cancel it.
func (s *Supervisor) Admit(ctx context.Context) (*Ticket, error) {
	return s.AdmitAs(ctx, "")
}

// AdmitAs is Admit for a request of this principal, which can be limited in its number of sessions:
// [ErrPrincipalFull]. A request with an empty principal is not limited.
func (s *Supervisor) AdmitAs(ctx context.Context, principal string) (*Ticket, error) {
	answer, err := ask[admission](ctx, s, func(reply chan<- admission) any { return admit{principal, reply} })
	if err != nil {
		return nil, err
	}
	if answer.err != nil {
		return nil, answer.err
	}
	return &Ticket{supervisor: s, id: answer.ticket}, nil
}

// Add runs a service and drains it in its stage. It fails with [ErrDraining] once a drain has
// begun. Names should be unique: reports and errors use them.
func (s *Supervisor) Add(name string, stage Stage, run Service) error {
	answer, err := ask[error](context.Background(), s, func(reply chan<- error) any {
		return addService{name, stage, run, reply}
	})
	return cmp.Or(err, answer)
}

// Listen calls f with each event of the engine's event stream, one after the other, on a goroutine of
// the listener's own, until stop is called. A slow f makes nothing else wait: events wait for it, 262,144 at most,
// and events without room are reported as one [EventsMissed].
//
// stop returns when f has seen everything that was sent before, or after a second: f is not called again,
// but a call that is under way then goes on.
func (s *Supervisor) Listen(f func(event any)) (stop func()) {
	return listen(s.engine, f, maxBehind)
}

// Close ends the supervisor. Sessions that are still there are killed: drain before.
func (s *Supervisor) Close() {
	s.close.Do(func() {
		_, _ = s.Drain(context.Background(), Drain{Deadline: time.Now()})
		s.engine.Poison(s.pid)
		<-s.gone
	})
}

// ask sends the supervisor a message and waits for its reply, for ctx, or for its end.
func ask[R any](ctx context.Context, s *Supervisor, message func(chan<- R) any) (answer R, err error) {
	reply := make(chan R, 1)
	s.engine.Send(s.pid, message(reply))
	select {
	case answer = <-reply:
	case <-s.gone:
		select {
		case answer = <-reply: // it was the last
		default:
			err = ErrClosed
		}
	case <-ctx.Done():
		err = ctx.Err()
	}
	return answer, err
}

// supervisor is the actor. Its sessions and services are actors too, but no children in
// hollywood's sense: a hollywood parent that ends waits for each child without a bound, and keeps
// one that ended during its own Spawn for ever.
type supervisor struct {
	options Options
	engine  *actor.Engine
	self    *actor.PID
	ready   *atomic.Bool
	gone    chan struct{}

	admits     bool // false: a drain of everything has closed admission
	sessions   map[string]*child
	services   []*child // in order of registration
	tickets    map[uint64]issued
	principals map[string]int // tickets and sessions
	lastTicket uint64
	draining   *drain        // the one of everything, under way or over. nil: there is none
	drains     []*drain      // under way
	past       []DrainStatus // the last few that are over
	traffic    Traffic       // of the sessions that have stopped
	stops      map[stopKey]*stopTimes
}

// child is a session or a service as its supervisor sees it.
type child struct {
	id        string
	name      string // of a service
	pid       *actor.PID
	stage     Stage  // of a service
	member    Member // of a session. nil: it is a service
	info      Info   // of a session
	principal string // of a session
	aging     *time.Timer
	unwatch   func() bool // lets go of its authorization. nil: it has none to watch
	overdue   bool        // its age limit passed during a drain
	began     time.Time
	told      time.Time // when it was asked to stop. Zero: it was not
	waitedFor Awaited   // of a session, when it was killed
}

// Stopped is a child's acknowledgement: its last message, sent exactly once, when nothing of it is
// left.
type Stopped struct {
	ID       string
	Workflow string
	Outcome  Outcome
	Code     int
	Reason   string
	Err      error

	Left      PhaseSpan // the last phase before [PhaseStopped]
	StopBegan time.Time // when it came to [PhaseStopping]. Zero: when it was asked to stop, if it was
	ToolCalls int
	BadInput  map[BadInput]int
}

// Receive implements [actor.Receiver]. The supervisor survives a panic: it holds what all sessions
// depend on.
func (s *supervisor) Receive(c *actor.Context) {
	defer func() {
		if v := recover(); v != nil {
			s.engine.BroadcastEvent(SupervisorPanicked{NewPanicError(v)})
		}
	}()
	switch m := c.Message().(type) {
	case actor.Started:
		s.self = c.PID()
	case admit:
		m.reply <- s.admit(m.principal)
	case startSession:
		m.reply <- s.startSession(m)
	case ticketDone:
		s.ticketDone(m.id)
	case addService:
		m.reply <- s.addService(m)
	case Stopped:
		s.childStopped(m)
	case Drain:
		if _, err := s.begin(m, waiter{pid: c.Sender()}); err != nil && c.Sender() != nil {
			s.engine.Send(c.Sender(), err)
		}
	case drainCall:
		status, err := s.begin(m.Drain, m.waiter)
		m.reply <- begun{status, err}
	case hurry:
		s.hurry(m.drain)
	case resume:
		m.reply <- s.resume()
	case aged:
		s.aged(m.id)
	case revoked:
		s.revoked(m.id)
	case lookOver:
		m.reply <- s.overview()
	case look:
		m.reply <- s.snapshot()
	case estimate:
		m.reply <- s.walk(m.Drain)
	case wake:
		s.woken(m.drain)
	case actor.Stopped:
		s.end()
	}
}

// spawn starts a child's actor under a name with the supervisor's.
func (s *supervisor) spawn(receiver actor.Receiver, kind, id string) *actor.PID {
	producer := func() actor.Receiver { return receiver }
	return s.engine.Spawn(producer, s.self.ID+"/"+kind, actor.WithID(id), actor.WithInboxSize(inboxSize))
}

// childStopped is a child's acknowledgement. One that was given up is no child any more.
func (s *supervisor) childStopped(m Stopped) {
	if c := s.child(m.ID); c != nil {
		s.stopped(c, m)
	}
}

// sessionStopped lets go of a session, and returns what notes it in a drain's report.
func (s *supervisor) sessionStopped(c *child, m Stopped) (note func(*Report)) {
	delete(s.sessions, c.id)
	s.leave(c.principal)
	c.letGo()
	standing := c.standing()
	s.traffic.Add(standing.Traffic)
	if standing.Phase != PhaseStopped { // the session was given up, or leaves it to us
		m.Left = PhaseSpan{standing.Phase, time.Since(standing.Since)}
	}
	s.noteStop(c, m)
	report := SessionReport{ID: c.id, Workflow: m.Workflow, Age: Seconds(time.Since(c.began)), Outcome: m.Outcome, Took: c.took(), WaitedFor: c.waitedFor}
	s.engine.BroadcastEvent(SessionStopped{
		SessionReport: report,
		Info:          c.info,
		Left:          m.Left,
		Code:          m.Code,
		Reason:        m.Reason,
		Err:           m.Err,
		Traffic:       standing.Traffic,
		ToolCalls:     m.ToolCalls,
		BadInput:      m.BadInput,
	})
	return func(r *Report) { r.addSession(report) }
}

// serviceStopped is the same for a service.
func (s *supervisor) serviceStopped(c *child, m Stopped) (note func(*Report)) {
	s.services = slices.DeleteFunc(s.services, func(other *child) bool { return other == c })
	report := ServiceReport{Name: c.name, Outcome: m.Outcome, Took: c.took()}
	s.engine.BroadcastEvent(ServiceStopped{ServiceReport: report, Err: m.Err})
	return func(r *Report) { r.Services = append(r.Services, report) }
}

// end releases the children of a supervisor that was stopped without a drain.
func (s *supervisor) end() {
	defer close(s.gone)
	s.ready.Store(false)
	for _, c := range s.children() {
		s.engine.Send(c.pid, Stop{Cause: CauseKill})
	}
	for id := range s.tickets {
		s.voidTicket(id)
	}
	for _, c := range s.sessions {
		c.letGo()
	}
	for _, d := range s.drains {
		halt(d.timer)
	}
}

func (s *supervisor) children() []*child {
	all := append([]*child(nil), s.services...)
	for _, c := range s.sessions {
		all = append(all, c)
	}
	return all
}

// child returns a session or a service, or nil.
func (s *supervisor) child(id string) *child {
	if c := s.sessions[id]; c != nil {
		return c
	}
	if i := slices.IndexFunc(s.services, func(c *child) bool { return c.id == id }); i >= 0 {
		return s.services[i]
	}
	return nil
}

func (s *supervisor) childrenOf(ids []string) []*child {
	children := make([]*child, 0, len(ids))
	for _, id := range ids {
		if c := s.child(id); c != nil {
			children = append(children, c)
		}
	}
	return children
}

// standing is how a session stands. A member that panics when it is asked stands nowhere: its end still
// has to be told.
func (c *child) standing() (is Standing) {
	defer func() {
		if recover() != nil {
			is = Standing{}
		}
	}()
	return c.member.Standing()
}

func (c *child) took() Seconds {
	if c.told.IsZero() {
		return 0
	}
	return Seconds(time.Since(c.told))
}

// letGo ends what would send messages of a session that has ended.
func (c *child) letGo() {
	halt(c.aging)
	if c.unwatch != nil {
		c.unwatch()
	}
}

// newID returns 80 random bits in lower case: unique without coordination.
func newID() string {
	return strings.ToLower(rand.Text()[:16])
}

// halt stops a timer that may never have been started.
func halt(timer *time.Timer) {
	if timer != nil {
		timer.Stop()
	}
}
