package relay

import "github.com/lastcall-go/lastcall/actors"

// This file decides; session.go does. Nothing here knows time, sockets or goroutines, so that
// lifecycle_test.go can walk every state that any sequence of events leads to.

// lifecycle is a session's state. Its zero value has not begun.
type lifecycle struct {
	phase   actors.Phase
	busy    work   // what runs, and will report
	holds   bool   // the lease or tools are held, and no effect under way releases them
	severed bool   // the agent's stream was cancelled
	cut     bool   // the client's connection is dead
	told    bool   // the close frame was handed out
	grace   bool   // a drain lets the workflow run on for a while
	armed   timer  // the one timer that runs
	end     ending // the close frame's code and reason
}

// work is a set of a session's goroutines. Each ends with one event that has its bit in done.
type work uint8

const (
	readClient work = 1 << iota
	openAgent
	receiveAgent
	sendStop
	releasing
	tellClient
)

// ending is how a session ended: its outcome for the supervisor, its close frame for the client.
type ending struct {
	outcome actors.Outcome
	code    int
	reason  string
	side    actors.Side // which failed
}

// event is something that happened to a session.
type event struct {
	kind  eventKind
	done  work   // the work that this event is the end of
	timer timer  // timedOut: which
	end   ending // where the event may end the session: how
	stop  string // where the event may stop the agent: the reason it is given
	gone  bool   // clientEnded: nothing can be written to the client any more
	grace bool   // drainAsked: the workflow may run on for a while
}

type eventKind uint8

const (
	drainAsked eventKind = iota
	killed
	panicked // in one of the session's goroutines, or in Receive

	timedOut // the timer that was armed

	startReceived // the client's first message was a startRequest
	taken         // the lease, or tools, or both, are held
	leaseLost     // another session may have the workflow
	agentOpened   // its stream is open, and the startRequest is on it
	openFailed
	agentEnded
	stopSent
	released    // or could not be: the store frees it by itself
	clientLost  // writing to the client failed
	mustEnd     // the session can't go on, though both of its ends are there
	clientEnded // nothing more will be read from the client
	clientTold  // the close handshake is over, one way or the other
)

// effect is something that the session must do now.
type effect struct {
	kind  effectKind
	end   ending // doTellClient
	stop  string // doStopAgent: the reason
	timer timer  // doArm
}

type effectKind uint8

const (
	doReadClient effectKind = iota
	doOpenAgent
	doReceiveAgent
	doStopAgent
	doSeverAgent // cancel the agent's stream, or its opening
	doRelease
	doTellClient // send the close frame, wait for the answer
	doCutClient  // close the client's connection
	doAbandon    // there will be no stream: what waits for one goes on
	doArm        // start a timer, in place of the one before
	doDisarm
	doFinish // all has returned: acknowledge, and end the actor
)

type timer uint8

const (
	noTimer          timer = iota
	startTimer             // for the startRequest
	openTimer              // for the agent that it is meant for
	graceTimer             // for a running workflow, in a drain
	stopTimer              // for the agent to end its stream
	hurriedStopTimer       // the same where the lease is lost: another session may run the workflow by then
	closeTimer             // for the lease, the tools, and the client's answer
)

// begin is the first step of every session.
func begin() (lifecycle, []effect) {
	t := turn{}
	t.run(readClient, effect{kind: doReadClient})
	t.arm(startTimer)
	return t.lifecycle, t.effects
}

// next is the whole story: in this state, after this event, that is to be done. An event that
// means nothing in a state changes nothing.
func (l lifecycle) next(ev event) (lifecycle, []effect) {
	if l.phase == actors.PhaseStopped || ev.done != 0 && l.busy&ev.done == 0 {
		return l, nil
	}
	t := turn{lifecycle: l}
	t.busy &^= ev.done
	t.take(ev)
	t.settle()
	return t.lifecycle, t.effects
}

