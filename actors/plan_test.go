package actors

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

// The timeouts of the sessions in the walk.
const (
	walkStop  = 2 * time.Second
	walkClose = time.Second
)

var walkBegin = time.Unix(1_000_000, 0)

// planWorld is a supervisor in small: a plan, the children that it is about, and what was done to them.
type planWorld struct {
	plan     *plan
	now      time.Time
	wake     time.Time
	admits   bool
	changed  time.Time // when the plan was begun or shortened last
	end      time.Time // the earliest deadline that was asked for
	ticket   byte      // 0: none was out; 'o': one is; 'd': it is done
	later    int       // drains that may still come
	children []planChild
}

type planChild struct {
	id       string // s0, w0, a0: a session, a service with the sessions, one after them; t: the ticket's
	gone     bool
	joined   time.Time
	told     time.Time
	killed   bool
	reported int
}

func (w *planWorld) clone() *planWorld {
	c, p := *w, *w.plan
	p.sessions = maps.Clone(p.sessions)
	p.queue = slices.Clone(p.queue)
	p.with, p.after = slices.Clone(p.with), slices.Clone(p.after)
	c.plan, c.children = &p, slices.Clone(w.children)
	return &c
}

// key is all of a world that its future depends on.
func (w *planWorld) key() string {
	p := w.plan
	k := make([]byte, 0, 128)
	k = append(k, byte(p.kind), byte(p.phase), w.ticket, byte(w.later), byte(boolToInt(w.admits)), byte(p.tickets), byte(p.untold))
	for _, t := range []time.Time{w.now, w.changed, w.end, p.closeAt, p.graceUntil, p.killAt, p.deadline, p.batchAt, p.voidAt, p.giveUpAt, p.serviceAt} {
		k = appendTime(k, t)
	}
	children := make([]string, len(w.children))
	for i, c := range w.children {
		children[i] = w.childKey(c)
	}
	slices.Sort(children)
	return string(k) + p.before + strings.Join(children, "|")
}

func appendTime(k []byte, t time.Time) []byte {
	if t.IsZero() {
		return binary.AppendVarint(k, -1)
	}
	return binary.AppendVarint(k, t.Sub(walkBegin).Nanoseconds())
}

// childKey is the same for children of a kind in the same state. What was done to those that are gone
// is known by whether they were asked to stop and reported.
func (w *planWorld) childKey(c planChild) string {
	name := c.id[:1]
	if indexOf(w.plan.after, c.id) >= 0 {
		name = c.id // these have an order
	}
	told, awaited := w.plan.sessions[c.id]
	if i := indexOf(w.plan.with, c.id); i >= 0 {
		told, awaited = w.plan.with[i].told, true
	}
	if i := indexOf(w.plan.after, c.id); i >= 0 {
		told, awaited = w.plan.after[i].told, true
	}
	if c.gone {
		return name + string([]byte{'-', byte(boolToInt(c.told.IsZero())), byte(c.reported)})
	}
	k := append([]byte(name), byte(boolToInt(c.killed)), byte(c.reported), byte(boolToInt(told)), byte(boolToInt(awaited)))
	return string(appendTime(k, c.told))
}

// String shows times as they are since the begin.
func (w *planWorld) String() string {
	since := func(t time.Time) string {
		if t.IsZero() {
			return "-"
		}
		return t.Sub(walkBegin).String()
	}
	p := w.plan
	text := fmt.Sprintf("kind %d, %s at %s: close %s, kill %s, deadline %s, batch %s, void %s, give up %s, service %s; untold %d, tickets %d;",
		p.kind, p.phase, since(w.now), since(p.closeAt), since(p.killAt), since(p.deadline), since(p.batchAt), since(p.voidAt), since(p.giveUpAt), since(p.serviceAt), p.untold, p.tickets)
	for _, c := range w.children {
		text += fmt.Sprintf(" %s(told %s, killed %v, gone %v)", c.id, since(c.told), c.killed, c.gone)
	}
	return text
}

func (w *planWorld) child(id string) *planChild {
	for i := range w.children {
		if w.children[i].id == id {
			return &w.children[i]
		}
	}
	return nil
}

