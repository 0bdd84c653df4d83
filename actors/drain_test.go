package actors_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/anthdm/hollywood/actor"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/actors/actorstest"
)

func TestADrainStopsTheAgentReleasesTheLeaseThenTellsTheClient(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		s := h.Session()
		s.Lease()
		s.Agent.OnStop.Takes = time.Second
		s.Serve()
		time.Sleep(time.Minute)
		report := h.Drained(actors.Drain{Reason: "new version"})
		s.Saw(
			"0s lease on w1 taken",
			"0s agent got startRequest",
			"1m0s agent got stopWorkflow WORKHORSE_SERVER_SHUTDOWN",
			"1m1s agent ended",
			"1m1s lease released",
			"1m1s client told 1001 new version",
			"1m1s client cut",
		)
		want := actors.SessionReport{
			ID:       s.ID,
			Workflow: "w1",
			Age:      actors.Seconds(61 * time.Second),
			Outcome:  actors.Drained,
			Took:     actors.Seconds(time.Second),
		}
		if len(report.Sessions) != 1 || report.Sessions[0] != want {
			t.Errorf("got  %+v\nwant %+v", report.Sessions, want)
		}
		if report.Reason != "new version" || time.Duration(report.Took) != time.Second || report.Totals[actors.Drained] != 1 {
			t.Errorf("%+v", report)
		}
	})
}

// Where the grace would reach the deadline, agents and clients still have their time.
func TestAGraceLeavesTheTimeoutsTheirTime(t *testing.T) {
	for name, test := range map[string]struct {
		deadline, grace time.Duration
		asked           string // when the agent is asked to stop
	}{
		"within":              {60 * time.Second, 10 * time.Second, "10s"},
		"up to the deadline":  {60 * time.Second, 60 * time.Second, "44.95s"}, // 10 s and 5 s before, and a moment
		"past the deadline":   {60 * time.Second, time.Hour, "44.95s"},
		"with no time at all": {5 * time.Second, 10 * time.Second, "0s"},
	} {
		t.Run(name, func(t *testing.T) {
			actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
				s := h.Session().Serve()
				d := actorstest.Within(test.deadline)
				d.Grace = test.grace
				h.Drained(d)
				s.EndsAs(actors.Drained)
				s.Has(test.asked + " agent got stopWorkflow WORKHORSE_SERVER_SHUTDOWN")
			})
		})
	}
}

func TestAWorkflowThatFinishesWithinTheGraceCompletes(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		s := h.Session().Serve()
		h.Send(actors.Drain{Grace: 5 * time.Second})
		time.Sleep(4 * time.Second)
		s.Stream().Say(actorstest.Action("result"))
		s.Stream().End(io.EOF)
		s.Saw("0s agent got startRequest", "4s client got result", "4s agent ended", "4s client told 1000 ", "4s client cut")
		s.EndsAs(actors.Completed)
	})
}

func TestAWorkflowThatDoesNotIsStoppedAtTheGrace(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		s := h.Session().Serve()
		h.Drained(actors.Drain{Grace: 5 * time.Second})
		s.Saw(
			"0s agent got startRequest",
			"5s agent got stopWorkflow WORKHORSE_SERVER_SHUTDOWN",
			"5s agent ended",
			"5s client told 1001 server shutdown",
			"5s client cut",
		)
	})
}

func TestGraceIsForRunningWorkflowsOnly(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		idle, opening := h.Session().Join(), h.Session()
		opening.Agent.OnOpen.Takes = time.Hour
		opening.Start()
		if report := h.Drained(actors.Drain{Grace: 5 * time.Second}); report.Took != 0 {
			t.Errorf("took %v", report.Took)
		}
		idle.Saw("0s client told 1001 server shutdown", "0s client cut")
		opening.Saw("0s opening cancelled", "0s client told 1001 server shutdown", "0s client cut")
	})
}

