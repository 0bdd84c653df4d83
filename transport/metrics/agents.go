package metrics

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lastcall-go/lastcall/actors"
)

// MaxAgents is how many agents are shown by name.
const MaxAgents = 20

// maxAgentName is how many bytes of an agent's name are shown.
const maxAgentName = 128

// agents are how long streams took to end, by agent. The first [MaxAgents] agents that have sessions are
// shown by name, for as long as the process lives; any other is other, so that grants cannot make series
// without end.
type agents struct {
	stops vec[prometheus.Observer]

	mu    sync.Mutex
	named map[string]bool
}

func newAgents(r *registrar) *agents {
	return &agents{
		stops: r.seconds("agent_stop_duration_seconds", "How long agents took to end the streams of sessions that were stopped. The first 20 agents have their names; any other is other.", waits(), label{"agent", []string{other}}),
		named: make(map[string]bool),
	}
}

// begin makes an agent's series, so that its first stop shows in a rate.
func (a *agents) begin(name string) { a.stops.get(a.fold(name)) }

// stopped observes how long the agent of a session took to stop.
func (a *agents) stopped(name string, seconds float64) {
	a.stops.get(a.fold(name)).Observe(seconds)
}

// fold makes a value of the label of an agent's name.
func (a *agents) fold(name string) string {
	if name == "" {
		return other
	}
	name = actors.CutText(name, maxAgentName)
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.named[name] && len(a.named) == MaxAgents {
		return other
	}
	a.named[name] = true
	return name
}
