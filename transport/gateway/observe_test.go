package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/actors/relay"
	"github.com/lastcall-go/lastcall/transport/tracing"
)

var (
	totalsSoFar = map[actors.Outcome]int{actors.Drained: 2, actors.Killed: 1}
	someReport  = &actors.Report{
		Took:     actors.Seconds(1234567 * time.Microsecond),
		Totals:   totalsSoFar,
		Sessions: []actors.SessionReport{{ID: "a", Outcome: actors.Drained}, {ID: "b", Outcome: actors.Drained}, {ID: "c", Outcome: actors.Killed}},
	}
)

// observed is what makes records, with the records.
func observed() (*records, *bytes.Buffer) {
	shown := new(bytes.Buffer)
	log := slog.New(tracing.LogHandler(slog.NewJSONHandler(shown, nil)))
	return &records{log: log, progress: func(any) bool { return false }, badInput: make(map[actors.BadInput]int)}, shown
}

func TestLogShowsTheSameAsRecords(t *testing.T) {
	g, shown := observed()
	g.observe(actors.DrainStarted{DrainStatus: actors.DrainStatus{Sessions: 3, Deadline: time.Now()}, Services: 2})
	g.observe(actors.DrainProgress{DrainStatus: actors.DrainStatus{Left: 1, Totals: totalsSoFar, Elapsed: time.Second, Deadline: time.Now()}})
	g.observe(actors.DrainFinished{Report: someReport})

	want := []map[string]any{
		{"msg": "drain started", "sessions": 3.0, "services": 2.0},
		{"msg": "drain progress", "left": 1.0, "elapsed": "1s", "to_deadline": "0s"},
		{"msg": "drain finished", "sessions": 3.0, "took": "1.235s", "killed": "had to be killed: session c"},
	}
	got := recordsIn(t, shown)
	if len(got) != len(want) {
		t.Fatalf("%d records, want %d", len(got), len(want))
	}
	for i := range want {
		for key, value := range want[i] {
			if got[i][key] != value {
				t.Errorf("%s: %s is %v, want %v", want[i]["msg"], key, got[i][key], value)
			}
		}
	}
	for _, record := range got[1:] {
		if totals := fmt.Sprint(record["totals"]); totals != "map[drained:2 killed:1]" {
			t.Errorf("%s: totals %s", record["msg"], totals)
		}
	}
}

func TestSessionsAreLoggedByHowTheyEnd(t *testing.T) {
	tests := []struct {
		name    string
		stopped actors.SessionStopped
		level   string
	}{
		{"completed", stopped(actors.Completed, nil), "INFO"},
		{"client gone", stopped(actors.ClientGone, errors.New("reset")), "INFO"},
		{"drained", stopped(actors.Drained, nil), "INFO"},
		{"refused", stopped(actors.Refused, nil), "INFO"},
		{"failed", stopped(actors.Failed, errors.New("broken")), "WARN"},
		{"cancelled", stopped(actors.Cancelled, nil), "WARN"},
		{"killed", stopped(actors.Killed, nil), "WARN"},
		{"panicked", stopped(actors.Failed, fmt.Errorf("pump: %w", &actors.PanicError{Value: "boom", Stack: []byte("stack\nof it")})), "ERROR"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			g, shown := observed()
			g.sessions = true
			g.observe(actors.SessionStarted{ID: "s", Info: actors.Info{Remote: "client:1", Context: t.Context()}})
			g.observe(test.stopped)
			got := recordsIn(t, shown)
			if len(got) != 2 || got[0]["msg"] != "session started" || got[1]["msg"] != "session stopped" {
				t.Fatalf("got %v", got)
			}
			if level := got[1]["level"]; level != test.level {
				t.Errorf("level %v, want %s", level, test.level)
			}
			wantErr := ""
			if test.stopped.Err != nil {
				wantErr = test.stopped.Err.Error()
			}
			if got[1]["error"] != nil && got[1]["error"] != wantErr || got[1]["error"] == nil && wantErr != "" {
				t.Errorf("error %v, want %s", got[1]["error"], wantErr)
			}
		})
	}
}

