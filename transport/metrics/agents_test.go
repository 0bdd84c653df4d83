package metrics_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/actors/relay"
	"github.com/lastcall-go/lastcall/transport/metrics"
)

const agentStops = "lastcall_agent_stop_duration_seconds"

func TestStopsAreTimedByAgent(t *testing.T) {
	in(t, actors.Options{}, nil, func(t *testing.T, h *house) {
		at := func(name string) func(*relay.Session) {
			return func(s *relay.Session) { s.AgentName = name }
		}
		h.serve(at("slow:1")) // goes on
		h.now().has(t, figures{agentStops + `_count{agent="slow:1"}`: 0})
		for _, takes := range []time.Duration{2 * time.Second, 3 * time.Second} {
			s := h.serve(at("slow:1"))
			s.Agent.OnStop.Takes = takes
			s.closes(1000)
		}
		h.serve(at("quick:1")).closes(1000)
		h.serve(at("ends by itself:1")).completes()
		time.Sleep(5 * time.Second)
		h.now().is(t, figures{
			agentStops + `_count{agent="slow:1"}`:           2,
			agentStops + `_sum{agent="slow:1"}`:             5,
			agentStops + `_count{agent="quick:1"}`:          1,
			agentStops + `_count{agent="ends by itself:1"}`: 0,
			agentStops + `_count{agent="other"}`:            0,
		}, agentStops)
	})
}

// stop has a session at an agent stop in a second.
func stop(m *metrics.Metrics, id, agent string) {
	at := time.Unix(1, 0)
	m.Observe(actors.SessionStarted{ID: id, At: at, Info: actors.Info{AgentName: agent}})
	m.Observe(actors.SessionPhase{
		ID: id, AgentName: agent, Phase: actors.PhaseClosing,
		Left: actors.PhaseSpan{Phase: actors.PhaseStopping, Lasted: time.Second}, At: at.Add(time.Second),
	})
}

func TestTheAgentsWithANameAreBounded(t *testing.T) {
	m := open(t, quiet())
	want := make(figures)
	for i := range metrics.MaxAgents {
		name := fmt.Sprintf("agent-%d:1", i)
		stop(m, name, name)
		want[fmt.Sprintf("%s_count{agent=%q}", agentStops, name)] = 1
		want[fmt.Sprintf("%s_sum{agent=%q}", agentStops, name)] = 1
	}
	stop(m, "one more", "late:1")
	stop(m, "and one", "later:1")
	stop(m, "nameless", "")
	want[agentStops+`_count{agent="other"}`], want[agentStops+`_sum{agent="other"}`] = 3, 3
	scraped(t, m).is(t, want, agentStops)
}

func TestAnAgentsNameIsCutToWhatALabelTakes(t *testing.T) {
	m := open(t, quiet())
	stop(m, "long", strings.Repeat("x", 1000))
	stop(m, "bad", "a\xffb")
	scraped(t, m).has(t, figures{
		agentStops + `_count{agent="` + strings.Repeat("x", 128) + `"}`: 1,
		agentStops + `_count{agent="a` + "\ufffd" + `b"}`:               1,
	})
}