// The client must get its close frame by the deadline, also where the stop timeout would go beyond it.
func TestTheStopTimeoutLeavesTheClientItsTime(t *testing.T) {
	for name, c := range map[string]struct {
		deadline time.Duration
		told     string
	}{
		"all that a close may take":          {12 * time.Second, "6.95s client told 1001"},
		"half, where there isn't even that":  {4 * time.Second, "1.975s client told 1001"},
		"and the agent no longer than usual": {time.Minute, "10s client told 1001"},
	} {
		t.Run(name, func(t *testing.T) {
			actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
				s := h.Session()
				s.Agent.OnStop.Hangs = true
				s.Serve()
				h.Drained(actorstest.Within(c.deadline))
				s.Has("0s agent got stopWorkflow", c.told)
				s.EndsAs(actors.Cancelled)
			})
		})
	}
}

// Who answers nothing at all, but would be cut at the close timeout just by the deadline, is not
// killed in the same instant.
func TestTheCloseTimeoutComesBeforeTheKill(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		for range 20 {
			s := h.Session()
			s.Agent.OnStop.Hangs, s.Client.OnClose.Hangs = true, true
			s.Serve()
		}
		report := h.Drained(actorstest.Within(15 * time.Second))
		if report.Totals[actors.Cancelled] != 20 {
			t.Errorf("%v", report.Totals)
		}
	})
}

// A thousand sessions whose peers never answer anything: some not even when they are cut.
func TestTheDeadlineHoldsWhateverThePeersDo(t *testing.T) {
	const sessions, deadline = 1000, 4 * time.Second
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		forever := make(chan struct{})
		for i := range sessions {
			s := h.Session()
			s.Lease()
			s.Agent.OnStop.Hangs, s.Client.OnClose.Hangs = true, true
			switch i % 4 {
			case 0:
				s.Client.Say(actorstest.StartRequest("w"))
			case 1:
				s.Agent.OnOpen.Takes = time.Hour
				s.Client.Say(actorstest.StartRequest("w"))
			case 2:
				s.Client.Stubborn = forever
				s.Leaser.OnRelease.Takes = time.Hour
				s.Client.Say(actorstest.StartRequest("w"))
			}
			s.Join()
		}
		synctest.Wait()

		report, took, err := h.TimedDrain(actorstest.Within(deadline))
		if took < deadline || took > deadline+100*time.Millisecond {
			t.Errorf("took %v", took)
		}
		var killed *actors.KilledError
		if !errors.As(err, &killed) || len(killed.Sessions) != sessions || !strings.Contains(err.Error(), killed.Sessions[0]) {
			t.Errorf("%v", err)
		}
		if report.Totals[actors.Killed] != sessions || len(report.Sessions) != sessions {
			t.Errorf("%v", report.Totals)
		}
		close(forever)
		time.Sleep(time.Minute)
		once(t, h, sessions) // also when the last have come to an end after all
	})
}

// once checks that so many sessions stopped, each once.
func once(t *testing.T, h *actorstest.Supervisor, sessions int) {
	t.Helper()
	times := map[string]int{}
	for _, e := range actorstest.Heard[actors.SessionStopped](h) {
		if times[e.ID]++; times[e.ID] > 1 {
			t.Errorf("%s stopped %d times", e.ID, times[e.ID])
		}
	}
	if len(times) != sessions {
		t.Errorf("%d of %d sessions stopped", len(times), sessions)
	}
}

// toldAt returns how many sessions were asked to stop at which moments.
func toldAt(sessions []*actorstest.Session) string {
	var at []string
	for _, s := range sessions {
		if i := s.Index("stopWorkflow"); i >= 0 {
			at = append(at, strings.Fields(s.Lines()[i])[0])
		}
	}
	slices.Sort(at)
	counts := map[string]int{}
	for _, moment := range at {
		counts[moment]++
	}
	var parts []string
	for _, moment := range slices.Compact(at) {
		parts = append(parts, fmt.Sprintf("%d at %s", counts[moment], moment))
	}
	return strings.Join(parts, ", ")
}