// Thousands of sessions that a drain ends are summed up in its own records. An end that needs a look isn't.
func TestOnlySessionsThatEndAbnormallyAreLoggedUnasked(t *testing.T) {
	revoked := stopped(actors.Drained, nil)
	revoked.Code = actors.CloseUnauthorized
	for _, test := range []struct {
		stopped actors.SessionStopped
		logged  bool
	}{
		{stopped(actors.Completed, nil), false},
		{stopped(actors.ClientGone, errors.New("reset")), false},
		{stopped(actors.Drained, nil), false},
		{revoked, true},
		{stopped(actors.Refused, nil), true},
		{stopped(actors.Failed, errors.New("broken")), true},
		{stopped(actors.Cancelled, nil), true},
		{stopped(actors.Killed, nil), true},
	} {
		g, shown := observed()
		g.observe(actors.SessionStarted{ID: "s", Info: actors.Info{Context: t.Context()}})
		test.stopped.BadInput = map[actors.BadInput]int{relay.UnknownField: 1}
		g.observe(test.stopped)
		if got := recordsIn(t, shown); len(got) > 1 || len(got) == 1 != test.logged {
			t.Errorf("%s, code %d: logged %v, want it %v", test.stopped.Outcome, test.stopped.Code, got, test.logged)
		}
		if g.badInput[relay.UnknownField] != 1 {
			t.Errorf("%s: its bad input is not in the drain's sum", test.stopped.Outcome)
		}
	}
}

func stopped(outcome actors.Outcome, err error) actors.SessionStopped {
	return actors.SessionStopped{SessionReport: actors.SessionReport{ID: "s", Outcome: outcome}, Err: err, Info: actors.Info{Context: context.Background()}}
}

// What there is to know of a session that has ended is in one record.
func TestASessionsLastRecordHasEverything(t *testing.T) {
	span := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}})
	g, shown := observed()
	g.sessions = true
	g.observe(actors.SessionStopped{
		SessionReport: actors.SessionReport{ID: "s", Workflow: "w1", Outcome: actors.Drained, Age: actors.Seconds(time.Hour), Took: actors.Seconds(time.Second)},
		Info:          actors.Info{Remote: "client:1", Transport: "websocket", AgentName: "agent:1", Context: trace.ContextWithSpanContext(context.Background(), span)},
		Code:          1001, Reason: "server shutdown",
		Traffic:   actors.Traffic{Received: actors.Flow{Messages: 1, Bytes: 10}, Sent: actors.Flow{Messages: 2, Bytes: 20}},
		ToolCalls: 3,
		BadInput:  map[actors.BadInput]int{relay.UnknownField: 4},
	})
	record := recordsIn(t, shown)[0]
	for key, want := range map[string]any{
		"session": "s", "workflow": "w1", "remote": "client:1", "transport": "websocket", "agent": "agent:1",
		"outcome": "drained", "code": 1001.0, "reason": "server shutdown", "age": "1h0m0s", "stop": "1s",
		"received": 1.0, "received_bytes": 10.0, "sent": 2.0, "sent_bytes": 20.0, "tool_calls": 3.0,
		"request_id": "", "trace_id": span.TraceID().String(),
	} {
		if record[key] != want {
			t.Errorf("%s is %v, want %v", key, record[key], want)
		}
	}
	if got := fmt.Sprint(record["bad_input"]); got != "map[unknown_field:4]" {
		t.Errorf("bad_input is %s", got)
	}
}

// With an age limit sessions are drained one by one, all day.
func TestTheDrainOfASessionThatIsTooOldIsNoNews(t *testing.T) {
	g, shown := observed()
	old := actors.DrainStatus{Part: true, Age: true, Sessions: 1}
	g.observe(actors.DrainStarted{DrainStatus: old})
	g.observe(actors.DrainProgress{DrainStatus: old})
	g.observe(actors.DrainFinished{DrainStatus: old, Report: someReport})
	if shown.Len() > 0 {
		t.Errorf("logged %s", shown)
	}
}

// A service that ends unasked ends the server; one that was asked to doesn't.
func TestServiceThatEndsUnaskedIsAFailure(t *testing.T) {
	for outcome, fails := range map[actors.Outcome]bool{
		actors.Failed: true, actors.Completed: true, actors.Drained: false, actors.Killed: false,
	} {
		g := &Gateway{failed: make(chan actors.ServiceStopped, 1)}
		for range 2 { // the second isn't waited with
			g.serviceEnded(actors.ServiceStopped{ServiceReport: actors.ServiceReport{Name: "daemon", Outcome: outcome}})
		}
		if failed := len(g.failed) > 0; failed != fails {
			t.Errorf("%s: failed is %v, want %v", outcome, failed, fails)
		}
	}
}

func recordsIn(t *testing.T, log *bytes.Buffer) []map[string]any {
	t.Helper()
	var all []map[string]any
	for line := range strings.Lines(log.String()) {
		var record map[string]any
		if err := json.Unmarshal([]byte(line), &record); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		all = append(all, record)
	}
	return all
}