// planStep is one event of a walk, and what it does to the world around the plan.
type planStep struct {
	name   string
	ev     planEvent
	at     time.Time
	before func(*planWorld)
}

// steps are all events that can happen now. Time stands still, or is the plan's next wake.
func (w *planWorld) steps() (steps []planStep) {
	if w.plan.phase == phaseOver {
		return nil
	}
	add := func(name string, ev planEvent, before func(*planWorld)) {
		steps = append(steps, planStep{name, ev, w.now, before})
	}
	if !w.wake.IsZero() {
		steps = append(steps, planStep{"wake", planEvent{kind: planWoke}, w.wake, nil})
	}
	for _, c := range w.children {
		if !c.gone {
			add(c.id+" stops", planEvent{kind: childGone, id: c.id}, func(w *planWorld) { w.stopped(c.id, false) })
		}
	}
	switch {
	case w.ticket == 0 && w.admits && w.plan.kind != drainPart:
		add("ticket issued", planEvent{kind: ticketIssued}, func(w *planWorld) { w.ticket = 'o' })
	case w.ticket == 'o':
		add("ticket void", planEvent{kind: ticketVoid}, func(w *planWorld) { w.ticket = 'd' })
		add("ticket used", planEvent{kind: ticketUsed, id: "t"}, func(w *planWorld) {
			w.ticket = 'd'
			w.children = append(w.children, planChild{id: "t", joined: w.now})
		})
	}
	if w.later > 0 {
		for _, in := range []time.Duration{0, 4 * time.Second, time.Minute} {
			w.addLater(add, w.plan.kind, in)
			if w.plan.kind == drainStandby {
				w.addLater(add, drainFinal, in)
			}
		}
	}
	if w.plan.kind == drainStandby {
		add("resume", planEvent{kind: planNarrowed}, func(w *planWorld) { w.admits, w.ticket = true, 'd' })
	}
	return steps
}

// addLater adds a later drain with this deadline from now.
func (w *planWorld) addLater(add func(string, planEvent, func(*planWorld)), kind drainKind, in time.Duration) {
	later := &plan{kind: kind, closeAt: w.now, graceUntil: w.now, deadline: w.now.Add(in)}
	final := kind != w.plan.kind
	add(fmt.Sprintf("drain in %v, final %v", in, final), planEvent{kind: planShortened, plan: later}, func(w *planWorld) {
		w.later--
		w.changed = w.now
		if final {
			w.end = later.deadline
		} else if w.now.Before(w.end) {
			w.end = Earlier(w.end, later.deadline)
		}
	})
}

// stopped is what the supervisor does when a child has stopped, or was given up.
func (w *planWorld) stopped(id string, givenUp bool) {
	c := w.child(id)
	c.gone = true
	if givenUp || w.plan.awaits(id) {
		c.reported++
	}
}

// planWalk visits every state that any order of events leads to.
type planWalk struct {
	t           *testing.T
	seen        map[string]bool
	queue       []*planWorld
	phases      map[drainPhase]int
	transitions int
	failures    int
}

func (k *planWalk) add(w *planWorld) {
	if w.plan.phase == phaseOver { // and nothing follows
		k.phases[phaseOver]++
		return
	}
	if key := w.key(); !k.seen[key] {
		k.seen[key] = true
		k.queue = append(k.queue, w)
		again := w.clone()
		if orders, _ := again.plan.next(planEvent{kind: planWoke}, w.now); len(orders) > 0 || again.key() != key {
			k.failures++
			k.t.Errorf("asked again at the same time it orders %+v in\n  %s", orders, w)
		}
		k.phases[w.plan.phase]++
	}
}

func (k *planWalk) run() {
	for len(k.queue) > 0 && k.failures < 3 {
		from := k.queue[len(k.queue)-1]
		k.queue = k.queue[:len(k.queue)-1]
		for _, step := range from.steps() {
			to := from.clone()
			wrong := to.take(from, step)
			if len(wrong) > 0 {
				k.failures++
				k.t.Errorf("%s\n  from %s\n  on   %s at %v\n  to   %s", strings.Join(wrong, "\n"), from, step.name, step.at.Sub(walkBegin), to)
			}
			k.transitions++
			k.add(to)
		}
	}
}

