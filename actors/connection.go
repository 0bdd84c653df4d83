package actors

import (
	"cmp"
	"context"
	"errors"

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
