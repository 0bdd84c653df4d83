package actors_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/actors/actorstest"
)

func TestServicesAfterTheSessionsStopLastFirst(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		s := h.Session()
		for _, name := range []string{"telemetry", "pool", "agent"} {
			h.AddService(name, actors.AfterSessions, &actorstest.Service{Journal: s.Journal, Name: name, OnStop: actorstest.Call{Takes: time.Second}})
		}
		s.Agent.OnStop.Takes = time.Second
		s.Serve()
		report := h.Drained(actors.Drain{})
		s.Saw(
			"0s agent got startRequest",
			"0s agent got stopWorkflow WORKHORSE_SERVER_SHUTDOWN",
			"1s agent ended",
			"1s client told 1001 server shutdown",
			"1s client cut",
			"1s agent told", "2s agent stopped",
			"2s pool told", "3s pool stopped",
			"3s telemetry told", "4s telemetry stopped",
		)
		second := actors.Seconds(time.Second)
		want := []actors.ServiceReport{{"agent", actors.Drained, second}, {"pool", actors.Drained, second}, {"telemetry", actors.Drained, second}}
		for i, service := range report.Services {
			if service != want[i] {
				t.Errorf("got %+v, want %+v", service, want[i])
			}
		}
		if len(report.Services) != 3 || len(actorstest.Heard[actors.ServiceStopped](h)) != 3 {
			t.Errorf("%+v", report.Services)
		}
	})
}

// The daemon holds a session of its own: its agent ends only when the daemon is asked to stop.
func holdsASession(t *testing.T, h *actorstest.Supervisor, stage actors.Stage) (*actorstest.Session, time.Duration) {
	t.Helper()
	s := h.Session()
	s.Agent.OnStop.Hangs = true
	s.Serve()
	h.AddService("daemon", stage, &actorstest.Service{Journal: s.Journal, Name: "daemon", Told: func() {
		time.Sleep(time.Millisecond) // an agent that ended at once might not even have been asked to
		s.Stream().End(io.EOF)
	}})
	_, took, err := h.TimedDrain(actors.Drain{})
	if err != nil {
		t.Error(err)
	}
	return s, took
}

func TestAServiceWithTheSessionsIsToldWhenTheyAre(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		s, took := holdsASession(t, h, actors.WithSessions)
		s.Has("0s daemon told", "1ms agent ended")
		if s.EndsAs(actors.Drained); took != time.Millisecond {
			t.Errorf("took %v", took)
		}
	})
}

func TestAServiceInTheWrongStageRunsIntoTheStopTimeout(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		s, took := holdsASession(t, h, actors.AfterSessions)
		s.Has("10s agent cancelled", "10s daemon told")
		if s.EndsAs(actors.Cancelled); took != 10*time.Second+time.Millisecond {
			t.Errorf("took %v", took)
		}
	})
}

func TestServicesWithTheSessionsAreWaitedForBeforeTheOthersAreTold(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		j := h.Journal()
		h.AddService("with", actors.WithSessions, &actorstest.Service{Journal: j, Name: "with", OnStop: actorstest.Call{Takes: 2 * time.Second}})
		h.AddService("after", actors.AfterSessions, &actorstest.Service{Journal: j, Name: "after"})
		h.Drained(actors.Drain{})
		j.Saw("0s with told", "2s with stopped", "2s after told", "2s after stopped")
	})
}

func TestAServiceThatNeverReturnsIsKilledAtTheDeadlineAndNamed(t *testing.T) {
	for _, stage := range []actors.Stage{actors.WithSessions, actors.AfterSessions} {
		t.Run(stage.String(), func(t *testing.T) {
			actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
				forever := make(chan struct{})
				defer close(forever)
				h.AddService("stuck", stage, actors.ServiceFunc(func(context.Context) error { <-forever; return nil }))
				report, took, err := h.TimedDrain(actorstest.Within(5 * time.Second))
				if err == nil || err.Error() != "had to be killed: service stuck" {
					t.Errorf("%v", err)
				}
				if took < 5*time.Second || took > 5100*time.Millisecond || report.Services[0].Outcome != actors.Killed {
					t.Errorf("took %v: %+v", took, report.Services)
				}
			})
		})
	}
}

func TestAServiceIsOutOfTimeAtTheDeadline(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		j := h.Journal()
		h.AddService("slow", actors.AfterSessions, &actorstest.Service{Journal: j, Name: "slow", OnStop: actorstest.Call{Hangs: true}})
		_, took, err := h.TimedDrain(actorstest.Within(5 * time.Second))
		j.Saw("0s slow told", "5s slow stopped")
		if err == nil || took != 5*time.Second {
			t.Errorf("took %v, %v", took, err)
		}
	})
}

// Sessions that never end leave the services after them a second, or a tenth of a short time.
func TestSessionsLeaveTheServicesAfterThemTime(t *testing.T) {
	for name, c := range map[string]struct {
		deadline time.Duration
		want     string
	}{
		"a second":                   {20 * time.Second, "19s after told"},
		"a tenth, of a short time":   {2 * time.Second, "1.8s after told"},
		"nothing, where there is no": {0, "0s after told"},
	} {
		t.Run(name, func(t *testing.T) {
			actorstest.Run(t, actors.Options{StopTimeout: time.Hour, CloseTimeout: time.Hour}, func(t *testing.T, h *actorstest.Supervisor) {
				s := h.Session()
				s.Agent.OnStop.Hangs, s.Client.OnClose.Hangs = true, true
				s.Serve()
				h.AddService("after", actors.AfterSessions, &actorstest.Service{Journal: s.Journal, Name: "after"})
				_, took, err := h.TimedDrain(actorstest.Within(c.deadline))
				if err == nil || took > c.deadline {
					t.Errorf("took %v, %v", took, err)
				}
				s.EndsAs(actors.Killed)
				s.Has(c.want)
			})
		})
	}
}

