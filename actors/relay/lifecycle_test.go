package relay

import (
	"fmt"
	"math/bits"
	"testing"

	"github.com/lastcall-go/lastcall/actors"
)

// clientsOwn is the close code of a client that leaves by itself: no session ends with it otherwise.
const clientsOwn = 4001

// events are all that can happen to a session, in every variant that the lifecycle distinguishes.
// They are offered in every state, whether or not it makes sense there.
var events = func() []event {
	drained := ending{outcome: actors.Drained, code: actors.CloseGoingAway, reason: actors.DefaultReason}
	gone := clientEvent(&actors.ClosedError{Code: clientsOwn})
	invalid := clientEvent(&actors.CloseError{Code: actors.CloseInvalidData, Reason: "not a ClientEvent"})
	all := []event{
		{kind: drainAsked, end: drained, stop: stopShutdown},
		{kind: drainAsked, end: drained, stop: stopShutdown, grace: true},
		{kind: killed, end: killedEnding},
		{kind: panicked, end: internalError},
		{kind: timedOut, timer: startTimer, end: startExpected},
		{kind: timedOut, timer: openTimer, end: agentUnavailable},
		{kind: timedOut, timer: graceTimer, end: drained, stop: stopShutdown},
		{kind: timedOut, timer: stopTimer},
		{kind: timedOut, timer: hurriedStopTimer},
		{kind: timedOut, timer: closeTimer},
		{kind: startReceived},
		{kind: taken},
		{kind: leaseLost, end: leaseLostEnding, stop: stopPingFailed},
		{kind: agentOpened, done: openAgent},
		{kind: openFailed, done: openAgent, end: agentUnavailable},
		{kind: agentEnded, done: receiveAgent, end: ending{actors.Completed, actors.CloseNormal, "", actors.SideGateway}},
		{kind: agentEnded, done: receiveAgent, end: internalError},
		{kind: stopSent, done: sendStop},
		{kind: released, done: releasing},
		{kind: clientLost, end: lostEnding, stop: stopPingFailed},
		{kind: mustEnd, end: ending{actors.Failed, actors.CloseTooBig, "message over 4 MiB", actors.SideGateway}, stop: stopPingFailed},
		gone, invalid,
		{kind: clientTold, done: tellClient},
	}
	for w := readClient; w <= tellClient; w <<= 1 {
		all = append(all, event{kind: panicked, done: w, end: internalError})
	}
	return all
}()

// ends are the events with which the work of a session ends, whatever it was.
var ends = func() (ends []event) {
	for _, ev := range events {
		if ev.done != 0 {
			ends = append(ends, ev)
		}
	}
	return ends
}()

// possible leaves out what cannot happen because its cause does not run. Only the lifecycle's own
// account of what runs is asked, so a wrong account shows as a state that cannot be left.
func possible(l lifecycle, ev event) bool {
	switch ev.kind {
	case timedOut:
		return l.armed == ev.timer
	case startReceived:
		return l.busy&readClient != 0 && l.busy&(openAgent|receiveAgent) == 0
	case taken:
		return l.busy&openAgent != 0 && !l.holds && l.busy&releasing == 0
	case clientLost, mustEnd:
		return l.busy&receiveAgent != 0
	}
	return ev.done == 0 || l.busy&ev.done != 0
}

type walk struct {
	t           *testing.T
	seen        map[lifecycle]bool
	queue       []lifecycle
	transitions int
}

func (w *walk) add(l lifecycle) {
	if !w.seen[l] {
		w.seen[l] = true
		w.queue = append(w.queue, l)
	}
}

// walkAll visits every state that any sequence of events leads to.
func walkAll(t *testing.T, check func(from lifecycle, ev event, to lifecycle, effects []effect)) map[lifecycle]bool {
	w := &walk{t: t, seen: map[lifecycle]bool{}}
	first, _ := begin()
	w.add(first)
	for len(w.queue) > 0 {
		from := w.queue[0]
		w.queue = w.queue[1:]
		for _, ev := range events {
			if !possible(from, ev) {
				continue
			}
			to, effects := from.next(ev)
			check(from, ev, to, effects)
			w.transitions++
			w.add(to)
		}
	}
	t.Logf("%d states, %d transitions", len(w.seen), w.transitions)
	return w.seen
}