// take takes one step, does what the plan orders, and returns what is wrong.
func (w *planWorld) take(from *planWorld, step planStep) (wrong []string) {
	w.now = step.at
	if step.before != nil {
		step.before(w)
	}
	orders, wake := w.plan.next(step.ev, w.now)
	w.wake = wake
	check := func(ok bool, format string, args ...any) {
		if !ok {
			wrong = append(wrong, fmt.Sprintf(format, args...))
		}
	}
	for _, o := range orders {
		w.carryOut(o, check)
	}
	w.check(from, check)
	return wrong
}

func (w *planWorld) carryOut(o order, check func(bool, string, ...any)) {
	switch o.kind {
	case closeAdmission:
		check(w.admits && w.plan.kind != drainPart, "admission closed again, or by a part")
		w.admits = false
	case voidTickets:
		check(w.ticket == 'o', "no ticket is out")
		w.ticket = 'd'
	case finish:
		check(!w.now.After(w.end.Add(killGrace)), "over %v after the deadline", w.now.Sub(w.end))
	}
	for _, id := range o.ids {
		c := w.child(id)
		if c == nil || c.gone {
			check(false, "order %d for %s, which is gone", o.kind, id)
			continue
		}
		switch o.kind {
		case tell:
			check(w.plan.kind == drainPart || !w.admits, "%s told before admission has closed", id)
			check(!o.stop.Deadline.After(w.end) && !o.stop.GraceUntil.After(o.stop.Deadline), "told of a time past the deadline: %+v", o.stop)
			if c.told.IsZero() {
				c.told = w.now
			}
		case kill:
			check(!c.killed, "%s killed twice", id)
			c.killed = true
			w.checkKill(c, check)
		case giveUp:
			check(c.killed, "%s given up without a kill", id)
			w.stopped(id, true)
		}
	}
}

// checkKill: a killed session was asked to stop, with time to do so, unless it was asked as soon as there was
// anything to tell.
func (w *planWorld) checkKill(c *planChild, check func(bool, string, ...any)) {
	check(!c.told.IsZero(), "%s killed, but not told", c.id)
	atOnce := !c.told.After(w.changed) || c.id[0] == 't' && !c.told.After(c.joined)
	switch {
	case indexOf(w.plan.after, c.id) >= 0:
		check(atOnce || c.told.Before(w.now), "%s told and killed at once", c.id)
	default:
		check(atOnce || w.now.Sub(c.told) >= walkStop+walkClose, "%s had %v to stop", c.id, w.now.Sub(c.told))
	}
}

// check checks what holds in each state.
func (w *planWorld) check(from *planWorld, check func(bool, string, ...any)) {
	p := w.plan
	final := p.kind == drainFinal && from.plan.kind == drainStandby
	check(p.phase >= from.plan.phase, "the phase went back")
	check(final || !p.deadline.After(from.plan.deadline), "the deadline was put off")
	check(!p.killAt.After(from.plan.killAt), "the kill was put off")
	check(p.phase == phaseDelay || p.kind == drainPart || !w.admits, "it admits in phase %s", p.phase)
	if p.phase == phaseOver {
		w.checkOver(check)
		return
	}
	check(w.wake.After(w.now), "the next wake, %v, is not in the future", w.wake.Sub(w.now))
	check(!w.wake.After(w.end.Add(killGrace)), "the next wake comes %v after the deadline", w.wake.Sub(w.end))
	for _, c := range w.children {
		check(c.reported <= 1, "%s reported %d times", c.id, c.reported)
		check(!p.awaits(c.id) || !c.gone, "%s is awaited, and gone", c.id)
		blocks := p.awaits(c.id) && (p.phase >= phaseStopping && indexOf(p.after, c.id) < 0 || p.phase == phaseEnding)
		check(!blocks || !c.told.IsZero(), "%s is awaited, but was not told", c.id)
	}
	if p.phase == phaseServices {
		check(!w.child(p.after[len(p.after)-1].id).told.IsZero(), "a service is awaited, but was not told")
	}
}

// checkOver: each child that the drain was about was reported once, and it is gone.
func (w *planWorld) checkOver(check func(bool, string, ...any)) {
	for _, c := range w.children {
		concerned := w.plan.kind == drainFinal || c.id[0] == 's' || c.id[0] == 't'
		if w.plan.kind == drainPart {
			concerned = !c.told.IsZero()
		}
		check(!concerned || c.gone && (c.reported == 1 || c.told.IsZero()), "%s: gone %v, reported %d times", c.id, c.gone, c.reported)
	}
}

