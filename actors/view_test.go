package actors_test

import (
	"context"
	"io"
	"reflect"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/actors/actorstest"
	"github.com/lastcall-go/lastcall/actors/relay"
	"github.com/lastcall-go/lastcall/proto/dap"
)

// joinCounting starts a session whose client has this traffic.
func joinCounting(h *actorstest.Supervisor, messages uint64, last time.Time) *actorstest.Session {
	s := h.Session()
	s.Transport, s.AgentName = "websocket", "agent:1"
	s.Client.Counts = func() actors.Traffic {
		return actors.Traffic{
			Received: actors.Flow{Messages: messages, Bytes: 10 * messages},
			Sent:     actors.Flow{Messages: 2 * messages, Bytes: 20 * messages},
			Last:     last,
		}
	}
	return s.Join()
}

func TestASnapshotShowsEachSession(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		s := joinCounting(h, 3, h.Began)
		time.Sleep(time.Second)
		second := h.Session().Join()
		s.Client.Say(actorstest.StartRequest("w1"))
		synctest.Wait()
		want := []actors.SessionInfo{{
			ID: s.ID, Kind: relay.Kind, Workflow: "w1", Phase: actors.PhaseServing, Since: h.Began.Add(time.Second), Started: h.Began,
			Remote: "192.0.2.1:1234", Transport: "websocket", AgentName: "agent:1",
			Traffic: actors.Traffic{Received: actors.Flow{Messages: 3, Bytes: 30}, Sent: actors.Flow{Messages: 6, Bytes: 60}, Last: h.Began},
		}, {
			ID: second.ID, Kind: relay.Kind, Phase: actors.PhaseOpening, Since: h.Began.Add(time.Second), Started: h.Began.Add(time.Second),
			Remote: "192.0.2.1:1234", WaitsFor: relay.AwaitsStart,
		}}
		view := h.View()
		if !reflect.DeepEqual(view.Sessions, want) {
			t.Errorf("got  %+v\nwant %+v", view.Sessions, want)
		}
		if view.State != actors.Serving || view.Final || len(view.Drains) != 0 || view.Tickets != 0 {
			t.Errorf("%+v", view)
		}
	})
}

// What has passed is counted once: with the session while it lives, in the sum after it.
func TestASnapshotsTrafficOnlyGrows(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		first, _ := joinCounting(h, 3, h.Began), joinCounting(h, 4, h.Began.Add(time.Second))
		want := actors.Traffic{Received: actors.Flow{Messages: 7, Bytes: 70}, Sent: actors.Flow{Messages: 14, Bytes: 140}, Last: h.Began.Add(time.Second)}
		for range 2 {
			if got := h.View().Traffic; got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
			h.Drained(actors.Drain{Only: &actors.Selection{IDs: []string{first.ID}}})
		}
		if stopped := first.Stopped(); stopped.Traffic.Sent.Messages != 6 || stopped.Transport != "websocket" || stopped.AgentName != "agent:1" {
			t.Errorf("%+v", stopped)
		}
	})
}

func TestASessionShowsItsPhasesAndWhomItWaitsFor(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		s := h.Session()
		s.Lease().OnRelease.Takes = time.Second
		s.Agent.OnOpen.Takes, s.Agent.OnStop.Takes, s.Client.OnClose.Hangs = time.Second, time.Second, true
		s.Join()
		var seen []actors.Awaited
		look := func() {
			synctest.Wait()
			for _, info := range h.View().Sessions {
				seen = append(seen, info.WaitsFor)
			}
		}
		look()
		s.Client.Say(actorstest.StartRequest("w1"))
		look()
		time.Sleep(time.Second)
		look()
		h.Send(actors.Drain{Grace: time.Second})
		for range 5 { // in grace, stopping, releasing, telling the client, gone after its close timeout
			look()
			time.Sleep(time.Second)
		}
		want := []actors.Awaited{
			relay.AwaitsStart, relay.AwaitsAgent, actors.AwaitsNothing,
			relay.AwaitsWorkflow, relay.AwaitsAgent, relay.AwaitsRelease, relay.AwaitsClient, relay.AwaitsClient,
		}
		if !slices.Equal(seen, want) {
			t.Errorf("got  %q\nwant %q", seen, want)
		}
		time.Sleep(time.Minute)
		phases := actorstest.Heard[actors.SessionPhase](h)
		at := func(phase actors.Phase, after time.Duration) actors.SessionPhase {
			return actors.SessionPhase{
				ID: s.ID, Workflow: "w1", Phase: phase, At: h.Began.Add(after), Context: context.Background(),
				Left: actors.PhaseSpan{Phase: phase - 1, Lasted: time.Second},
			}
		}
		if want := []actors.SessionPhase{at(actors.PhaseServing, time.Second), at(actors.PhaseStopping, 2*time.Second), at(actors.PhaseClosing, 3*time.Second)}; !slices.Equal(phases, want) {
			t.Errorf("got  %+v\nwant %+v", phases, want)
		}
	})
}

