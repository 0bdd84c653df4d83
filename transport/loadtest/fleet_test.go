package loadtest_test

import (
	"context"
	"errors"
	"maps"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/transport/client"
	"github.com/lastcall-go/lastcall/transport/loadtest"
	"github.com/lastcall-go/lastcall/transport/scripted"
)

func TestSessionsStayOpenUntilTheGatewayDrainsAndSeeWhy(t *testing.T) {
	g := serve(t, loadtest.NewAgent(), actors.Options{})
	fleet := fleetOf(t, loadtest.Options{URL: g.url})
	opened := open(t, fleet, 20)
	if opened.Connect.Count != 20 || opened.FirstAction.Count != 20 || opened.Silent != 0 || opened.Took <= 0 {
		t.Errorf("opened %+v, want each of 20 measured", opened)
	}
	if opened.FirstAction.P50 < opened.Connect.P50 {
		t.Errorf("the first action came after %v, and connecting took %v", opened.FirstAction.P50, opened.Connect.P50)
	}
	if fleet.Len() != 20 {
		t.Errorf("%d are open, want 20", fleet.Len())
	}

	if totals := g.drain().Totals; totals[actors.Drained] != 20 {
		t.Errorf("totals %v, want 20 drained", totals)
	}
	wait(t, fleet)
	want := map[loadtest.End]int{{Code: 1001, Reason: "server shutdown"}: 20}
	if ends := fleet.TakeEnds(); !maps.Equal(ends, want) {
		t.Errorf("ends %v, want %v", ends, want)
	}
	if again := fleet.TakeEnds(); len(again) != 0 {
		t.Errorf("the same ends again: %v", again)
	}
	if p := fleet.Progress(); p != (loadtest.Progress{Opened: 20, Ended: 20}) || fleet.Len() != 0 {
		t.Errorf("progress %+v, %d open", p, fleet.Len())
	}
}

func wait(t *testing.T, fleet *loadtest.Fleet) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := fleet.Wait(ctx); err != nil {
		t.Fatal(err)
	}
}

// What isn't under load must not move: its memory is to be measured.
func TestAnIdleSessionAnswersNothing(t *testing.T) {
	events := make(chan scripted.Event, 100)
	agent := scripted.New(scripted.Options{Steps: scripted.DefaultScenario(), Observe: func(e scripted.Event) { events <- e }})
	g := serve(t, agent, actors.Options{})
	fleet := fleetOf(t, loadtest.Options{URL: g.url})
	open(t, fleet, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := fleet.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waited for a session that is open: %v", err)
	}
	for len(events) > 0 {
		if received, is := (<-events).(scripted.Received); is {
			t.Errorf("the agent was sent %v", received.Event)
		}
	}
}

