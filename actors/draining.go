package actors

import (
	"cmp"
	"slices"
	"time"
)

// This file carries out what plan.go decides: it is the way of a Drain from the mailbox to the report.

const (
	// Progress is sent this soon after a change, and this often without one.
	progressSoon  = 100 * time.Millisecond
	progressPulse = time.Second

	// remembered is how many drains that are over a snapshot still shows.
	remembered = 10
)

// drain is a drain with its progress and its report.
type drain struct {
	plan
	id         string
	atBegin    int // sessions
	began      time.Time
	closedAt   time.Time // when the telling began
	stoppedAt  time.Time // when the sessions had stopped
	report     Report
	waiters    []waiter
	timer      *time.Timer     // wakes the plan, and sends progress
	wakeAt     time.Time       // zero: the plan waits for events alone
	progressAt time.Time       // zero: no progress is sent
	changed    bool            // since progress was sent last
	abandons   map[string]bool // given up now: the plan awaits them no longer, but the report has them
}

// wake says that it is time for a drain's plan to decide, or for its progress to be sent.
type wake struct{ drain string }

// begin begins a drain, or brings forward the drain that has begun. Which of them is possible is decided
// here, on the mailbox, and nowhere else.
func (s *supervisor) begin(d Drain, w waiter) (DrainStatus, error) {
	current := s.draining
	switch {
	case d.Only != nil && current != nil:
		return DrainStatus{}, ErrDraining
	case d.Only != nil:
		current = s.beginPart(d, CausePart, s.selected(d.Only), w)
	case current == nil:
		current = s.beginWhole(d, w)
	case d.Standby && current.kind == drainFinal:
		return DrainStatus{}, ErrFinal
	case !current.isOver():
		current.await(w)
		s.decide(current, planEvent{kind: planShortened, plan: s.planOf(d)})
	case current.kind == drainStandby && !d.Standby:
		current = s.beginWhole(d, w)
	default:
		s.answer(current, w)
	}
	return current.status(), nil
}

func (s *supervisor) beginWhole(d Drain, w waiter) *drain {
	whole := s.newDrain(s.planOf(d), s.oldestFirst(), w)
	whole.tickets = len(s.tickets)
	if !s.admits { // after a standby
		whole.phase = phaseTelling
	}
	s.draining = whole
	s.ready.Store(false)
	s.start(whole)
	return whole
}

// beginPart drains some sessions; all else goes on.
func (s *supervisor) beginPart(d Drain, cause Cause, sessions []*child, w waiter) *drain {
	p := s.planOf(d)
	p.cause, p.phase = cause, phaseTelling
	part := s.newDrain(p, sessions, w)
	s.start(part)
	return part
}

// planOf is the plan that a Drain asks for, now, but for its children.
func (s *supervisor) planOf(d Drain) *plan {
	now := time.Now()
	p := &plan{
		kind:          drainFinal,
		cause:         CauseDrain,
		reason:        cmp.Or(d.Reason, DefaultReason),
		stop:          s.options.StopTimeout,
		close:         s.options.CloseTimeout,
		batchSize:     d.BatchSize,
		batchInterval: cmp.Or(d.BatchInterval, DefaultBatchInterval),
		closeAt:       now.Add(d.Delay),
		graceUntil:    now.Add(d.Delay + d.Grace),
		deadline:      d.Deadline,
	}
	switch {
	case d.Only != nil:
		p.kind, p.graceUntil = drainPart, now.Add(d.Grace)
	case d.Standby:
		p.kind = drainStandby
	}
	if p.deadline.IsZero() {
		p.deadline = now.Add(DefaultDrain)
	}
	for _, c := range s.services {
		if c.stage == WithSessions {
			p.with = append(p.with, drainService{id: c.id})
		} else {
			p.after = append(p.after, drainService{id: c.id})
		}
	}
	return p
}

func (s *supervisor) newDrain(p *plan, sessions []*child, w waiter) *drain {
	d := &drain{plan: *p, id: newID(), atBegin: len(sessions), began: time.Now()}
	d.killAt = killAt(d.began, d.deadline, d.stopsAfter(), len(sessions))
	d.sessions = make(map[string]bool, len(sessions))
	d.untold = len(sessions)
	for _, c := range sessions {
		d.sessions[c.id] = false
		d.queue = append(d.queue, c.id)
	}
	d.report = newReport(d)
	d.await(w)
	return d
}

func (s *supervisor) start(d *drain) {
	s.drains = append(s.drains, d)
	services := 0
	if d.stopsServices() {
		services = len(s.services)
	}
	s.engine.BroadcastEvent(DrainStarted{DrainStatus: d.status(), Services: services})
	if !d.alone() {
		d.progressAt = d.began.Add(progressPulse)
	}
	s.decide(d, planEvent{kind: planBegun})
}

// decide lets a drain's plan decide, and does what it orders.
func (s *supervisor) decide(d *drain, ev planEvent) {
	if d.isOver() {
		return
	}
	now := time.Now()
	orders, wakeAt := d.next(ev, now)
	d.wakeAt = wakeAt
	if d.closedAt.IsZero() && d.closed() {
		d.closedAt = now
	}
	if d.stoppedAt.IsZero() && d.phase >= phaseServices {
		d.stoppedAt = now
	}
	for _, o := range orders {
		s.carryOut(d, o)
	}
	s.arm(d)
}

