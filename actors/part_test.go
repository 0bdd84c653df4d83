package actors_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/lastcall-go/lastcall/actors"
)

// serveOne begins a session with an agent of this name, a second after the one before.
func (h *house) serveOne(agent string) *joined {
	h.t.Helper()
	time.Sleep(time.Second)
	s := h.prepare()
	s.labels.AgentName = agent
	return s.serve()
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
			in(t, func(t *testing.T) {
				h := open(t, actors.Options{})
				var sessions []*joined
				for _, agent := range []string{"a", "a", "a", "b", "b"} {
					sessions = append(sessions, h.serveOne(agent))
				}
				time.Sleep(time.Second)
				report := h.drained(actors.Drain{Only: &test.only, Reason: "rebalance"})
				var ended []int
				for i, s := range sessions {
					if !s.running() {
						ended = append(ended, i)
						s.endsAs(actors.Drained)
						s.has("client told 1001 rebalance")
					} else {
						s.hasNot("stopWorkflow", "client told")
					}
				}
				if !slices.Equal(ended, test.want) || len(report.Sessions) != len(test.want) || !report.Part {
					t.Errorf("sessions %v ended, want %v; %+v", ended, test.want, report)
				}
				if err := h.admits(); err != nil || !h.Ready() {
					t.Errorf("ready %v, admission: %v", h.Ready(), err)
				}
			})
		})
	}
}

func TestOneSessionIsDrainedByItsID(t *testing.T) {
	in(t, func(t *testing.T) {
		h := open(t, actors.Options{})
		one, other := h.prepare().serve(), h.prepare().serve()
		status, err := h.Begin(context.Background(), actors.Drain{Only: &actors.Selection{IDs: []string{one.id}}})
		if err != nil || !status.Part || status.Sessions != 1 || status.Left != 1 || status.Over {
			t.Errorf("%+v, %v", status, err)
		}
		one.endsAs(actors.Drained)
		if !other.running() {
			t.Error("the other has ended too")
		}
	})
}

func TestADrainOfAPartKillsWhoIsLeftAtItsDeadlineAndNobodyElse(t *testing.T) {
	in(t, func(t *testing.T) {
		h := open(t, actors.Options{})
		stuck := h.prepare()
		stuck.agent.deaf, stuck.client.mute = true, true
		stuck.serve()
		other := h.prepare().serve()
		d := within(3 * time.Second)
		d.Only = &actors.Selection{IDs: []string{stuck.id}}
		_, took, err := h.drain(d)
		var killed *actors.KilledError
		if !errors.As(err, &killed) || !slices.Equal(killed.Sessions, []string{stuck.id}) || took > 3100*time.Millisecond {
			t.Errorf("%v after %v", err, took)
		}
		if !other.running() || !h.Ready() {
			t.Error("others were hit")
		}
	})
}

func TestADrainOfAPartGoesInBatchesAndGivesGrace(t *testing.T) {
	in(t, func(t *testing.T) {
		h := open(t, actors.Options{})
		for range 4 {
			h.prepare().serve()
		}
		began := time.Now()
		h.drained(actors.Drain{Only: &actors.Selection{Most: 3}, BatchSize: 1, BatchInterval: 2 * time.Second, Grace: time.Second})
		var at []time.Duration
		for _, s := range heard[actors.SessionPhase](h) {
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
	in(t, func(t *testing.T) {
		h := open(t, actors.Options{})
		h.drained(actors.Drain{Standby: true})
		answer, err := h.Engine().Request(h.PID(), actors.Drain{Only: &actors.Selection{}}, time.Minute).Result()
		if told, isError := answer.(error); err != nil || !isError || !errors.Is(told, actors.ErrDraining) {
			t.Errorf("%v, %v", answer, err)
		}
	})
}

func TestAPartIsNotDrainedWhileEverythingIs(t *testing.T) {
	in(t, func(t *testing.T) {
		h := open(t, actors.Options{})
		h.prepare().serve()
		h.send(actors.Drain{Grace: time.Second})
		if _, err := h.Begin(context.Background(), actors.Drain{Only: &actors.Selection{}}); !errors.Is(err, actors.ErrDraining) {
			t.Errorf("%v", err)
		}
	})
}

// A drain of everything is in nobody's way: it has a deadline and a report of its own.
func TestADrainOfEverythingTakesOverWhatAPartHasBegun(t *testing.T) {
	in(t, func(t *testing.T) {
		h := open(t, actors.Options{})
		for range 2 {
			h.prepare().serve()
		}
		long := within(20 * time.Second)
		long.Grace, long.Only = 10*time.Second, &actors.Selection{Most: 1}
		h.send(long)
		report, took, err := h.drain(actors.Drain{})
		if err != nil || took != 0 || len(report.Sessions) != 2 || report.Part {
			t.Errorf("%+v, %v after %v", report, err, took)
		}
		finished := heard[actors.DrainFinished](h)
		if len(finished) != 2 || !finished[0].Part || len(finished[0].Report.Sessions) != 1 {
			t.Errorf("%+v", finished)
		}
	})
}

func TestWhoLosesPatienceWithAPartHurriesThatPartAlone(t *testing.T) {
	in(t, func(t *testing.T) {
		h := open(t, actors.Options{})
		hurried, patient := h.prepare(), h.prepare().serve()
		hurried.agent.ignores, hurried.client.mute = true, true // it can only be killed
		hurried.serve()
		slow := func(s *joined) actors.Drain {
			return actors.Drain{Grace: 10 * time.Second, Only: &actors.Selection{IDs: []string{s.id}}}
		}
		h.send(slow(patient))
		ctx, cancel := context.WithTimeoutCause(context.Background(), time.Hour, nil)
		time.AfterFunc(time.Second, cancel)
		if _, err := h.Supervisor.Drain(ctx, slow(hurried)); err == nil {
			t.Error("nobody was killed")
		}
		hurried.endsAs(actors.Killed)
		if !patient.running() {
			t.Error("the other part was hurried too")
		}
		time.Sleep(time.Minute)
		for i, finished := range heard[actors.DrainFinished](h) {
			if own := []*joined{hurried, patient}[i].id; len(finished.Report.Sessions) != 1 || finished.Report.Sessions[0].ID != own {
				t.Errorf("%+v, want %s alone", finished.Report, own)
			}
		}
	})
}