// A service that hangs keeps its time to the deadline, and yet costs the others only most of it.
func TestAServiceThatHangsLeavesTheOthersTime(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		j := h.Journal()
		h.AddService("first", actors.AfterSessions, &actorstest.Service{Journal: j, Name: "first", OnStop: actorstest.Call{Takes: 100 * time.Millisecond}})
		h.AddService("second", actors.AfterSessions, &actorstest.Service{Journal: j, Name: "second", OnStop: actorstest.Call{Takes: 100 * time.Millisecond}})
		h.AddService("hangs", actors.AfterSessions, &actorstest.Service{Journal: j, Name: "hangs", OnStop: actorstest.Call{Hangs: true}})
		report, _, err := h.TimedDrain(actorstest.Within(10 * time.Second))
		j.Saw("0s hangs told", "9.333333334s second told", "9.433333334s second stopped", "9.433333334s first told", "9.533333334s first stopped", "10s hangs stopped")
		if err == nil || err.Error() != "had to be killed: service hangs" || len(report.Services) != 3 {
			t.Errorf("%v: %+v", err, report.Services)
		}
	})
}

func TestOutOfTimeOfAForeignContextIsThatContext(t *testing.T) {
	if ctx := t.Context(); actors.OutOfTime(ctx) != ctx {
		t.Error("another one")
	}
}

func TestHowAServiceEnds(t *testing.T) {
	broken := errors.New("listen: port in use")
	untilTold := func(err func(context.Context) error) actors.ServiceFunc {
		return func(ctx context.Context) error { <-ctx.Done(); return err(ctx) }
	}
	for name, c := range map[string]struct {
		run     actors.ServiceFunc
		drained bool // only then it ends
		outcome actors.Outcome
		err     error
	}{
		"fails early":             {func(context.Context) error { return broken }, false, actors.Failed, broken},
		"is done early":           {func(context.Context) error { return nil }, false, actors.Completed, nil},
		"returns a context error": {func(context.Context) error { return context.Canceled }, false, actors.Failed, context.Canceled},
		"stops in order":          {untilTold(func(context.Context) error { return nil }), true, actors.Drained, nil},
		"stops with its context":  {untilTold(context.Context.Err), true, actors.Drained, nil},
		"fails in stopping":       {untilTold(func(context.Context) error { return broken }), true, actors.Failed, broken},
	} {
		t.Run(name, func(t *testing.T) {
			actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
				s := h.Session().Serve()
				h.AddService("daemon", actors.WithSessions, c.run)
				stopped := actorstest.Heard[actors.ServiceStopped](h)
				if len(stopped) != boolToInt(!c.drained) || !s.Running() {
					t.Errorf("before the drain: %+v", stopped)
				}
				h.Drained(actors.Drain{})
				stopped = actorstest.Heard[actors.ServiceStopped](h)
				if len(stopped) != 1 || stopped[0].Name != "daemon" || stopped[0].Outcome != c.outcome || !errors.Is(stopped[0].Err, c.err) {
					t.Errorf("%+v", stopped)
				}
			})
		})
	}
}

func TestAPanickingServiceFailsAlone(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		s := h.Session().Serve()
		h.AddService("daemon", actors.AfterSessions, actors.ServiceFunc(func(context.Context) error { panic("in Service.Serve") }))
		stopped := actorstest.Heard[actors.ServiceStopped](h)
		var err *actors.PanicError
		if len(stopped) != 1 || stopped[0].Outcome != actors.Failed || !errors.As(stopped[0].Err, &err) || err.Value != "in Service.Serve" {
			t.Errorf("%+v", stopped)
		}
		h.Drained(actors.Drain{})
		s.EndsAs(actors.Drained)
	})
}

func TestADrainingSupervisorTakesNoService(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		h.Drained(actors.Drain{})
		if err := h.Add("late", actors.WithSessions, actors.ServiceFunc(nil)); err != actors.ErrDraining {
			t.Errorf("%v", err)
		}
	})
}

// Two services of one name are still two: each is asked to stop and waited for.
func TestServicesOfOneName(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		j := h.Journal()
		for range 2 {
			h.AddService("twin", actors.AfterSessions, &actorstest.Service{Journal: j, Name: "twin", OnStop: actorstest.Call{Takes: time.Second}})
		}
		if report := h.Drained(actors.Drain{}); time.Duration(report.Took) != 2*time.Second || len(report.Services) != 2 {
			t.Errorf("%+v", report)
		}
		j.Saw("0s twin told", "1s twin stopped", "1s twin told", "2s twin stopped")
	})
}

// A service whose actor was poisoned has stopped when Serve has returned, and not before.
func TestAPoisonedServiceIsWaitedFor(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		j := h.Journal()
		h.AddService("daemon", actors.AfterSessions, &actorstest.Service{Journal: j, Name: "daemon", OnStop: actorstest.Call{Takes: time.Second}})
		synctest.Wait()
		for _, pid := range h.Actors() {
			h.Engine().Poison(pid)
		}
		if n := len(actorstest.Heard[actors.ServiceStopped](h)); n != 0 {
			t.Error("stopped while Serve runs")
		}
		report, took, _ := h.TimedDrain(actors.Drain{})
		if took != time.Second || len(report.Services) != 1 || report.Services[0].Outcome != actors.Killed {
			t.Errorf("%+v after %v", report, took)
		}
		j.Saw("0s daemon told", "1s daemon stopped")
	})
}
