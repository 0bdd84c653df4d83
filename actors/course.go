package actors

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// This file is the course of a drain, step by step, from its first moment to its report.

const (
	// killGrace is what killed children have to acknowledge before they are given up. With it the
	// drain is over well within 100 ms of its deadline.
	killGrace = 50 * time.Millisecond

	// Progress is told this soon after something has changed, and this often where nothing does.
	progressSoon  = 100 * time.Millisecond
	progressPulse = time.Second

	// afterReserve is what sessions leave of the time to the services after them, at most; of a
	// short time it is a tenth.
	afterReserve = time.Second

	// remembered is how many drains that are over a snapshot still shows.
	remembered = 10
)

// drainStep is a step that a timer brings to the supervisor's mailbox.
type drainStep func(*supervisor)

// drain is one drain, of everything or of a part.
type drain struct {
	Drain
	id         string
	members    map[string]*child // of a part, those that are left. nil: everything
	sessions   int               // at its begin
	began      time.Time
	admitUntil time.Time
	graceUntil time.Time
	closedAt   time.Time         // when the telling began
	emptyAt    time.Time         // when the last session had stopped
	waveAt     time.Time         // when the next wave is told
	sessionsBy time.Time         // when who is left of the first stage is killed
	closed     bool              // the telling has begun; of everything: admission is off
	cut        bool              // the sessions were killed
	stageOver  bool              // the sessions and the services with them have stopped, or were given up
	queue      []*child          // sessions that are not told yet
	told       map[string]*child // sessions that were
	report     Report
	over       bool
	age        bool // of one session that has reached its age limit: no news
	changed    bool // since progress was told last
	waiters    []waiter

	opening, wave, sessionsDue, due, givingUp, progress *time.Timer
}

func (d *drain) part() bool { return d.Only != nil }

// concerns tells whether a session's end is one of this drain's.
func (d *drain) concerns(c *child) bool { return !d.part() || d.members[c.id] != nil }

// stops tells whether a service is stopped by this drain.
func (d *drain) stops(c *child) bool { return !d.part() && !d.Standby }

// left are the sessions that this drain still waits for.
func (s *supervisor) left(d *drain) map[string]*child {
	if d.part() {
		return d.members
	}
	return s.sessions
}

func (s *supervisor) beginWhole(d Drain, w waiter) *drain {
	if s.draining != nil { // a standby is over, and admission off already
		d.Delay = 0
	}
	whole := newDrain(d, w, len(s.sessions))
	s.draining = whole
	s.ready.Store(false)
	s.start(whole)
	s.armAdmission(whole)
	return whole
}

// beginPart tells a part of the sessions; all else goes on.
func (s *supervisor) beginPart(d Drain, w waiter) *drain {
	return s.tellPart(d, s.selected(d.Only), false, w)
}

// tellPart tells the members of a part. age: there is one, which has reached its age limit.
func (s *supervisor) tellPart(d Drain, members []*child, age bool, w waiter) *drain {
	d.Delay, d.Standby = 0, false
	part := newDrain(d, w, len(members))
	part.age, part.queue = age, members
	part.members = make(map[string]*child, len(members))
	for _, c := range members {
		part.members[c.id] = c
	}
	s.start(part)
	s.tellAll(part)
	return part
}

func newDrain(d Drain, w waiter, sessions int) *drain {
	now := time.Now()
	d.Deadline = d.deadline()
	d.Reason = cmp.Or(d.Reason, DefaultReason)
	d.WaveInterval = cmp.Or(d.WaveInterval, DefaultWaveInterval)
	begun := &drain{
		Drain:      d,
		id:         newID(),
		sessions:   sessions,
		told:       make(map[string]*child),
		began:      now,
		admitUntil: now.Add(d.Delay),
		graceUntil: now.Add(d.Delay + d.Grace),
		report:     newReport(d.Reason, now),
	}
	begun.await(w)
	return begun
}

// await keeps somebody who is to be sent the report.
func (d *drain) await(w waiter) {
	if w.reports != nil || w.pid != nil {
		d.waiters = append(d.waiters, w)
	}
}

func (s *supervisor) start(d *drain) {
	d.report.ID, d.report.Part = d.id, d.part()
	s.drains = append(s.drains, d)
	services := 0
	for _, c := range s.services {
		if d.stops(c) {
			services++
		}
	}
	s.engine.BroadcastEvent(DrainStarted{DrainStatus: d.status(s), Services: services})
	s.armDeadline(d)
	if !d.age {
		s.after(d, &d.progress, progressPulse, (*supervisor).tellProgress)
	}
}

