package actors

import (
	"slices"
	"time"
)

// This file decides the course of a drain; draining.go carries it out. Nothing here knows the engine,
// a goroutine, a timer, or a clock but the time it is handed, so that plan_test.go can walk every
// state that any order of events leads to.

// drainKind is what a drain ends.
type drainKind uint8

const (
	drainFinal   drainKind = iota // all sessions, and then the services: the process ends
	drainStandby                  // all sessions; the services go on, and a Resume can admit again
	drainPart                     // some sessions; the others go on, and admission too
)

// drainPhase is how far a drain is. It only ever moves forward.
type drainPhase uint8

const (
	phaseDelay    drainPhase = iota // not ready any more, and still admitting
	phaseTelling                    // admission has closed; sessions are asked to stop, batch by batch
	phaseStopping                   // all are asked; they and the services with them are awaited
	phaseKilling                    // their time is up: they are cut, and given up a moment later
	phaseServices                   // the services after the sessions are asked to stop, one by one
	phaseEnding                     // the deadline has passed: all is cut, and given up a moment later
	phaseOver
)

func (p drainPhase) String() string {
	return [...]string{"delay", "telling", "stopping", "killing", "services", "ending", "over"}[p]
}

// plan is the state of one drain. The same plan, event and time always give the same plan and orders.
type plan struct {
	kind          drainKind
	phase         drainPhase
	cause         Cause
	reason        string
	stop, close   time.Duration // the timeouts of a session
	batchSize     int           // 0: all at once
	batchInterval time.Duration

	closeAt    time.Time // when the delay ends, unless it gives way
	graceUntil time.Time // when the grace ends, unless it gives way
	killAt     time.Time // when the sessions that are left are killed
	deadline   time.Time
	batchAt    time.Time // when the next batch is asked to stop
	voidAt     time.Time // when the tickets that are left are void. Zero: admission has not closed
	giveUpAt   time.Time // when the killed are given up
	serviceAt  time.Time // when the next service is asked to stop, also if the one before has not stopped
	before     string    // the service that was asked last, which the next one waits for

	sessions map[string]bool // the awaited ones, and whether they were asked to stop
	queue    []string        // not asked to stop yet, oldest first; some may have stopped
	untold   int             // of those, the ones that have not
	tickets  int             // sessions that may still start
	with     []drainService  // in order of registration
	after    []drainService
}

// drainService is a service that a plan awaits.
type drainService struct {
	id   string
	told bool
}

// planEvent is something that happened to a drain.
type planEvent struct {
	kind planEventKind
	id   string // of a session or service
	plan *plan  // planBrought: what a later Drain asks for
}

type planEventKind uint8

const (
	planBegun     planEventKind = iota
	planWoke                    // the time is what it was to be woken at, or any other
	ticketIssued                // a session may start
	ticketUsed                  // it has started
	ticketVoid                  // it never will
	childGone                   // a session or a service has stopped
	planShortened               // a later Drain came
	planNarrowed                // a standby is resumed: it goes on with the sessions that were asked to stop
)

// order is something that the supervisor must do now.
type order struct {
	kind orderKind
	ids  []string // of children, but for closeAdmission, voidTickets, finish
	stop Stop     // tell
}

type orderKind uint8

const (
	closeAdmission orderKind = iota
	voidTickets              // no ticket that is out is good any more
	tell                     // to stop; a child may be asked again, with an earlier time
	kill
	giveUp // report as killed, and wait no longer
	finish // report the drain
)

// next is the whole story: with this plan, at this time, after this event, that is to be done, and
// then nothing before wake (zero: nothing until the next event). A time that goes back is one that
// stands still.
func (p *plan) next(ev planEvent, now time.Time) (orders []order, wake time.Time) {
	if p.phase == phaseOver {
		return nil, time.Time{}
	}
	t := planTurn{plan: p, now: now}
	t.take(ev)
	t.advance()
	return t.orders, p.wake()
}

// awaits reports whether the drain waits for this session or service.
func (p *plan) awaits(id string) bool {
	_, session := p.sessions[id]
	return session || p.stopsServices() && (indexOf(p.with, id) >= 0 || indexOf(p.after, id) >= 0)
}

func (p *plan) stopsServices() bool { return p.kind == drainFinal }

