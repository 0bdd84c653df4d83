package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/operator/operatortest"
	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/servescreen"
	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/terminal"
	"github.com/lastcall-go/lastcall/transport/gateway"
	"github.com/lastcall-go/lastcall/transport/printable"
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
	log = newLogger(console, "text", "info")
	screen := &servescreen.Screen{Console: console, Width: func() int { return 100 }, Snapshot: supervisor.Snapshot}
	detach := gateway.Observers{Log: log, Progress: screen.Show}.Attach(supervisor)
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

	observe(actors.DrainStarted{DrainStatus: actors.DrainStatus{Sessions: 3, Left: 3, Deadline: deadline}})
	eventually(t, last, func(line string) bool {
		return line == "[>.......................................] 0/3 · 3 left · 1h0m0s to the deadline"
	})
	observe(actors.DrainProgress{DrainStatus: actors.DrainStatus{Sessions: 4, Left: 1, Totals: totalsSoFar, Deadline: deadline}})
	progress := "[###################!!!!!!!!!!>.........] 3/4 drained 2, killed 1 · 1 left · 1h0m0s to the deadline"
	eventually(t, last, func(line string) bool { return line == progress })
	log.Info("pushes the line down")
	if last() != progress {
		t.Errorf("after a record the line shows %q, want %q", last(), progress)
	}
	observe(actors.DrainFinished{DrainStatus: actors.DrainStatus{Totals: totalsSoFar, Over: true, Elapsed: 1235 * time.Millisecond, Killed: []string{"c"}}, Report: someReport})
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
		"drained 3 sessions in 1.235s: drained 2, killed 1; had to be killed: c",
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
	if n := strings.Count(shown.String(), "drain=d1 "); n != 3 || strings.Contains(shown.String(), " to the deadline") {
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

// A workflow's name and an agent's error are a peer's words.
func TestTextLogsObeyNobodysEscapes(t *testing.T) {
	for _, onTerminal := range []bool{true, false} {
		var shown bytes.Buffer
		log := newLogger(terminal.NewConsole(&shown, onTerminal), "text", "info")
		log.Info("session stopped", "workflow", operatortest.EvilText, "error", errors.New(operatortest.EvilText), "reason", actors.Outcome(operatortest.EvilText))
		if !printable.Is(strings.TrimSuffix(shown.String(), "\n")) {
			t.Errorf("%q", shown.String())
		}
	}
}