// shorten applies a later drain: an earlier deadline, a shorter delay or grace, each from now. Where the
// one before left the services alone, they have until the later one's deadline.
func (s *supervisor) shorten(was *drain, d Drain) {
	now := time.Now()
	was.admitUntil = earlier(was.admitUntil, now.Add(d.Delay))
	was.graceUntil = earlier(was.graceUntil, now.Add(d.Delay+d.Grace))
	final := was.Standby && !d.Standby
	deadline := earlier(was.Deadline, d.Deadline)
	if final {
		was.Standby, deadline = false, d.deadline()
	}
	if final || now.Before(was.Deadline) && deadline.Before(was.Deadline) {
		was.Deadline = deadline
		s.armDeadline(was)
	}
	if !was.closed {
		s.armAdmission(was)
		return
	}
	if final {
		s.tellServices(was)
	}
	for _, c := range s.left(was) {
		if !c.told.IsZero() {
			s.engine.Send(c.pid, s.message(was))
		}
	}
	s.armWave(was)
}

func (s *supervisor) armAdmission(d *drain) {
	if wait := time.Until(d.admitUntil); wait > 0 {
		s.after(d, &d.opening, wait, (*supervisor).closeAdmission)
		return
	}
	s.closeAdmission(d)
}

// armDeadline leaves the services after the sessions some time before the deadline.
func (s *supervisor) armDeadline(d *drain) {
	left := time.Until(d.Deadline)
	forSessions := left
	if s.remain(d, AfterSessions) {
		forSessions -= max(0, min(afterReserve, left/10))
	}
	d.sessionsBy = earlier(d.sessionsBy, time.Now().Add(forSessions))
	s.after(d, &d.due, left, (*supervisor).expire)
	s.after(d, &d.sessionsDue, time.Until(d.sessionsBy), (*supervisor).killSessions)
}

// closed: admission is off.
func (s *supervisor) closed() bool { return s.draining != nil && s.draining.closed }

// closeAdmission begins the telling.
func (s *supervisor) closeAdmission(d *drain) {
	if d.closed {
		return
	}
	for _, ticket := range s.tickets {
		ticket.expiry.Reset(drainTicketLife)
	}
	d.queue = s.oldestFirst()
	s.tellAll(d)
	s.advance()
}

// tellAll tells the sessions, oldest first, in waves, and the services that go with them.
func (s *supervisor) tellAll(d *drain) {
	d.closed, d.closedAt = true, time.Now()
	s.tellWave(d)
	s.tellServices(d)
}

func (s *supervisor) tellServices(d *drain) {
	for _, c := range s.services {
		if c.stage == WithSessions && d.stops(c) {
			s.tell(d, c)
		}
	}
}

func (s *supervisor) tellWave(d *drain) {
	n := len(d.queue)
	if d.WaveSize > 0 {
		n = min(n, d.WaveSize)
	}
	for _, c := range d.queue[:n] {
		if s.sessions[c.id] != nil {
			s.tell(d, c)
		}
	}
	d.queue = d.queue[n:]
	d.waveAt = time.Time{}
	s.armWave(d)
}

// armWave puts the next wave at its interval, or sooner where the last one would otherwise be told
// too late to stop in order.
func (s *supervisor) armWave(d *drain) {
	if len(d.queue) == 0 {
		return
	}
	waves := (len(d.queue) + d.WaveSize - 1) / d.WaveSize
	window := time.Until(d.inOrderBy()) - s.options.StopTimeout - s.options.CloseTimeout
	wait := max(0, min(d.WaveInterval, window/time.Duration(waves)))
	d.waveAt = earlier(d.waveAt, time.Now().Add(wait))
	s.after(d, &d.wave, time.Until(d.waveAt), (*supervisor).tellWave)
}

// inOrderBy is by when sessions are to be gone: a moment before they are killed, so that one whose
// client is cut at its close timeout is not killed in the same instant.
func (d *drain) inOrderBy() time.Time { return d.sessionsBy.Add(-killGrace) }

// message is what a child is told now. A grace leaves the stop and close timeouts their time, as far
// as there is any.
func (s *supervisor) message(d *drain) Drain {
	graceUntil := earlier(d.graceUntil, d.inOrderBy().Add(-s.options.StopTimeout-s.options.CloseTimeout))
	return Drain{Deadline: d.inOrderBy(), Grace: max(0, time.Until(graceUntil)), Reason: d.Reason}
}

// tell tells a child to stop. One that was told before by another drain keeps what is earlier.
func (s *supervisor) tell(d *drain, c *child) {
	if c.told.IsZero() {
		c.told = time.Now()
	}
	if c.session != nil && !d.over {
		d.told[c.id] = c
	}
	s.engine.Send(c.pid, s.message(d))
}

// advance takes each drain to its next step, as soon as nothing is left of the one before.
func (s *supervisor) advance() {
	for _, d := range slices.Clone(s.drains) {
		s.advanceOne(d)
	}
}