// crowdOf returns n sessions that are served, one joined every hour.
func crowdOf(h *actorstest.Supervisor, n int) (all []*actorstest.Session) {
	for range n {
		all = append(all, h.Session().Serve())
		time.Sleep(time.Hour)
	}
	for _, s := range all {
		s.Rebase(time.Now())
	}
	return all
}

func TestBatches(t *testing.T) {
	for name, c := range map[string]struct {
		drain actors.Drain
		in    time.Duration
		want  string
	}{
		"all at once":                {actors.Drain{}, time.Minute, "7 at 0s"},
		"in batches":                 {actors.Drain{BatchSize: 3, BatchInterval: 2 * time.Second}, time.Minute, "3 at 0s, 3 at 2s, 1 at 4s"},
		"every second":               {actors.Drain{BatchSize: 4}, time.Minute, "4 at 0s, 3 at 1s"},
		"squeezed until they fit":    {actors.Drain{BatchSize: 3, BatchInterval: time.Minute}, 19050 * time.Millisecond, "3 at 0s, 3 at 2s, 1 at 4s"},
		"at once where nothing fits": {actors.Drain{BatchSize: 3, BatchInterval: time.Minute}, 10 * time.Second, "7 at 0s"},
	} {
		t.Run(name, func(t *testing.T) {
			actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
				crowd := crowdOf(h, 7)
				c.drain.Deadline = time.Now().Add(c.in)
				h.Drained(c.drain)
				if got := toldAt(crowd); got != c.want {
					t.Errorf("told %s, want %s", got, c.want)
				}
			})
		})
	}
}

func TestBatchesTellTheOldestFirst(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		crowd := crowdOf(h, 4)
		h.Drained(actors.Drain{BatchSize: 1})
		for i, s := range crowd {
			s.Has(fmt.Sprintf("%ds agent got stopWorkflow", i))
		}
	})
}

func TestASecondDrainDoesNotPutTheNextBatchOff(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		crowd := crowdOf(h, 2)
		h.Send(actors.Drain{Deadline: time.Now().Add(time.Hour), BatchSize: 1, BatchInterval: 10 * time.Second})
		time.Sleep(9 * time.Second)
		h.Drained(actors.Drain{})
		if got := toldAt(crowd); got != "1 at 0s, 1 at 10s" {
			t.Errorf("told %s", got)
		}
	})
}

func TestDuringTheDelayTheSupervisorIsNotReadyButAdmits(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		early := h.Session().Serve()
		if !h.Ready() {
			t.Error("not ready before the drain")
		}
		h.Send(actors.Drain{Delay: 3 * time.Second})
		if h.Ready() {
			t.Error("ready during the drain")
		}
		time.Sleep(2 * time.Second)
		late := h.Session().Serve()
		time.Sleep(time.Second)
		synctest.Wait()
		if err := h.Admits(); err != actors.ErrDraining {
			t.Errorf("after the delay: %v", err)
		}
		early.Has("3s agent got stopWorkflow")
		late.Has("3s agent got stopWorkflow")
		report := h.Drained(actors.Drain{})
		if report.Totals[actors.Drained] != 2 || time.Duration(report.Took) != 3*time.Second {
			t.Errorf("%+v", report)
		}
	})
}

// Where the delay would reach the deadline, every session is still asked to stop, and stops in order.
func TestADelayLeavesTheTimeoutsTheirTime(t *testing.T) {
	for name, test := range map[string]struct {
		deadline, delay time.Duration
		asked           string // when the agent is asked to stop
	}{
		"within":              {60 * time.Second, 10 * time.Second, "10s"},
		"past the deadline":   {60 * time.Second, time.Hour, "44.95s"},
		"with no time at all": {2 * time.Second, 10 * time.Second, "0s"},
	} {
		t.Run(name, func(t *testing.T) {
			actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
				s := h.Session().Serve()
				d := actorstest.Within(test.deadline)
				d.Delay = test.delay
				h.Drained(d)
				s.EndsAs(actors.Drained)
				s.Has(test.asked+" agent got stopWorkflow WORKHORSE_SERVER_SHUTDOWN", test.asked+" client told 1001 server shutdown")
			})
		})
	}
}

