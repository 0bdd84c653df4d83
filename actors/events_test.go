package actors_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/anthdm/hollywood/actor"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/actors/actorstest"
)

func TestASessionsEvents(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		s := h.Session().Serve()
		time.Sleep(time.Hour)
		s.Stream().End(io.EOF)
		started := actorstest.Heard[actors.SessionStarted](h)
		if len(started) != 1 || started[0].ID != s.ID || started[0].Remote != "192.0.2.1:1234" || !started[0].At.Equal(h.Began) {
			t.Errorf("%+v", started)
		}
		stopped := s.Stopped()
		if time.Duration(stopped.Age) != time.Hour || stopped.Took != 0 || stopped.Remote != "192.0.2.1:1234" || stopped.Code != 1000 {
			t.Errorf("%+v", stopped)
		}
	})
}

func TestADrainsEvents(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		for i := range 3 {
			s := h.Session()
			s.Agent.OnStop.Takes = time.Duration(50+i*i*30) * time.Millisecond
			s.Serve()
		}
		h.AddService("daemon", actors.AfterSessions, &actorstest.Service{Journal: h.Journal(), OnStop: actorstest.Call{Takes: time.Second}})
		report := h.Drained(actors.Drain{Deadline: h.Began.Add(time.Minute), Reason: "over"})

		started := actorstest.Heard[actors.DrainStarted](h)
		status := actors.DrainStatus{
			ID: report.ID, Reason: "over", Sessions: 3, Left: 3, Untold: 3,
			Totals: map[actors.Outcome]int{}, Began: h.Began, Deadline: h.Began.Add(time.Minute),
		}
		if want := (actors.DrainStarted{DrainStatus: status, Services: 1}); len(started) != 1 || !reflect.DeepEqual(started[0], want) {
			t.Errorf("got %+v, want %+v", started, want)
		}
		finished := actorstest.Heard[actors.DrainFinished](h)
		if len(finished) != 1 || finished[0].Report != report || !finished[0].Over || finished[0].Left != 0 || finished[0].Elapsed != time.Duration(report.Took) {
			t.Errorf("%+v", finished)
		}
		// stopped at 50, 80 and 170 ms, the daemon a second later; told 100 ms after the first that had not been told of
		progress := actorstest.Heard[actors.DrainProgress](h)
		status.Untold = 0
		for i, want := range []struct {
			drained, left int
			elapsed       time.Duration
		}{
			{2, 1, 150 * time.Millisecond},
			{3, 0, 270 * time.Millisecond},
		} {
			status.Totals, status.Left, status.Elapsed = map[actors.Outcome]int{actors.Drained: want.drained}, want.left, want.elapsed
			if len(progress) != 2 || !reflect.DeepEqual(progress[i].DrainStatus, status) {
				t.Errorf("got %+v, want %+v", progress, status)
			}
		}
	})
}

func TestProgressIsToldTenTimesASecondAtMost(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		for i := range 99 {
			s := h.Session()
			s.Agent.OnStop.Takes = time.Duration(i+1)*10*time.Millisecond + time.Millisecond
			s.Serve()
		}
		h.Drained(actors.Drain{})
		progress := actorstest.Heard[actors.DrainProgress](h)
		if len(progress) < 8 || len(progress) > 10 {
			t.Errorf("told %d times", len(progress))
		}
		for i, p := range progress {
			if sum := p.Totals[actors.Drained]; sum+p.Left != 99 || i > 0 && p.Elapsed-progress[i-1].Elapsed < 100*time.Millisecond {
				t.Errorf("%+v", p)
			}
		}
	})
}

// During a long grace nothing changes but the time that is left.
func TestProgressIsToldEverySecondWhereNothingChanges(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		h.Session().Serve()
		h.Drained(actors.Drain{Grace: 5500 * time.Millisecond})
		for i, p := range actorstest.Heard[actors.DrainProgress](h) {
			if want := time.Duration(i+1) * time.Second; i < 5 && (p.Elapsed != want || p.Left != 1) {
				t.Errorf("%d: %+v", i, p)
			}
		}
		if n := len(actorstest.Heard[actors.DrainProgress](h)); n < 5 {
			t.Errorf("told %d times in 5.5 s", n)
		}
	})
}