// stopsAfter reports whether there are services that stop after the sessions, and need time for it.
func (p *plan) stopsAfter() bool { return p.stopsServices() && len(p.after) > 0 }

// closed: admission has closed, or is none of this drain's business.
func (p *plan) closed() bool { return p.phase > phaseDelay }

// wake is when the plan has something to decide though nothing happens.
func (p *plan) wake() time.Time {
	switch p.phase {
	case phaseDelay:
		return Earlier(p.delayUntil(), p.killAt)
	case phaseTelling, phaseStopping:
		at := p.killAt
		if p.untold > 0 {
			at = Earlier(at, p.batchAt)
		}
		if p.tickets > 0 {
			at = Earlier(at, p.voidAt)
		}
		return at
	case phaseKilling:
		if p.stopsServices() {
			return Earlier(p.giveUpAt, p.deadline)
		}
		return p.giveUpAt
	case phaseServices:
		if p.nextService() >= 0 {
			return Earlier(p.serviceAt, p.deadline)
		}
		return p.deadline
	case phaseEnding:
		return p.giveUpAt
	}
	return time.Time{}
}

func (p *plan) lastCall() time.Time { return lastCall(p.killAt, p.stop, p.close) }

func (p *plan) delayUntil() time.Time { return Earlier(p.closeAt, p.lastCall()) }

// stopNow is the Stop for a session, or a service with the sessions.
func (p *plan) stopNow() Stop {
	return Stop{
		Cause:      p.cause,
		Reason:     p.reason,
		GraceUntil: Earlier(p.graceUntil, p.lastCall()),
		Deadline:   inOrderBy(p.killAt),
	}
}

// stopAfter is the Stop for a service after the sessions.
func (p *plan) stopAfter() Stop {
	return Stop{Cause: p.cause, Reason: p.reason, Deadline: p.deadline}
}

// nextService is the service that is asked to stop next: the last of those after the sessions that was not asked.
// -1: all were.
func (p *plan) nextService() int {
	for i := len(p.after) - 1; i >= 0; i-- {
		if !p.after[i].told {
			return i
		}
	}
	return -1
}

func indexOf(services []drainService, id string) int {
	return slices.IndexFunc(services, func(s drainService) bool { return s.id == id })
}

// planTurn is one step: the plan as it changes, and the orders so far.
type planTurn struct {
	*plan
	now    time.Time
	orders []order
}

func (t *planTurn) take(ev planEvent) {
	switch ev.kind {
	case planBegun:
		if t.phase == phaseTelling { // there is no admission to close
			t.beginTelling()
		}
	case ticketIssued:
		t.tickets++
	case ticketUsed:
		t.tickets = max(0, t.tickets-1)
		t.join(ev.id)
	case ticketVoid:
		t.tickets = max(0, t.tickets-1)
	case childGone:
		t.gone(ev.id)
	case planShortened:
		t.shorten(ev.plan)
	case planNarrowed:
		t.narrow()
	}
}

// join: a session that starts during the delay is asked to stop with the others, a later one at once.
func (t *planTurn) join(id string) {
	if !t.closed() {
		t.sessions[id] = false
		t.queue = append(t.queue, id)
		t.untold++
		return
	}
	t.sessions[id] = true
	t.do(order{kind: tell, ids: []string{id}, stop: t.stopNow()})
}

func (t *planTurn) gone(id string) {
	if told, awaited := t.sessions[id]; awaited {
		delete(t.sessions, id)
		if !told {
			t.untold--
		}
	}
	remove := func(services []drainService) []drainService {
		return slices.DeleteFunc(services, func(s drainService) bool { return s.id == id })
	}
	t.with, t.after = remove(t.with), remove(t.after)
}

// shorten brings forward what a later Drain has earlier: the deadline, the delay and the grace. Where
// it makes a standby final, the services have until its own deadline: they were not asked before.
func (t *planTurn) shorten(later *plan) {
	final := t.kind == drainStandby && later.kind == drainFinal
	t.closeAt = Earlier(t.closeAt, later.closeAt)
	t.graceUntil = Earlier(t.graceUntil, later.graceUntil)
	switch {
	case final:
		t.kind, t.deadline = drainFinal, later.deadline
	case t.now.Before(t.deadline): // a time that is up stays as it is
		t.deadline = Earlier(t.deadline, later.deadline)
	}
	t.killAt = Earlier(t.killAt, killAt(t.now, t.deadline, t.stopsAfter(), len(t.sessions)))
	if final {
		t.takeWith()
	}
	t.tellAgain()
}

