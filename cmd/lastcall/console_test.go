package main

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/operator/operatortest"
	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/terminal"
	"github.com/lastcall-go/lastcall/transport/gateway"
)

// screen is what a terminal shows after it was written this.
func screen(written string) []string {
	var lines []string
	for line := range strings.SplitSeq(written, "\n") {
		if erased := strings.LastIndex(line, "\r\x1b[K"); erased >= 0 {
			line = line[erased+len("\r\x1b[K"):]
		}
		lines = append(lines, line)
	}
	return lines
}

// observed attaches a console and its log to a supervisor, as serve does.
func observed(t *testing.T, onTerminal bool) (observe func(event any), log *slog.Logger, shown *lockedBuffer) {
	t.Helper()
	supervisor, err := actors.NewSupervisor(actors.Options{})
	if err != nil {
		t.Fatal(err)
	}
	shown = new(lockedBuffer)
	console := terminal.NewConsole(shown, onTerminal)
	log = newLogger(console, "auto", "info")
	detach := gateway.Observers{Log: log, Progress: func(event any) bool { return showDrain(console, event) }}.Attach(supervisor)
	t.Cleanup(func() {
		detach()
		supervisor.Close()
	})
	return supervisor.Engine().BroadcastEvent, log, shown
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
	observe, log, shown := observed(t, true)
	deadline := time.Now().Add(time.Hour + 40*time.Millisecond)
	last := func() string {
		lines := screen(shown.String())
		return lines[len(lines)-1]
	}

	observe(actors.DrainStarted{DrainStatus: actors.DrainStatus{Sessions: 3, Deadline: deadline}})
	eventually(t, last, func(line string) bool { return line == "draining: 3 sessions" })
	observe(actors.DrainProgress{DrainStatus: actors.DrainStatus{Left: 1, Totals: totalsSoFar, Deadline: deadline}})
	progress := "draining: 1 sessions left, 1h0m0s to the deadline: 2 drained, 1 killed"
	eventually(t, last, func(line string) bool { return line == progress })
	log.Info("pushes the line down")
	if last() != progress {
		t.Errorf("after a record the line shows %q, want %q", last(), progress)
	}
	observe(actors.DrainFinished{Report: someReport})
	eventually(t, shown.String, operatortest.Holds("drained 3 sessions"))
	log.Info("comes after it")

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

// The terminal's last line is for the drain of everything.
func TestADrainOfAPartIsLoggedOnATerminalToo(t *testing.T) {
	observe, _, shown := observed(t, true)
	part := actors.DrainStatus{ID: "d1", Part: true, Sessions: 1}
	observe(actors.DrainStarted{DrainStatus: part})
	observe(actors.DrainProgress{DrainStatus: part})
	observe(actors.DrainFinished{DrainStatus: part, Report: someReport})
	eventually(t, shown.String, operatortest.Holds("drain finished"))
	if n := strings.Count(shown.String(), "drain=d1 "); n != 3 || strings.Contains(shown.String(), "draining:") {
		t.Errorf("logged %s", shown)
	}
}

func TestLogFormat(t *testing.T) {
	for _, test := range []struct {
		format   string
		terminal bool
		json     bool
	}{{"auto", true, false}, {"auto", false, true}, {"text", false, false}, {"json", true, true}} {
		var shown bytes.Buffer
		newLogger(terminal.NewConsole(&shown, test.terminal), test.format, "info").Info("hello")
		if isJSON := json.Valid(shown.Bytes()); isJSON != test.json {
			t.Errorf("--log-format %s, terminal %v: %s", test.format, test.terminal, &shown)
		}
	}
	if terminal.Is(new(bytes.Buffer)) {
		t.Error("a buffer is taken for a terminal")
	}
}

func TestLogLevel(t *testing.T) {
	for name, level := range map[string]slog.Level{
		"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
	} {
		handler := newLogger(terminal.NewConsole(new(bytes.Buffer), false), "json", name).Handler()
		if !handler.Enabled(t.Context(), level) || handler.Enabled(t.Context(), level-1) {
			t.Errorf("--log-level %s doesn't begin at %v", name, level)
		}
	}
}
