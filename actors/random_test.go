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
	"github.com/lastcall-go/lastcall/actors/actorstest"
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

func (n nature) session(h *actorstest.Supervisor) *actorstest.Session {
	s := h.Session()
	s.Agent.OnOpen.Takes, s.Agent.OnStop.Takes, s.Agent.OnStop.Hangs = n.opens, n.stopping, n.ignores
	s.Client.OnSend.Takes, s.Client.OnClose.Hangs = n.reads, n.mute
	switch n.panics {
	case "Send":
		s.Client.OnSend.Panics = true
	case "Close":
		s.Client.OnClose.Panics = true
	case "Abort":
		s.Client.OnAbort.Panics = true
	case "open":
		s.Agent.OnOpen.Panics = true
	}
	if n.fails == "write" {
		s.Client.OnSend.Err = errors.New("write: broken pipe")
	}
	if n.fails == "open" {
		s.Agent.OnOpen.Err = relay.AgentUnavailable(nil)
	}
	if n.leased {
		l := s.Lease()
		l.OnRelease.Takes, l.OnRelease.Panics = n.releases, n.panics == "release"
		if n.fails == "acquire" {
			l.OnAcquire.Err = relay.LeaseHeld(nil)
		}
		if n.fails == "release" {
			l.OnRelease.Err = errors.New("store is down")
		}
	}
	return s.Join()
}

// do does one deed. A stream that isn't there hears nothing.
func do(h *actorstest.Supervisor, s *actorstest.Session, what string) {
	say := func(what func(*actorstest.Stream)) {
		for _, stream := range s.Agent.Streams() {
			go what(stream)
		}
	}
	switch what {
	case "start":
		s.Client.Say(actorstest.StartRequest("w1"))
	case "talk":
		s.Client.Say(actorstest.Heartbeat(1))
	case "silence":
		s.Client.End(relay.ErrSilent)
	case "garbage":
		s.Client.End(&actors.Fault{Code: 1007, Reason: "not JSON"})
	case "leave":
		s.Client.End(&actors.ClosedError{Code: 1000})
	case "vanish":
		s.Client.End(io.ErrUnexpectedEOF)
	case "client panics":
		s.Client.Panic()
	case "agent talks":
		say(func(stream *actorstest.Stream) { stream.Say(actorstest.Action("a")) })
	case "agent ends":
		say(func(stream *actorstest.Stream) { stream.End(io.EOF) })
	case "agent fails":
		say(func(stream *actorstest.Stream) { stream.End(actorstest.ErrInterrupted) })
	case "agent panics":
		say((*actorstest.Stream).Panic)
	case "poison":
		h.Engine().Poison(s.PID())
	case "drain":
		h.Engine().Send(h.PID(), actors.Drain{Grace: 3 * time.Second, BatchSize: 2})
	case "drain at once":
		h.Engine().Send(h.PID(), actorstest.Within(0))
	}
}

// quiet leaves it to rapid to report what is amiss.
type quiet struct{ testing.TB }

func (quiet) Error(...any) {}

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
		synctest.Test(t, func(t *testing.T) { wrong = play(actorstest.New(quiet{t}, actors.Options{}), natures, schedule) })
		if len(wrong) > 0 {
			r.Fatal(strings.Join(wrong, "\n"))
		}
	})
}

// play plays a schedule, then drains, and returns what is wrong after that.
func play(h *actorstest.Supervisor, natures []nature, schedule []deed) (wrong []string) {
	var sessions []*actorstest.Session
	for _, n := range natures {
		sessions = append(sessions, n.session(h))
	}
	for _, d := range schedule {
		if time.Sleep(d.after); d.after > 0 {
			synctest.Wait()
		}
		do(h, sessions[d.whom], d.what)
	}
	synctest.Wait()
	if _, took, _ := h.TimedDrain(actors.Drain{}); took > actors.DefaultDrain+100*time.Millisecond {
		wrong = append(wrong, fmt.Sprintf("the drain took %v", took))
	}
	time.Sleep(time.Hour) // those that were killed have come to their end too
	return append(wrong, h.Amiss()...)
}