func TestALongWorkflowIDIsShownCut(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		s := h.Session().Join()
		s.Client.Say(actorstest.StartRequest(strings.Repeat("é", 1000)))
		s.Has("agent got startRequest")
		report := h.Drained(actors.Drain{})
		if shown := report.Sessions[0].Workflow; shown != strings.Repeat("é", 128) {
			t.Errorf("%d bytes are shown: %q", len(shown), shown)
		}
	})
}

func TestAnEngineOfOnesOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine, err := actor.NewEngine(actor.NewEngineConfig())
		if err != nil {
			t.Fatal(err)
		}
		first, second := actorstest.New(t, actors.Options{Engine: engine}), actorstest.New(t, actors.Options{Engine: engine})
		if first.Engine() != engine || first.PID().Equals(second.PID()) {
			t.Errorf("%v and %v", first.PID(), second.PID())
		}
		a, b := first.Session().Serve(), second.Session().Serve()
		first.Drained(actors.Drain{})
		a.EndsAs(actors.Drained)
		if !b.Running() || !second.Ready() {
			t.Error("one supervisor's drain reached the other")
		}
	})
}

func TestStopReturnsWhenTheListenerHasHeardAll(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		heard := 0
		stop := h.Listen(func(event any) {
			if _, ok := event.(actors.SessionStopped); ok {
				time.Sleep(time.Millisecond)
				heard++
			}
		})
		for range 20 {
			h.Session().Serve()
		}
		h.Drained(actors.Drain{})
		stop()
		if heard != 20 {
			t.Errorf("heard %d of 20", heard)
		}
		stop()
	})
}

func TestStopGivesAStuckListenerASecond(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		forever := make(chan struct{})
		defer close(forever)
		stop := h.Listen(func(any) { <-forever })
		h.Session().Serve()
		if stop(); time.Since(h.Began) != time.Second {
			t.Errorf("took %v", time.Since(h.Began))
		}
	})
}

// A listener that hangs costs itself alone: the others hear everything, and sessions end as they should.
func TestAStuckListenerDisturbsNobody(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		forever, entered := make(chan struct{}), make(chan struct{})
		defer close(forever)
		enter := sync.OnceFunc(func() { close(entered) })
		stuck := h.Listen(func(any) { enter(); <-forever })
		s := h.Session().Serve()
		<-entered
		h.Drained(actors.Drain{})
		s.EndsAs(actors.Drained)
		stuck()
	})
}

// A listener's panic would end hollywood's actor, and after a few the process.
func TestAPanickingListenerDisturbsNobody(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		calls := 0
		stop := h.Listen(func(any) { calls++; panic("in a listener") })
		s := h.Session().Serve()
		h.Drained(actors.Drain{})
		stop()
		s.EndsAs(actors.Drained)
		panicked := actorstest.Heard[actors.SupervisorPanicked](h)
		if len(panicked) == 0 || calls <= len(panicked) || panicked[0].Err.Value != "in a listener" {
			t.Errorf("%d calls, %d panics told", calls, len(panicked))
		}
		if time.Since(h.Began) != 0 {
			t.Error("the listener was restarted")
		}
	})
}

