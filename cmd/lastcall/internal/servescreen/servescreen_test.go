package servescreen

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/serveflags"
	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/terminal"
	"github.com/lastcall-go/lastcall/transport/printable"
)

// line is what a person gets to see of a record.
func line(t *testing.T, level slog.Level, message string, attrs ...any) string {
	t.Helper()
	var out bytes.Buffer
	slog.New(Handler(&out, slog.LevelInfo)).Log(t.Context(), level, message, attrs...)
	return out.String()
}

func TestARecordIsAShortLine(t *testing.T) {
	t.Setenv("NO_COLOR", "1")
	got := line(t, slog.LevelWarn, "session stopped",
		"session", "p2kaksndhagkcztt", "request_id", "dgtoa33nsgdow6dempdarsxy4z", "workflow", "w1", "kind", "dap",
		"remote", "127.0.0.1:53274", "transport", "websocket", "agent", "127.0.0.1:39291",
		"outcome", actors.Failed, "code", 1011, "reason", "agent error", "age", "513ms", "stop", "500ms",
		"received", 1, "received_bytes", 40, "sent", 1, "sent_bytes", 212, "tool_calls", 0, "error", errors.New("broken pipe"))
	_, rest, _ := strings.Cut(got, " ")
	if want := `WRN session stopped session=p2kaksndhagkcztt workflow=w1 outcome=failed code=1011 reason="agent error" age=513ms error="broken pipe"` + "\n"; rest != want {
		t.Errorf("%swant\n%s", rest, want)
	}
	if got := line(t, slog.LevelInfo, "drain started", "workflow", "", "code", 0, "left", 0); !strings.HasSuffix(got, " INF drain started left=0\n") {
		t.Errorf("%s", got)
	}
	if got := line(t, slog.LevelDebug, "session phase"); got != "" {
		t.Errorf("below its level: %s", got)
	}
}

func TestARecordHasColoursUnlessNO_COLORIsSet(t *testing.T) {
	for _, noColor := range []string{"", "1"} {
		t.Setenv("NO_COLOR", noColor)
		if got := line(t, slog.LevelError, "panic"); strings.Contains(got, "\x1b[") != (noColor == "") {
			t.Errorf("NO_COLOR=%s: %q", noColor, got)
		}
	}
}

// A value is a peer's: it must do nothing to the terminal, whatever its type.
func TestNothingInARecordReachesTheTerminalUnescaped(t *testing.T) {
	t.Setenv("NO_COLOR", "1")
	const evil = "\x1b]0;evil\x07\u009b2J\u202e\r\n"
	for _, value := range []any{evil, errors.New(evil), actors.Outcome(evil), []string{evil}, map[string]string{"a": evil}} {
		for _, key := range []string{"workflow", "error"} {
			got := line(t, slog.LevelInfo, "hello", key, value)
			if !printable.Is(strings.TrimSuffix(got, "\n")) || !strings.Contains(got, "evil") {
				t.Errorf("%s=%T: %q", key, value, got)
			}
		}
	}
	if got := line(t, slog.LevelInfo, evil); !printable.Is(strings.TrimSuffix(got, "\n")) {
		t.Errorf("a message: %q", got)
	}
	if got := line(t, slog.LevelError, "panic", "error", strings.Repeat("long ", 1000)); len(got) > 2*maxValue {
		t.Errorf("%d bytes", len(got))
	}
}

func TestTheStartSaysWhereAllIsAndWhatADrainWillBe(t *testing.T) {
	where := serveflags.Listening{Sessions: "ws://127.0.0.1:8080/ws", Admin: "http://127.0.0.1:8081", Agent: "agent\x1b.example:50052"}
	got := Start("v1.2.3", where, actors.Estimate{
		Closes: 2 * time.Second, GraceEnd: 7 * time.Second, Kill: 24 * time.Second, Deadline: 25 * time.Second,
	})
	const want = `lastcall v1.2.3 serves
  sessions  ws://127.0.0.1:8080/ws
  page      http://127.0.0.1:8081/
  agent     agent\x1b.example:50052
  a drain, after Ctrl-C or SIGTERM:
          0s  not ready any more; new sessions are still admitted
          2s  no new sessions; the sessions are asked to stop
          7s  workflows that still run are stopped
         24s  sessions that are left are killed
         25s  the deadline of all else
`
	if got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

// The block is redrawn in place, bounded in height and width, and names the sessions that are waited for longest.
func TestADrainIsABlockBelowTheLog(t *testing.T) {
	now := time.Now()
	sessions := []actors.SessionInfo{{ID: "serving"}}
	for i := range 9 {
		sessions = append(sessions, actors.SessionInfo{
			ID: string(rune('a' + i)), Phase: actors.PhaseStopping, WaitsFor: "agent", Workflow: "w\x1b" + strings.Repeat("x", 100),
			Told: now.Add(-time.Duration(i) * time.Second),
		})
	}
	var out bytes.Buffer
	asked := 0
	s := &Screen{Console: terminal.NewConsole(&out, true), Width: func() int { return 60 }, Snapshot: func(context.Context) (actors.Snapshot, error) {
		asked++
		return actors.Snapshot{Sessions: sessions}, nil
	}}
	status := actors.DrainStatus{Sessions: 10, Left: 10, Deadline: now.Add(time.Minute)}
	s.Show(actors.DrainStarted{DrainStatus: status})
	s.lookedAt = time.Time{} // a second ago
	for range 3 {
		s.Show(actors.DrainProgress{DrainStatus: status})
	}
	if asked != 1 {
		t.Errorf("the supervisor was asked %d times in one second", asked)
	}
	_, block, _ := strings.Cut(out.String(), "\r\x1b[K\x1b[A\x1b[K")
	block = block[strings.LastIndex(block, "\x1b[K")+len("\x1b[K"):]
	lines := strings.Split(block, "\n")
	if len(lines) != 1+slowest+1 || !strings.HasPrefix(lines[1], "  i stopping for 8s, waits for agent  w\\x1bxxx") || lines[len(lines)-1] != "  and 4 more" {
		t.Errorf("%q", lines)
	}
	for _, line := range lines {
		if n := len([]rune(line)); n > 59 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	out.Reset()
	_, _ = s.Console.Write([]byte("a record\n"))
	if got := out.String(); got != "\r\x1b[K"+strings.Repeat("\x1b[A\x1b[K", len(lines)-1)+"a record\n"+block {
		t.Errorf("a record pushes it down by %q", got)
	}
	out.Reset()
	s.Show(actors.DrainFinished{DrainStatus: actors.DrainStatus{Over: true, Totals: map[actors.Outcome]int{actors.Drained: 10}, Elapsed: time.Second}})
	if got := out.String(); !strings.HasSuffix(got, "\x1b[Kdrained 10 sessions in 1s: drained 10\n") {
		t.Errorf("in the end: %q", got)
	}
}

func TestWithoutATerminalADrainIsRecords(t *testing.T) {
	var out bytes.Buffer
	s := &Screen{Console: terminal.NewConsole(&out, false), Width: func() int { return 80 }, Snapshot: func(context.Context) (actors.Snapshot, error) {
		t.Error("the supervisor was asked")
		return actors.Snapshot{}, nil
	}}
	for _, event := range []any{actors.DrainStarted{}, actors.DrainProgress{}, actors.DrainFinished{}} {
		if s.Show(event) || out.Len() > 0 {
			t.Errorf("%T: shown %q", event, out.String())
		}
	}
}
