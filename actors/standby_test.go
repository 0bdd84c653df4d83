package actors_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lastcall-go/lastcall/actors"
)

func TestAStandbyDrainsTheSessionsAndLeavesTheServices(t *testing.T) {
	in(t, func(t *testing.T) {
		h := open(t, actors.Options{})
		s := h.prepare().serve()
		with, after := &daemon{journal: s.journal, name: "peer"}, &daemon{journal: s.journal, name: "server"}
		h.add("peer", actors.WithSessions, with)
		h.add("server", actors.AfterSessions, after)
		report := h.drained(actors.Drain{Standby: true})
		s.endsAs(actors.Drained)
		if len(report.Services) != 0 || len(heard[actors.ServiceStopped](h)) != 0 {
			t.Errorf("services have stopped: %+v", report.Services)
		}
		if err := h.admits(); !errors.Is(err, actors.ErrDraining) || h.Ready() {
			t.Errorf("ready %v, admission: %v", h.Ready(), err)
		}
		if view := h.look(); view.State != actors.Idle || view.Final {
			t.Errorf("%+v", view)
		}
	})
}

func TestAStandbyResumes(t *testing.T) {
	in(t, func(t *testing.T) {
		h := open(t, actors.Options{})
		h.prepare().serve()
		h.drained(actors.Drain{Standby: true})
		h.resume()
		if len(heard[actors.Resumed](h)) != 1 || h.look().State != actors.Serving {
			t.Error("it didn't tell")
		}
		second := h.prepare().serve()
		h.drained(actors.Drain{Standby: true})
		second.endsAs(actors.Drained)
		h.resume()
		third := h.prepare().serve()
		if report := h.drained(actors.Drain{}); len(report.Sessions) != 1 {
			t.Errorf("%+v", report)
		}
		third.endsAs(actors.Drained)
	})
}

func TestResumingWhereNothingDrainsDoesNothing(t *testing.T) {
	in(t, func(t *testing.T) {
		h := open(t, actors.Options{})
		h.resume()
		if len(heard[actors.Resumed](h)) != 0 || !h.Ready() {
			t.Error("it did something")
		}
	})
}

func TestAFinalDrainDoesNotResume(t *testing.T) {
	in(t, func(t *testing.T) {
		h := open(t, actors.Options{})
		h.prepare().serve()
		h.send(actors.Drain{Grace: time.Second})
		for range 2 { // under way, and over
			if err := h.Resume(context.Background()); !errors.Is(err, actors.ErrFinal) {
				t.Errorf("%v", err)
			}
			time.Sleep(2 * time.Second)
		}
		if h.Ready() || !errors.Is(h.admits(), actors.ErrDraining) {
			t.Error("it admits")
		}
	})
}

// Who was told finishes; who wasn't is left alone; admission is on at once.
func TestResumingAStandbyUnderWay(t *testing.T) {
	in(t, func(t *testing.T) {
		h := open(t, actors.Options{})
		first := h.prepare()
		first.agent.stopping = 5 * time.Second
		first.serve()
		time.Sleep(time.Second)
		second := h.prepare().serve()
		h.send(actors.Drain{Standby: true, BatchSize: 1, BatchInterval: 3 * time.Second})
		time.Sleep(time.Second)
		h.resume()
		if err := h.admits(); err != nil || !h.Ready() {
			t.Errorf("ready %v, admission: %v", h.Ready(), err)
		}
		if under := h.look().Drains[0]; !under.Part || under.Sessions != 1 || under.Left != 1 || under.Untold != 0 {
			t.Errorf("%+v", under)
		}
		time.Sleep(time.Minute)
		first.endsAs(actors.Drained)
		second.hasNot("stopWorkflow", "client told")
		finished := heard[actors.DrainFinished](h)
		if len(finished) != 1 || !finished[0].Report.Part || len(finished[0].Report.Sessions) != 1 || finished[0].Report.Took != actors.Seconds(5*time.Second) {
			t.Errorf("%+v", finished)
		}
	})
}

func TestResumingAStandbyInItsDelayTellsNobody(t *testing.T) {
	in(t, func(t *testing.T) {
		h := open(t, actors.Options{})
		s := h.prepare().serve()
		h.send(actors.Drain{Standby: true, Delay: 5 * time.Second})
		time.Sleep(time.Second)
		h.resume()
		time.Sleep(time.Minute)
		s.hasNot("stopWorkflow", "client told")
		if finished := heard[actors.DrainFinished](h); len(finished) != 1 || finished[0].Report.Phases.Delay != actors.Seconds(time.Second) {
			t.Errorf("%+v", finished)
		}
	})
}