// expects reports whether an event is an end that the session itself brought about: the error that
// comes with it tells nothing.
func (l lifecycle) expects(kind eventKind) bool {
	switch kind {
	case openFailed, agentEnded, clientLost, clientEnded:
		return l.phase > actors.PhaseServing
	}
	return false
}

// turn is one step: the state as it changes, and the effects so far.
type turn struct {
	lifecycle
	effects []effect
}

func (t *turn) take(ev event) {
	switch ev.kind {
	case drainAsked:
		t.drain(ev)
	case killed:
		t.kill(ev.end)
	case panicked:
		t.fail(ev)
	case timedOut:
		t.timedOut(ev)
	case startReceived:
		t.startReceived()
	case taken:
		t.taken()
	case agentOpened:
		t.agentOpened()
	case openFailed, agentEnded:
		t.agentEnded(ev.end)
	case released:
		t.tellClient()
	case clientLost:
		t.clientLost(ev)
	case leaseLost:
		t.leaseLost(ev)
	case mustEnd:
		t.mustEnd(ev)
	case clientEnded:
		t.clientEnded(ev)
	case clientTold:
		t.cutClient()
	}
}

// drain: a session with a running workflow may get a grace, one without stops at once. Where the agent is
// stopping already, its time may become shorter.
func (t *turn) drain(ev event) {
	switch {
	case t.phase == actors.PhaseServing && ev.grace:
		t.grace = true
		t.arm(graceTimer)
	case t.phase <= actors.PhaseServing:
		t.stopAgent(ev.end, ev.stop)
	case t.armed == stopTimer, t.armed == hurriedStopTimer:
		t.arm(t.armed)
	}
}

// kill ends the session from any state, without a close frame: all that runs returns because
// both of its ends are cut.
func (t *turn) kill(end ending) {
	t.end = end
	t.phase = actors.PhaseClosing
	t.disarm()
	t.severAgent()
	t.cutClient()
	t.release()
}

// fail ends the session after a panic. The agent is not asked to stop: the goroutine that would see its
// answer may be the one that panicked.
func (t *turn) fail(ev event) {
	t.end = t.failure(ev)
	switch {
	case t.phase < actors.PhaseClosing:
		t.severAndClose()
	case !t.runs(releasing):
		t.tellClient()
	}
}

// failure is how a session ends after a panic. A client that got no close frame yet gets 1011.
func (t *turn) failure(ev event) ending {
	switch {
	case t.end.outcome == actors.Killed:
		return t.end
	case t.told && ev.done != tellClient && !t.runs(tellClient): // the client knows how it ended
		return t.end
	case t.told: // a close frame was under way, and may be lost
		return ending{outcome: actors.Failed}
	case t.cut: // the code is the client's own, if there is one
		return ending{actors.Failed, t.end.code, t.end.reason, t.end.side}
	}
	return ev.end
}

// timedOut: one that is not armed any more has come too late.
func (t *turn) timedOut(ev event) {
	if ev.timer != t.armed {
		return
	}
	t.armed = noTimer
	switch ev.timer {
	case startTimer:
		t.end = ev.end
		t.close()
	case openTimer:
		t.end = ev.end
		t.severAndClose()
	case graceTimer:
		t.stopAgent(ev.end, ev.stop)
	case stopTimer, hurriedStopTimer:
		t.stopTimedOut()
	case closeTimer:
		t.cutClient()
	}
}

func (t *turn) startReceived() {
	if t.phase != actors.PhaseOpening {
		t.do(effect{kind: doAbandon})
		return
	}
	t.run(openAgent, effect{kind: doOpenAgent})
	t.arm(openTimer)
}

func (t *turn) stopTimedOut() {
	if t.end.outcome == actors.Drained || t.end.outcome == actors.ClientGone {
		t.end.outcome = actors.Cancelled
	}
	t.severAndClose()
}

func (t *turn) taken() {
	if !t.runs(openAgent) {
		return
	}
	t.holds = true
	if t.phase == actors.PhaseClosing {
		t.release()
	}
}

