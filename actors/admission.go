package actors

import (
	"cmp"
	"context"
	"time"

	"github.com/anthdm/hollywood/actor"
)

// TicketLife is how long a ticket is good for. During a drain it is [drainTicketLife]: what lies
// between admission and session is one HTTP upgrade, and a drain must not wait long for one that
// will never come.
const TicketLife = 10 * time.Second

const drainTicketLife = time.Second

// Ticket is the supervisor's leave to upgrade one request. Use it with Start, or cancel it.
type Ticket struct {
	supervisor *Supervisor
	id         uint64
}

// Start makes a session of a member, whose actor it spawns, and returns its ID. member is called on the
// supervisor's goroutine, and must not block. From here on the session owns all that the member holds, also
// if a drain has begun since: the session is then asked to stop at once. On an error ([ErrTicketVoid], [ErrClosed], or
// the [*PanicError] of member) the caller still owns it, and should close the connection with
// [CloseGoingAway].
//
// It is for protocols with an actor of their own, such as package relay's; [Ticket.Run] is for a function.
func (t *Ticket) Start(info Info, member func(Place) Member) (id string, err error) {
	answer, err := t.start(info, member)
	return answer.id, err
}

func (t *Ticket) start(info Info, member func(Place) Member) (started, error) {
	answer, err := ask[started](context.Background(), t.supervisor, func(reply chan<- started) any {
		return startSession{t.id, info, member, reply}
	})
	return answer, cmp.Or(err, answer.err)
}

// Cancel gives an unused ticket back. After Start it does nothing.
func (t *Ticket) Cancel() {
	t.supervisor.engine.Send(t.supervisor.pid, ticketDone{t.id})
}

type admit struct {
	principal string
	reply     chan<- admission
}

// issued is a ticket that is out.
type issued struct {
	principal string
	expiry    *time.Timer
}

type admission struct {
	ticket uint64
	err    error
}

type startSession struct {
	ticket uint64
	info   Info
	member func(Place) Member
	reply  chan<- started
}

type started struct {
	id  string
	pid *actor.PID
	err error
}

// ticketDone says that a ticket will not be used any more.
type ticketDone struct{ id uint64 }

func (s *supervisor) admit(principal string) admission {
	if !s.admits {
		return admission{err: ErrDraining}
	}
	if limit := s.options.MaxSessions; limit > 0 && len(s.sessions)+len(s.tickets) >= limit {
		return admission{err: ErrFull}
	}
	if limit := s.options.MaxSessionsPerPrincipal; limit > 0 && principal != "" && s.principals[principal] >= limit {
		return admission{err: ErrPrincipalFull}
	}
	s.lastTicket++
	done := ticketDone{s.lastTicket}
	s.principals[principal]++
	s.tickets[done.id] = issued{principal, time.AfterFunc(TicketLife, func() { s.engine.Send(s.self, done) })}
	s.decideAll(planEvent{kind: ticketIssued})
	return admission{ticket: done.id}
}

// startSession spawns the session under the ticket. Admission and drain being messages to one
// mailbox, a session that is started here is either stopped by a later drain, or at once by the drain that has
// begun.
func (s *supervisor) startSession(m startSession) started {
	ticket, valid := s.useTicket(m.ticket)
	if !valid {
		return started{err: ErrTicketVoid}
	}
	c := &child{id: newID(), info: m.info, principal: ticket.principal, began: time.Now()}
	c.info.Context = context.Background()
	if m.info.Context != nil {
		c.info.Context = context.WithoutCancel(m.info.Context)
	}
	if err := s.makeMember(c, m.member); err != nil {
		s.leave(c.principal)
		s.decideAll(planEvent{kind: ticketVoid})
		return started{err: err}
	}
	s.sessions[c.id] = c
	s.engine.BroadcastEvent(SessionStarted{ID: c.id, Info: c.info, At: c.began})
	c.pid = s.spawn(c.member, "session", c.id)
	s.armAge(c)
	s.watchAuthorization(c)
	s.decideAll(planEvent{kind: ticketUsed, id: c.id})
	return started{id: c.id, pid: c.pid}
}

// makeMember calls the embedder's function. Its panic is the error.
func (s *supervisor) makeMember(c *child, member func(Place) Member) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = NewPanicError(v)
		}
	}()
	c.member = member(Place{
		ID:           c.id,
		Supervisor:   s.self,
		StopTimeout:  s.options.StopTimeout,
		CloseTimeout: s.options.CloseTimeout,
		Context:      c.info.Context,
		Began:        c.began,
	})
	return nil
}

func (s *supervisor) ticketDone(id uint64) {
	if s.voidTicket(id) {
		s.decideAll(planEvent{kind: ticketVoid})
	}
}

func (s *supervisor) voidTicket(id uint64) (valid bool) {
	ticket, valid := s.useTicket(id)
	if valid {
		s.leave(ticket.principal)
	}
	return valid
}

// decideAll lets the plan of the drain of everything decide, where there is one.
func (s *supervisor) decideAll(ev planEvent) {
	if s.draining != nil {
		s.decide(s.draining, ev)
	}
}

func (s *supervisor) useTicket(id uint64) (issued, bool) {
	ticket, valid := s.tickets[id]
	if valid {
		ticket.expiry.Stop()
		delete(s.tickets, id)
	}
	return ticket, valid
}

// leave counts one session, or one ticket, of a principal less.
func (s *supervisor) leave(principal string) {
	if s.principals[principal]--; s.principals[principal] <= 0 {
		delete(s.principals, principal)
	}
}