// takeWith: a standby left the services with the sessions alone. They are asked now, or, where the
// sessions' time is up, before the services after the sessions.
func (t *planTurn) takeWith() {
	switch {
	case t.phase >= phaseKilling:
		t.with, t.after = nil, append(t.after, t.with...)
	case t.closed():
		t.tellWith()
	}
}

// tellAgain sends an earlier time to the children that were asked to stop and may still stop in order.
func (t *planTurn) tellAgain() {
	switch t.phase {
	case phaseTelling, phaseStopping:
		told := t.toldSessions()
		if t.stopsServices() {
			told = append(told, idsOf(t.with)...)
		}
		t.tell(told, t.stopNow())
	case phaseServices:
		var told []string
		for _, s := range t.after {
			if s.told {
				told = append(told, s.id)
			}
		}
		t.tell(told, t.stopAfter())
		t.planNextService()
	}
	t.planNextBatch()
}

// narrow takes the sessions that were not asked out of the drain, and everything else with them.
func (t *planTurn) narrow() {
	for id, told := range t.sessions {
		if !told {
			delete(t.sessions, id)
		}
	}
	t.kind, t.queue, t.untold, t.tickets = drainPart, nil, 0, 0
	t.phase = max(t.phase, phaseStopping)
}

// advance takes the drain as far as it can go now.
func (t *planTurn) advance() {
	if t.phase == phaseDelay && !t.now.Before(t.delayUntil()) {
		t.do(order{kind: closeAdmission})
		t.voidAt = t.now.Add(drainTicketLife)
		t.beginTelling()
	}
	for t.phase == phaseTelling && t.untold > 0 && !t.now.Before(t.batchAt) {
		t.tellBatch()
	}
	if t.phase == phaseTelling && t.untold == 0 {
		t.phase = phaseStopping
	}
	if t.phase <= phaseStopping && t.phase > phaseDelay && t.tickets > 0 && !t.now.Before(t.voidAt) {
		t.dropTickets()
	}
	t.advanceSessions()
	t.advanceServices()
	t.end()
}

// beginTelling asks the services with the sessions to stop at once; the sessions follow batch by batch.
func (t *planTurn) beginTelling() {
	t.phase = phaseTelling
	t.batchAt = t.now
	if t.stopsServices() {
		t.tellWith()
	}
}

func (t *planTurn) tellWith() {
	for i := range t.with {
		t.with[i].told = true
	}
	t.tell(idsOf(t.with), t.stopNow())
}

func (t *planTurn) tellBatch() {
	size := t.untold
	if t.batchSize > 0 {
		size = min(size, t.batchSize)
	}
	batch := make([]string, 0, size)
	for len(batch) < size {
		id := t.queue[0]
		t.queue = t.queue[1:]
		if told, awaited := t.sessions[id]; awaited && !told {
			t.sessions[id] = true
			batch = append(batch, id)
		}
	}
	t.untold -= size
	t.tell(batch, t.stopNow())
	t.batchAt = time.Time{}
	t.planNextBatch()
}

// planNextBatch puts the next batch at its interval, or sooner where the last one would be asked too
// late. One that was put before is not put off.
func (t *planTurn) planNextBatch() {
	if t.phase == phaseTelling && t.untold > 0 && t.batchSize > 0 {
		wait := batchWait(t.batchInterval, t.lastCall().Sub(t.now), t.untold, t.batchSize)
		t.batchAt = Earlier(t.batchAt, t.now.Add(wait))
	}
}

func (t *planTurn) dropTickets() {
	t.tickets = 0
	t.do(order{kind: voidTickets})
}

