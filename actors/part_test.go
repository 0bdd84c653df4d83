package actors_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/actors/actorstest"
)

// serveOne begins a session with an agent of this name, a second after the one before.
func serveOne(h *actorstest.Supervisor, agent string) *actorstest.Session {
	time.Sleep(time.Second)
	s := h.Session()
	s.AgentName = agent
	return s.Serve()
}

func TestADrainOfAPartTellsThoseSelectedAndNobodyElse(t *testing.T) {
	for name, test := range map[string]struct {
		only actors.Selection
		want []int // of five sessions, a second apart; the last two with agent b
	}{
		"the oldest":               {actors.Selection{Most: 2}, []int{0, 1}},
		"more than there are":      {actors.Selection{Most: 9}, []int{0, 1, 2, 3, 4}},
		"by age":                   {actors.Selection{OlderThan: 3 * time.Second}, []int{0, 1, 2}},
		"by agent":                 {actors.Selection{Agent: "b"}, []int{3, 4}},
		"the oldest of an agent's": {actors.Selection{Agent: "b", Most: 1}, []int{3}},
		"all of it must be true":   {actors.Selection{Agent: "b", OlderThan: time.Hour}, nil},
		"nobody by an empty list":  {actors.Selection{IDs: []string{}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
				var sessions []*actorstest.Session
				for _, agent := range []string{"a", "a", "a", "b", "b"} {
					sessions = append(sessions, serveOne(h, agent))
				}
				time.Sleep(time.Second)
				report := h.Drained(actors.Drain{Only: &test.only, Reason: "rebalance"})
				var ended []int
				for i, s := range sessions {
					if !s.Running() {
						ended = append(ended, i)
						s.EndsAs(actors.Drained)
						s.Has("client told 1001 rebalance")
					} else {
						s.HasNot("stopWorkflow", "client told")
					}
				}
				if !slices.Equal(ended, test.want) || len(report.Sessions) != len(test.want) || !report.Part {
					t.Errorf("sessions %v ended, want %v; %+v", ended, test.want, report)
				}
				if err := h.Admits(); err != nil || !h.Ready() {
					t.Errorf("ready %v, admission: %v", h.Ready(), err)
				}
			})
		})
	}
}

func TestOneSessionIsDrainedByItsID(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		one, other := h.Session().Serve(), h.Session().Serve()
		status, err := h.Begin(context.Background(), actors.Drain{Only: &actors.Selection{IDs: []string{one.ID}}})
		if err != nil || !status.Part || status.Sessions != 1 || status.Left != 1 || status.Over {
			t.Errorf("%+v, %v", status, err)
		}
		one.EndsAs(actors.Drained)
		if !other.Running() {
			t.Error("the other has ended too")
		}
	})
}

func TestADrainOfAPartKillsWhoIsLeftAtItsDeadlineAndNobodyElse(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		stuck := h.Session()
		stuck.Agent.OnSend.Hangs, stuck.Client.OnClose.Hangs = true, true
		stuck.Serve()
		other := h.Session().Serve()
		d := actorstest.Within(3 * time.Second)
		d.Only = &actors.Selection{IDs: []string{stuck.ID}}
		_, took, err := h.TimedDrain(d)
		var killed *actors.KilledError
		if !errors.As(err, &killed) || !slices.Equal(killed.Sessions, []string{stuck.ID}) || took > 3100*time.Millisecond {
			t.Errorf("%v after %v", err, took)
		}
		if !other.Running() || !h.Ready() {
			t.Error("others were hit")
		}
	})
}

func TestADrainOfAPartGoesInBatchesAndGivesGrace(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		for range 4 {
			h.Session().Serve()
		}
		began := time.Now()
		h.Drained(actors.Drain{Only: &actors.Selection{Most: 3}, BatchSize: 1, BatchInterval: 2 * time.Second, Grace: time.Second})
		var at []time.Duration
		for _, s := range actorstest.Heard[actors.SessionPhase](h) {
			if s.Phase == actors.PhaseStopping {
				at = append(at, s.At.Sub(began))
			}
		}
		if want := []time.Duration{time.Second, 2 * time.Second, 4 * time.Second}; !slices.Equal(at, want) {
			t.Errorf("stopped at %v, want %v", at, want)
		}
	})
}