func TestInvariantsHoldInEveryReachableState(t *testing.T) {
	phases := map[actors.Phase]int{}
	fail := func(from lifecycle, ev event, to lifecycle, format string, args ...any) {
		t.Errorf("%s\n  from %+v\n  on   %+v\n  to   %+v", fmt.Sprintf(format, args...), from, ev, to)
	}
	states := walkAll(t, func(from lifecycle, ev event, to lifecycle, effects []effect) {
		if to.phase < from.phase {
			fail(from, ev, to, "a phase went back")
		}
		if from.phase == actors.PhaseStopped && (to != from || len(effects) > 0) {
			fail(from, ev, to, "something happened after stopped: %v", effects)
		}
		if finished := count(effects, doFinish); finished != 0 && from.phase == actors.PhaseStopped || finished != boolToInt(to.phase == actors.PhaseStopped && from.phase != actors.PhaseStopped) {
			fail(from, ev, to, "%d acknowledgements", finished)
		}
		if to.phase == actors.PhaseStopped && (to.busy != 0 || to.holds) {
			fail(from, ev, to, "something outlived the session")
		}
		if count(effects, doTellClient) > 0 {
			if from.told {
				fail(from, ev, to, "a second close frame")
			}
			if to.busy&(openAgent|receiveAgent) != 0 && !to.severed {
				fail(from, ev, to, "a close frame before the agent ended or was cancelled")
			}
			if to.busy&openAgent != 0 {
				fail(from, ev, to, "a close frame while a lease may still be taken")
			}
			if to.holds || to.busy&releasing != 0 {
				fail(from, ev, to, "a close frame before the lease was released")
			}
		}
		if count(effects, doStopAgent) > 0 && from.phase >= actors.PhaseStopping {
			fail(from, ev, to, "a second stopWorkflow")
		}
		if count(effects, doSeverAgent) > 0 && from.phase == actors.PhaseServing && ev.kind != killed && ev.kind != panicked {
			fail(from, ev, to, "the agent was cancelled before it was asked to stop")
		}
		if begun := workOf(effects); bits.OnesCount8(uint8(begun)) > 0 && from.busy&^ev.done&begun != 0 {
			fail(from, ev, to, "work was started that was running already")
		}
		if ev.kind == startReceived && (count(effects, doOpenAgent)+count(effects, doAbandon)) != 1 {
			fail(from, ev, to, "the client's pump is left waiting for a stream")
		}
		if armed := lastArmed(from, ev, effects); armed != to.armed {
			fail(from, ev, to, "timer %d runs, not %d", armed, to.armed)
		}
		if ev.kind == leaseLost && to.armed == stopTimer {
			fail(from, ev, to, "the agent has all of its stop timeout, and the lease is lost")
		}
		if stops := from.armed == stopTimer || from.armed == hurriedStopTimer; ev.kind == drainAsked && stops && count(effects, doArm) == 0 {
			fail(from, ev, to, "an earlier deadline doesn't bring the stop timeout forward")
		}
		if to.phase == actors.PhaseStopped && to.armed != noTimer {
			fail(from, ev, to, "a timer outlived the session")
		}
		if code := to.end.code; to.phase == actors.PhaseStopped && !to.told && code != 0 && code != clientsOwn {
			fail(from, ev, to, "code %d is reported, and the client was told nothing", code)
		}
		if doubtful := from.told && (from.busy|ev.done)&tellClient != 0; ev.kind == panicked && doubtful && from.end.outcome != actors.Killed && to.end != (ending{outcome: actors.Failed}) {
			fail(from, ev, to, "a panic while the client is told, and the session ends otherwise")
		}
		if from.end.outcome == actors.Killed && to.end != from.end {
			fail(from, ev, to, "a killed session ends otherwise")
		}
		if to.phase == actors.PhaseStopped && to.end.outcome == "" {
			fail(from, ev, to, "stopped without an outcome")
		}
	})
	for state := range states {
		phases[state.phase]++
	}
	for phase := actors.PhaseOpening; phase <= actors.PhaseStopped; phase++ {
		t.Logf("%-8s %d states", phase, phases[phase])
		if phases[phase] == 0 {
			t.Errorf("no state is %s: the walk is cut short", phase)
		}
	}
}

