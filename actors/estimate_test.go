package actors_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/actors/actorstest"
)

// crowd opens n sessions. Those of agent a take 200 ms to 600 ms to stop, some of them 3 s; those of agent b 1 s;
// of agent c one in ten hangs.
func crowd(h *actorstest.Supervisor, random *rand.Rand, n int, agents ...string) {
	for i := range n {
		s := h.Session()
		s.AgentName = agents[i%len(agents)]
		switch s.AgentName {
		case "a":
			s.Agent.OnStop.Takes = time.Duration(200+random.IntN(400)) * time.Millisecond
			if random.IntN(30) == 0 {
				s.Agent.OnStop.Takes = 3 * time.Second
			}
		case "b":
			s.Agent.OnStop.Takes = time.Second
		case "c":
			s.Agent.OnStop.Hangs = i/len(agents)%10 == 0
		}
		s.Serve()
	}
}

func estimateOf(t *testing.T, h *actorstest.Supervisor, d actors.Drain) actors.Estimate {
	t.Helper()
	e, err := h.Estimate(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// isNear checks a time that was foreseen: within a quarter.
func isNear(t *testing.T, what string, foreseen, was time.Duration) {
	t.Helper()
	if foreseen < was*3/4 || foreseen > was*5/4 {
		t.Errorf("%s: %v was foreseen, it was %v", what, foreseen, was)
	}
}

// p99 is the time of a report's sessions that one in a hundred takes longer than.
func p99(report *actors.Report) time.Duration {
	var all []time.Duration
	for _, s := range report.Sessions {
		all = append(all, time.Duration(s.Took))
	}
	slices.Sort(all)
	return all[len(all)*99/100]
}

func TestAnEstimateForeseesTheDrain(t *testing.T) {
	const n = 300
	for name, test := range map[string]struct {
		agents []string
		drain  func() actors.Drain // its times count from now
		grace  time.Duration       // that each session's stop has of it
	}{
		"one agent":   {[]string{"a"}, func() actors.Drain { return actors.Drain{} }, 0},
		"two agents":  {[]string{"a", "b"}, func() actors.Drain { return actors.Drain{} }, 0},
		"in batches":  {[]string{"b"}, func() actors.Drain { return actors.Drain{BatchSize: 50, BatchInterval: 500 * time.Millisecond} }, 0},
		"after delay": {[]string{"a"}, func() actors.Drain { return actors.Drain{Delay: 4 * time.Second} }, 0},
		"after grace": {[]string{"b"}, func() actors.Drain { return actors.Drain{Grace: 6 * time.Second} }, 6 * time.Second},
		"a part":      {[]string{"a", "b"}, func() actors.Drain { return actors.Drain{Only: &actors.Selection{Agent: "b"}} }, 0},
		"hung agents": {[]string{"c"}, func() actors.Drain { return actors.Drain{} }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			actorstest.Run(t, actors.Options{StopTimeout: 8 * time.Second}, func(t *testing.T, h *actorstest.Supervisor) {
				random := rand.New(rand.NewPCG(1, 2))
				crowd(h, random, n, test.agents...)
				h.Drained(actors.Drain{Only: &actors.Selection{}}) // what is learned from
				crowd(h, random, n, test.agents...)

				foreseen := estimateOf(t, h, test.drain())
				report := h.Drained(test.drain())
				if foreseen.Sessions != len(report.Sessions) || foreseen.Unknown != 0 || foreseen.Stops != n {
					t.Errorf("%d sessions were asked; foreseen: %+v", len(report.Sessions), foreseen)
				}
				isNear(t, "p99 of a stop", foreseen.Stop.P99, p99(report)-test.grace)
				isNear(t, "the drain", foreseen.Took.P99, time.Duration(report.Took))
				if cut := report.Totals[actors.Cancelled]; foreseen.Cut != cut {
					t.Errorf("%d of %v were foreseen to be cut", foreseen.Cut, report.Totals)
				}
				if !foreseen.InTime() {
					t.Errorf("foreseen to be late: %+v", foreseen)
				}
			})
		})
	}
}

// The function of a connection has no stop timeout, and its stop contains its grace.
func TestAnEstimateForeseesConnectionsOfAHandler(t *testing.T) {
	actorstest.Run(t, actors.Options{StopTimeout: time.Second}, func(t *testing.T, h *actorstest.Supervisor) {
		open := func() {
			for range 20 {
				h.Connection(actors.Connection{Kind: "terminal"}).Run(func(ctx context.Context) error {
					<-ctx.Done()
					time.Sleep(7 * time.Second)
					return nil
				})
			}
		}
		open()
		h.Drained(actors.Drain{Only: &actors.Selection{}})
		open()
		foreseen := estimateOf(t, h, actors.Drain{Grace: 3 * time.Second})
		isNear(t, "the drain", foreseen.Took.P99, time.Duration(h.Drained(actors.Drain{Grace: 3 * time.Second}).Took))
		if foreseen.Cut != 0 || !foreseen.InTime() {
			t.Errorf("%+v", foreseen)
		}
	})
}

func TestAnEstimateShowsTheTimelineAndThatNothingIsKnown(t *testing.T) {
	actorstest.Run(t, actors.Options{StopTimeout: 5 * time.Second, CloseTimeout: 2 * time.Second}, func(t *testing.T, h *actorstest.Supervisor) {
		crowd(h, nil, 5, "b")
		d := actors.Drain{Deadline: time.Now().Add(20 * time.Second), Delay: 2 * time.Second, Grace: 4 * time.Second, BatchSize: 2, BatchInterval: time.Second}
		want := actors.Estimate{
			Sessions: 5, Batches: 3, Unknown: 5,
			Closes: 2 * time.Second, LastAsk: 4 * time.Second, GraceEnd: 6 * time.Second, Kill: 20 * time.Second, Deadline: 20 * time.Second,
		}
		if e := estimateOf(t, h, d); e != want || e.InTime() {
			t.Errorf("%+v\nwant %+v", e, want)
		}
		h.AddService("http server", actors.AfterSessions, &actorstest.Service{Journal: h.Journal()})
		d.Delay, d.Grace = time.Hour, 2*time.Hour // cut to what fits
		want.Kill, want.Closes, want.LastAsk, want.GraceEnd = 19*time.Second, 11950*time.Millisecond, 11950*time.Millisecond, 11950*time.Millisecond
		if e := estimateOf(t, h, d); e.Kill != want.Kill || e.Closes != want.Closes || e.LastAsk != want.LastAsk || e.GraceEnd != want.GraceEnd {
			t.Errorf("%+v\nwant %+v", e, want)
		}
	})
}

// The stop of an agent whose client leaves is known before there was a drain.
func TestAnEstimateLearnsFromClientsThatLeave(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		one := h.Session()
		one.AgentName, one.Agent.OnStop.Takes = "b", 3*time.Second
		one.Serve().Client.End(&actors.ClosedError{Code: actors.CloseNormal})
		time.Sleep(time.Minute)
		one.EndsAs(actors.ClientGone)
		crowd(h, nil, 1, "b")
		if e := estimateOf(t, h, actors.Drain{}); e.Stops != 1 || e.Unknown != 0 {
			t.Errorf("%+v", e)
		} else {
			isNear(t, "a stop", e.Stop.P50, 3*time.Second)
		}
		crowd(h, nil, 1, "unheard of")
		if e := estimateOf(t, h, actors.Drain{}); e.Sessions != 2 || e.Unknown != 1 {
			t.Errorf("%+v", e)
		}
	})
}