func (t *turn) agentOpened() {
	t.run(receiveAgent, effect{kind: doReceiveAgent})
	switch {
	case t.phase == actors.PhaseOpening:
		t.phase = actors.PhaseServing
		t.disarm()
	case t.phase == actors.PhaseStopping && t.severed:
		t.close()
	}
}

// agentEnded: unasked, the agent's end is the session's; asked, any end will do.
func (t *turn) agentEnded(end ending) {
	switch t.phase {
	case actors.PhaseOpening, actors.PhaseServing:
		t.end = end
		t.close()
	case actors.PhaseStopping:
		t.close()
	}
}

func (t *turn) clientLost(ev event) {
	if t.cut {
		return
	}
	t.cutClient()
	t.mustEnd(ev)
}

// clientEnded: a client that leaves before it got a close frame has sent one itself, or
// nothing.
func (t *turn) clientEnded(ev event) {
	if ev.gone {
		if !t.cut && !t.told {
			t.end.code, t.end.reason = ev.end.code, ev.end.reason
		}
		t.cut = true
	}
	t.mustEnd(ev)
}

// mustEnd stops the agent first, in order: what it still sends is delivered, and then the client gets its close frame.
func (t *turn) mustEnd(ev event) {
	if t.phase <= actors.PhaseServing {
		t.stopAgent(ev.end, ev.stop)
	}
}

// leaseLost: the agent has a moment only, also where it is stopping already.
func (t *turn) leaseLost(ev event) {
	t.mustEnd(ev)
	if t.armed == stopTimer {
		t.arm(hurriedStopTimer)
	}
}

// stopAgent asks the agent to end its stream, where there is one or will be.
func (t *turn) stopAgent(end ending, reason string) {
	t.end = end
	if !t.runs(openAgent | receiveAgent) {
		t.close()
		return
	}
	t.phase = actors.PhaseStopping
	t.run(sendStop, effect{kind: doStopAgent, stop: reason})
	t.arm(stopTimer)
}

func (t *turn) severAgent() {
	t.severed = true
	t.do(effect{kind: doSeverAgent})
}

// severAndClose doesn't wait for an agent that was asked long enough. Only an opening is waited
// for: it may have taken the lease, and ends as soon as it is severed.
func (t *turn) severAndClose() {
	t.severAgent()
	if t.runs(openAgent) {
		t.phase = actors.PhaseStopping
		t.disarm()
		return
	}
	t.close()
}

// close begins the last part: the lease first, so that a client that comes back finds it free.
func (t *turn) close() {
	t.phase = actors.PhaseClosing
	t.arm(closeTimer)
	if t.holds {
		t.release()
		return
	}
	t.tellClient()
}

func (t *turn) release() {
	if !t.holds {
		return
	}
	t.holds = false
	t.run(releasing, effect{kind: doRelease})
}

func (t *turn) tellClient() {
	if t.cut || t.told {
		t.cutClient()
		return
	}
	t.told = true
	t.run(tellClient, effect{kind: doTellClient, end: t.end})
}

func (t *turn) cutClient() {
	if !t.cut && !t.told {
		t.end.code, t.end.reason = 0, "" // no close frame will go out
	}
	t.cut = true
	t.do(effect{kind: doCutClient})
}

// settle ends the session once nothing of it runs.
func (t *turn) settle() {
	if t.phase == actors.PhaseClosing && t.busy == 0 && !t.holds {
		t.phase = actors.PhaseStopped
		t.disarm()
		t.do(effect{kind: doFinish})
	}
}

func (t *turn) run(w work, e effect) {
	t.busy |= w
	t.do(e)
}

func (t *turn) runs(w work) bool { return t.busy&w != 0 }

func (t *turn) arm(timer timer) {
	t.armed = timer
	t.do(effect{kind: doArm, timer: timer})
}

func (t *turn) disarm() {
	if t.armed != noTimer {
		t.armed = noTimer
		t.do(effect{kind: doDisarm})
	}
}

func (t *turn) do(e effect) { t.effects = append(t.effects, e) }
