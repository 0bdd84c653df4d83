package actors

import (
	"cmp"
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/anthdm/hollywood/actor"
)

// DefaultKind is the [Connection].Kind of a connection that names none.
const DefaultKind = "connection"

// Connection describes a connection of any protocol that [Ticket.Run] makes a session. Each field may
// be left empty, for events, snapshots, selections and metrics to show as that.
type Connection struct {
	// Kind says what serves it, such as "terminal" or "log stream". A server has a few of them.
	// Empty: [DefaultKind].
	Kind string

	Workflow  string // what it carries, such as a room or a file
	Remote    string // the client's address
	Transport string // what it is connected by, such as "websocket" or "sse"
	AgentName string // what it is joined to

	// Authorized ends when the authorization is withdrawn that the connection was opened with: the function
	// is then to finish, for [CauseRevoked]. Nil: it never is.
	Authorized context.Context

	// Context is the parent of the context that the function gets, such as the request's. When it is
	// done and the function returns its error, the client has gone. Nil: context.Background().
	Context context.Context

	// Cut cuts the connection at a kill, so that whatever the function is blocked in returns. It is
	// called once at most, must not block, and may be called when the function has returned. Nil:
	// nothing is cut, and a function that heeds neither its context nor [OutOfTime] is left behind.
	Cut func()
}

// Run makes a session of a connection: it calls f on the caller's goroutine, and returns when f does,
// with its error. A panic of f becomes a [*PanicError]. The session counts in everything that the
// supervisor limits, drains, reports and shows.
//
// f's context is done when it is time to say goodbye. context.Cause then is a [*Stop]: why, what the
// close frame must have, how long work under way may go on, and by when f is to return. A moment after
// that the session is killed: [OutOfTime] of the context is done, Cut is called, and the drain waits no
// longer.
//
// The outcome is [Completed] if f returns nil unasked, [Drained] where it returns nil or its context's
// error after it was asked to stop, [ClientGone] for a [*ClosedError], and else [Failed], or what a [*CloseError] says.
//
// Run fails with [ErrTicketVoid] or [ErrClosed], without calling f, where there is no session to be had:
// the caller then closes the connection.
func (t *Ticket) Run(c Connection, f func(ctx context.Context) error) error {
	connection, pid, err := t.begin(c)
	if err != nil {
		return err
	}
	return connection.run(t.supervisor.engine, pid, f)
}

// begin starts the session. It is apart from Run so that nothing but the session is kept while f runs.
func (t *Ticket) begin(c Connection) (*connectionTask, *actor.PID, error) {
	parent := c.Context
	if parent == nil {
		parent = context.Background()
	}
	var connection *connectionTask
	answer, err := t.start(c.info(), func(p Place) Member {
		connection = &connectionTask{newTask(p.ID, p.Supervisor, parent, p.Context)}
		connection.cut, connection.values, connection.agentName = c.Cut, p.Context, c.AgentName
		connection.end.Workflow = CutText(c.Workflow, MaxWorkflow)
		return connection
	})
	return connection, answer.pid, err
}

// IsRefused reports whether Admit, Start or Run failed because there is no session to be had.
func IsRefused(err error) bool {
	for _, refused := range []error{ErrDraining, ErrFull, ErrPrincipalFull, ErrTicketVoid, ErrClosed} {
		if errors.Is(err, refused) {
			return true
		}
	}
	return false
}

func (c *Connection) info() Info {
	return Info{
		Kind:       cmp.Or(c.Kind, DefaultKind),
		Remote:     c.Remote,
		Transport:  c.Transport,
		AgentName:  c.AgentName,
		Authorized: c.Authorized,
		Context:    c.Context,
	}
}

// connectionTask is a connection's task as the supervisor's member.
type connectionTask struct{ *task }

// Standing implements [Member].
func (c *connectionTask) Standing() Standing {
	is := c.now.Load()
	s := Standing{Phase: is.Phase, Since: is.since, Workflow: c.end.Workflow}
	if is.Phase == PhaseStopping {
		s.WaitsFor = AwaitsHandler
	}
	return s
}

// task is the actor of a function that runs under a context: a [Service], or a connection's function
// in [Ticket.Run]. The context is done when the function is to finish, with a [*Stop] as its cause;
// [OutOfTime] of it is done when no time is left.
type task struct {
	supervisor *actor.PID
	spawned    func(context.Context) error // run on a goroutine of the task's own. nil: the caller runs it
	cut        func()                      // cuts the connection at a kill. nil: there is none
	parent     context.Context             // done when a connection's client has gone
	agentName  string                      // of a connection
	values     context.Context             // for the events of a connection. nil: no phases are sent
	engine     *actor.Engine

	context context.Context         // what the function is called with
	finish  context.CancelCauseFunc // asks it to finish
	expire  context.CancelCauseFunc // says that there is no time left
	done    chan struct{}           // closed when it has returned
	told    bool
	end     Stopped
	now     atomic.Pointer[phase]
}

// phase is where a task has come to, and when.
type phase struct {
	Phase
	since time.Time
}

// returned is a task's own message that its function has returned.
type returned struct{ err error }

