package actors

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/anthdm/hollywood/actor"
)

// Drain is last call: it tells a supervisor, and through it every session and service, to finish,
// and by when they must be gone. It can be sent as a message, whose sender (if any) is sent the
// [*Report], or given to [Supervisor.Drain]. One drain is all there is: a later one can only bring
// forward what an earlier one set.
type Drain struct {
	// Deadline is when the drain ends, whatever happened. Zero: [DefaultDrain] from now.
	Deadline time.Time

	// Delay is how long the supervisor goes on admitting after it has ceased to be ready, so that
	// load balancers notice before they are refused.
	Delay time.Duration

	// Grace is how long running workflows may go on after the delay, to finish by themselves.
	// Sessions without a running workflow stop at once.
	Grace time.Duration

	// WaveSize is how many sessions are told at a time, every WaveInterval (0: [DefaultWaveInterval]),
	// so that thousands of clients don't come back in the same instant. 0: all at once. The interval
	// is shortened where the last wave would be told too late for its stop and close timeouts.
	WaveSize     int
	WaveInterval time.Duration

	// Reason is what clients are told. Empty: [DefaultReason].
	Reason string
}

// Defaults of [Drain].
const (
	DefaultDrain        = 25 * time.Second
	DefaultWaveInterval = time.Second
)

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
)

// Drain drains, and returns when that is over: by d's deadline or ctx's, whichever is first, plus
// 100 ms at most. If ctx is cancelled meanwhile, the deadline is now. The report is there whatever
// happened; the error is a [*KilledError] if somebody had to be killed.
func (s *Supervisor) Drain(ctx context.Context, d Drain) (*Report, error) {
	if deadline, ok := ctx.Deadline(); ok {
		d.Deadline = earlier(d.Deadline, deadline)
	}
	reply := make(chan *Report, 1)
	s.engine.Send(s.pid, drainCall{d, reply})
	cancelled := ctx.Done()
	for {
		select {
		case report := <-reply:
			return report, report.Err()
		case <-s.gone:
			select {
			case report := <-reply: // it was the last
				return report, report.Err()
			default:
				return nil, ErrClosed
			}
		case <-cancelled:
			cancelled = nil
			if errors.Is(ctx.Err(), context.Canceled) { // a deadline that has passed is known already
				s.engine.Send(s.pid, Drain{Deadline: time.Now()})
			}
		}
	}
}

type drainCall struct {
	Drain
	reply chan<- *Report
}

// drainStep is a step that a timer brings to the supervisor's mailbox.
type drainStep func(*supervisor)

// waiter is somebody who is sent the report.
type waiter struct {
	reply chan<- *Report
	pid   *actor.PID
}

// drain is the supervisor's state during a drain and after it.
type drain struct {
	Drain
	began      time.Time
	admitUntil time.Time
	graceUntil time.Time
	waveAt     time.Time // when the next wave is told
	sessionsBy time.Time // when who is left of the first stage is killed
	closed     bool      // admission is off, and the telling has begun
	cut        bool      // the sessions were killed
	stageOver  bool      // the sessions and the services with them have stopped, or were given up
	queue      []*child  // sessions that are not told yet
	report     Report
	over       bool
	changed    bool // since progress was told last
	waiters    []waiter

	opening, wave, sessionsDue, due, givingUp, progress *time.Timer
}

// drain begins a drain, or brings forward the one that has begun.
func (s *supervisor) drain(d Drain, w waiter) {
	first := s.draining == nil
	if first {
		s.beginDrain(d)
	}
	if s.draining.over {
		s.answer(w)
		return
	}
	s.draining.waiters = append(s.draining.waiters, w)
	if !first {
		s.shorten(d)
	}
	s.advance()
}

func (s *supervisor) beginDrain(d Drain) {
	now := time.Now()
	if d.Deadline.IsZero() {
		d.Deadline = now.Add(DefaultDrain)
	}
	d.Reason = cmp.Or(d.Reason, DefaultReason)
	d.WaveInterval = cmp.Or(d.WaveInterval, DefaultWaveInterval)
	s.draining = &drain{Drain: d, began: now, report: newReport(d.Reason, now)}
	s.ready.Store(false)
	s.engine.BroadcastEvent(DrainStarted{Reason: d.Reason, Sessions: len(s.sessions), Services: len(s.services), Deadline: d.Deadline})
	s.draining.admitUntil = now.Add(d.Delay)
	s.draining.graceUntil = now.Add(d.Delay + d.Grace)
	s.armDeadline()
	s.after(&s.draining.progress, progressPulse, (*supervisor).tellProgress)
	s.armAdmission()
}

