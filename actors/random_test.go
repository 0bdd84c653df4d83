package actors_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/actors/actorstest"
)

// scenario is all that happens in one world: what there is, and a schedule of what is done to it.
type scenario struct {
	options  actors.Options
	services []serviceNature
	sessions []nature
	listener string // what a listener of the embedder's does: "", "panics", "slow"
	schedule []deed
}

// deed is something that happens to one session, or to the house.
type deed struct {
	after time.Duration // since the one before
	what  string
	whom  int // a session's number
	drain drainNature
}

// nature is how the parts of a session behave throughout.
type nature struct {
	kind, principal, ticket                 string
	opens, stopping, reads, releases, tools time.Duration
	fails, panics                           string // what fails or panics, "" nothing
	starts, late, ignores, mute, leased     bool
	stubborn                                bool
}

type serviceNature struct {
	with                   bool // the sessions, not after them
	takes                  time.Duration
	hangs, panics, returns bool // returns: before it is asked to stop
}

// drainNature is a [actors.Drain] but for its moment.
type drainNature struct {
	within, delay, grace, interval time.Duration // within 0: the default deadline
	cancelled                      time.Duration // after this the context is cancelled. 0: it isn't
	batch, most                    int
	only                           string // how a part is selected
	message                        bool   // it comes as a message, without a sender
}

// The deeds by how often they are drawn.
var deeds = []string{
	"start", "arrive", "arrive", "arrive",
	"talk", "silence", "garbage", "leave", "vanish", "client panics",
	"agent talks", "agent talks", "agent asks a tool", "agent ends", "agent fails", "agent panics",
	"lease is lost", "authorization ends", "poison",
	"part", "part", "part", "standby", "standby", "final", "resume", "resume", "resume",
}

func oneOf[V any](of ...V) *rapid.Generator[V] { return rapid.SampledFrom(of) }

var drawNature = rapid.Custom(func(r *rapid.T) nature {
	takes := oneOf[time.Duration](0, 0, 0, time.Second, 7*time.Second, time.Minute)
	often := oneOf(false, false, true)
	return nature{
		kind:      oneOf("relay", "relay", "relay", "function", "member").Draw(r, "kind"),
		principal: oneOf("", "a", "b").Draw(r, "principal"),
		ticket:    oneOf("used", "used", "used", "used", "used late", "used too late", "cancelled", "lost").Draw(r, "ticket"),
		opens:     takes.Draw(r, "opens"),
		stopping:  takes.Draw(r, "stopping"),
		reads:     takes.Draw(r, "reads"),
		releases:  takes.Draw(r, "releases"),
		tools:     takes.Draw(r, "tools"),
		fails:     oneOf("", "", "", "", "open", "acquire", "write", "release", "tool", "prepare").Draw(r, "fails"),
		panics: oneOf("", "", "", "", "", "", "", "Send", "Close", "Abort", "Traffic", "BadInput", "open", "stream", "acquire",
			"confirm", "release", "prepare", "tool.Open", "tool.Takes", "tool.Run", "tool.Close", "made", "Standing").Draw(r, "panics"),
		starts:   oneOf(true, true, true, false).Draw(r, "starts"),
		late:     rapid.Bool().Draw(r, "late"),
		ignores:  often.Draw(r, "ignores"),
		mute:     often.Draw(r, "mute"),
		leased:   rapid.Bool().Draw(r, "leased"),
		stubborn: oneOf(false, false, false, true).Draw(r, "stubborn"),
	}
})

var drawService = rapid.Custom(func(r *rapid.T) serviceNature {
	often := oneOf(false, false, false, true)
	return serviceNature{
		with:    rapid.Bool().Draw(r, "with"),
		takes:   oneOf[time.Duration](0, 0, time.Second, time.Minute).Draw(r, "takes"),
		hangs:   often.Draw(r, "hangs"),
		panics:  often.Draw(r, "panics"),
		returns: often.Draw(r, "returns"),
	}
})

var drawDrain = rapid.Custom(func(r *rapid.T) drainNature {
	return drainNature{
		within:    oneOf[time.Duration](0, 0, -time.Second, time.Millisecond, time.Second, 5*time.Second, 12*time.Second, 40*time.Second).Draw(r, "within"),
		delay:     oneOf[time.Duration](0, 0, time.Second, 30*time.Second).Draw(r, "delay"),
		grace:     oneOf[time.Duration](0, 0, 3*time.Second, time.Minute).Draw(r, "grace"),
		interval:  oneOf[time.Duration](0, 100*time.Millisecond, 10*time.Second).Draw(r, "interval"),
		cancelled: oneOf[time.Duration](0, 0, 0, 0, time.Millisecond, 4*time.Second).Draw(r, "cancelled"),
		batch:     oneOf(0, 0, 1, 2, 3).Draw(r, "batch"),
		most:      oneOf(0, 0, 1, 3).Draw(r, "most"),
		only:      oneOf("all", "one", "kind", "principal", "old").Draw(r, "only"),
		message:   oneOf(false, false, false, true).Draw(r, "message"),
	}
})

var drawScenario = rapid.Custom(func(r *rapid.T) scenario {
	s := scenario{
		options: actors.Options{
			MaxSessions:             oneOf(0, 0, 4).Draw(r, "max sessions"),
			MaxSessionsPerPrincipal: oneOf(0, 0, 2).Draw(r, "max sessions per principal"),
			StopTimeout:             oneOf[time.Duration](0, 0, 2*time.Second).Draw(r, "stop timeout"),
			CloseTimeout:            oneOf[time.Duration](0, 0, time.Second).Draw(r, "close timeout"),
			MaxSessionAge:           oneOf[time.Duration](0, 0, 10*time.Second).Draw(r, "age"),
			AgeGrace:                oneOf[time.Duration](0, 3*time.Second).Draw(r, "age grace"),
		},
		services: rapid.SliceOfN(drawService, 0, 3).Draw(r, "services"),
		sessions: rapid.SliceOfN(drawNature, 1, 12).Draw(r, "sessions"),
		listener: oneOf("", "", "panics", "slow").Draw(r, "listener"),
	}
	s.schedule = rapid.SliceOfN(rapid.Custom(func(r *rapid.T) deed {
		d := deed{
			after: oneOf[time.Duration](0, 0, 0, time.Millisecond, time.Second, 4*time.Second).Draw(r, "after"),
			what:  oneOf(deeds...).Draw(r, "what"),
			whom:  rapid.IntRange(0, len(s.sessions)-1).Draw(r, "whom"),
		}
		if d.what == "part" || d.what == "standby" || d.what == "final" {
			d.drain = drawDrain.Draw(r, "drain")
		}
		return d
	}), 0, 60).Draw(r, "schedule")
	return s
})

// quiet leaves it to the world to report what is amiss.
type quiet struct{ testing.TB }

func (quiet) Error(...any) {}

// play plays a scenario in a world of its own, and returns what is wrong after that.
func play(t *testing.T, s scenario) (wrong []string) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(actorstest.New(quiet{t}, s.options), s)
		for _, d := range s.schedule {
			if time.Sleep(d.after); d.after > 0 {
				synctest.Wait()
			}
			w.do(d)
		}
		wrong = w.end()
	})
	return wrong
}

// Whatever happens to sessions, in whatever order, each is asked to stop, stops once and is reported once; each
// drain ends in time; and nothing of any is left.
func TestEverySessionStopsOnceWhateverHappens(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		if wrong := play(t, drawScenario.Draw(r, "scenario")); len(wrong) > 0 {
			r.Fatal(strings.Join(wrong, "\n"))
		}
	})
}
