package actors

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/anthdm/hollywood/actor"
)

// Info is what is known of a session when it starts. Each field may be empty.
type Info struct {
	Kind      string // what serves it: one of a few
	Remote    string // the client's address
	Transport string // what it is connected by
	AgentName string // what it is joined to

	// Authorized ends when the authorization is withdrawn that the session began with: the session is then
	// stopped, for [CauseRevoked], also if it has been withdrawn before. Nil: it never is.
	Authorized context.Context

	// Context's values are there in all that is done for the session. In events it never ends.
	Context context.Context
}

// Member is a session as its supervisor knows it: an actor. It is sent a [Stop] by value, maybe more
// than one, the last of which may be a kill. It sends its supervisor one [Stopped], with its ID, as the
// last thing it does. Its Receive must neither block nor panic.
type Member interface {
	actor.Receiver

	// Standing returns the session's state. The supervisor may ask at any time, from its own
	// goroutine; it must not block. One that panics stands nowhere.
	Standing() Standing
}

// Place is what a [Member] is given by its supervisor.
type Place struct {
	ID         string
	Supervisor *actor.PID

	// What the member has to stop in order, and then to say goodbye to its client, from
	// [Options]. A drain's deadline leaves both their time, as far as there is any: see [StopBy].
	StopTimeout  time.Duration
	CloseTimeout time.Duration

	Context context.Context // carries [Info].Context's values, and never ends
	Began   time.Time
}

// Standing is how a session stands at one moment.
type Standing struct {
	Workflow     string // what it carries
	Phase        Phase
	Since        time.Time // when it came to its phase
	WaitsFor     Awaited
	Traffic      Traffic
	ToolsRunning int
}

// Phase is how far a session has come. It only ever moves forward.
type Phase uint8

// The phases of a session, in their order. A connection of [Ticket.Run] is serving, and then stopping.
const (
	PhaseOpening  Phase = iota // upgraded; the startRequest, the lease and the agent's stream are awaited
	PhaseServing               // messages flow both ways
	PhaseStopping              // the agent was asked to stop; what it still sends reaches the client
	PhaseClosing               // the agent is gone: lease, close frame, the client's answer
	PhaseStopped               // nothing of the session is left
)

func (p Phase) String() string {
	return [...]string{"opening", "serving", "stopping", "closing", "stopped"}[p]
}

// Cause is why a session or a service has to stop.
type Cause string

// The causes of a [Stop].
const (
	CauseDrain Cause = "drain" // everything drains
	CausePart  Cause = "part"  // a part of the sessions is drained, and this one is in it
	CauseAge   Cause = "age"   // the session has reached [Options].MaxSessionAge
	CauseKill  Cause = "kill"  // no time is left

	CauseRevoked Cause = "revoked" // the session's authorization was withdrawn
)

// Stop asks a session or a service to finish. It is the message that their actors get, and for a
// function that runs under a context the context's cause:
//
//	var stop *actors.Stop
//	if errors.As(context.Cause(ctx), &stop) { … }
//
// A later drain can bring both times forward; a session's actor is then sent another Stop.
type Stop struct {
	Cause      Cause
	Reason     string    // for the client: [Drain].Reason
	GraceUntil time.Time // work under way may go on until then. Past or zero: it may not
	Deadline   time.Time // when it is to be gone; a moment later it is killed
}

func (s *Stop) Error() string { return fmt.Sprintf("told to stop (%s): %s", s.Cause, s.Reason) }

// CloseCode is the close code that goes with Reason in a WebSocket's close frame.
func (s *Stop) CloseCode() int {
	if s.Cause == CauseRevoked {
		return CloseUnauthorized
	}
	return CloseGoingAway
}

type outOfTime struct{}

// OutOfTime returns a context that is done when a service or a session that was asked to stop has no
// time left. ctx is the one that its function was called with, or comes from it: pass the result to
// http.Server.Shutdown and its like. For any other ctx it returns ctx itself.
func OutOfTime(ctx context.Context) context.Context {
	if limit, ok := ctx.Value(outOfTime{}).(context.Context); ok {
		return limit
	}
	return ctx
}

// isContextError reports whether err only says that a context was done.
func isContextError(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || errors.As(err, new(*Stop))
}
