package tracing_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	otlp "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/transport/scripted"
)

// idle is an agent whose workflows wait to be stopped.
func idle() furniture {
	return furniture{agent: scripted.Options{Steps: []scripted.Step{scripted.Wait()}}}
}

// occupy opens idle sessions, and returns their IDs, oldest first.
func (h *house) occupy(n int) (ids []string) {
	h.t.Helper()
	for i := range n {
		ws := h.start(fmt.Sprintf("w%d", i), http.Header{"Traceparent": {traceparent(clientTrace, clientSpan)}})
		go func() { _ = read(ws) }()
	}
	view, err := h.supervisor.Snapshot(context.Background())
	if err != nil {
		h.t.Fatal(err)
	}
	for _, session := range view.Sessions {
		ids = append(ids, session.ID)
	}
	return ids
}

// byDrain finds the span of a drain.
func (r *receiver) byDrain(t *testing.T, id string) *otlp.Span {
	t.Helper()
	for _, span := range r.spans("drain") {
		if attributes(span.GetAttributes())["lastcall.drain.id"] == id {
			return span
		}
	}
	t.Fatalf("no span of drain %s was received", id)
	return nil
}

func wantLinks(t *testing.T, drain *otlp.Span, sessions []string) {
	t.Helper()
	want := slices.Sorted(slices.Values(sessions))
	if got := linked(drain); !slices.Equal(got, want) {
		t.Errorf("the drain is linked to %v, want %v", got, want)
	}
}

func TestADrainsSpanIsLinkedToExactlyTheSessionsItEnded(t *testing.T) {
	r := newReceiver(t)
	h := open(t, "http://"+r.address, idle())
	sessions := h.occupy(5)
	part, err := h.supervisor.Drain(context.Background(), actors.Drain{Only: &actors.Selection{Most: 2}, Reason: "rebalance"})
	if err != nil {
		t.Fatal(err)
	}
	whole := h.drain(10 * time.Second)

	first, second := r.byDrain(t, part.ID), r.byDrain(t, whole.ID)
	wantLinks(t, first, sessions[:2])
	wantLinks(t, second, sessions[2:])
	spans := make(map[string]string)
	for _, session := range r.spans("session") {
		_, id, _ := ids(session)
		spans[id] = attributes(session.GetAttributes())["lastcall.session.id"]
	}
	for _, link := range slices.Concat(first.GetLinks(), second.GetLinks()) {
		id := attributes(link.GetAttributes())["lastcall.session.id"]
		if got := spans[fmt.Sprintf("%x", link.GetSpanId())]; got != id || fmt.Sprintf("%x", link.GetTraceId()) != clientTrace {
			t.Errorf("the link to session %s leads to the span of %q", id, got)
		}
	}
	wantAttributes(t, first.GetAttributes(), map[string]string{
		"lastcall.drain.part": "true", "lastcall.drain.reason": "rebalance",
		"lastcall.drain.sessions": "2", "lastcall.drain.services": "0", "lastcall.drain.outcome.drained": "2",
	})
	wantAttributes(t, second.GetAttributes(), map[string]string{
		"lastcall.drain.part": "false", "lastcall.drain.standby": "false",
		"lastcall.drain.sessions": "3", "lastcall.drain.services": "4", "lastcall.drain.outcome.drained": "3",
	})
	wantStatus(t, second, otlp.Status_STATUS_CODE_UNSET, "")
	if trace, _, parent := ids(second); trace == clientTrace || parent != "" {
		t.Error("a drain's span is in a session's trace")
	}
}

// With an age limit sessions are drained one by one, all day: a span each would say nothing new.
func TestTheDrainOfASessionThatIsTooOldHasNoSpan(t *testing.T) {
	r := newReceiver(t)
	h := open(t, "http://"+r.address, idle())
	old := actors.DrainStatus{ID: "d1", Part: true, Age: true}
	for _, event := range []any{actors.DrainStarted{DrainStatus: old}, actors.DrainFinished{DrainStatus: old, Report: &actors.Report{}}} {
		h.supervisor.Engine().BroadcastEvent(event)
	}
	h.drain(10 * time.Second)
	if got := r.spans("drain"); len(got) != 1 || attributes(got[0].GetAttributes())["lastcall.drain.part"] != "false" {
		t.Errorf("%v", got)
	}
}

func TestASessionThatEndsByItselfDuringADrainOfOthersIsNotLinked(t *testing.T) {
	r := newReceiver(t)
	h := open(t, "http://"+r.address, furniture{agent: scripted.Options{
		Steps: []scripted.Step{scripted.Wait()},
		Misbehave: func(workflow string) scripted.Misbehaviour {
			return scripted.Misbehaviour{NeverAcknowledge: workflow == "w0"} // so that the other one ends first
		},
	}})
	sessions := h.occupy(1)
	other := h.start("other", nil)
	_, err := h.supervisor.Begin(context.Background(), actors.Drain{Only: &actors.Selection{IDs: sessions}, Deadline: time.Now().Add(2 * time.Second)})
	if err != nil {
		t.Fatal(err)
	}
	_ = other.Close(1000, "")
	<-h.stopped // the other one
	<-h.stopped
	h.drain(10 * time.Second)
	for _, drain := range r.spans("drain") {
		if attributes(drain.GetAttributes())["lastcall.drain.part"] == "true" {
			wantLinks(t, drain, sessions)
		} else {
			wantLinks(t, drain, nil)
		}
	}
}

