package actors_test

import (
	"testing"
	"time"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/actors/actorstest"
	"github.com/lastcall-go/lastcall/actors/relay"
)

// Sessions that began together reach their age limit within a tenth of it, and not all at once.
func TestASessionAtItsAgeLimitIsDrainedAlone(t *testing.T) {
	actorstest.Run(t, actors.Options{MaxSessionAge: time.Hour}, func(t *testing.T, h *actorstest.Supervisor) {
		for range 50 {
			h.Session().Serve()
		}
		time.Sleep(54*time.Minute - time.Second)
		if n := len(actorstest.Heard[actors.SessionStopped](h)); n > 0 {
			t.Errorf("%d sessions were ended early", n)
		}
		young := h.Session().Serve()
		time.Sleep(6*time.Minute + 2*time.Second)
		stopped := actorstest.Heard[actors.SessionStopped](h)
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
		if !young.Running() || !h.Ready() || h.Admits() != nil {
			t.Error("the others were hit")
		}
		if past := h.View().Drains; len(past) != 0 {
			t.Errorf("they are remembered as drains: %+v", past)
		}
	})
}

func TestAWorkflowAtTheAgeLimitGetsItsGrace(t *testing.T) {
	actorstest.Run(t, actors.Options{MaxSessionAge: time.Hour, AgeGrace: 10 * time.Minute}, func(t *testing.T, h *actorstest.Supervisor) {
		s := h.Session()
		s.Agent.OnStop.Takes = 9 * time.Second // of the 10 that it may take
		s.Serve()
		time.Sleep(time.Hour)
		if view := h.View().Sessions[0]; view.WaitsFor != relay.AwaitsWorkflow || view.Told.IsZero() {
			t.Errorf("%+v", view)
		}
		time.Sleep(10*time.Minute + 9*time.Second)
		s.EndsAs(actors.Drained)
	})
}

func TestASessionThatEndedHasNoAge(t *testing.T) {
	actorstest.Run(t, actors.Options{MaxSessionAge: time.Hour}, func(t *testing.T, h *actorstest.Supervisor) {
		s := h.Session().Serve()
		h.Send(actors.Drain{Only: &actors.Selection{IDs: []string{s.ID}}})
		s.EndsAs(actors.Drained)
		time.Sleep(2 * time.Hour)
		if n := len(actorstest.Heard[actors.DrainStarted](h)); n != 1 {
			t.Errorf("%d drains", n)
		}
	})
}

// The drain of everything has asked it already, or will.
func TestADrainOfEverythingKeepsItsTimesForWhoReachesTheAgeLimit(t *testing.T) {
	actorstest.Run(t, actors.Options{MaxSessionAge: time.Minute}, func(t *testing.T, h *actorstest.Supervisor) {
		s := h.Session().Serve()
		h.Send(actors.Drain{Deadline: h.Began.Add(time.Hour), Grace: 10 * time.Minute})
		time.Sleep(5 * time.Minute)
		if n := len(actorstest.Heard[actors.DrainStarted](h)); n != 1 || !s.Running() {
			t.Errorf("%d drains, running %v", n, s.Running())
		}
	})
}

// The drain was resumed before it asked them.
func TestWhoReachesTheAgeLimitInAStandbyIsDrainedAfterIt(t *testing.T) {
	actorstest.Run(t, actors.Options{MaxSessionAge: time.Hour}, func(t *testing.T, h *actorstest.Supervisor) {
		told, untold := h.Session().Serve(), h.Session().Serve()
		time.Sleep(50 * time.Minute)
		h.Send(actors.Drain{Standby: true, BatchSize: 1, BatchInterval: time.Hour, Deadline: h.Began.Add(10 * time.Hour)})
		time.Sleep(20 * time.Minute)
		first, second := told, untold
		if !first.Running() == !second.Running() {
			t.Fatal("the drain told both, or none")
		}
		if !second.Running() {
			second = first
		}
		resume(t, h)
		if end := second.EndsAs(actors.Drained); end.Reason != actors.ReasonAge {
			t.Errorf("%+v", end)
		}
	})
}

// An age limit is the session's own affair: with many sessions such drains go on all the time.
func TestTheDrainOfASessionThatIsTooOldTellsNoProgress(t *testing.T) {
	actorstest.Run(t, actors.Options{MaxSessionAge: time.Hour}, func(t *testing.T, h *actorstest.Supervisor) {
		s := h.Session()
		s.Agent.OnStop.Takes = 5 * time.Second
		s.Serve()
		time.Sleep(2 * time.Hour)
		started, finished := actorstest.Heard[actors.DrainStarted](h), actorstest.Heard[actors.DrainFinished](h)
		if len(started) != 1 || !started[0].Age || len(finished) != 1 || !finished[0].Age || len(actorstest.Heard[actors.DrainProgress](h)) != 0 {
			t.Errorf("%+v, %+v, %+v", started, finished, actorstest.Heard[actors.DrainProgress](h))
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