// worlds calls yield with every small world in its first state.
func planWorlds(yield func(*planWorld)) {
	type times struct {
		deadline, delay time.Duration
		batch           int
		interval        time.Duration
	}
	all := []times{
		{deadline: 10 * time.Second},
		{deadline: 2 * time.Second},
		{deadline: 0},
		{deadline: 10 * time.Second, delay: 3 * time.Second},
		{deadline: 2 * time.Second, delay: 10 * time.Second},
		{deadline: 20 * time.Second, delay: 3 * time.Second, batch: 1, interval: 5 * time.Second},
		{deadline: 7 * time.Second, delay: time.Minute, batch: 1, interval: time.Minute},
		{deadline: 9 * time.Second, batch: 2, interval: time.Minute},
	}
	for i, t := range all {
		for n := range 4 * 3 * 3 * 2 {
			sessions, with, after, tickets := n%4, n/4%3, n/12%3, n/36
			size := sessions + with + after + tickets
			if size > 6 && i != 5 || size > 4 && i%5 > 0 { // for these the small worlds must do
				continue
			}
			for _, kind := range []drainKind{drainFinal, drainStandby, drainPart} {
				if kind == drainPart && (with+after+tickets > 0 || t.delay > 0) {
					continue
				}
				yield(planWorldOf(kind, sessions, with, after, tickets, boolToInt(size <= 2), &plan{
					kind: kind, stop: walkStop, close: walkClose, batchSize: t.batch, batchInterval: t.interval,
					closeAt: walkBegin.Add(t.delay), graceUntil: walkBegin.Add(t.delay + time.Second), deadline: walkBegin.Add(t.deadline),
				}))
			}
		}
	}
}

func planWorldOf(kind drainKind, sessions, with, after, tickets, later int, p *plan) *planWorld {
	w := &planWorld{plan: p, now: walkBegin, changed: walkBegin, end: p.deadline, admits: true, later: later}
	p.sessions = map[string]bool{}
	for i := range sessions {
		id := fmt.Sprintf("s%d", i)
		p.sessions[id] = false
		p.queue = append(p.queue, id)
		w.children = append(w.children, planChild{id: id})
	}
	p.untold, p.tickets = sessions, tickets
	for i := range with {
		p.with = append(p.with, drainService{id: fmt.Sprintf("w%d", i)})
		w.children = append(w.children, planChild{id: p.with[i].id})
	}
	for i := range after {
		p.after = append(p.after, drainService{id: fmt.Sprintf("a%d", i)})
		w.children = append(w.children, planChild{id: p.after[i].id})
	}
	if tickets > 0 {
		w.ticket = 'o'
	}
	p.killAt = killAt(walkBegin, p.deadline, p.stopsAfter(), 0)
	if kind == drainPart {
		p.phase = phaseTelling
	}
	return w
}

// Whatever the order in which sessions, services and tickets end, drains come, and time passes.
func TestADrainsInvariantsHoldInEveryReachableState(t *testing.T) {
	k := &planWalk{t: t, seen: map[string]bool{}, phases: map[drainPhase]int{}}
	worlds, states := 0, 0
	planWorlds(func(w *planWorld) {
		worlds++
		first := w.clone()
		if wrong := first.take(w, planStep{name: "begin", ev: planEvent{kind: planBegun}, at: walkBegin}); len(wrong) > 0 {
			k.failures++
			t.Fatalf("%s\n  at the begin of %s\n  to %s", strings.Join(wrong, "\n"), w, first)
		}
		clear(k.seen) // each world is its own
		k.add(first)
		k.run()
		states += len(k.seen)
	})
	t.Logf("%d worlds, %d states, %d transitions", worlds, states, k.transitions)
	for phase := phaseDelay; phase <= phaseOver; phase++ {
		t.Logf("%-8s %d states", phase, k.phases[phase])
		if k.phases[phase] == 0 {
			t.Errorf("no state is %s: the walk is cut short", phase)
		}
	}
}
