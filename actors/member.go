package actors

import (
	"context"
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

	// Standing tells how the session stands. The supervisor may ask at any time, from its own
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
