package actors_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/actors/actorstest"
)

func TestAStandbyDrainsTheSessionsAndLeavesTheServices(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		s := h.Session().Serve()
		with, after := &actorstest.Service{Journal: s.Journal, Name: "peer"}, &actorstest.Service{Journal: s.Journal, Name: "server"}
		h.AddService("peer", actors.WithSessions, with)
		h.AddService("server", actors.AfterSessions, after)
		report := h.Drained(actors.Drain{Standby: true})
		s.EndsAs(actors.Drained)
		if len(report.Services) != 0 || len(actorstest.Heard[actors.ServiceStopped](h)) != 0 {
			t.Errorf("services have stopped: %+v", report.Services)
		}
		if err := h.Admits(); !errors.Is(err, actors.ErrDraining) || h.Ready() {
			t.Errorf("ready %v, admission: %v", h.Ready(), err)
		}
		if view := h.View(); view.State != actors.Idle || view.Final {
			t.Errorf("%+v", view)
		}
	})
}

func TestAStandbyResumes(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		h.Session().Serve()
		h.Drained(actors.Drain{Standby: true})
		resume(t, h)
		if len(actorstest.Heard[actors.Resumed](h)) != 1 || h.View().State != actors.Serving {
			t.Error("it didn't tell")
		}
		second := h.Session().Serve()
		h.Drained(actors.Drain{Standby: true})
		second.EndsAs(actors.Drained)
		resume(t, h)
		third := h.Session().Serve()
		if report := h.Drained(actors.Drain{}); len(report.Sessions) != 1 {
			t.Errorf("%+v", report)
		}
		third.EndsAs(actors.Drained)
	})
}

func TestResumingWhereNothingDrainsDoesNothing(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		resume(t, h)
		if len(actorstest.Heard[actors.Resumed](h)) != 0 || !h.Ready() {
			t.Error("it did something")
		}
	})
}

func TestAFinalDrainDoesNotResume(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		h.Session().Serve()
		h.Send(actors.Drain{Grace: time.Second})
		for range 2 { // under way, and over
			if err := h.Resume(context.Background()); !errors.Is(err, actors.ErrFinal) {
				t.Errorf("%v", err)
			}
			time.Sleep(2 * time.Second)
		}
		if h.Ready() || !errors.Is(h.Admits(), actors.ErrDraining) {
			t.Error("it admits")
		}
	})
}

// A session that was asked to stop finishes; the others are left alone; admission is on at once.
func TestResumingAStandbyUnderWay(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		first := h.Session()
		first.Agent.OnStop.Takes = 5 * time.Second
		first.Serve()
		time.Sleep(time.Second)
		second := h.Session().Serve()
		h.Send(actors.Drain{Standby: true, BatchSize: 1, BatchInterval: 3 * time.Second})
		time.Sleep(time.Second)
		resume(t, h)
		if err := h.Admits(); err != nil || !h.Ready() {
			t.Errorf("ready %v, admission: %v", h.Ready(), err)
		}
		if under := h.View().Drains[0]; !under.Part || under.Sessions != 1 || under.Left != 1 || under.Untold != 0 {
			t.Errorf("%+v", under)
		}
		time.Sleep(time.Minute)
		first.EndsAs(actors.Drained)
		second.HasNot("stopWorkflow", "client told")
		finished := actorstest.Heard[actors.DrainFinished](h)
		if len(finished) != 1 || !finished[0].Report.Part || len(finished[0].Report.Sessions) != 1 || finished[0].Report.Took != actors.Seconds(5*time.Second) {
			t.Errorf("%+v", finished)
		}
	})
}

func TestResumingAStandbyInItsDelayTellsNobody(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		s := h.Session().Serve()
		h.Send(actors.Drain{Standby: true, Delay: 5 * time.Second})
		time.Sleep(time.Second)
		resume(t, h)
		time.Sleep(time.Minute)
		s.HasNot("stopWorkflow", "client told")
		if finished := actorstest.Heard[actors.DrainFinished](h); len(finished) != 1 || finished[0].Report.Phases.Delay != actors.Seconds(time.Second) {
			t.Errorf("%+v", finished)
		}
	})
}

