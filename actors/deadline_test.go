package actors_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/actors/actorstest"
)

// How long after its deadline a drain returns that has to kill 5,000 sessions: in the one case they let
// go when they are cut, in the other nothing moves them, and they are given up.
func BenchmarkDeadline(b *testing.B) {
	for name, stubborn := range map[string]bool{"killed": false, "given up": true} {
		b.Run(name, func(b *testing.B) {
			var lates []float64
			for b.Loop() {
				lates = append(lates, float64(lateBy(b, 5000, stubborn))/float64(time.Millisecond))
			}
			slices.Sort(lates)
			b.ReportMetric(lates[len(lates)/2], "ms-late")
			b.ReportMetric(lates[len(lates)-1], "ms-late-at-most")
		})
	}
}

func lateBy(b *testing.B, sessions int, stubborn bool) time.Duration {
	b.Helper()
	supervisor := actorstest.New(b, actors.Options{})
	moves := make(chan struct{})
	defer close(moves)
	for range sessions {
		s := supervisor.Session()
		s.Agent.OnStop.Hangs, s.Client.OnClose.Hangs = true, true
		if stubborn {
			s.Client.Stubborn = moves
		}
		s.Start()
	}
	deadline := time.Now().Add(2 * time.Second)
	report, err := supervisor.Drain(context.Background(), actors.Drain{Deadline: deadline})
	late := time.Since(deadline)
	if err == nil || report.Totals[actors.Killed] != sessions {
		b.Fatalf("not all were killed: %v", report.Totals)
	}
	return late
}

// So many are killed a moment before the deadline, for the drain to be over in time.
func TestAMultitudeIsKilledAMomentBeforeTheDeadline(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		const sessions = 1000
		killed := make(chan time.Duration, sessions)
		began := time.Now()
		for range sessions {
			ticket := h.Ticket()
			go func() {
				_ = ticket.Run(actors.Connection{}, func(ctx context.Context) error {
					<-actors.OutOfTime(ctx).Done()
					killed <- time.Since(began)
					return nil
				})
			}()
		}
		synctest.Wait()
		if _, took, _ := h.TimedDrain(actors.Drain{Standby: true}); took != actors.DefaultDrain-20*time.Millisecond {
			t.Errorf("it took %v", took)
		}
		for range sessions {
			if at := <-killed; at != actors.DefaultDrain-20*time.Millisecond {
				t.Fatalf("a session was killed at %v", at)
			}
		}
	})
}

// Those that nothing moves are given up as late as ever.
func TestAMultitudeThatNothingMovesIsGivenUpAtTheDeadline(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		for range 5000 {
			ticket := h.Ticket()
			go func() {
				_ = ticket.Run(actors.Connection{}, func(context.Context) error {
					time.Sleep(time.Hour)
					return nil
				})
			}()
		}
		synctest.Wait()
		if _, took, _ := h.TimedDrain(actors.Drain{Standby: true}); took != actors.DefaultDrain {
			t.Errorf("it took %v", took)
		}
		time.Sleep(time.Hour)
	})
}

// What a killed session had waited for is what its operator asks first.
func TestAKilledSessionsReportSaysWhatItWaitedFor(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		s := h.Session()
		s.Agent.OnStop.Hangs, s.Client.OnClose.Hangs = true, true
		s.Serve()
		report, _, _ := h.TimedDrain(actors.Drain{Only: &actors.Selection{}, Deadline: time.Now().Add(2 * time.Second)})
		if len(report.Sessions) != 1 || report.Sessions[0].Outcome != actors.Killed || report.Sessions[0].WaitedFor == actors.AwaitsNothing {
			t.Errorf("%+v", report.Sessions)
		}
		handler := h.Connection(actors.Connection{}).Run(func(ctx context.Context) error {
			<-actors.OutOfTime(ctx).Done()
			return nil
		})
		report, _, _ = h.TimedDrain(actors.Drain{Only: &actors.Selection{}, Deadline: time.Now().Add(time.Second)})
		_ = handler.Wait()
		if len(report.Sessions) != 1 || report.Sessions[0].WaitedFor != actors.AwaitsHandler {
			t.Errorf("%+v", report.Sessions)
		}
	})
}