func TestAGraceBeginsAfterTheDelay(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		s := h.Session().Serve()
		h.Drained(actors.Drain{Delay: 3 * time.Second, Grace: 2 * time.Second})
		s.Has("5s agent got stopWorkflow")
	})
}

// A second drain can bring forward each of the three times, and put off none.
func TestASecondDrainOnlyShortens(t *testing.T) {
	const none = time.Duration(0)
	type times struct{ deadline, delay, grace time.Duration }
	for name, c := range map[string]struct {
		drains []times // one a second
		want   string
	}{
		"a shorter grace":                   {[]times{{60, none, 20}, {60, none, 5}}, "6s agent got stopWorkflow"},
		"a longer grace":                    {[]times{{60, none, 5}, {60, none, 20}}, "5s agent got stopWorkflow"},
		"no grace":                          {[]times{{60, none, 20}, {60, none, none}}, "1s agent got stopWorkflow"},
		"a shorter delay":                   {[]times{{60, 20, none}, {60, 5, none}}, "6s agent got stopWorkflow"},
		"a longer delay":                    {[]times{{60, 5, none}, {60, 20, none}}, "5s agent got stopWorkflow"},
		"no delay":                          {[]times{{60, 20, none}, {60, none, none}}, "1s agent got stopWorkflow"},
		"a shorter, then a longer delay":    {[]times{{60, 30, none}, {60, 5, none}, {60, 20, none}}, "6s agent got stopWorkflow"},
		"a shorter deadline":                {[]times{{60, none, none}, {9, none, none}}, "4.975s client told"},
		"a shorter, then a longer deadline": {[]times{{60, none, none}, {9, none, none}, {60, none, none}}, "4.975s client told"},
		"a longer deadline":                 {[]times{{8, none, none}, {60, none, none}}, "3.975s client told"},
	} {
		t.Run(name, func(t *testing.T) {
			actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
				s := h.Session()
				s.Agent.OnStop.Hangs = true
				s.Serve()
				for _, d := range c.drains {
					h.Send(actors.Drain{
						Deadline: time.Now().Add(d.deadline * time.Second),
						Delay:    d.delay * time.Second,
						Grace:    d.grace * time.Second,
					})
					time.Sleep(time.Second)
				}
				time.Sleep(time.Minute)
				s.Has(c.want)
				s.EndsAs(actors.Cancelled)
			})
		})
	}
}

// However many drains come, at the deadline and after it, none puts off its end.
func TestRepeatedDrainsDoNotPutOffTheDeadline(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		forever := make(chan struct{})
		defer close(forever)
		s := h.Session()
		s.Client.Stubborn = forever
		s.Serve()
		if err := h.Add("ignores everything", actors.AfterSessions, actors.ServiceFunc(func(context.Context) error { <-forever; return nil })); err != nil {
			t.Fatal(err)
		}
		stop := make(chan struct{})
		defer close(stop)
		go func() {
			for i := 1; ; i++ {
				select {
				case <-stop:
					return
				case <-time.After(10 * time.Millisecond):
					h.Engine().Send(h.PID(), actors.Drain{Deadline: h.Began.Add(-time.Duration(i) * time.Hour)})
				}
			}
		}()
		if _, took, err := h.TimedDrain(actorstest.Within(5 * time.Second)); err == nil || took > 200*time.Millisecond {
			t.Errorf("took %v, %v", took, err)
		}
	})
}

// A client's close timeout runs from its close frame, however often it is drained.
func TestASecondDrainDoesNotGiveTheClientMoreTime(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		s := h.Session()
		s.Client.OnClose.Hangs = true
		s.Serve()
		for range 4 {
			h.Send(actorstest.Within(time.Minute))
			time.Sleep(2 * time.Second)
		}
		s.Has("0s client told", "5s client cut")
	})
}