// shorten applies a later drain: an earlier deadline, a shorter delay or grace, each from now.
func (s *supervisor) shorten(d Drain) {
	now, was := time.Now(), s.draining
	was.admitUntil = earlier(was.admitUntil, now.Add(d.Delay))
	was.graceUntil = earlier(was.graceUntil, now.Add(d.Delay+d.Grace))
	if deadline := earlier(was.Deadline, d.Deadline); now.Before(was.Deadline) && deadline.Before(was.Deadline) {
		was.Deadline = deadline
		s.armDeadline()
	}
	if !was.closed {
		s.armAdmission()
		return
	}
	for _, c := range s.sessions {
		if !c.told.IsZero() {
			s.engine.Send(c.pid, s.draining.message())
		}
	}
	s.armWave()
}

func (s *supervisor) armAdmission() {
	if wait := time.Until(s.draining.admitUntil); wait > 0 {
		s.after(&s.draining.opening, wait, (*supervisor).closeAdmission)
		return
	}
	s.closeAdmission()
}

// armDeadline leaves the services after the sessions some time before the deadline.
func (s *supervisor) armDeadline() {
	d := s.draining
	left := time.Until(d.Deadline)
	forSessions := left
	if s.remain(AfterSessions) {
		forSessions -= max(0, min(afterReserve, left/10))
	}
	d.sessionsBy = earlier(d.sessionsBy, time.Now().Add(forSessions))
	s.after(&d.due, left, (*supervisor).expire)
	s.after(&d.sessionsDue, time.Until(d.sessionsBy), (*supervisor).killSessions)
}

// closed: admission is off.
func (s *supervisor) closed() bool { return s.draining != nil && s.draining.closed }

// closeAdmission begins the telling: the sessions, oldest first, in waves, and the services that go
// with them.
func (s *supervisor) closeAdmission() {
	d := s.draining
	if d.closed {
		return
	}
	d.closed = true
	for _, ticket := range s.tickets {
		ticket.expiry.Reset(drainTicketLife)
	}
	for _, c := range s.sessions {
		d.queue = append(d.queue, c)
	}
	slices.SortFunc(d.queue, func(a, b *child) int { return a.began.Compare(b.began) })
	s.tellWave()
	for _, c := range s.services {
		if c.stage == WithSessions {
			s.tell(c)
		}
	}
	s.advance()
}

func (s *supervisor) tellWave() {
	d := s.draining
	n := len(d.queue)
	if d.WaveSize > 0 {
		n = min(n, d.WaveSize)
	}
	for _, c := range d.queue[:n] {
		if s.sessions[c.id] != nil {
			s.tell(c)
		}
	}
	d.queue = d.queue[n:]
	d.waveAt = time.Time{}
	s.armWave()
}

// armWave puts the next wave at its interval, or sooner where the last one would otherwise be told
// too late to stop in order.
func (s *supervisor) armWave() {
	d := s.draining
	if len(d.queue) == 0 {
		return
	}
	waves := (len(d.queue) + d.WaveSize - 1) / d.WaveSize
	window := time.Until(d.inOrderBy()) - s.options.StopTimeout - s.options.CloseTimeout
	wait := max(0, min(d.WaveInterval, window/time.Duration(waves)))
	d.waveAt = earlier(d.waveAt, time.Now().Add(wait))
	s.after(&d.wave, time.Until(d.waveAt), (*supervisor).tellWave)
}

// inOrderBy is by when sessions are to be gone: a moment before they are killed, so that one whose
// client is cut at its close timeout is not killed in the same instant.
func (d *drain) inOrderBy() time.Time { return d.sessionsBy.Add(-killGrace) }

// message is what a child is told now.
func (d *drain) message() Drain {
	return Drain{Deadline: d.inOrderBy(), Grace: max(0, time.Until(d.graceUntil)), Reason: d.Reason}
}

func (s *supervisor) tell(c *child) {
	c.told = time.Now()
	s.engine.Send(c.pid, s.draining.message())
}

