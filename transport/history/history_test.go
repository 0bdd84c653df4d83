package history_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/transport/history"
)

// served runs a history in a bubble. set says what the supervisor answers from now on.
func served(t *testing.T, test func(t *testing.T, h *history.History, set func(actors.Snapshot, error))) {
	synctest.Test(t, func(t *testing.T) {
		type answer struct {
			view actors.Snapshot
			err  error
		}
		var now atomic.Pointer[answer]
		now.Store(&answer{})
		h := history.New(func(context.Context) (actors.Snapshot, error) { return now.Load().view, now.Load().err })
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- h.Serve(ctx) }()
		test(t, h, func(view actors.Snapshot, err error) { now.Store(&answer{view, err}) })
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestASampleHasWhatHappenedInItsSeconds(t *testing.T) {
	served(t, func(t *testing.T, h *history.History, set func(actors.Snapshot, error)) {
		for i := range 100 {
			h.Observe(actors.SessionStarted{})
			stopped := actors.SessionStopped{}
			if i > 0 { // the first was not asked to stop
				stopped.Took = actors.Seconds(time.Duration(i) * time.Second)
			}
			h.Observe(stopped)
		}
		view := actors.Snapshot{}
		view.Sessions = []actors.SessionInfo{{Phase: actors.PhaseOpening}, {Phase: actors.PhaseServing}, {Phase: actors.PhaseServing}, {Phase: actors.PhaseStopping}, {Phase: actors.PhaseClosing}}
		view.Traffic = actors.Traffic{Received: actors.Flow{Messages: 3, Bytes: 30}, Sent: actors.Flow{Messages: 4, Bytes: 40}}
		set(view, nil)
		time.Sleep(history.Every + time.Second)
		synctest.Wait()
		view.Traffic.Sent = actors.Flow{Messages: 5, Bytes: 45}
		set(view, nil)
		h.Observe(actors.SessionStarted{})
		time.Sleep(history.Every)
		synctest.Wait()
		set(view, errors.New("busy"))
		time.Sleep(history.Every)
		synctest.Wait()

		got := h.View()
		if len(got.Samples) != 2 || got.Every != actors.Seconds(history.Every) {
			t.Fatalf("%+v", got)
		}
		first, second := got.Samples[0], got.Samples[1]
		if first.Memory == 0 {
			t.Error("no memory")
		}
		want := history.Sample{
			At: first.At, Memory: first.Memory, Opening: 1, Serving: 2, Stopping: 1, Closing: 1, Opened: 100, Ended: 100, Messages: 7, Bytes: 70,
			StopP50: actors.Seconds(50 * time.Second), StopP99: actors.Seconds(99 * time.Second),
		}
		if first != want {
			t.Errorf("got %+v\nwant %+v", first, want)
		}
		want = history.Sample{At: first.At.Add(history.Every), Memory: second.Memory, Opening: 1, Serving: 2, Stopping: 1, Closing: 1, Opened: 1, Messages: 1, Bytes: 5}
		if second != want {
			t.Errorf("got %+v\nwant %+v", second, want)
		}
	})
}

func TestAnHourIsKept(t *testing.T) {
	served(t, func(t *testing.T, h *history.History, _ func(actors.Snapshot, error)) {
		began := time.Now()
		time.Sleep(3*time.Hour + time.Second)
		got := h.View().Samples
		if len(got) != history.Samples || got[0].At.Sub(began) != 2*time.Hour+history.Every {
			t.Errorf("%d samples from %v on", len(got), got[0].At.Sub(began))
		}
	})
}

func TestTheLastDrainsAreKept(t *testing.T) {
	h := history.New(nil)
	for i := range history.Drains + 5 {
		report := &actors.Report{ID: fmt.Sprint("d", i), Part: i%2 == 0, Reason: "new version", Took: actors.Seconds(time.Second)}
		for j := range 300 {
			report.Sessions = append(report.Sessions, actors.SessionReport{ID: fmt.Sprint(j), Outcome: actors.Killed, Took: actors.Seconds(j + 1), WaitedFor: "agent"})
		}
		h.Observe(actors.DrainFinished{Report: report})
	}
	h.Observe(actors.DrainFinished{DrainStatus: actors.DrainStatus{Age: true}, Report: &actors.Report{ID: "age"}})
	drains := h.View().Drains
	if len(drains) != history.Drains || drains[0].ID != "d5" || drains[0].Part || drains[0].Sessions != 300 || drains[0].Killed != 300 || drains[0].Reason != "new version" {
		t.Errorf("%+v", drains)
	}
	if h.Drain("d4") != nil || h.Drain("age") != nil {
		t.Error("too many are kept")
	}
	d := h.Drain("d24")
	if d == nil || !d.Part || len(d.Slowest) != 50 || d.Slowest[0].ID != "299" || d.Slowest[0].WaitedFor != "agent" || d.Sessions != 300 || len(d.Killed.Sessions) != 200 {
		t.Errorf("%+v", d)
	}
}

// The bound holds with the longest texts that a client can choose, and more of everything than is kept.
func TestAHistoryHoldsTwoMebibytesAtMost(t *testing.T) {
	served(t, func(t *testing.T, h *history.History, _ func(actors.Snapshot, error)) {
		before := heap()
		for i := range 2 * history.Drains {
			report := &actors.Report{ID: fmt.Sprintf("%016d", i), Reason: strings.Repeat("r", actors.MaxReason)}
			for j := range 2000 {
				report.Sessions = append(report.Sessions, actors.SessionReport{
					ID: fmt.Sprintf("%016d", j), Workflow: strings.Repeat("w", actors.MaxWorkflow), Outcome: actors.Killed, Took: actors.Seconds(j + 1), WaitedFor: "lease and tools",
				})
			}
			h.Observe(actors.DrainFinished{Report: report})
		}
		for range 10_000 {
			h.Observe(actors.SessionStopped{SessionReport: actors.SessionReport{Took: 1}})
		}
		time.Sleep(2 * time.Hour)
		if grown := int(heap()) - int(before); grown > 2<<20 {
			t.Errorf("it holds %d KiB", grown>>10)
		}
		if text, err := json.Marshal(h.View()); err != nil || len(text) > 256<<10 {
			t.Errorf("a view has %d bytes, %v", len(text), err)
		}
		runtime.KeepAlive(h)
	})
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}