func TestACancelledContextMakesTheDeadlineNow(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		s := h.Session()
		s.Agent.OnStop.Hangs, s.Client.OnClose.Hangs = true, true
		s.Serve()
		ctx, cancel := context.WithCancel(context.Background())
		time.AfterFunc(2*time.Second, cancel)
		report, err := h.Drain(ctx, actors.Drain{})
		if took := time.Since(h.Began); err == nil || took < 2*time.Second || took > 2100*time.Millisecond {
			t.Errorf("took %v, %v", took, err)
		}
		if report.Totals[actors.Killed] != 1 {
			t.Errorf("%v", report.Totals)
		}
	})
}

func TestAContextsDeadlineIsTheDrains(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		s := h.Session()
		s.Agent.OnStop.Hangs, s.Client.OnClose.Hangs = true, true
		s.Serve()
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		report, err := h.Drain(ctx, actors.Drain{Deadline: time.Now().Add(time.Hour)})
		if took := time.Since(h.Began); err == nil || report == nil || took < 3*time.Second || took > 3100*time.Millisecond {
			t.Errorf("took %v, %v", took, err)
		}
	})
}

func TestADrainWithoutADeadlineHasTheDefaultOne(t *testing.T) {
	actorstest.Run(t, actors.Options{StopTimeout: time.Hour, CloseTimeout: time.Hour}, func(t *testing.T, h *actorstest.Supervisor) {
		s := h.Session()
		s.Agent.OnStop.Hangs, s.Client.OnClose.Hangs = true, true
		s.Serve()
		if _, took, _ := h.TimedDrain(actors.Drain{}); took < actors.DefaultDrain || took > actors.DefaultDrain+100*time.Millisecond {
			t.Errorf("took %v", took)
		}
	})
}

func TestTheSenderOfADrainIsSentTheReport(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		h.Session().Serve()
		answer := h.Engine().Request(h.PID(), actors.Drain{}, time.Minute)
		got, err := answer.Result()
		report, ok := got.(*actors.Report)
		if err != nil || !ok || report.Totals[actors.Drained] != 1 {
			t.Errorf("got %T, %v", got, err)
		}
	})
}

func TestAllWhoDrainGetTheSameReport(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		s := h.Session()
		s.Agent.OnStop.Takes = time.Second
		s.Serve()
		reports := make(chan *actors.Report, 4)
		for range 3 {
			go func() {
				report, _ := h.Drain(context.Background(), actors.Drain{})
				reports <- report
			}()
		}
		h.Engine().SpawnFunc(func(c *actor.Context) {
			switch m := c.Message().(type) {
			case actor.Started:
				c.Send(h.PID(), actors.Drain{})
			case *actors.Report:
				reports <- m
				c.Engine().Poison(c.PID())
			}
		}, "sender")
		first := <-reports
		for range 3 {
			if other := <-reports; other != first || other == nil {
				t.Errorf("%p and %p", first, other)
			}
		}
		time.Sleep(time.Hour)
		if late, took, _ := h.TimedDrain(actors.Drain{}); late != first || took != 0 {
			t.Errorf("afterwards: %p after %v", late, took)
		}
		if n := len(actorstest.Heard[actors.DrainStarted](h)); n != 1 {
			t.Errorf("%d drains were started", n)
		}
	})
}

func TestAnEmptyHouseIsDrainedAtOnce(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		report, took, err := h.TimedDrain(actors.Drain{Grace: time.Hour})
		if err != nil || took != 0 || len(report.Sessions) != 0 {
			t.Errorf("%+v after %v, %v", report, took, err)
		}
	})
}

func TestCloseWithoutADrainKills(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		s := h.Session()
		s.Lease()
		s.Agent.OnStop.Hangs, s.Client.OnClose.Hangs = true, true
		s.Serve()
		h.Close()
		s.Has("lease released", "agent cancelled", "client cut")
		s.EndsAs(actors.Killed)
		if h.Ready() || h.Admits() != actors.ErrClosed {
			t.Error("it still admits")
		}
		if _, err := h.Drain(context.Background(), actors.Drain{}); err != actors.ErrClosed {
			t.Errorf("drain after close: %v", err)
		}
		h.Close()
	})
}