func TestASnapshotShowsDrains(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		for range 3 {
			s := h.Session()
			s.Agent.OnStop.Takes = time.Second
			s.Serve()
		}
		h.Send(actors.Drain{Standby: true, BatchSize: 2, BatchInterval: 3 * time.Second, Deadline: h.Began.Add(time.Minute), Reason: "over"})
		time.Sleep(2 * time.Second)
		want := actors.DrainStatus{
			Standby: true, Reason: "over", Sessions: 3, Left: 1, Untold: 1, Totals: map[actors.Outcome]int{actors.Drained: 2},
			Began: h.Began, Deadline: h.Began.Add(time.Minute), Elapsed: 2 * time.Second,
		}
		view := h.View()
		want.ID = actorstest.Heard[actors.DrainStarted](h)[0].ID
		if view.State != actors.Draining || len(view.Drains) != 1 || !reflect.DeepEqual(view.Drains[0], want) {
			t.Errorf("got  %+v\nwant %+v", view.Drains, want)
		}
		time.Sleep(time.Minute)
		want.Left, want.Untold, want.Totals, want.Elapsed, want.Over = 0, 0, map[actors.Outcome]int{actors.Drained: 3}, 4*time.Second, true
		view = h.View()
		if view.State != actors.Idle || len(view.Drains) != 1 || !reflect.DeepEqual(view.Drains[0], want) {
			t.Errorf("got  %+v\nwant %+v", view.Drains, want)
		}
	})
}

func TestASnapshotRemembersTheLastTenDrains(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		var ids []string
		for range 12 {
			s := h.Session().Serve()
			ids = append(ids, h.Drained(actors.Drain{Only: &actors.Selection{IDs: []string{s.ID}}}).ID)
		}
		var shown []string
		for _, d := range h.View().Drains {
			shown = append(shown, d.ID)
		}
		if !slices.Equal(shown, ids[2:]) {
			t.Errorf("got %q, want the last ten of %q", shown, ids)
		}
	})
}

func TestADrainNamesWhomItKilled(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		s := h.Session()
		s.Agent.OnStop.Hangs, s.Client.OnClose.Hangs = true, true
		s.Serve()
		release := make(chan struct{})
		s.Client.Stubborn = release
		h.AddService("stuck", actors.AfterSessions, &actorstest.Service{Journal: s.Journal, OnStop: actorstest.Call{Hangs: true}})
		report, _, _ := h.TimedDrain(actorstest.Within(time.Second))
		close(release)
		if got := h.View().Drains[0].Killed; !slices.Equal(got, []string{s.ID, "stuck"}) {
			t.Errorf("%q", got)
		}
		if report.Sessions[0].Workflow != "w1" {
			t.Errorf("who was given up has lost its workflow: %+v", report.Sessions)
		}
	})
}

func TestADrainCountsWhoIsOnTheWayToASession(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		if _, err := h.Admit(context.Background()); err != nil {
			t.Fatal(err)
		}
		status, err := h.Begin(context.Background(), actors.Drain{})
		if err != nil || status.Left != 1 || status.Sessions != 0 || h.View().Tickets != 1 {
			t.Errorf("%+v, %v", status, err)
		}
	})
}

func TestAReportSaysWhatEachPhaseTook(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		s := h.Session()
		s.Agent.OnStop.Takes = 2 * time.Second
		s.Serve()
		h.AddService("daemon", actors.AfterSessions, &actorstest.Service{Journal: s.Journal, OnStop: actorstest.Call{Takes: 3 * time.Second}})
		got := h.Drained(actors.Drain{Delay: time.Second}).Phases
		want := actors.Phases{Delay: actors.Seconds(time.Second), Sessions: actors.Seconds(2 * time.Second), Services: actors.Seconds(3 * time.Second)}
		if got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	})
}

// A value of the context is there in all that is done for a session; its end means nothing.
func TestTheContextsValuesAreEverywhere(t *testing.T) {
	type key struct{}
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		s := h.Session()
		ctx, cancel := context.WithCancel(context.WithValue(context.Background(), key{}, "value"))
		s.Context = ctx
		tool := &contextTool{seen: make(chan context.Context, 2)}
		s.Tools = []relay.Tool{tool}
		s.Serve()
		cancel()
		s.Stream().Say(actorstest.Action("call"))
		synctest.Wait()
		contexts := []context.Context{s.Stream().Context(), <-tool.seen, <-tool.seen, actorstest.Heard[actors.SessionStarted](h)[0].Context, actorstest.Heard[actors.SessionPhase](h)[0].Context}
		if !s.Running() || contexts[0].Err() != nil || contexts[3].Err() != nil {
			t.Error("the end of the context ended something")
		}
		s.Stream().End(io.EOF)
		contexts = append(contexts, s.Stopped().Context)
		for i, ctx := range contexts {
			if ctx.Value(key{}) != "value" {
				t.Errorf("context %d has no value", i)
			}
		}
		if n := s.Stopped().ToolCalls; n != 1 {
			t.Errorf("%d tool calls, want 1", n)
		}
	})
}

// A client that panics where it is only asked what passed doesn't cost the others the drain's deadline.
func TestAClientThatCannotCountIsNotWaitedFor(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		s := h.Session()
		s.Client.Counts = func() actors.Traffic { panic("in Client.Traffic") }
		s.Join()
		if view := h.View(); len(view.Sessions) != 1 || view.Traffic != (actors.Traffic{}) {
			t.Errorf("%+v", view)
		}
		_, took, err := h.TimedDrain(actors.Drain{Only: &actors.Selection{IDs: []string{s.ID}}})
		if err != nil || took > time.Second {
			t.Errorf("%v after %v", err, took)
		}
		s.EndsAs(actors.Drained)
	})
}

// contextTool shows the contexts that it is opened and run with.
type contextTool struct{ seen chan context.Context }

func (c *contextTool) Open(ctx context.Context, _ *dap.StartWorkflowRequest) error {
	c.seen <- ctx
	return nil
}
func (c *contextTool) Takes(*dap.Action) bool { return true }
func (c *contextTool) Run(ctx context.Context, _ *dap.Action) (*dap.ActionResponse, error) {
	c.seen <- ctx
	return new(dap.ActionResponse), nil
}
func (c *contextTool) Close(context.Context) error { return nil }
