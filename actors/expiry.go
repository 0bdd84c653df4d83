package actors

import (
	"context"
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

// aged drains one session. If everything drains, that drain stops it, or drainOverdue does later.
func (s *supervisor) aged(id string) {
	c := s.sessions[id]
	if c == nil {
		return
	}
	if s.draining != nil {
		c.overdue = true
		return
	}
	grace := s.options.AgeGrace
	s.beginPart(Drain{
		Deadline: time.Now().Add(ageTotal(grace, s.options.StopTimeout, s.options.CloseTimeout)),
		Grace:    grace,
		Reason:   ReasonAge,
		Only:     &Selection{},
	}, CauseAge, []*child{c}, waiter{})
}

// drainOverdue drains sessions that reached their limit during a drain that didn't stop them.
func (s *supervisor) drainOverdue() {
	for id, c := range s.sessions {
		if c.overdue && c.told.IsZero() {
			s.aged(id)
		}
	}
}

// revoked says that the authorization of a session was withdrawn.
type revoked struct{ id string }

// watchAuthorization has a session stopped when its authorization is withdrawn, which may be by now.
func (s *supervisor) watchAuthorization(c *child) {
	if c.info.Authorized == nil {
		return
	}
	c.unwatch = context.AfterFunc(c.info.Authorized, func() { s.engine.Send(s.self, revoked{c.id}) })
}

// revoked drains one session, also while everything drains: whatever grace there is, it has none.
func (s *supervisor) revoked(id string) {
	c := s.sessions[id]
	if c == nil {
		return
	}
	s.beginPart(Drain{
		Deadline: time.Now().Add(ageTotal(0, s.options.StopTimeout, s.options.CloseTimeout)),
		Reason:   ReasonRevoked,
		Only:     &Selection{},
	}, CauseRevoked, []*child{c}, waiter{})
}