func TestAStandbyThatIsResumedIsADrainOfThePartThatWasTold(t *testing.T) {
	r := newReceiver(t)
	h := open(t, "http://"+r.address, idle())
	sessions := h.occupy(3)
	reports := make(chan *actors.Report, 1)
	go func() {
		report, _ := h.supervisor.Drain(context.Background(), actors.Drain{Standby: true, BatchSize: 1, BatchInterval: time.Hour, Deadline: time.Now().Add(24 * time.Hour)})
		reports <- report
	}()
	<-h.stopped // the first batch
	if err := h.supervisor.Resume(context.Background()); err != nil {
		t.Fatal(err)
	}
	standby := <-reports
	h.drain(10 * time.Second)
	span := r.byDrain(t, standby.ID)
	wantLinks(t, span, sessions[:1])
	wantAttributes(t, span.GetAttributes(), map[string]string{"lastcall.drain.part": "true", "lastcall.drain.outcome.drained": "1"})
}

func TestADrainsSpanTellsItsProgressAndWhoHadToBeKilled(t *testing.T) {
	r := newReceiver(t)
	w := watch(t, "http://"+r.address)
	status := actors.DrainStatus{ID: "d", Part: true, Reason: "why", Sessions: 2, Left: 2, Began: time.Now(), Deadline: time.Now().Add(time.Hour)}
	w.broadcast(actors.DrainStarted{DrainStatus: status})
	status.Left, status.Totals = 1, map[actors.Outcome]int{actors.Completed: 1}
	w.broadcast(actors.DrainProgress{DrainStatus: status})
	status.Left, status.Totals = 0, map[actors.Outcome]int{actors.Completed: 1, actors.Killed: 1}
	w.broadcast(actors.DrainFinished{DrainStatus: status, Report: &actors.Report{}})
	w.drain(10 * time.Second)

	span := r.byDrain(t, "d")
	if got := eventNames(span); !slices.Equal(got, []string{"progress"}) {
		t.Fatalf("the events are %v", got)
	}
	wantAttributes(t, span.GetEvents()[0].GetAttributes(), map[string]string{"lastcall.drain.left": "1", "lastcall.drain.outcome.completed": "1"})
	wantAttributes(t, span.GetAttributes(), map[string]string{"lastcall.drain.outcome.completed": "1", "lastcall.drain.outcome.killed": "1"})
	wantStatus(t, span, otlp.Status_STATUS_CODE_ERROR, "1 sessions had to be killed")
}

func TestTheLastDrainsSpanTellsWhoHadToBeKilled(t *testing.T) {
	r := newReceiver(t)
	w := watch(t, "http://"+r.address)
	w.broadcast(
		actors.DrainStarted{DrainStatus: actors.DrainStatus{ID: "d", Sessions: 2, Began: time.Now(), Deadline: time.Now().Add(time.Minute)}},
		actors.SessionStopped{SessionReport: actors.SessionReport{ID: "a", Outcome: actors.Killed}},
		actors.SessionStopped{SessionReport: actors.SessionReport{ID: "b", Outcome: actors.Drained}},
	)
	w.drain(10 * time.Second)
	span := r.byDrain(t, "d")
	wantAttributes(t, span.GetAttributes(), map[string]string{"lastcall.drain.outcome.killed": "1", "lastcall.drain.outcome.drained": "1"})
	wantStatus(t, span, otlp.Status_STATUS_CODE_ERROR, "1 sessions had to be killed")
}

// Every session of a drain, and the drain itself, have to be with the receiver when a process ends,
// which it does as soon as the drain is over. So many end in one moment that they must wait for room.
func TestNothingIsLostAtTheEndOfTheLastDrain(t *testing.T) {
	const sessions = 6000
	r := newReceiver(t)
	w := watch(t, "http://"+r.address)
	w.broadcast(actors.DrainStarted{DrainStatus: actors.DrainStatus{ID: "d", Sessions: sessions, Began: time.Now(), Deadline: time.Now().Add(5 * time.Minute)}})
	for i := range sessions {
		id := fmt.Sprint(i)
		w.broadcast(
			actors.SessionStarted{ID: id, At: time.Now(), Info: actors.Info{Context: w.tracing.Context(request())}},
			actors.SessionStopped{SessionReport: actors.SessionReport{ID: id, Outcome: actors.Drained}},
		)
	}
	w.drain(5 * time.Minute) // half of which is for a machine that is busy

	if got := len(r.spans("session")); got != sessions {
		t.Errorf("%d spans of sessions were received, want %d", got, sessions)
	}
	span := r.byDrain(t, "d")
	wantAttributes(t, span.GetAttributes(), map[string]string{"lastcall.drain.outcome.drained": fmt.Sprint(sessions)})
	if links := linked(span); len(links) != sessions {
		t.Errorf("the drain has %d links, want %d", len(links), sessions)
	}
	if errs := w.errors(); errs != nil {
		t.Errorf("errors: %v", errs)
	}
}