// A signal after an operator's drain: now the services stop too.
func TestAFinalDrainTakesAStandbyOver(t *testing.T) {
	for name, wait := range map[string]time.Duration{"under way": time.Second, "over": time.Minute} {
		t.Run(name, func(t *testing.T) {
			actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
				s := h.Session()
				s.Agent.OnStop.Takes = 3 * time.Second
				s.Serve()
				h.AddService("peer", actors.WithSessions, &actorstest.Service{Journal: s.Journal, Name: "peer"})
				h.AddService("server", actors.AfterSessions, &actorstest.Service{Journal: s.Journal, Name: "server"})
				h.Send(actors.Drain{Standby: true})
				time.Sleep(wait)
				report := h.Drained(actors.Drain{Delay: 0})
				if len(report.Services) != 2 || !h.View().Final {
					t.Errorf("%+v", report)
				}
				s.EndsAs(actors.Drained)
				if err := h.Admits(); !errors.Is(err, actors.ErrDraining) {
					t.Errorf("admission: %v", err)
				}
			})
		})
	}
}

// What a part was asked is that part's.
func TestAResumedStandbyHasItsOwnSessionsAlone(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		s := h.Session()
		s.Agent.OnStop.Takes = 10 * time.Second
		s.Serve()
		h.Send(actors.Drain{Only: &actors.Selection{}})
		h.Send(actors.Drain{Standby: true, Delay: 5 * time.Second})
		resume(t, h)
		standby := actorstest.Heard[actors.DrainStarted](h)[1].ID
		for _, d := range h.View().Drains {
			if own := d.ID == standby; d.Over != own || (d.Sessions == 0) != own {
				t.Errorf("%+v", d)
			}
		}
		time.Sleep(time.Minute)
	})
}

// The services were not asked to stop yet: the earlier deadline was not theirs.
func TestAFinalDrainGivesTheServicesAStandbyLeftTheirTime(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		s := h.Session()
		s.Agent.OnStop.Hangs, s.Client.OnClose.Hangs = true, true
		s.Serve()
		h.AddService("store", actors.AfterSessions, &actorstest.Service{Journal: s.Journal, Name: "store", OnStop: actorstest.Call{Takes: 2 * time.Second}})
		short := actorstest.Within(5 * time.Second)
		short.Standby = true
		h.Send(short)
		time.Sleep(4800 * time.Millisecond)
		report, _, err := h.TimedDrain(actorstest.Within(25 * time.Second))
		var killed *actors.KilledError
		if len(report.Services) != 1 || report.Services[0].Outcome != actors.Drained || errors.As(err, &killed) && killed.Services != nil {
			t.Errorf("%+v, %v", report.Services, err)
		}
	})
}

// The delay of a final drain is for load balancers; after a standby they know.
func TestAFinalDrainAfterAStandbyDoesNotAdmitAgainForItsDelay(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		h.Drained(actors.Drain{Standby: true})
		h.Send(actors.Drain{Delay: 5 * time.Second})
		if err := h.Admits(); !errors.Is(err, actors.ErrDraining) {
			t.Errorf("admission: %v", err)
		}
	})
}

func resume(t *testing.T, h *actorstest.Supervisor) {
	t.Helper()
	if err := h.Resume(context.Background()); err != nil {
		t.Error(err)
	}
	synctest.Wait()
}

// Whoever asks for a standby doesn't know that the process ends.
func TestAStandbyDoesNotTouchAFinalDrain(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		s := h.Session()
		s.Agent.OnStop.Hangs = true
		s.Serve()
		h.Send(actors.Drain{})
		short := actorstest.Within(2 * time.Second)
		short.Standby = true
		if _, err := h.Begin(context.Background(), short); !errors.Is(err, actors.ErrFinal) {
			t.Errorf("%v", err)
		}
		if view := h.View(); !view.Final || !view.Drains[0].Deadline.Equal(h.Began.Add(actors.DefaultDrain)) {
			t.Errorf("%+v", view.Drains)
		}
		time.Sleep(time.Minute)
		s.Has("10s agent cancelled")
		if _, err := h.Begin(context.Background(), short); !errors.Is(err, actors.ErrFinal) {
			t.Errorf("when it is over: %v", err)
		}
	})
}