func TestALoadMeasuresRoundTripsOfTheBusySessionsAlone(t *testing.T) {
	g := serve(t, loadtest.NewAgent(), actors.Options{})
	fleet := fleetOf(t, loadtest.Options{URL: g.url})
	open(t, fleet, 10)
	for range 2 { // a load leaves the sessions as they were
		before := fleet.Progress().RoundTrips
		load, err := fleet.Load(t.Context(), 4, 300*time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		n := load.RoundTrip.Count
		if load.Sessions != 4 || n < 1 || fleet.Progress().RoundTrips-before != n {
			t.Errorf("%d sessions, %d round trips; want 4 sessions and some", load.Sessions, n)
		}
		if q := load.RoundTrip; q.P50 <= 0 || q.P50 > q.P90 || q.P90 > q.P99 || q.P99 > q.Max {
			t.Errorf("quantiles %+v are out of order", q)
		}
		// A round trip is an answer and an action; at the end each session may be waiting.
		if load.Received < n || load.Received > n+4 || load.Sent < n || load.Sent > n+4 || load.Unanswered > 4 {
			t.Errorf("%d received and %d sent in %d round trips, %d unanswered", load.Received, load.Sent, n, load.Unanswered)
		}
		if load.Took != 300*time.Millisecond || load.Reopened != 0 || len(load.Failed) != 0 {
			t.Errorf("%+v: want 300ms, and no session opened again", load)
		}
	}
	if fleet.Len() != 10 {
		t.Errorf("%d are open, want 10", fleet.Len())
	}
	if totals := g.drain().Totals; totals[actors.Drained] != 10 {
		t.Errorf("totals %v, want 10 drained", totals)
	}
	wait(t, fleet)
	if ends := fleet.TakeEnds(); ends[loadtest.End{Code: 1001, Reason: "server shutdown"}] != 10 {
		t.Errorf("ends %v, want 10 that were told", ends)
	}
}

// More may be asked for than there are.
func TestALoadTakesWhatThereIs(t *testing.T) {
	g := serve(t, loadtest.NewAgent(), actors.Options{})
	fleet := fleetOf(t, loadtest.Options{URL: g.url})
	open(t, fleet, 3)
	if load, err := fleet.Load(t.Context(), 100, 50*time.Millisecond); err != nil || load.Sessions != 3 {
		t.Errorf("%d sessions, %v; want 3", load.Sessions, err)
	}
}

// The agent's own pace is part of a round trip: answer to next action.
func TestARoundTripLastsUntilTheAgentsNextAction(t *testing.T) {
	const pace = 100 * time.Millisecond
	g := serve(t, scripted.New(scripted.Options{Pace: pace}), actors.Options{})
	fleet := fleetOf(t, loadtest.Options{URL: g.url})
	open(t, fleet, 1)
	load, err := fleet.Load(t.Context(), 1, 20*pace) // the scenario has 10 pauses
	if err != nil {
		t.Fatal(err)
	}
	if q := load.RoundTrip; q.Count < 1 || q.P50 < pace*9/10 || q.P50 > 10*pace {
		t.Errorf("round trips %+v, want some that last %v", q, pace)
	}
}

func TestAWorkflowThatIsDoneIsFollowedByAnotherUnderLoad(t *testing.T) {
	g := serve(t, scripted.New(scripted.Options{}), actors.Options{})
	fleet := fleetOf(t, loadtest.Options{URL: g.url})
	enough := time.Now().Add(patience)
	for reopened := 0; reopened < 4; {
		// Who was about to be done when the load ended is done soon after.
		open(t, fleet, 2-fleet.Len())
		load, err := fleet.Load(t.Context(), 2, 100*time.Millisecond)
		if err != nil || len(load.Failed) != 0 {
			t.Fatalf("%+v, %v; want every session to go on", load, err)
		}
		if reopened += load.Reopened; time.Now().After(enough) {
			t.Fatalf("%d were begun again, want 4", reopened)
		}
	}
}

func TestASessionThatCannotBeOpenedAgainIsTold(t *testing.T) {
	g := serve(t, scripted.New(scripted.Options{Pace: 50 * time.Millisecond}), actors.Options{})
	fleet := fleetOf(t, loadtest.Options{URL: g.url})
	open(t, fleet, 1)
	go func() { // a drain that lets the workflow finish, and no other begin
		_, _ = g.supervisor.Drain(context.Background(), actors.Drain{Grace: 10 * time.Second})
	}()
	load, err := fleet.Load(t.Context(), 1, patience)
	if err != nil || load.Failed["503 Service Unavailable"] != 1 || load.Took >= patience || fleet.Len() != 0 {
		t.Errorf("%+v, %v; want a load that is over with its last session, which was refused", load, err)
	}
	if ends := fleet.TakeEnds(); ends[loadtest.End{Code: 1000}] != 1 {
		t.Errorf("ends %v, want one of 1000", ends)
	}
}

func TestRefusedSessionsAreCountedByStatus(t *testing.T) {
	g := serve(t, loadtest.NewAgent(), actors.Options{MaxSessions: 7})
	fleet := fleetOf(t, loadtest.Options{URL: g.url})
	opened, err := fleet.Open(t.Context(), 20, 8)
	if err != nil || opened.Open != 7 || !maps.Equal(opened.Failed, map[string]int{"503 Service Unavailable": 13}) {
		t.Errorf("opened %+v, %v; want 7, and 13 refused", opened, err)
	}
	if p := fleet.Progress(); p.Failed != 13 || p.Opened != 7 {
		t.Errorf("progress %+v", p)
	}
}

func TestUnreachableGatewaysAreCountedWithoutTheirPorts(t *testing.T) {
	fleet := fleetOf(t, loadtest.Options{URL: "ws://" + closedPort(t) + "/ws"})
	opened, err := fleet.Open(t.Context(), 5, 2)
	if err != nil || opened.Open != 0 || !maps.Equal(opened.Failed, map[string]int{"connection refused": 5}) {
		t.Errorf("opened %+v, %v; want 5 refused", opened, err)
	}
}

func closedPort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// Connected isn't open: the agent may not want it.
func TestASessionThatEndsUnheardIsAFailure(t *testing.T) {
	g := serve(t, brokenAgent(), actors.Options{})
	fleet := fleetOf(t, loadtest.Options{URL: g.url})
	opened, err := fleet.Open(t.Context(), 3, 2)
	want := map[string]int{"closed: 1011 agent error: INTERNAL": 3}
	if err != nil || opened.Open != 0 || !maps.Equal(opened.Failed, want) {
		t.Errorf("opened %+v, %v; want %v", opened, err, want)
	}
	if ends := fleet.TakeEnds(); len(ends) != 0 {
		t.Errorf("ends %v of sessions that never were open", ends)
	}
}

func brokenAgent() *scripted.Agent {
	return scripted.New(scripted.Options{Misbehave: func(string) scripted.Misbehaviour {
		return scripted.Misbehaviour{BreakOff: status.New(codes.Internal, "no good")}
	}})
}

// A fleet must not wait for an agent for ever.
func TestASilentAgentsSessionsAreOpen(t *testing.T) {
	g := serve(t, scripted.New(scripted.Options{Steps: []scripted.Step{scripted.Wait()}}), actors.Options{})
	options := loadtest.Options{URL: g.url, FirstAction: 100 * time.Millisecond}
	fleet := fleetOf(t, options)
	opened, err := fleet.Open(t.Context(), 3, 3)
	if err != nil || opened.Open != 3 || opened.Silent != 3 || opened.FirstAction.Count != 0 {
		t.Errorf("opened %+v, %v; want 3, all silent", opened, err)
	}
	if load, err := fleet.Load(t.Context(), 3, 50*time.Millisecond); err != nil || load.RoundTrip != (loadtest.Quantiles{}) || load.Received != 0 {
		t.Errorf("load %+v, %v; want nothing", load, err)
	}
	if err := loadtest.Try(t.Context(), options); err != nil {
		t.Errorf("trying it: %v", err)
	}
}

func TestLeavingClosesWithNormalClosure(t *testing.T) {
	g := serve(t, loadtest.NewAgent(), actors.Options{})
	fleet := fleetOf(t, loadtest.Options{URL: g.url})
	stopped := g.stopped()
	open(t, fleet, 3)
	fleet.Leave()
	for range 3 {
		if e := <-stopped; e.Outcome != actors.ClientGone || e.Code != 1000 {
			t.Errorf("the gateway saw %s with %d, want the client gone with 1000", e.Outcome, e.Code)
		}
	}
	if ends := fleet.TakeEnds(); len(ends) != 0 || fleet.Len() != 0 {
		t.Errorf("ends %v, %d open; want neither", ends, fleet.Len())
	}
	open(t, fleet, 1) // it can begin anew
}

func TestAnInterruptionEndsEachPhase(t *testing.T) {
	g := serve(t, loadtest.NewAgent(), actors.Options{})
	fleet := fleetOf(t, loadtest.Options{URL: g.url})
	open(t, fleet, 5)
	enough := errors.New("enough")
	for name, phase := range map[string]func(context.Context) error{
		"wait": fleet.Wait,
		"load": func(ctx context.Context) error { _, err := fleet.Load(ctx, 5, time.Hour); return err },
		"open": func(ctx context.Context) error { _, err := fleet.Open(ctx, 1_000_000, 2); return err },
	} {
		ctx, interrupt := context.WithCancelCause(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- phase(ctx) }()
		time.AfterFunc(50*time.Millisecond, func() { interrupt(enough) })
		select {
		case err := <-ended:
			if !errors.Is(err, enough) {
				t.Errorf("%s: %v, want the cause", name, err)
			}
		case <-time.After(patience):
			t.Fatalf("%s goes on", name)
		}
	}
	fleet.Cut()
	fleet.Cut()
}

func TestTryTellsWhatIsWrong(t *testing.T) {
	forbidding := answering(403)
	defer forbidding.Close()
	broken := serve(t, brokenAgent(), actors.Options{})
	for url, want := range map[string]string{
		"ws" + strings.TrimPrefix(forbidding.URL, "http"): "403 Forbidden: not for you",
		"ws://" + closedPort(t):                           "connection refused",
		broken.url:                                        "open a session: connection closed with code 1011: agent error: INTERNAL",
		"http://127.0.0.1:1":                              "the scheme must be ws or wss",
		"ws:///ws":                                        "names no host",
	} {
		if err := loadtest.Try(t.Context(), loadtest.Options{URL: url}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", url, err, want)
		}
	}
	var refused *client.RefusedError
	if err := loadtest.Try(t.Context(), loadtest.Options{URL: "ws" + strings.TrimPrefix(forbidding.URL, "http")}); !errors.As(err, &refused) {
		t.Errorf("%T, want that of client.Dial", err)
	}
}

func TestTryLeavesItsSession(t *testing.T) {
	g := serve(t, loadtest.NewAgent(), actors.Options{})
	stopped := g.stopped()
	if err := loadtest.Try(t.Context(), loadtest.Options{URL: g.url}); err != nil {
		t.Fatal(err)
	}
	if e := <-stopped; e.Outcome != actors.ClientGone || e.Code != 1000 {
		t.Errorf("the gateway saw %s with %d, want the client gone with 1000", e.Outcome, e.Code)
	}
}