// A stop that is foreseen to take longer than a drain has leaves it too late.
func TestAnEstimateSaysThatADeadlineIsTooShort(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		crowd(h, nil, 10, "c") // one hangs
		h.Drained(actors.Drain{Only: &actors.Selection{}})
		crowd(h, nil, 10, "c")
		short := actors.Drain{Deadline: time.Now().Add(time.Second)}
		if e := estimateOf(t, h, short); e.Cut != 1 {
			t.Errorf("%+v", e)
		}
		ask := actors.Drain{Deadline: time.Now().Add(4 * time.Second), BatchSize: 1, BatchInterval: time.Minute}
		if e := estimateOf(t, h, ask); e.Batches != 10 || e.LastAsk > 4*time.Second {
			t.Errorf("%+v", e)
		}
	})
}

func TestAnEstimateChangesNothingAndThereIsNoneDuringADrain(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		s := h.Session().Serve()
		estimateOf(t, h, actors.Drain{})
		estimateOf(t, h, actors.Drain{Only: &actors.Selection{}})
		if err := h.Admits(); err != nil || !h.Ready() || !s.Running() {
			t.Errorf("ready %v, admission: %v, session runs %v", h.Ready(), err, s.Running())
		}
		if started := actorstest.Heard[actors.DrainStarted](h); len(started) != 0 {
			t.Errorf("drains began: %+v", started)
		}
		s.Agent.OnStop.Takes = time.Second
		if _, err := h.Begin(t.Context(), actors.Drain{Standby: true}); err != nil {
			t.Fatal(err)
		}
		for _, d := range []actors.Drain{{}, {Only: &actors.Selection{}}} {
			if _, err := h.Estimate(t.Context(), d); !errors.Is(err, actors.ErrDraining) {
				t.Errorf("during a drain: %v", err)
			}
		}
		time.Sleep(time.Minute)
		if e := estimateOf(t, h, actors.Drain{}); e.Sessions != 0 || !e.InTime() {
			t.Errorf("after it: %+v", e)
		}
	})
}