// Who sent the drain as a message waits for an answer.
func TestTheSenderOfADrainThatCannotBeIsToldSo(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		h.Drained(actors.Drain{Standby: true})
		answer, err := h.Engine().Request(h.PID(), actors.Drain{Only: &actors.Selection{}}, time.Minute).Result()
		if told, isError := answer.(error); err != nil || !isError || !errors.Is(told, actors.ErrDraining) {
			t.Errorf("%v, %v", answer, err)
		}
	})
}

func TestAPartIsNotDrainedWhileEverythingIs(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		h.Session().Serve()
		h.Send(actors.Drain{Grace: time.Second})
		if _, err := h.Begin(context.Background(), actors.Drain{Only: &actors.Selection{}}); !errors.Is(err, actors.ErrDraining) {
			t.Errorf("%v", err)
		}
	})
}

// A drain of everything is not in its way: it has a deadline and a report of its own.
func TestADrainOfEverythingTakesOverWhatAPartHasBegun(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		for range 2 {
			h.Session().Serve()
		}
		long := actorstest.Within(20 * time.Second)
		long.Grace, long.Only = 10*time.Second, &actors.Selection{Most: 1}
		h.Send(long)
		report, took, err := h.TimedDrain(actors.Drain{})
		if err != nil || took != 0 || len(report.Sessions) != 2 || report.Part {
			t.Errorf("%+v, %v after %v", report, err, took)
		}
		finished := actorstest.Heard[actors.DrainFinished](h)
		if len(finished) != 2 || !finished[0].Part || len(finished[0].Report.Sessions) != 1 {
			t.Errorf("%+v", finished)
		}
	})
}

func TestWhoLosesPatienceWithAPartHurriesThatPartAlone(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		hurried, patient := h.Session(), h.Session().Serve()
		hurried.Agent.OnStop.Hangs, hurried.Client.OnClose.Hangs = true, true // it can only be killed
		hurried.Serve()
		slow := func(s *actorstest.Session) actors.Drain {
			return actors.Drain{Grace: 10 * time.Second, Only: &actors.Selection{IDs: []string{s.ID}}}
		}
		h.Send(slow(patient))
		ctx, cancel := context.WithTimeoutCause(context.Background(), time.Hour, nil)
		time.AfterFunc(time.Second, cancel)
		if _, err := h.Supervisor.Drain(ctx, slow(hurried)); err == nil {
			t.Error("nobody was killed")
		}
		hurried.EndsAs(actors.Killed)
		if !patient.Running() {
			t.Error("the other part was hurried too")
		}
		time.Sleep(time.Minute)
		for i, finished := range actorstest.Heard[actors.DrainFinished](h) {
			if own := []*actorstest.Session{hurried, patient}[i].ID; len(finished.Report.Sessions) != 1 || finished.Report.Sessions[0].ID != own {
				t.Errorf("%+v, want %s alone", finished.Report, own)
			}
		}
	})
}

// Two drains that come to their deadline in the same instant give up the same sessions, which nothing moves.
func TestASessionThatTwoDrainsGiveUpIsReportedOnceInEach(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		for range 3 {
			h.Connection(actors.Connection{}).Run(func(context.Context) error {
				time.Sleep(time.Hour)
				return nil
			})
		}
		for range 2 {
			drain := actorstest.Within(time.Minute)
			drain.Only = &actors.Selection{}
			h.Send(drain)
		}
		time.Sleep(2 * time.Minute)
		if ended := h.Ended(); len(ended) != 3 {
			t.Errorf("3 sessions have ended %d times", len(ended))
		}
		for _, finished := range actorstest.Heard[actors.DrainFinished](h) {
			if report := finished.Report; len(report.Sessions) != 3 || report.Totals[actors.Killed] != 3 {
				t.Errorf("%+v", report)
			}
		}
		time.Sleep(time.Hour)
	})
}
