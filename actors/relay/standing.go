package relay

import (
	"time"

	"github.com/lastcall-go/lastcall/actors"
)

// What a session can be waiting for.
const (
	AwaitsStart    actors.Awaited = "start request"
	AwaitsAgent    actors.Awaited = "agent"           // to take the session, or to end its stream
	AwaitsWorkflow actors.Awaited = "workflow"        // to finish within a drain's grace
	AwaitsRelease  actors.Awaited = "lease and tools" // to be let go of
	AwaitsClient   actors.Awaited = "client"          // to answer the close frame
)

// waitsFor returns what the session waits for.
func (l lifecycle) waitsFor() actors.Awaited {
	switch {
	case l.phase == actors.PhaseOpening && l.busy&openAgent == 0:
		return AwaitsStart
	case l.phase == actors.PhaseOpening, l.phase == actors.PhaseStopping:
		return AwaitsAgent
	case l.phase == actors.PhaseServing && l.grace:
		return AwaitsWorkflow
	case l.phase == actors.PhaseClosing && l.busy&releasing != 0:
		return AwaitsRelease
	case l.phase == actors.PhaseClosing && l.busy&tellClient != 0:
		return AwaitsClient
	}
	return actors.AwaitsNothing
}

// moment is what others may see of a session.
type moment struct {
	phase    actors.Phase
	since    time.Time
	waitsFor actors.Awaited
	workflow string
}

// Standing implements [actors.Member].
func (s *session) Standing() actors.Standing {
	now := s.now.Load()
	return actors.Standing{
		Workflow:     now.workflow,
		Phase:        now.phase,
		Since:        now.since,
		WaitsFor:     now.waitsFor,
		Traffic:      s.traffic(),
		ToolsRunning: s.calls.runningNow(),
	}
}

// publish updates the session's view, and sends an event for a new phase.
func (s *session) publish() {
	was := s.now.Load()
	is := moment{phase: s.life.phase, since: was.since, waitsFor: s.life.waitsFor(), workflow: s.shownWorkflow()}
	if is == *was {
		return
	}
	if is.phase == was.phase {
		s.now.Store(&is)
		return
	}
	is.since = time.Now()
	s.now.Store(&is)
	s.left = actors.PhaseSpan{Phase: was.phase, Lasted: is.since.Sub(was.since)}
	if is.phase != actors.PhaseStopped {
		s.engine.BroadcastEvent(actors.SessionPhase{
			ID: s.place.ID, Workflow: is.workflow, AgentName: s.AgentName, Phase: is.phase, Left: s.left, At: is.since, Context: s.place.Context,
		})
	}
}

// TrafficCounter is a [Client] that counts what passes. It may be asked at any time, by any
// goroutine.
type TrafficCounter interface {
	Traffic() actors.Traffic
}

// traffic asks the client. One that panics has none: the supervisor must not be held up by it.
func (s *session) traffic() (traffic actors.Traffic) {
	defer func() {
		if recover() != nil {
			traffic = actors.Traffic{}
		}
	}()
	if counter, counts := s.Client.(TrafficCounter); counts {
		return counter.Traffic()
	}
	return actors.Traffic{}
}