// newTask makes a task whose function's context comes from parent. values carries parent's values, and
// never ends.
func newTask(id string, supervisor *actor.PID, parent, values context.Context) *task {
	t := &task{supervisor: supervisor, parent: parent, done: make(chan struct{}), end: Stopped{ID: id, Outcome: Completed}}
	limit, expire := context.WithCancelCause(values)
	t.expire = expire
	t.context, t.finish = context.WithCancelCause(context.WithValue(parent, outOfTime{}, limit))
	t.now.Store(&phase{PhaseServing, time.Now()})
	return t
}

// Receive implements [actor.Receiver].
func (t *task) Receive(c *actor.Context) {
	switch m := c.Message().(type) {
	case actor.Started:
		t.engine = c.Engine()
		if t.spawned != nil {
			go func() { _ = t.run(c.Engine(), c.PID(), t.spawned) }()
		}
	case Stop:
		t.stop(m)
	case returned:
		t.returned(m.err)
		c.Engine().Poison(c.PID())
	case actor.Stopped:
		t.stopped(c.Engine())
	}
}

func (t *task) stop(m Stop) {
	if m.Cause == CauseKill {
		t.kill(m)
		return
	}
	if !t.told {
		t.told = true
		t.move(PhaseStopping)
	}
	t.finish(&m) // the first one counts
}

// kill ends the function's time, and cuts its connection.
func (t *task) kill(m Stop) {
	t.end.Outcome = Killed
	t.move(PhaseStopping)
	t.finish(&m)
	t.expire(&m)
	if t.cut != nil {
		defer func() {
			if v := recover(); v != nil && t.end.Err == nil {
				t.end.Err = NewPanicError(v)
			}
		}()
		t.cut()
	}
}

func (t *task) move(to Phase) {
	was := t.now.Load()
	if was.Phase == to {
		return
	}
	is := &phase{to, time.Now()}
	t.now.Store(is)
	if t.values != nil {
		t.engine.BroadcastEvent(SessionPhase{
			ID: t.end.ID, Workflow: t.end.Workflow, AgentName: t.agentName, Phase: to,
			Left: PhaseSpan{was.Phase, is.since.Sub(was.since)}, At: is.since, Context: t.values,
		})
	}
}

// stopped is the last thing an actor does. If the actor was ended from outside, the function is cut, and its
// return is waited for elsewhere.
func (t *task) stopped(engine *actor.Engine) {
	select {
	case <-t.done:
		t.expire(nil)
		t.finish(nil) // a context that is never cancelled is never freed
		engine.Send(t.supervisor, t.end)
	default:
		t.kill(Stop{Cause: CauseKill})
		go func() {
			<-t.done
			engine.Send(t.supervisor, t.end)
		}()
	}
}

// run calls the function. Its return, or its panic, is the last that happens of it.
func (t *task) run(engine *actor.Engine, self *actor.PID, f func(context.Context) error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = NewPanicError(v)
		}
		close(t.done)
		engine.Send(self, returned{err})
	}()
	return f(t.context)
}

// returned decides how the function has ended. Once it was asked to stop, it may well return its
// context's error.
func (t *task) returned(err error) {
	over := t.context.Err() != nil && isContextError(err)
	var closed *ClosedError
	switch {
	case t.end.Outcome == Killed:
		if !over && t.end.Err == nil {
			t.end.Err = err
		}
	case t.told && (err == nil || over):
		t.end.Outcome = Drained
	case errors.As(err, &closed):
		t.end.Outcome, t.end.Code, t.end.Reason = ClientGone, closed.Code, closed.Reason
		if t.told {
			t.end.Outcome = Drained
		}
	case err != nil && over && t.parent.Err() != nil:
		t.end.Outcome = ClientGone
	case err != nil:
		t.fail(err)
	}
}

func (t *task) fail(err error) {
	t.end.Outcome, t.end.Err = Failed, err
	var closeErr *CloseError
	if errors.As(err, &closeErr) {
		t.end.Outcome, t.end.Code, t.end.Reason = closeErr.Outcome(), closeErr.Code, CutText(closeErr.Reason, MaxReason)
	}
}

// Service is an in-process daemon that is drained with the sessions or after them.
type Service interface {
	// Serve runs until it is done or ctx is. Once ctx is done it has the time until the drain's
	// deadline to finish in order: see [OutOfTime]. An error before ctx is done is a failure;
	// [ServiceStopped] reports it.
	Serve(ctx context.Context) error
}

// ServiceFunc is a Service of one function.
type ServiceFunc func(ctx context.Context) error

// Serve calls f.
func (f ServiceFunc) Serve(ctx context.Context) error { return f(ctx) }

// Stage says when a drain stops a service.
type Stage uint8

const (
	// WithSessions services are asked to stop together with the sessions: they are a peer of theirs, or hold
	// sessions themselves. One that belongs here and isn't makes sessions wait for something that
	// was not asked to stop.
	WithSessions Stage = iota

	// AfterSessions services are asked to stop when every session has, one after the other, the one
	// registered last first: sessions need them to finish.
	AfterSessions
)

func (s Stage) String() string {
	return [...]string{"with sessions", "after sessions"}[s]
}

type addService struct {
	name  string
	stage Stage
	run   Service
	reply chan<- error
}

func (s *supervisor) addService(m addService) error {
	if s.draining != nil {
		return ErrDraining
	}
	c := &child{id: newID(), name: m.name, stage: m.stage, began: time.Now()}
	s.services = append(s.services, c)
	run := newTask(c.id, s.self, context.Background(), context.Background())
	run.spawned = m.run.Serve
	c.pid = s.spawn(run, "service", c.id)
	return nil
}