// A report that was written and read again is the same, to the millisecond.
func TestAReportAsJSON(t *testing.T) {
	report := &actors.Report{
		ID:      "d1",
		Reason:  "server shutdown",
		Started: time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC),
		Took:    actors.Seconds(1500 * time.Millisecond),
		Phases:  actors.Phases{Sessions: actors.Seconds(1250 * time.Millisecond), Services: actors.Seconds(250 * time.Millisecond)},
		Totals:  map[actors.Outcome]int{actors.Drained: 1, actors.Killed: 1},
		Sessions: []actors.SessionReport{
			{ID: "a", Workflow: "w", Age: actors.Seconds(2 * time.Hour), Outcome: actors.Drained, Took: actors.Seconds(1234 * time.Microsecond)},
			{ID: "b", Outcome: actors.Killed},
		},
		Services: []actors.ServiceReport{{Name: "http", Outcome: actors.Drained, Took: actors.Seconds(time.Millisecond)}},
	}
	data, err := json.Marshal(report)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"id":"d1","reason":"server shutdown","started":"2026-05-04T03:02:01Z","took_seconds":1.5,"phases":{"delay_seconds":0,"sessions_seconds":1.25,"services_seconds":0.25},"totals":{"drained":1,"killed":1},` +
		`"sessions":[{"id":"a","workflow":"w","age_seconds":7200,"outcome":"drained","stop_seconds":0.001},` +
		`{"id":"b","workflow":"","age_seconds":0,"outcome":"killed","stop_seconds":0}],` +
		`"services":[{"name":"http","outcome":"drained","stop_seconds":0.001}]}`
	if string(data) != want {
		t.Errorf("got  %s\nwant %s", data, want)
	}
	var again actors.Report
	if err := json.Unmarshal(data, &again); err != nil {
		t.Fatal(err)
	}
	report.Sessions[0].Took = actors.Seconds(time.Millisecond)
	if !reflect.DeepEqual(&again, report) {
		t.Errorf("got  %+v\nwant %+v", &again, report)
	}
	if err := json.Unmarshal([]byte(`{"took_seconds":"soon"}`), &again); err == nil {
		t.Error("read a duration that is none")
	}
}

func TestAnEmptyReportHasEmptyLists(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		data, err := json.Marshal(h.Drained(actors.Drain{}))
		if err != nil || strings.Contains(string(data), "null") {
			t.Errorf("%s, %v", data, err)
		}
	})
}

func TestTheErrorNamesTenAtMost(t *testing.T) {
	report := &actors.Report{}
	if err := report.Err(); err != nil {
		t.Errorf("nobody was killed: %v", err)
	}
	for i := range 12 {
		report.Sessions = append(report.Sessions, actors.SessionReport{ID: fmt.Sprint("s", i), Outcome: actors.Killed})
		report.Sessions = append(report.Sessions, actors.SessionReport{ID: fmt.Sprint("ok", i), Outcome: actors.Drained})
	}
	report.Services = []actors.ServiceReport{{Name: "http", Outcome: actors.Killed}, {Name: "pool", Outcome: actors.Drained}}
	err := report.Err()
	if want := "had to be killed: session s0, s1, s2, s3, s4, s5, s6, s7, s8, s9 and 2 more; service http"; err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	var killed *actors.KilledError
	if !errors.As(err, &killed) || len(killed.Sessions) != 12 || len(killed.Services) != 1 {
		t.Errorf("%+v", killed)
	}
}

// Every outcome is listed once, and a drain's totals count each session under its own.
func TestTotals(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		h.Session().Serve()
		cancelled, gone, done := h.Session(), h.Session().Serve(), h.Session().Serve()
		cancelled.Agent.OnStop.Hangs = true
		cancelled.Serve()
		h.Send(actors.Drain{Grace: time.Second})
		gone.Client.End(&actors.ClosedError{Code: 1000})
		done.Stream().End(io.EOF)
		report := h.Drained(actors.Drain{Grace: time.Second})
		want := map[actors.Outcome]int{actors.Drained: 1, actors.Cancelled: 1, actors.ClientGone: 1, actors.Completed: 1}
		if !reflect.DeepEqual(report.Totals, want) {
			t.Errorf("got %v, want %v", report.Totals, want)
		}
		if len(actors.Outcomes()) != 7 {
			t.Errorf("%v", actors.Outcomes())
		}
	})
}
