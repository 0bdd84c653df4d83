package actors_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/actors/relay"
)

// deed is something that happens in a random schedule, to one session or to the house.
type deed struct {
	after time.Duration // since the one before
	what  string
	whom  int // a session's number
}

var deeds = []string{
	"start", "start", "start", "talk", "silence", "garbage", "leave", "vanish", "client panics",
	"agent talks", "agent talks", "agent ends", "agent fails", "agent panics",
	"poison", "drain", "drain at once",
}

// nature is how the peers of a session behave throughout.
type nature struct {
	opens, stopping, reads, releases time.Duration
	fails, panics                    string // what fails or panics, "" nothing
	ignores, mute, leased            bool
}

func drawNature(r *rapid.T) nature {
	takes := rapid.SampledFrom([]time.Duration{0, 0, 0, time.Second, 7 * time.Second, time.Minute})
	often := rapid.SampledFrom([]bool{false, false, true})
	return nature{
		opens:    takes.Draw(r, "opens"),
		stopping: takes.Draw(r, "stopping"),
		reads:    takes.Draw(r, "reads"),
		releases: takes.Draw(r, "releases"),
		fails:    rapid.SampledFrom([]string{"", "", "", "", "open", "acquire", "write", "release"}).Draw(r, "fails"),
		panics:   rapid.SampledFrom([]string{"", "", "", "", "Send", "Close", "Abort", "open", "release"}).Draw(r, "panics"),
		ignores:  often.Draw(r, "ignores"),
		mute:     often.Draw(r, "mute"),
		leased:   rapid.Bool().Draw(r, "leased"),
	}
}

func (n nature) session(h *house) *joined {
	s := h.prepare()
	s.agent.opens, s.agent.stopping, s.agent.ignores = n.opens, n.stopping, n.ignores
	s.client.reads, s.client.mute, s.client.panicIn = n.reads, n.mute, n.panics
	s.client.failing, s.agent.openPanic = n.fails == "write", n.panics == "open"
	if n.fails == "open" {
		s.agent.openErr = relay.AgentUnavailable(nil)
	}
	if n.leased {
		l := s.leased()
		l.releases, l.panics = n.releases, n.panics == "release"
		if n.fails == "acquire" {
			l.acquireErr = relay.LeaseHeld(nil)
		}
		if n.fails == "release" {
			l.releaseErr = errors.New("store is down")
		}
	}
	return s.join()
}

// do does one deed. A stream that isn't there hears nothing.
func (s *joined) do(what string) {
	if s.stream == nil {
		select {
		case s.stream = <-s.agent.opened:
		default:
		}
	}
	say := func(what any) {
		if s.stream != nil {
			go s.stream.say(what)
		}
	}
	hear := func(what any) {
		select {
		case s.client.says <- what:
		default:
		}
	}
	switch what {
	case "start":
		hear(startRequest("w1"))
	case "talk":
		hear(heartbeat(1))
	case "silence":
		hear(relay.ErrSilent)
	case "garbage":
		hear(&actors.Fault{Code: 1007, Reason: "not JSON"})
	case "leave":
		hear(&actors.ClosedError{Code: 1000})
	case "vanish":
		hear(io.ErrUnexpectedEOF)
	case "client panics":
		hear(boom{})
	case "agent talks":
		say(action("a"))
	case "agent ends":
		say(io.EOF)
	case "agent fails":
		say(errInterrupted)
	case "agent panics":
		say(boom{})
	case "poison":
		s.house.Engine().Poison(s.pid())
	case "drain":
		s.house.Engine().Send(s.house.PID(), actors.Drain{Grace: 3 * time.Second, BatchSize: 2})
	case "drain at once":
		s.house.Engine().Send(s.house.PID(), actors.Drain{Deadline: time.Now()})
	}
}

// Whatever happens to sessions, in whatever order, each stops once and nothing of any is left.
func TestEverySessionStopsOnceWhateverHappens(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		natures := rapid.SliceOfN(rapid.Custom(drawNature), 1, 8).Draw(r, "sessions")
		schedule := rapid.SliceOfN(rapid.Custom(func(r *rapid.T) deed {
			return deed{
				after: rapid.SampledFrom([]time.Duration{0, 0, time.Millisecond, time.Second, 4 * time.Second}).Draw(r, "after"),
				what:  rapid.SampledFrom(deeds).Draw(r, "what"),
				whom:  rapid.IntRange(0, len(natures)-1).Draw(r, "whom"),
			}
		}), 0, 40).Draw(r, "schedule")

		var wrong []string
		in(t, func(t *testing.T) { wrong = play(t, natures, schedule) })
		if len(wrong) > 0 {
			r.Fatal(strings.Join(wrong, "\n"))
		}
	})
}

// play plays a schedule, then drains, and returns what is wrong after that.
func play(t *testing.T, natures []nature, schedule []deed) (wrong []string) {
	h := open(t, actors.Options{})
	var sessions []*joined
	for _, n := range natures {
		sessions = append(sessions, n.session(h))
	}
	for _, d := range schedule {
		if time.Sleep(d.after); d.after > 0 {
			synctest.Wait()
		}
		sessions[d.whom].do(d.what)
	}
	synctest.Wait()
	if _, took, _ := h.drain(actors.Drain{}); took > actors.DefaultDrain+100*time.Millisecond {
		wrong = append(wrong, fmt.Sprintf("the drain took %v", took))
	}
	time.Sleep(time.Hour) // those that were killed have come to their end too
	for _, s := range sessions {
		wrong = append(wrong, s.amiss()...)
	}
	if left := h.actors(); len(left) > 0 {
		wrong = append(wrong, fmt.Sprintf("%d actors are left", len(left)))
	}
	return wrong
}

// amiss is what is wrong with a session that has stopped.
func (s *joined) amiss() (wrong []string) {
	check := func(ok bool, what string) {
		if !ok {
			wrong = append(wrong, fmt.Sprintf("%s: %q", what, s.all()))
		}
	}
	stopped := 0
	for _, e := range heard[actors.SessionStopped](s.house) {
		if e.ID == s.id {
			stopped++
		}
	}
	told, start := s.at("client told"), s.at("agent got startRequest")
	check(stopped == 1, fmt.Sprintf("stopped %d times", stopped))
	check(s.count("lease on") == s.count("lease released"), "a lease was not released, or twice")
	check(s.count("stopWorkflow") <= 1, "stopped twice")
	check(s.count("client told") <= 1, "told twice")
	check(s.at("agent got") == start, "startRequest was not first")
	check(told < 0 || s.at("lease released") < told, "told before the lease was released")
	if stop := s.at("stopWorkflow"); stop >= 0 {
		for _, line := range s.all()[stop+1:] {
			check(!strings.Contains(line, "agent got"), "something followed stopWorkflow")
		}
	}
	check(s.count("client cut") == 1, "the connection is still there")
	return wrong
}