// advance takes the drain to its next step, as soon as nothing is left of the one before.
func (s *supervisor) advance() {
	d := s.draining
	if d == nil || !d.closed || d.over {
		return
	}
	if !d.stageOver && (len(s.sessions) > 0 || len(s.tickets) > 0 || s.remain(WithSessions)) {
		return
	}
	d.stageOver = true
	if len(s.services) == 0 {
		s.finish()
		return
	}
	if last := s.services[len(s.services)-1]; last.told.IsZero() {
		s.tell(last)
	}
}

// remain tells whether services of a stage are still there.
func (s *supervisor) remain(stage Stage) bool {
	return slices.ContainsFunc(s.services, func(c *child) bool { return c.stage == stage })
}

// killSessions cuts whoever is left of the first stage when its time is up.
func (s *supervisor) killSessions() {
	d := s.draining
	if d.stageOver || d.cut {
		return
	}
	d.cut = true
	s.closeAdmission()
	d.queue = nil
	for id := range s.tickets {
		s.ticketDone(id)
	}
	for _, c := range s.children() {
		if c.stage == WithSessions {
			s.kill(c)
		}
	}
	s.after(&d.givingUp, killGrace, (*supervisor).giveUpSessions)
}

// expire is the deadline: nobody waits for anybody any more.
func (s *supervisor) expire() {
	s.killSessions()
	for _, c := range s.services {
		s.kill(c)
	}
	s.after(&s.draining.givingUp, killGrace, (*supervisor).giveUp)
}

func (s *supervisor) kill(c *child) {
	if c.told.IsZero() {
		s.tell(c)
	}
	s.engine.Send(c.pid, kill{})
}

func (s *supervisor) giveUp() {
	s.giveUpSessions()
	for _, c := range slices.Clone(s.services) {
		s.serviceStopped(Stopped{service: c.id, Outcome: Killed})
	}
	s.advance()
}

// giveUpSessions reports as killed who has not even acknowledged that.
func (s *supervisor) giveUpSessions() {
	for id := range s.sessions {
		s.sessionStopped(Stopped{ID: id, Outcome: Killed})
	}
	for _, c := range slices.Clone(s.services) {
		if c.stage == WithSessions {
			s.serviceStopped(Stopped{service: c.id, Outcome: Killed})
		}
	}
	s.advance()
}

func (s *supervisor) finish() {
	d := s.draining
	d.over = true
	d.stopTimers()
	d.report.Took = Seconds(time.Since(d.began))
	s.engine.BroadcastEvent(DrainFinished{&d.report})
	for _, w := range d.waiters {
		s.answer(w)
	}
	d.waiters = nil
}

func (s *supervisor) answer(w waiter) {
	switch {
	case w.reply != nil:
		w.reply <- &s.draining.report
	case w.pid != nil:
		s.engine.Send(w.pid, &s.draining.report)
	}
}

// progressed has progress told soon, of all that there will be by then.
func (s *supervisor) progressed() {
	d := s.draining
	if !d.changed {
		d.changed = true
		s.after(&d.progress, progressSoon, (*supervisor).tellProgress)
	}
}

func (s *supervisor) tellProgress() {
	d := s.draining
	d.changed = false
	s.engine.BroadcastEvent(DrainProgress{
		Totals:   maps.Clone(d.report.Totals),
		Left:     len(s.sessions) + len(s.tickets),
		Elapsed:  time.Since(d.began),
		Deadline: d.Deadline,
	})
	s.after(&d.progress, progressPulse, (*supervisor).tellProgress)
}

// after runs a step of the drain on the supervisor's mailbox, in place of the one that the timer
// stood for.
func (s *supervisor) after(timer **time.Timer, wait time.Duration, step drainStep) {
	if s.draining.over {
		return
	}
	if *timer != nil {
		(*timer).Stop()
	}
	*timer = time.AfterFunc(wait, func() {
		s.engine.Send(s.self, drainStep(func(s *supervisor) {
			if !s.draining.over {
				step(s)
			}
		}))
	})
}

func (d *drain) stopTimers() {
	for _, timer := range []*time.Timer{d.opening, d.wave, d.sessionsDue, d.due, d.givingUp, d.progress} {
		if timer != nil {
			timer.Stop()
		}
	}
}
