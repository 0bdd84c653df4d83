package actors

import (
	"context"
	"time"
)

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
