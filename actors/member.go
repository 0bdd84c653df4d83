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

	// Context's values are there in all that is done for the session. In events it never ends.
	Context context.Context
}

// member is a session as its supervisor knows it: an actor that is sent a [Stop], and sends [Stopped] as
// the last thing it does.
type member interface {
	actor.Receiver

	// standing may be called at any time by the supervisor, and must not block.
	standing() standing
}

// place is what a member is given by its supervisor.
type place struct {
	id         string
	supervisor *actor.PID
	limits     *Options
	values     context.Context // carries [Info].Context's values, and never ends
	began      time.Time
}

// standing is how a session stands at one moment.
type standing struct {
	phase        Phase
	since        time.Time // when it came to its phase
	waitsFor     Awaited
	workflow     string
	traffic      Traffic
	toolsRunning int
}
