package actors

import (
	"math/rand/v2"
	"time"
)

// aged says that a session has reached its age limit.
type aged struct{ id string }

// armAge sets a session's age limit, if there is one.
func (s *supervisor) armAge(c *child) {
	limit := s.options.MaxSessionAge
	if limit == 0 {
		return
	}
	limit -= rand.N(limit/10 + 1)
	c.aging = time.AfterFunc(limit, func() { s.engine.Send(s.self, aged{c.id}) })
}

// aged drains one session. If everything drains it is told by that.
func (s *supervisor) aged(id string) {
	if s.draining != nil || s.sessions[id] == nil {
		return
	}
	grace, room := s.options.AgeGrace, s.options.StopTimeout+s.options.CloseTimeout+time.Second
	part := s.beginPart(Drain{
		Deadline: time.Now().Add(grace + room),
		Grace:    grace,
		Reason:   ReasonAge,
		Only:     &Selection{IDs: []string{id}},
	}, waiter{})
	part.quiet = true
}
