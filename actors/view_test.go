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
	"github.com/lastcall-go/lastcall/actors/relay"
	"github.com/lastcall-go/lastcall/proto/dap"
)

// counting is a client that counts.
type counting struct {
	*fakeClient
	traffic actors.Traffic
}

func (c *counting) Traffic() actors.Traffic { return c.traffic }

// joinCounting starts a session whose client has this traffic.
func (h *house) joinCounting(messages uint64, last time.Time) *joined {
	h.t.Helper()
	s := h.prepare()
	ticket, err := h.Admit(context.Background())
	if err != nil {
		h.t.Fatal(err)
	}
	parts := s.parts()
	parts.Client = &counting{s.client, actors.Traffic{
		Received: actors.Flow{Messages: messages, Bytes: 10 * messages},
		Sent:     actors.Flow{Messages: 2 * messages, Bytes: 20 * messages},
		Last:     last,
	}}
	parts.Transport, parts.AgentName = "websocket", "agent:1"
	if s.id, err = relay.Start(ticket, parts); err != nil {
		h.t.Fatal(err)
	}
	return s
}

func TestASnapshotShowsEachSession(t *testing.T) {
	in(t, func(t *testing.T) {
		h := open(t, actors.Options{})
		s := h.joinCounting(3, h.began)
		time.Sleep(time.Second)
		second := h.prepare().join()
		s.client.says <- startRequest("w1")
		synctest.Wait()
		want := []actors.SessionInfo{{
			ID: s.id, Kind: relay.Kind, Workflow: "w1", Phase: actors.PhaseServing, Since: h.began.Add(time.Second), Started: h.began,
			Remote: "192.0.2.1:1234", Transport: "websocket", AgentName: "agent:1",
			Traffic: actors.Traffic{Received: actors.Flow{Messages: 3, Bytes: 30}, Sent: actors.Flow{Messages: 6, Bytes: 60}, Last: h.began},
		}, {
			ID: second.id, Kind: relay.Kind, Phase: actors.PhaseOpening, Since: h.began.Add(time.Second), Started: h.began.Add(time.Second),
			Remote: "192.0.2.1:1234", WaitsFor: relay.AwaitsStart,
		}}
		view := h.look()
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
	in(t, func(t *testing.T) {
		h := open(t, actors.Options{})
		first, _ := h.joinCounting(3, h.began), h.joinCounting(4, h.began.Add(time.Second))
		want := actors.Traffic{Received: actors.Flow{Messages: 7, Bytes: 70}, Sent: actors.Flow{Messages: 14, Bytes: 140}, Last: h.began.Add(time.Second)}
		for range 2 {
			if got := h.look().Traffic; got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
			h.drained(actors.Drain{Only: &actors.Selection{IDs: []string{first.id}}})
		}
		if stopped := first.stopped(); stopped.Traffic.Sent.Messages != 6 || stopped.Transport != "websocket" || stopped.AgentName != "agent:1" {
			t.Errorf("%+v", stopped)
		}
	})
}

func TestASessionShowsItsPhasesAndWhomItWaitsFor(t *testing.T) {
	in(t, func(t *testing.T) {
		h := open(t, actors.Options{})
		s := h.prepare()
		s.leased().releases = time.Second
		s.agent.opens, s.agent.stopping, s.client.mute = time.Second, time.Second, true
		s.join()
		var seen []actors.Awaited
		look := func() {
			synctest.Wait()
			for _, info := range h.look().Sessions {
				seen = append(seen, info.WaitsFor)
			}
		}
		look()
		s.client.says <- startRequest("w1")
		look()
		time.Sleep(time.Second)
		look()
		h.send(actors.Drain{Grace: time.Second})
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
		phases := heard[actors.SessionPhase](h)
		at := func(phase actors.Phase, after time.Duration) actors.SessionPhase {
			return actors.SessionPhase{ID: s.id, Workflow: "w1", Phase: phase, At: h.began.Add(after), Context: context.Background()}
		}
		if want := []actors.SessionPhase{at(actors.PhaseServing, time.Second), at(actors.PhaseStopping, 2*time.Second), at(actors.PhaseClosing, 3*time.Second)}; !slices.Equal(phases, want) {
			t.Errorf("got  %+v\nwant %+v", phases, want)
		}
	})
}

func TestASnapshotShowsDrains(t *testing.T) {
	in(t, func(t *testing.T) {
		h := open(t, actors.Options{})
		for range 3 {
			s := h.prepare()
			s.agent.stopping = time.Second
			s.serve()
		}
		h.send(actors.Drain{Standby: true, BatchSize: 2, BatchInterval: 3 * time.Second, Deadline: h.began.Add(time.Minute), Reason: "over"})
		time.Sleep(2 * time.Second)
		want := actors.DrainStatus{
			Standby: true, Reason: "over", Sessions: 3, Left: 1, Untold: 1, Totals: map[actors.Outcome]int{actors.Drained: 2},
			Began: h.began, Deadline: h.began.Add(time.Minute), Elapsed: 2 * time.Second,
		}
		view := h.look()
		want.ID = heard[actors.DrainStarted](h)[0].ID
		if view.State != actors.Draining || len(view.Drains) != 1 || !reflect.DeepEqual(view.Drains[0], want) {
			t.Errorf("got  %+v\nwant %+v", view.Drains, want)
		}
		time.Sleep(time.Minute)
		want.Left, want.Untold, want.Totals, want.Elapsed, want.Over = 0, 0, map[actors.Outcome]int{actors.Drained: 3}, 4*time.Second, true
		view = h.look()
		if view.State != actors.Idle || len(view.Drains) != 1 || !reflect.DeepEqual(view.Drains[0], want) {
			t.Errorf("got  %+v\nwant %+v", view.Drains, want)
		}
	})
}

func TestASnapshotRemembersTheLastTenDrains(t *testing.T) {
	in(t, func(t *testing.T) {
		h := open(t, actors.Options{})
		var ids []string
		for range 12 {
			s := h.prepare().serve()
			ids = append(ids, h.drained(actors.Drain{Only: &actors.Selection{IDs: []string{s.id}}}).ID)
		}
		var shown []string
		for _, d := range h.look().Drains {
			shown = append(shown, d.ID)
		}
		if !slices.Equal(shown, ids[2:]) {
			t.Errorf("got %q, want the last ten of %q", shown, ids)
		}
	})
}

func TestADrainNamesWhomItKilled(t *testing.T) {
	in(t, func(t *testing.T) {
		h := open(t, actors.Options{})
		s := h.prepare()
		s.agent.ignores, s.client.mute = true, true
		s.serve()
		release := make(chan struct{})
		s.client.stubborn = release
		h.add("stuck", actors.AfterSessions, &daemon{journal: s.journal, stubborn: true})
		report, _, _ := h.drain(within(time.Second))
		close(release)
		if got := h.look().Drains[0].Killed; !slices.Equal(got, []string{s.id, "stuck"}) {
			t.Errorf("%q", got)
		}
		if report.Sessions[0].Workflow != "w1" {
			t.Errorf("who was given up has lost its workflow: %+v", report.Sessions)
		}
	})
}

func TestADrainCountsWhoIsOnTheWayToASession(t *testing.T) {
	in(t, func(t *testing.T) {
		h := open(t, actors.Options{})
		if _, err := h.Admit(context.Background()); err != nil {
			t.Fatal(err)
		}
		status, err := h.Begin(context.Background(), actors.Drain{})
		if err != nil || status.Left != 1 || status.Sessions != 0 || h.look().Tickets != 1 {
			t.Errorf("%+v, %v", status, err)
		}
	})
}

func TestAReportSaysWhatEachPhaseTook(t *testing.T) {
	in(t, func(t *testing.T) {
		h := open(t, actors.Options{})
		s := h.prepare()
		s.agent.stopping = 2 * time.Second
		s.serve()
		h.add("daemon", actors.AfterSessions, &daemon{journal: s.journal, takes: 3 * time.Second})
		got := h.drained(actors.Drain{Delay: time.Second}).Phases
		want := actors.Phases{Delay: actors.Seconds(time.Second), Sessions: actors.Seconds(2 * time.Second), Services: actors.Seconds(3 * time.Second)}
		if got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	})
}

// A value of the context is there in all that is done for a session; its end means nothing.
func TestTheContextsValuesAreEverywhere(t *testing.T) {
	type key struct{}
	in(t, func(t *testing.T) {
		h := open(t, actors.Options{})
		s := h.prepare()
		ctx, cancel := context.WithCancel(context.WithValue(context.Background(), key{}, "value"))
		s.labels.Context = ctx
		tool := &contextTool{seen: make(chan context.Context, 2)}
		s.tools = []relay.Tool{tool}
		s.serve()
		cancel()
		s.stream.say(action("call"))
		synctest.Wait()
		contexts := []context.Context{s.stream.ctx, <-tool.seen, <-tool.seen, heard[actors.SessionStarted](h)[0].Context, heard[actors.SessionPhase](h)[0].Context}
		if !s.running() || contexts[0].Err() != nil || contexts[3].Err() != nil {
			t.Error("the end of the context ended something")
		}
		s.stream.say(io.EOF)
		contexts = append(contexts, s.stopped().Context)
		for i, ctx := range contexts {
			if ctx.Value(key{}) != "value" {
				t.Errorf("context %d has no value", i)
			}
		}
		if n := s.stopped().ToolCalls; n != 1 {
			t.Errorf("%d tool calls, want 1", n)
		}
	})
}

// A client that panics where it is only asked what passed costs nobody the drain's deadline.
func TestAClientThatCannotCountIsNotWaitedFor(t *testing.T) {
	in(t, func(t *testing.T) {
		h := open(t, actors.Options{})
		s := h.prepare()
		ticket, err := h.Admit(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		parts := s.parts()
		parts.Client = panicking{s.client}
		if s.id, err = relay.Start(ticket, parts); err != nil {
			t.Fatal(err)
		}
		if view := h.look(); len(view.Sessions) != 1 || view.Traffic != (actors.Traffic{}) {
			t.Errorf("%+v", view)
		}
		_, took, err := h.drain(actors.Drain{Only: &actors.Selection{IDs: []string{s.id}}})
		if err != nil || took > time.Second {
			t.Errorf("%v after %v", err, took)
		}
		s.endsAs(actors.Drained)
	})
}

type panicking struct{ *fakeClient }

func (panicking) Traffic() actors.Traffic { panic("in Client.Traffic") }

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