func (s *supervisor) advanceOne(d *drain) {
	if !d.closed || d.over {
		return
	}
	if !d.stageOver && (len(s.left(d)) > 0 || s.awaitsTickets(d) || s.remain(d, WithSessions)) {
		return
	}
	if !d.stageOver {
		d.stageOver, d.emptyAt = true, time.Now()
	}
	if !s.remain(d, AfterSessions) {
		s.finish(d)
		return
	}
	if last := s.services[len(s.services)-1]; last.told.IsZero() {
		s.tell(d, last)
	}
}

// awaitsTickets: whoever was admitted before a drain of everything is waited for.
func (s *supervisor) awaitsTickets(d *drain) bool { return !d.part() && len(s.tickets) > 0 }

// remain tells whether services of a stage are still there that the drain stops.
func (s *supervisor) remain(d *drain, stage Stage) bool {
	return slices.ContainsFunc(s.services, func(c *child) bool { return c.stage == stage && d.stops(c) })
}

// killSessions cuts whoever is left of the first stage when its time is up.
func (s *supervisor) killSessions(d *drain) {
	if d.stageOver || d.cut {
		return
	}
	d.cut = true
	if !d.closed {
		s.closeAdmission(d)
	}
	d.queue = nil
	if !d.part() {
		for id := range s.tickets {
			s.ticketDone(id)
		}
	}
	for _, c := range s.left(d) {
		s.kill(d, c)
	}
	for _, c := range s.services {
		if c.stage == WithSessions && d.stops(c) {
			s.kill(d, c)
		}
	}
	s.after(d, &d.givingUp, killGrace, (*supervisor).giveUpSessions)
}

// expire is the deadline: nobody waits for anybody any more.
func (s *supervisor) expire(d *drain) {
	s.killSessions(d)
	for _, c := range s.services {
		if d.stops(c) {
			s.kill(d, c)
		}
	}
	s.after(d, &d.givingUp, killGrace, (*supervisor).giveUp)
}

func (s *supervisor) kill(d *drain, c *child) {
	if c.told.IsZero() {
		s.tell(d, c)
	}
	s.engine.Send(c.pid, kill{})
}

func (s *supervisor) giveUp(d *drain) {
	s.giveUpSessions(d)
	for _, c := range slices.Clone(s.services) {
		if d.stops(c) {
			s.serviceStopped(Stopped{service: c.id, Outcome: Killed})
		}
	}
	s.advance()
}

// giveUpSessions reports as killed who has not even acknowledged that.
func (s *supervisor) giveUpSessions(d *drain) {
	for id, c := range maps.Clone(s.left(d)) {
		s.sessionStopped(Stopped{ID: id, Workflow: c.session.now.Load().workflow, Outcome: Killed})
	}
	for _, c := range slices.Clone(s.services) {
		if c.stage == WithSessions && d.stops(c) {
			s.serviceStopped(Stopped{service: c.id, Outcome: Killed})
		}
	}
	s.advance()
}

func (s *supervisor) finish(d *drain) {
	d.over = true
	d.stopTimers()
	d.report.end(d)
	s.drains = slices.DeleteFunc(s.drains, func(other *drain) bool { return other == d })
	status := d.status(s)
	if !d.age {
		s.past = append(s.past, status)
		s.past = s.past[max(0, len(s.past)-remembered):]
	}
	s.engine.BroadcastEvent(DrainFinished{DrainStatus: status, Report: &d.report})
	for _, w := range d.waiters {
		s.answer(d, w)
	}
	d.waiters, d.told = nil, nil
}

func (s *supervisor) answer(d *drain, w waiter) {
	switch {
	case w.reports != nil:
		w.reports <- &d.report
	case w.pid != nil:
		s.engine.Send(w.pid, &d.report)
	}
}

// progressed has progress told soon, of all that there will be by then.
func (s *supervisor) progressed(d *drain) {
	if !d.changed {
		d.changed = true
		s.after(d, &d.progress, progressSoon, (*supervisor).tellProgress)
	}
}

func (s *supervisor) tellProgress(d *drain) {
	d.changed = false
	s.engine.BroadcastEvent(DrainProgress{d.status(s)})
	s.after(d, &d.progress, progressPulse, (*supervisor).tellProgress)
}

// after runs a step of the drain on the supervisor's mailbox, in place of the one that the timer
// stood for.
func (s *supervisor) after(d *drain, timer **time.Timer, wait time.Duration, step func(*supervisor, *drain)) {
	if d.over {
		return
	}
	halt(*timer)
	*timer = time.AfterFunc(wait, func() {
		s.engine.Send(s.self, drainStep(func(s *supervisor) {
			if !d.over {
				step(s, d)
			}
		}))
	})
}

// halt stops a timer that may never have been started.
func halt(timer *time.Timer) {
	if timer != nil {
		timer.Stop()
	}
}

func (d *drain) stopTimers() {
	for _, timer := range []*time.Timer{d.opening, d.wave, d.sessionsDue, d.due, d.givingUp, d.progress} {
		halt(timer)
	}
}