func TestCloseCutsADrainShort(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		s := h.Session()
		s.Agent.OnStop.Hangs, s.Client.OnClose.Hangs = true, true
		s.Serve()
		got := make(chan error, 1)
		go func() {
			_, err := h.Drain(context.Background(), actors.Drain{})
			got <- err
		}()
		time.Sleep(time.Second)
		h.Close()
		if err := <-got; !errors.As(err, new(*actors.KilledError)) || time.Since(h.Began) > 1100*time.Millisecond {
			t.Errorf("%v after %v", err, time.Since(h.Began))
		}
	})
}

func TestAPoisonedSupervisorIsNotReady(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		h.Engine().Poison(h.PID())
		synctest.Wait()
		if h.Ready() || h.Admits() != actors.ErrClosed {
			t.Error("it still admits")
		}
	})
}

// A poisoned supervisor takes its sessions along, and no caller is left waiting.
func TestAPoisonedSupervisorLetsGoOfEverything(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		s, idle := h.Session(), h.Session().Join()
		s.Lease()
		s.Agent.OnStop.Hangs, s.Client.OnClose.Hangs = true, true
		s.Serve()
		told := make(chan struct{})
		if err := h.Add("daemon", actors.AfterSessions, actors.ServiceFunc(func(ctx context.Context) error {
			<-ctx.Done()
			close(told)
			return nil
		})); err != nil {
			t.Fatal(err)
		}
		if _, err := h.Admit(context.Background()); err != nil { // and never uses the ticket
			t.Fatal(err)
		}
		drain := make(chan error, 1)
		go func() {
			_, err := h.Drain(context.Background(), actors.Drain{Grace: time.Hour})
			drain <- err
		}()
		synctest.Wait()
		h.Engine().Poison(h.PID())
		<-told
		if err := <-drain; err != actors.ErrClosed {
			t.Errorf("drain: %v", err)
		}
		s.Has("lease released", "agent cancelled", "client cut")
		idle.Has("client cut")
		if s.PID() != nil || idle.PID() != nil {
			t.Error("a session's actor is still there")
		}
		for _, id := range []string{s.ID, idle.ID} { // Stopped has no receiver any more
			n := 0
			for _, e := range actorstest.Heard[actor.DeadLetterEvent](h) {
				if m, ok := e.Message.(actors.Stopped); ok && m.ID == id {
					n++
				}
			}
			if n+boolToInt(id == idle.ID && !idle.Running()) != 1 {
				t.Errorf("%s acknowledged %d times", id, n)
			}
		}
		if got := time.Since(h.Began); got != 0 {
			t.Errorf("took %v", got)
		}
	})
}

func boolToInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// The deadline of the second drain leaves the batches that are left no time between them.
func TestAShorterDeadlineBringsTheNextBatchesForward(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		crowd := crowdOf(h, 3)
		h.Send(actors.Drain{Deadline: time.Now().Add(time.Hour), BatchSize: 1, BatchInterval: 10 * time.Minute})
		time.Sleep(time.Second)
		h.Drained(actorstest.Within(10 * time.Second))
		if got := toldAt(crowd); got != "1 at 0s, 2 at 1s" {
			t.Errorf("told %s", got)
		}
	})
}

func TestADeadlineNowWithinTheDelayClosesAdmission(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		s := h.Session()
		s.Agent.OnStop.Hangs, s.Client.OnClose.Hangs = true, true
		s.Serve()
		h.Send(actors.Drain{Delay: 5 * time.Second})
		h.Send(actors.Drain{Deadline: time.Now()})
		if err := h.Admits(); !errors.Is(err, actors.ErrDraining) {
			t.Errorf("admission: %v", err)
		}
		s.EndsAs(actors.Killed)
	})
}
