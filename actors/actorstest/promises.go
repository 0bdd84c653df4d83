package actorstest

import (
	"fmt"
	"strings"

	"github.com/anthdm/hollywood/actor"

	"github.com/lastcall-go/lastcall/actors"
)

// Amiss waits until everything in the bubble has come to rest, and returns which promises were broken so
// far. Once the supervisor is closed there is nothing left of any session:
//
//   - no actor of a session or a service
//   - each session has ended, once
//
// and for each [Session], whatever has happened to it:
//
//   - startRequest is the first message to the agent, and nothing follows stopWorkflow
//   - each lease that was taken was released, once, and before the client's close frame
//   - a client that didn't leave got one close frame, unless the session was killed
//   - the connection was cut
//
// [Run] reports what is amiss when the test has ended.
func (s *Supervisor) Amiss() (wrong []string) {
	for _, pid := range s.Actors() {
		wrong = append(wrong, fmt.Sprintf("actor %s is left", pid.ID))
	}
	wrong = append(wrong, s.unended()...)
	outcomes := make(map[string]actors.Outcome)
	for _, e := range s.Ended() {
		outcomes[e.ID] = e.Outcome
	}
	s.mu.Lock()
	sessions := s.sessions
	s.mu.Unlock()
	for _, session := range sessions {
		if session.ID != "" {
			wrong = append(wrong, session.amiss(outcomes[session.ID])...)
		}
	}
	return wrong
}

// unended: a poisoned supervisor reports no ends any more; what its sessions send it is lost.
func (s *Supervisor) unended() (wrong []string) {
	told, lost := make(map[string]int), make(map[string]int)
	for _, e := range s.Ended() {
		told[e.ID]++
	}
	for _, e := range Heard[actor.DeadLetterEvent](s) {
		if m, ok := e.Message.(actors.Stopped); ok {
			lost[m.ID]++
		}
	}
	for _, e := range Heard[actor.ActorStartedEvent](s) {
		id, is := strings.CutPrefix(e.PID.ID, s.PID().ID+"/session/")
		if is && (told[id] > 1 || told[id]+lost[id] == 0) {
			wrong = append(wrong, fmt.Sprintf("session %s has ended %d times", id, told[id]))
		}
	}
	return wrong
}

// amiss says which promises of a session were broken. No outcome: it hasn't ended, or nothing heard of it.
func (s *Session) amiss(outcome actors.Outcome) (wrong []string) {
	check := func(kept bool, what string) {
		if !kept {
			wrong = append(wrong, fmt.Sprintf("session %s: %s:\n  %s", s.ID, what, strings.Join(s.Lines(), "\n  ")))
		}
	}
	start, stop, told := s.Index("agent got startRequest"), s.Index("agent got stopWorkflow"), s.Index("client told")
	check(s.Index("agent got") == start, "startRequest was not the first message to the agent")
	check(stop < 0 || s.lastIndex("agent got") == stop, "a message to the agent followed stopWorkflow")
	check(s.Count("lease on") == s.Count("lease released"), "a lease was not released, or twice")
	check(told < 0 || s.lastIndex("lease released") < told, "the client was told before the lease was released")
	check(s.Count("client told") <= 1, "the client was told twice")
	check(told >= 0 || s.Client.isLost() || !mustTell(outcome), "the client was not told")
	check(s.Count("client cut") == 1, "the connection was not cut")
	return wrong
}

// mustTell reports whether a client that hasn't left must get a close frame.
func mustTell(outcome actors.Outcome) bool {
	return outcome != "" && outcome != actors.Killed && outcome != actors.ClientGone
}

// lastIndex returns the index of the last line that contains what, or -1.
func (j *Journal) lastIndex(what string) int {
	lines := j.Lines()
	for i := len(lines) - 1; i >= 0; i-- {
		if strings.Contains(lines[i], what) {
			return i
		}
	}
	return -1
}