// Whatever state a session is in, once it is killed it ends as soon as its work has returned, in
// whatever order and however that goes.
func TestTheKillEndsEveryState(t *testing.T) {
	for state := range walkAll(t, func(lifecycle, event, lifecycle, []effect) {}) {
		if state.phase == actors.PhaseStopped {
			continue
		}
		after, effects := state.next(event{kind: killed, end: killedEnding})
		if after.end.outcome != actors.Killed || !after.cut || !after.severed {
			t.Errorf("%+v: killed, but %+v", state, after)
		}
		if after.busy != 0 && (count(effects, doCutClient) == 0 || count(effects, doSeverAgent) == 0) {
			t.Errorf("%+v: nothing makes the work return: %v", state, effects)
		}
		endsBy(t, after, ends, func(lifecycle, event) bool { return true })
	}
}

// Without a kill, the timer that is armed is enough, though neither the client nor the agent ever does
// anything again: no wait is for ever.
func TestTheArmedTimerEndsEveryState(t *testing.T) {
	for state := range walkAll(t, func(lifecycle, event, lifecycle, []effect) {}) {
		if state.phase == actors.PhaseServing && !state.grace {
			continue // a session that is served lasts for as long as both sides like
		}
		endsBy(t, state, events, func(l lifecycle, ev event) bool {
			return ev.kind == timedOut || ev.done != 0 && ev.kind != panicked && returns(l, ev.done)
		})
	}
}

// returns reports whether work comes to its end by itself, or because its peer was cut.
func returns(l lifecycle, w work) bool {
	switch w {
	case readClient, tellClient:
		return l.cut
	case openAgent, receiveAgent:
		return l.severed
	case sendStop: // to a stream that has ended
		return l.severed || l.busy&(openAgent|receiveAgent) == 0
	}
	return true // releasing has a time limit of its own
}

// lastArmed is the timer that runs after this event and these effects.
func lastArmed(from lifecycle, ev event, effects []effect) timer {
	armed := from.armed
	if ev.kind == timedOut {
		armed = noTimer
	}
	for _, e := range effects {
		switch e.kind {
		case doArm:
			armed = e.timer
		case doDisarm:
			armed = noTimer
		}
	}
	return armed
}

// endsBy: every order of the given events that goes on as long as something changes leads to
// PhaseStopped.
func endsBy(t *testing.T, from lifecycle, offered []event, happens func(lifecycle, event) bool) {
	seen := map[lifecycle]bool{}
	var visit func(lifecycle)
	visit = func(l lifecycle) {
		if seen[l] {
			return
		}
		seen[l] = true
		stuck := true
		for _, ev := range offered {
			if !possible(l, ev) || !happens(l, ev) {
				continue
			}
			if next, _ := l.next(ev); next != l {
				stuck = false
				visit(next)
			}
		}
		if stuck && l.phase != actors.PhaseStopped {
			t.Errorf("from %+v\n  stuck in %+v", from, l)
		}
	}
	visit(from)
}

// What ends after the session has begun to end comes of that.
func TestErrorsOfAnEndThatWasBroughtAboutAreExpected(t *testing.T) {
	for kind := drainAsked; kind <= clientTold; kind++ {
		for phase := actors.PhaseOpening; phase <= actors.PhaseStopped; phase++ {
			peersEnd := kind == openFailed || kind == agentEnded || kind == clientLost || kind == clientEnded
			if want := peersEnd && phase >= actors.PhaseStopping; (lifecycle{phase: phase}).expects(kind) != want {
				t.Errorf("event %d in %s: expected %v", kind, phase, !want)
			}
		}
	}
}

func count(effects []effect, kind effectKind) (n int) {
	for _, e := range effects {
		n += boolToInt(e.kind == kind)
	}
	return n
}

func workOf(effects []effect) (w work) {
	starts := map[effectKind]work{
		doReadClient: readClient, doOpenAgent: openAgent, doReceiveAgent: receiveAgent,
		doStopAgent: sendStop, doRelease: releasing, doTellClient: tellClient,
	}
	for _, e := range effects {
		w |= starts[e.kind]
	}
	return w
}

func boolToInt(b bool) int {
	if b {
		return 1
	}
	return 0
}
