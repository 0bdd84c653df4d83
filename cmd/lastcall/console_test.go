package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/actors/relay"
)

// screen is what a terminal shows after it was written this.
func screen(written string) []string {
	var lines []string
	for line := range strings.SplitSeq(written, "\n") {
		if erased := strings.LastIndex(line, clearLine); erased >= 0 {
			line = line[erased+len(clearLine):]
		}
		lines = append(lines, line)
	}
	return lines
}

// observed is a gateway of which there is only what it shows.
func observed(terminal bool) (*gateway, *bytes.Buffer) {
	shown := new(bytes.Buffer)
	g := &gateway{
		console:  &console{w: shown, terminal: terminal},
		failed:   make(chan actors.ServiceStopped, 1),
		badInput: make(map[actors.BadInput]int),
		notifier: &notifier{},
		report:   new(reportFile),
	}
	g.log = newLogger(g.console, "auto", "info")
	return g, shown
}

var (
	totalsSoFar = map[actors.Outcome]int{actors.Drained: 2, actors.Killed: 1}
	someReport  = &actors.Report{
		Took:     actors.Seconds(1234567 * time.Microsecond),
		Totals:   totalsSoFar,
		Sessions: []actors.SessionReport{{ID: "a", Outcome: actors.Drained}, {ID: "b", Outcome: actors.Drained}, {ID: "c", Outcome: actors.Killed}},
	}
)

func TestTerminalShowsProgressAndTotals(t *testing.T) {
	g, shown := observed(true)
	deadline := time.Now().Add(time.Hour + 40*time.Millisecond)
	last := func() string {
		lines := screen(shown.String())
		return lines[len(lines)-1]
	}

	g.observe(actors.DrainStarted{DrainStatus: actors.DrainStatus{Sessions: 3, Deadline: deadline}})
	if want := "draining: 3 sessions"; last() != want {
		t.Errorf("the line shows %q, want %q", last(), want)
	}
	g.observe(actors.DrainProgress{DrainStatus: actors.DrainStatus{Left: 1, Totals: totalsSoFar, Deadline: deadline}})
	progress := "draining: 1 sessions left, 1h0m0s to the deadline: 2 drained, 1 killed"
	if last() != progress {
		t.Errorf("the line shows %q, want %q", last(), progress)
	}
	g.log.Info("pushes the line down")
	if last() != progress {
		t.Errorf("after a record the line shows %q, want %q", last(), progress)
	}
	g.observe(actors.DrainFinished{Report: someReport})
	g.log.Info("comes after it")

	var got []string
	for _, line := range screen(shown.String()) {
		_, message, isRecord := strings.Cut(line, "msg=")
		if !isRecord {
			message = line
		}
		got = append(got, message)
	}
	want := []string{
		`"drain started" drain="" part=false reason="" sessions=3 services=0 deadline=` + deadline.Format("2006-01-02T15:04:05.000Z07:00"),
		`"pushes the line down"`,
		"drained 3 sessions in 1.235s: 2 drained, 1 killed; had to be killed: session c",
		`"comes after it"`,
		"",
	}
	if !slices.Equal(got, want) {
		t.Errorf("the terminal shows\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestLogShowsTheSameAsRecords(t *testing.T) {
	g, shown := observed(false)
	g.observe(actors.DrainStarted{DrainStatus: actors.DrainStatus{Sessions: 3, Deadline: time.Now()}, Services: 2})
	g.observe(actors.DrainProgress{DrainStatus: actors.DrainStatus{Left: 1, Totals: totalsSoFar, Elapsed: time.Second, Deadline: time.Now()}})
	g.observe(actors.DrainFinished{Report: someReport})

	want := []map[string]any{
		{"msg": "drain started", "sessions": 3.0, "services": 2.0},
		{"msg": "drain progress", "left": 1.0, "elapsed": "1s", "to_deadline": "0s"},
		{"msg": "drain finished", "sessions": 3.0, "took": "1.235s", "killed": "had to be killed: session c"},
	}
	got := records(t, shown)
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
			g, shown := observed(false)
			g.observe(actors.SessionStarted{ID: "s", Info: actors.Info{Remote: "client:1", Context: t.Context()}})
			g.observe(test.stopped)
			got := records(t, shown)
			if len(got) != 2 || got[0]["msg"] != "session started" || got[1]["msg"] != "session stopped" {
				t.Fatalf("got %v", got)
			}
			if level := got[1]["level"]; level != test.level {
				t.Errorf("level %v, want %s", level, test.level)
			}
			wantErr := errorText(test.stopped.Err)
			if got[1]["error"] != nil && got[1]["error"] != wantErr || got[1]["error"] == nil && wantErr != "" {
				t.Errorf("error %v, want %s", got[1]["error"], wantErr)
			}
		})
	}
}

