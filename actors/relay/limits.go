package relay

import (
	"cmp"
	"errors"
	"time"
)

// Limits are those of a session besides its supervisor's. A zero value is the default that the field
// names.
type Limits struct {
	// StartTimeout is what a client has until its startRequest is here. Editors open the connection
	// and then start their MCP servers. 0: 2 min.
	StartTimeout time.Duration

	// OpenTimeout is what a session has from then on until the startRequest is with the agent: for the
	// lease, the tools and the agent's stream. 0: 30 s.
	OpenTimeout time.Duration

	// ToolConcurrency is how many tool calls a session runs at a time; the agent's next message
	// waits for a place. 0: 8.
	ToolConcurrency int

	// ToolTimeout is what a tool call has; then it is answered with an error. 0: 60 s.
	ToolTimeout time.Duration
}

// The defaults of [Limits].
const (
	DefaultStartTimeout    = 2 * time.Minute
	DefaultOpenTimeout     = 30 * time.Second
	DefaultToolTimeout     = 60 * time.Second
	DefaultToolConcurrency = 8
)

func (l *Limits) check() error {
	if min(l.StartTimeout, l.OpenTimeout, l.ToolTimeout, time.Duration(l.ToolConcurrency)) < 0 {
		return errors.New("a limit of the session is negative")
	}
	return nil
}

func (l Limits) orDefault() Limits {
	l.StartTimeout = cmp.Or(l.StartTimeout, DefaultStartTimeout)
	l.OpenTimeout = cmp.Or(l.OpenTimeout, DefaultOpenTimeout)
	l.ToolConcurrency = cmp.Or(l.ToolConcurrency, DefaultToolConcurrency)
	l.ToolTimeout = cmp.Or(l.ToolTimeout, DefaultToolTimeout)
	return l
}