// advanceSessions: when the sessions and the services with them have stopped, it is the other
// services' turn; when their time is up, they are killed.
func (t *planTurn) advanceSessions() {
	switch t.phase {
	case phaseTelling, phaseStopping, phaseKilling:
	default:
		return
	}
	if t.phase >= phaseStopping && !t.waits() {
		t.phase = phaseServices
		return
	}
	switch {
	case t.phase < phaseKilling && !t.now.Before(t.killAt):
		t.phase, t.giveUpAt = phaseKilling, t.now.Add(killGrace)
		if !t.stopsAfter() && t.giveUpAt.Before(t.deadline) { // nothing else needs the time
			t.giveUpAt = t.deadline
		}
		if t.tickets > 0 {
			t.dropTickets()
		}
		t.do(order{kind: kill, ids: t.awaited()})
		t.advanceSessions() // where a ticket was all that was left
	case t.phase == phaseKilling && !t.now.Before(t.giveUpAt):
		t.abandon(t.awaited())
		t.phase = phaseServices
	}
}

// waits reports whether anything is left that must stop before the services after the sessions.
func (t *planTurn) waits() bool {
	return len(t.sessions) > 0 || t.tickets > 0 || t.stopsServices() && len(t.with) > 0
}

// advanceServices asks the services after the sessions to stop, the last registered first, each when the one
// before it has stopped, or when it takes so long that the others would be left no time.
func (t *planTurn) advanceServices() {
	if t.phase != phaseServices || !t.stopsServices() {
		return
	}
	for {
		i := t.nextService()
		if i < 0 || indexOf(t.after, t.before) >= 0 && t.now.Before(t.serviceAt) {
			return
		}
		t.after[i].told, t.before = true, t.after[i].id
		t.tell([]string{t.after[i].id}, t.stopAfter())
		t.planNextService()
	}
}

func (t *planTurn) planNextService() {
	if untold := t.nextService() + 1; untold > 0 {
		t.serviceAt = nextServiceAt(t.now, t.deadline, untold)
	}
}

// end finishes the drain when nothing is left, or a moment after its deadline.
func (t *planTurn) end() {
	switch {
	case t.phase == phaseServices && (!t.stopsServices() || len(t.after) == 0),
		t.phase == phaseEnding && len(t.left()) == 0:
		t.finish()
	case (t.phase == phaseKilling || t.phase == phaseServices) && t.stopsServices() && !t.now.Before(t.deadline):
		t.killServices()
	case t.phase == phaseEnding && !t.now.Before(t.giveUpAt):
		t.abandon(t.left())
		t.finish()
	}
}

// killServices is the deadline: the sessions that are left, if any, were killed before.
func (t *planTurn) killServices() {
	for i := t.nextService(); i >= 0; i-- {
		t.after[i].told = true
		t.tell([]string{t.after[i].id}, t.stopAfter())
	}
	t.phase, t.giveUpAt = phaseEnding, t.now.Add(killGrace)
	t.do(order{kind: kill, ids: idsOf(t.after)})
}

// abandon gives up children that were killed and have not acknowledged it.
func (t *planTurn) abandon(ids []string) {
	for _, id := range ids {
		t.gone(id)
	}
	t.do(order{kind: giveUp, ids: ids})
}

func (t *planTurn) finish() {
	t.phase = phaseOver
	t.do(order{kind: finish})
}

// awaited are the children that must stop before the services after the sessions are asked to.
func (t *planTurn) awaited() []string {
	ids := make([]string, 0, len(t.sessions))
	for id := range t.sessions {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	if t.stopsServices() {
		ids = append(ids, idsOf(t.with)...)
	}
	return ids
}

// left are all children that the drain still waits for.
func (t *planTurn) left() []string {
	ids := t.awaited()
	if t.stopsServices() {
		ids = append(ids, idsOf(t.after)...)
	}
	return ids
}

func (t *planTurn) toldSessions() []string {
	var ids []string
	for id, told := range t.sessions {
		if told {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

func idsOf(services []drainService) []string {
	ids := make([]string, len(services))
	for i, s := range services {
		ids[i] = s.id
	}
	return ids
}

func (t *planTurn) tell(ids []string, stop Stop) {
	t.do(order{kind: tell, ids: ids, stop: stop})
}

func (t *planTurn) do(o order) {
	perChild := o.kind == tell || o.kind == kill || o.kind == giveUp
	if !perChild || len(o.ids) > 0 {
		t.orders = append(t.orders, o)
	}
}
