package actors_test

import (
	"testing"
	"time"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/actors/relay"
)

// Sessions that began together reach their age limit within a tenth of it, and not all at once.
func TestASessionAtItsAgeLimitIsDrainedAlone(t *testing.T) {
	in(t, func(t *testing.T) {
		h := open(t, actors.Options{MaxSessionAge: time.Hour})
		for range 50 {
			h.prepare().serve()
		}
		time.Sleep(54*time.Minute - time.Second)
		if n := len(heard[actors.SessionStopped](h)); n > 0 {
			t.Errorf("%d sessions were ended early", n)
		}
		young := h.prepare().serve()
		time.Sleep(6*time.Minute + 2*time.Second)
		stopped := heard[actors.SessionStopped](h)
		ages := make(map[time.Duration]bool)
		for _, s := range stopped {
			ages[time.Duration(s.Age)] = true
			if s.Outcome != actors.Drained || s.Code != actors.CloseGoingAway || s.Reason != actors.ReasonAge {
				t.Errorf("%+v", s)
			}
		}
		if len(stopped) != 50 || len(ages) < 40 {
			t.Errorf("%d sessions were ended, at %d ages", len(stopped), len(ages))
		}
		if !young.running() || !h.Ready() || h.admits() != nil {
			t.Error("the others were hit")
		}
		if past := h.look().Drains; len(past) != 0 {
			t.Errorf("they are remembered as drains: %+v", past)
		}
	})
}

func TestAWorkflowAtTheAgeLimitGetsItsGrace(t *testing.T) {
	in(t, func(t *testing.T) {
		h := open(t, actors.Options{MaxSessionAge: time.Hour, AgeGrace: 10 * time.Minute})
		s := h.prepare()
		s.agent.stopping = 9 * time.Second // of the 10 that it may take
		s.serve()
		time.Sleep(time.Hour)
		if view := h.look().Sessions[0]; view.WaitsFor != relay.AwaitsWorkflow || view.Told.IsZero() {
			t.Errorf("%+v", view)
		}
		time.Sleep(10*time.Minute + 9*time.Second)
		s.endsAs(actors.Drained)
	})
}

func TestASessionThatEndedHasNoAge(t *testing.T) {
	in(t, func(t *testing.T) {
		h := open(t, actors.Options{MaxSessionAge: time.Hour})
		s := h.prepare().serve()
		h.send(actors.Drain{Only: &actors.Selection{IDs: []string{s.id}}})
		s.endsAs(actors.Drained)
		time.Sleep(2 * time.Hour)
		if n := len(heard[actors.DrainStarted](h)); n != 1 {
			t.Errorf("%d drains", n)
		}
	})
}

// The drain of everything has told it already, or will.
func TestADrainOfEverythingKeepsItsTimesForWhoReachesTheAgeLimit(t *testing.T) {
	in(t, func(t *testing.T) {
		h := open(t, actors.Options{MaxSessionAge: time.Minute})
		s := h.prepare().serve()
		h.send(actors.Drain{Deadline: h.began.Add(time.Hour), Grace: 10 * time.Minute})
		time.Sleep(5 * time.Minute)
		if n := len(heard[actors.DrainStarted](h)); n != 1 || !s.running() {
			t.Errorf("%d drains, running %v", n, s.running())
		}
	})
}

// The drain was resumed before it told them.
func TestWhoReachesTheAgeLimitInAStandbyIsDrainedAfterIt(t *testing.T) {
	in(t, func(t *testing.T) {
		h := open(t, actors.Options{MaxSessionAge: time.Hour})
		told, untold := h.prepare().serve(), h.prepare().serve()
		time.Sleep(50 * time.Minute)
		h.send(actors.Drain{Standby: true, BatchSize: 1, BatchInterval: time.Hour, Deadline: h.began.Add(10 * time.Hour)})
		time.Sleep(20 * time.Minute)
		first, second := told, untold
		if !first.running() == !second.running() {
			t.Fatal("the drain told both, or none")
		}
		if !second.running() {
			second = first
		}
		h.resume()
		if end := second.endsAs(actors.Drained); end.Reason != actors.ReasonAge {
			t.Errorf("%+v", end)
		}
	})
}

// An age limit is the session's own affair: with many sessions such drains go on all the time.
func TestTheDrainOfASessionThatIsTooOldTellsNoProgress(t *testing.T) {
	in(t, func(t *testing.T) {
		h := open(t, actors.Options{MaxSessionAge: time.Hour})
		s := h.prepare()
		s.agent.stopping = 5 * time.Second
		s.serve()
		time.Sleep(2 * time.Hour)
		started, finished := heard[actors.DrainStarted](h), heard[actors.DrainFinished](h)
		if len(started) != 1 || !started[0].Age || len(finished) != 1 || !finished[0].Age || len(heard[actors.DrainProgress](h)) != 0 {
			t.Errorf("%+v, %+v, %+v", started, finished, heard[actors.DrainProgress](h))
		}
	})
}

func TestANegativeAgeIsRefused(t *testing.T) {
	for _, options := range []actors.Options{{MaxSessionAge: -1}, {AgeGrace: -1}} {
		if _, err := actors.NewSupervisor(options); err == nil {
			t.Errorf("%+v was taken", options)
		}
	}
}