func (s *supervisor) carryOut(d *drain, o order) {
	switch o.kind {
	case closeAdmission:
		s.admits = false
	case voidTickets:
		for id := range s.tickets {
			s.voidTicket(id)
		}
	case tell:
		s.tell(s.childrenOf(o.ids), o.stop)
	case kill:
		s.kill(s.childrenOf(o.ids), d.reason)
	case giveUp:
		s.giveUp(d, o.ids)
	case finish:
		s.finish(d)
	}
}

// tell asks children to stop, or to stop earlier. A child that another drain has asked keeps what
// is earlier.
func (s *supervisor) tell(children []*child, stop Stop) {
	var message any = stop // one for all: there may be thousands
	now := time.Now()
	for _, c := range children {
		if c.told.IsZero() {
			c.told = now
		}
		s.engine.Send(c.pid, message)
	}
}

func (s *supervisor) kill(children []*child, reason string) {
	var message any = Stop{Cause: CauseKill, Reason: reason}
	for _, c := range children {
		if c.member != nil {
			c.waitedFor = c.standing().WaitsFor
		}
		s.engine.Send(c.pid, message)
	}
}

// giveUp reports children as killed that have not even acknowledged that. The plan waits for them no
// longer. Another drain that has waited for one of them may come to its own end by that, and give up the
// next before it is this one's turn: it is reported once, in both.
func (s *supervisor) giveUp(d *drain, ids []string) {
	d.abandons = make(map[string]bool, len(ids))
	for _, id := range ids {
		d.abandons[id] = true
	}
	for _, id := range ids {
		if c := s.child(id); c != nil {
			m := Stopped{ID: id, Outcome: Killed}
			if c.member != nil {
				m.Workflow = c.standing().Workflow
			}
			s.stopped(c, m)
		}
	}
	d.abandons = nil
}

// arm sets the drain's one timer to what comes next: its plan's wake, or its progress.
func (s *supervisor) arm(d *drain) {
	next := Earlier(d.wakeAt, d.progressAt)
	switch {
	case d.isOver() || next.IsZero():
		halt(d.timer)
	case d.timer == nil:
		d.timer = time.AfterFunc(time.Until(next), func() { s.engine.Send(s.self, wake{d.id}) })
	default:
		d.timer.Reset(time.Until(next))
	}
}

// woken is for the drain's timer. One that was set before the last decision comes to nothing.
func (s *supervisor) woken(id string) {
	d := s.drainOf(id)
	if d == nil {
		return
	}
	if !d.progressAt.IsZero() && !time.Now().Before(d.progressAt) {
		d.changed, d.progressAt = false, time.Now().Add(progressPulse)
		s.engine.BroadcastEvent(DrainProgress{d.status()})
	}
	s.decide(d, planEvent{kind: planWoke})
}

// progressed has progress sent soon, with all changes until then.
func (s *supervisor) progressed(d *drain) {
	if !d.changed && !d.progressAt.IsZero() {
		d.changed, d.progressAt = true, time.Now().Add(progressSoon)
	}
}

// drainOf returns a drain that is under way, or nil.
func (s *supervisor) drainOf(id string) *drain {
	for _, d := range s.drains {
		if d.id == id {
			return d
		}
	}
	return nil
}

// stopped is the end of a child.
func (s *supervisor) stopped(c *child, m Stopped) {
	report := s.sessionStopped
	if c.member == nil {
		report = s.serviceStopped
	}
	note := report(c, m)
	for _, d := range slices.Clone(s.drains) {
		if d.abandons[c.id] || d.awaits(c.id) {
			note(&d.report)
			s.progressed(d)
			s.decide(d, planEvent{kind: childGone, id: c.id})
		}
	}
}

func (s *supervisor) finish(d *drain) {
	halt(d.timer)
	d.report.end(d)
	s.drains = slices.DeleteFunc(s.drains, func(other *drain) bool { return other == d })
	status := d.status()
	if !d.alone() {
		s.past = append(s.past, status)
		s.past = s.past[max(0, len(s.past)-remembered):]
	}
	s.engine.BroadcastEvent(DrainFinished{DrainStatus: status, Report: &d.report})
	for _, w := range d.waiters {
		s.answer(d, w)
	}
	d.waiters = nil
}

// await keeps a waiter for the report.
func (d *drain) await(w waiter) {
	if w.reports != nil || w.pid != nil {
		d.waiters = append(d.waiters, w)
	}
}

func (s *supervisor) answer(d *drain, w waiter) {
	switch {
	case w.reports != nil:
		w.reports <- &d.report
	case w.pid != nil:
		s.engine.Send(w.pid, &d.report)
	}
}

func (d *drain) isOver() bool { return d.phase == phaseOver }

func (d *drain) part() bool { return d.kind == drainPart }

// alone: it is of one session, for a reason of its own.
func (d *drain) alone() bool { return d.cause == CauseAge || d.cause == CauseRevoked }
