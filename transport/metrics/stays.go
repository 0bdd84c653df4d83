package metrics

import (
	"sync"
	"time"

	"github.com/lastcall-go/lastcall/actors"
)

// maxStays is how many sessions' phases are timed at a time. The bound is for events that are lost;
// a process has fewer sessions.
const maxStays = 1 << 18

// noPhase is that of a session which isn't known.
const noPhase = actors.PhaseStopped

// stays know how long each session has been in its phase. The zero value is ready.
type stays struct {
	mu   sync.Mutex
	byID map[string]stay
}

type stay struct {
	began time.Time // of the session
	since time.Time // of the phase
	phase actors.Phase
	agent string
}

// enter begins with a session's first phase.
func (s *stays) enter(id, agent string, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byID == nil {
		s.byID = make(map[string]stay)
	}
	if len(s.byID) < maxStays {
		s.byID[id] = stay{began: at, since: at, phase: actors.PhaseOpening, agent: agent}
	}
}

// move takes a session to its next phase, and returns the stay that it has left. A session that was
// given up at a deadline may tell of phases later; it is not known any more.
func (s *stays) move(id string, to actors.Phase, at time.Time) (left stay, lasted time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	was, known := s.byID[id]
	if !known {
		return stay{phase: noPhase}, 0
	}
	s.byID[id] = stay{began: was.began, since: at, phase: to, agent: was.agent}
	return was, at.Sub(was.since)
}

// leave forgets a session that has reached this age, and returns its last stay.
func (s *stays) leave(id string, age time.Duration) (last stay, lasted time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	was, known := s.byID[id]
	if !known {
		return stay{phase: noPhase}, 0
	}
	delete(s.byID, id)
	return was, max(0, was.began.Add(age).Sub(was.since)) // the clocks of two actors
}