// A signal after an operator's drain: now the services stop too.
func TestAFinalDrainTakesAStandbyOver(t *testing.T) {
	for name, wait := range map[string]time.Duration{"under way": time.Second, "over": time.Minute} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T) {
				h := open(t, actors.Options{})
				s := h.prepare()
				s.agent.stopping = 3 * time.Second
				s.serve()
				h.add("peer", actors.WithSessions, &daemon{journal: s.journal, name: "peer"})
				h.add("server", actors.AfterSessions, &daemon{journal: s.journal, name: "server"})
				h.send(actors.Drain{Standby: true})
				time.Sleep(wait)
				report := h.drained(actors.Drain{Delay: 0})
				if len(report.Services) != 2 || !h.look().Final {
					t.Errorf("%+v", report)
				}
				s.endsAs(actors.Drained)
				if err := h.admits(); !errors.Is(err, actors.ErrDraining) {
					t.Errorf("admission: %v", err)
				}
			})
		})
	}
}

// What a part was told is that part's.
func TestAResumedStandbyHasItsOwnSessionsAlone(t *testing.T) {
	in(t, func(t *testing.T) {
		h := open(t, actors.Options{})
		s := h.prepare()
		s.agent.stopping = 10 * time.Second
		s.serve()
		h.send(actors.Drain{Only: &actors.Selection{}})
		h.send(actors.Drain{Standby: true, Delay: 5 * time.Second})
		h.resume()
		standby := heard[actors.DrainStarted](h)[1].ID
		for _, d := range h.look().Drains {
			if own := d.ID == standby; d.Over != own || (d.Sessions == 0) != own {
				t.Errorf("%+v", d)
			}
		}
		time.Sleep(time.Minute)
	})
}

// The services have not been told yet: the earlier deadline was not theirs.
func TestAFinalDrainGivesTheServicesAStandbyLeftTheirTime(t *testing.T) {
	in(t, func(t *testing.T) {
		h := open(t, actors.Options{})
		s := h.prepare()
		s.agent.ignores, s.client.mute = true, true
		s.serve()
		h.add("store", actors.AfterSessions, &daemon{journal: s.journal, name: "store", takes: 2 * time.Second})
		short := within(5 * time.Second)
		short.Standby = true
		h.send(short)
		time.Sleep(4800 * time.Millisecond)
		report, _, err := h.drain(within(25 * time.Second))
		var killed *actors.KilledError
		if len(report.Services) != 1 || report.Services[0].Outcome != actors.Drained || errors.As(err, &killed) && killed.Services != nil {
			t.Errorf("%+v, %v", report.Services, err)
		}
	})
}

// The delay of a final drain is for load balancers; after a standby they know.
func TestAFinalDrainAfterAStandbyDoesNotAdmitAgainForItsDelay(t *testing.T) {
	in(t, func(t *testing.T) {
		h := open(t, actors.Options{})
		h.drained(actors.Drain{Standby: true})
		h.send(actors.Drain{Delay: 5 * time.Second})
		if err := h.admits(); !errors.Is(err, actors.ErrDraining) {
			t.Errorf("admission: %v", err)
		}
	})
}

func (h *house) resume() {
	h.t.Helper()
	if err := h.Resume(context.Background()); err != nil {
		h.t.Error(err)
	}
	synctest.Wait()
}

func (h *house) look() actors.Snapshot {
	h.t.Helper()
	view, err := h.Snapshot(context.Background())
	if err != nil {
		h.t.Fatal(err)
	}
	return view
}

// Whoever asks for a standby doesn't know that the process ends.
func TestAStandbyDoesNotTouchAFinalDrain(t *testing.T) {
	in(t, func(t *testing.T) {
		h := open(t, actors.Options{})
		s := h.prepare()
		s.agent.ignores = true
		s.serve()
		h.send(actors.Drain{})
		short := within(2 * time.Second)
		short.Standby = true
		if _, err := h.Begin(context.Background(), short); !errors.Is(err, actors.ErrFinal) {
			t.Errorf("%v", err)
		}
		if view := h.look(); !view.Final || !view.Drains[0].Deadline.Equal(h.began.Add(actors.DefaultDrain)) {
			t.Errorf("%+v", view.Drains)
		}
		time.Sleep(time.Minute)
		s.has("10s agent cancelled")
		if _, err := h.Begin(context.Background(), short); !errors.Is(err, actors.ErrFinal) {
			t.Errorf("when it is over: %v", err)
		}
	})
}