func stopped(outcome actors.Outcome, err error) actors.SessionStopped {
	return actors.SessionStopped{SessionReport: actors.SessionReport{ID: "s", Outcome: outcome}, Err: err, Info: actors.Info{Context: context.Background()}}
}

// What there is to know of a session that has ended is in one record.
func TestASessionsLastRecordHasEverything(t *testing.T) {
	span := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}})
	g, shown := observed(false)
	g.observe(actors.SessionStopped{
		SessionReport: actors.SessionReport{ID: "s", Workflow: "w1", Outcome: actors.Drained, Age: actors.Seconds(time.Hour), Took: actors.Seconds(time.Second)},
		Info:          actors.Info{Remote: "client:1", Transport: "websocket", AgentName: "agent:1", Context: trace.ContextWithSpanContext(context.Background(), span)},
		Code:          1001, Reason: "server shutdown",
		Traffic:   actors.Traffic{Received: actors.Flow{Messages: 1, Bytes: 10}, Sent: actors.Flow{Messages: 2, Bytes: 20}},
		ToolCalls: 3,
		BadInput:  map[actors.BadInput]int{relay.UnknownField: 4},
	})
	record := records(t, shown)[0]
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
	g, shown := observed(false)
	old := actors.DrainStatus{Part: true, Age: true, Sessions: 1}
	g.observe(actors.DrainStarted{DrainStatus: old})
	g.observe(actors.DrainProgress{DrainStatus: old})
	g.observe(actors.DrainFinished{DrainStatus: old, Report: someReport})
	if shown.Len() > 0 {
		t.Errorf("logged %s", shown)
	}
}

// The terminal's last line is for the drain of everything.
func TestADrainOfAPartIsLoggedOnATerminalToo(t *testing.T) {
	g, shown := observed(true)
	part := actors.DrainStatus{ID: "d1", Part: true, Sessions: 1}
	g.observe(actors.DrainStarted{DrainStatus: part})
	g.observe(actors.DrainProgress{DrainStatus: part})
	g.observe(actors.DrainFinished{DrainStatus: part, Report: someReport})
	if n := strings.Count(shown.String(), "drain=d1 "); n != 3 || strings.Contains(shown.String(), "draining:") {
		t.Errorf("logged %s", shown)
	}
}

// A service that ends unasked ends the server; one that was told to doesn't.
func TestServiceThatEndsUnaskedIsAFailure(t *testing.T) {
	for outcome, fails := range map[actors.Outcome]bool{
		actors.Failed: true, actors.Completed: true, actors.Drained: false, actors.Killed: false,
	} {
		g, _ := observed(false)
		for range 2 { // the second isn't waited with
			g.react(actors.ServiceStopped{ServiceReport: actors.ServiceReport{Name: "daemon", Outcome: outcome}})
		}
		if failed := len(g.failed) > 0; failed != fails {
			t.Errorf("%s: failed is %v, want %v", outcome, failed, fails)
		}
	}
}

func TestLogFormat(t *testing.T) {
	for _, test := range []struct {
		format   string
		terminal bool
		json     bool
	}{{"auto", true, false}, {"auto", false, true}, {"text", false, false}, {"json", true, true}} {
		var shown bytes.Buffer
		newLogger(&console{w: &shown, terminal: test.terminal}, test.format, "info").Info("hello")
		if isJSON := json.Valid(shown.Bytes()); isJSON != test.json {
			t.Errorf("--log-format %s, terminal %v: %s", test.format, test.terminal, &shown)
		}
	}
	if newConsole(new(bytes.Buffer)).terminal {
		t.Error("a buffer is taken for a terminal")
	}
}

func TestLogLevel(t *testing.T) {
	for name, level := range map[string]slog.Level{
		"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
	} {
		handler := newLogger(&console{w: new(bytes.Buffer)}, "json", name).Handler()
		if !handler.Enabled(t.Context(), level) || handler.Enabled(t.Context(), level-1) {
			t.Errorf("--log-level %s doesn't begin at %v", name, level)
		}
	}
}

func records(t *testing.T, log *bytes.Buffer) []map[string]any {
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
