package actors_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lastcall-go/lastcall/actors"
)

// daemon is a service that notes in a journal when it was told to stop and when it is out of time.
type daemon struct {
	*journal
	name     string
	takes    time.Duration // to stop
	stubborn bool          // it goes on until it is out of time
	returns  error
	onTold   func()
}

func (d *daemon) Serve(ctx context.Context) error {
	<-ctx.Done()
	d.note("%s told", d.name)
	if d.onTold != nil {
		d.onTold()
	}
	time.Sleep(d.takes)
	if d.stubborn {
		<-actors.OutOfTime(ctx).Done()
	}
	d.note("%s stopped", d.name)
	return d.returns
}

func (h *house) add(name string, stage actors.Stage, run actors.Service) {
	h.t.Helper()
	if err := h.Add(name, stage, run); err != nil {
		h.t.Fatal(err)
	}
}

func TestServicesAfterTheSessionsStopLastFirst(t *testing.T) {
	in(t, func(t *testing.T) {
		h := open(t, actors.Options{})
		s := h.prepare()
		for _, name := range []string{"telemetry", "pool", "agent"} {
			h.add(name, actors.AfterSessions, &daemon{journal: s.journal, name: name, takes: time.Second})
		}
		s.agent.stopping = time.Second
		s.serve()
		report := h.drained(actors.Drain{})
		s.saw(
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
		if len(report.Services) != 3 || len(heard[actors.ServiceStopped](h)) != 3 {
			t.Errorf("%+v", report.Services)
		}
	})
}

// The daemon holds a session of its own: its agent ends only when the daemon is told to stop.
func holdsASession(t *testing.T, stage actors.Stage) (*joined, time.Duration) {
	h := open(t, actors.Options{})
	s := h.prepare()
	s.agent.ignores = true
	s.serve()
	h.add("daemon", stage, &daemon{journal: s.journal, name: "daemon", onTold: func() {
		time.Sleep(time.Millisecond) // an agent that ended at once might not even have been asked to
		s.stream.say(io.EOF)
	}})
	_, took, err := h.drain(actors.Drain{})
	if err != nil {
		t.Error(err)
	}
	return s, took
}

func TestAServiceWithTheSessionsIsToldWhenTheyAre(t *testing.T) {
	in(t, func(t *testing.T) {
		s, took := holdsASession(t, actors.WithSessions)
		s.has("0s daemon told", "1ms agent ended")
		if s.endsAs(actors.Drained); took != time.Millisecond {
			t.Errorf("took %v", took)
		}
	})
}

func TestAServiceInTheWrongStageRunsIntoTheStopTimeout(t *testing.T) {
	in(t, func(t *testing.T) {
		s, took := holdsASession(t, actors.AfterSessions)
		s.has("10s agent cancelled", "10s daemon told")
		if s.endsAs(actors.Cancelled); took != 10*time.Second+time.Millisecond {
			t.Errorf("took %v", took)
		}
	})
}

func TestServicesWithTheSessionsAreWaitedForBeforeTheOthersAreTold(t *testing.T) {
	in(t, func(t *testing.T) {
		h := open(t, actors.Options{})
		j := h.prepare()
		h.add("with", actors.WithSessions, &daemon{journal: j.journal, name: "with", takes: 2 * time.Second})
		h.add("after", actors.AfterSessions, &daemon{journal: j.journal, name: "after"})
		h.drained(actors.Drain{})
		j.saw("0s with told", "2s with stopped", "2s after told", "2s after stopped")
	})
}

func TestAServiceThatNeverReturnsIsKilledAtTheDeadlineAndNamed(t *testing.T) {
	for _, stage := range []actors.Stage{actors.WithSessions, actors.AfterSessions} {
		t.Run(stage.String(), func(t *testing.T) {
			in(t, func(t *testing.T) {
				h := open(t, actors.Options{})
				forever := make(chan struct{})
				defer close(forever)
				h.add("stuck", stage, actors.ServiceFunc(func(context.Context) error { <-forever; return nil }))
				report, took, err := h.drain(within(5 * time.Second))
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
	in(t, func(t *testing.T) {
		h := open(t, actors.Options{})
		j := h.prepare()
		h.add("slow", actors.AfterSessions, &daemon{journal: j.journal, name: "slow", stubborn: true})
		_, took, err := h.drain(within(5 * time.Second))
		j.saw("0s slow told", "5s slow stopped")
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
			in(t, func(t *testing.T) {
				h := open(t, actors.Options{StopTimeout: time.Hour, CloseTimeout: time.Hour})
				s := h.prepare()
				s.agent.ignores, s.client.mute = true, true
				s.serve()
				h.add("after", actors.AfterSessions, &daemon{journal: s.journal, name: "after"})
				_, took, err := h.drain(within(c.deadline))
				if err == nil || took > c.deadline {
					t.Errorf("took %v, %v", took, err)
				}
				s.endsAs(actors.Killed)
				s.has(c.want)
			})
		})
	}
}

// A service that hangs keeps its time to the deadline, and yet costs the others only most of it.
func TestAServiceThatHangsLeavesTheOthersTime(t *testing.T) {
	in(t, func(t *testing.T) {
		h := open(t, actors.Options{})
		j := h.prepare()
		h.add("first", actors.AfterSessions, &daemon{journal: j.journal, name: "first", takes: 100 * time.Millisecond})
		h.add("second", actors.AfterSessions, &daemon{journal: j.journal, name: "second", takes: 100 * time.Millisecond})
		h.add("hangs", actors.AfterSessions, &daemon{journal: j.journal, name: "hangs", stubborn: true})
		report, _, err := h.drain(within(10 * time.Second))
		j.saw("0s hangs told", "9.333333334s second told", "9.433333334s second stopped", "9.433333334s first told", "9.533333334s first stopped", "10s hangs stopped")
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
			in(t, func(t *testing.T) {
				h := open(t, actors.Options{})
				s := h.prepare().serve()
				h.add("daemon", actors.WithSessions, c.run)
				stopped := heard[actors.ServiceStopped](h)
				if len(stopped) != boolToInt(!c.drained) || !s.running() {
					t.Errorf("before the drain: %+v", stopped)
				}
				h.drained(actors.Drain{})
				stopped = heard[actors.ServiceStopped](h)
				if len(stopped) != 1 || stopped[0].Name != "daemon" || stopped[0].Outcome != c.outcome || !errors.Is(stopped[0].Err, c.err) {
					t.Errorf("%+v", stopped)
				}
			})
		})
	}
}

func TestAPanickingServiceFailsAlone(t *testing.T) {
	in(t, func(t *testing.T) {
		h := open(t, actors.Options{})
		s := h.prepare().serve()
		h.add("daemon", actors.AfterSessions, actors.ServiceFunc(func(context.Context) error { panic("in Service.Serve") }))
		stopped := heard[actors.ServiceStopped](h)
		var err *actors.PanicError
		if len(stopped) != 1 || stopped[0].Outcome != actors.Failed || !errors.As(stopped[0].Err, &err) || err.Value != "in Service.Serve" {
			t.Errorf("%+v", stopped)
		}
		h.drained(actors.Drain{})
		s.endsAs(actors.Drained)
	})
}

func TestADrainingSupervisorTakesNoService(t *testing.T) {
	in(t, func(t *testing.T) {
		h := open(t, actors.Options{})
		h.drained(actors.Drain{})
		if err := h.Add("late", actors.WithSessions, actors.ServiceFunc(nil)); err != actors.ErrDraining {
			t.Errorf("%v", err)
		}
	})
}

// Two services of one name are still two: each is told and waited for.
func TestServicesOfOneName(t *testing.T) {
	in(t, func(t *testing.T) {
		h := open(t, actors.Options{})
		j := h.prepare()
		for range 2 {
			h.add("twin", actors.AfterSessions, &daemon{journal: j.journal, name: "twin", takes: time.Second})
		}
		if report := h.drained(actors.Drain{}); time.Duration(report.Took) != 2*time.Second || len(report.Services) != 2 {
			t.Errorf("%+v", report)
		}
		j.saw("0s twin told", "1s twin stopped", "1s twin told", "2s twin stopped")
	})
}

// A service whose actor was poisoned has stopped when Serve has returned, and not before.
func TestAPoisonedServiceIsWaitedFor(t *testing.T) {
	in(t, func(t *testing.T) {
		h := open(t, actors.Options{})
		j := h.prepare()
		h.add("daemon", actors.AfterSessions, &daemon{journal: j.journal, name: "daemon", takes: time.Second})
		synctest.Wait()
		for pid := range h.actors() {
			h.Engine().Poison(pid)
		}
		if n := len(heard[actors.ServiceStopped](h)); n != 0 {
			t.Error("stopped while Serve runs")
		}
		report, took, _ := h.drain(actors.Drain{})
		if took != time.Second || len(report.Services) != 1 || report.Services[0].Outcome != actors.Killed {
			t.Errorf("%+v after %v", report, took)
		}
		j.saw("0s daemon told", "1s daemon stopped")
	})
}
