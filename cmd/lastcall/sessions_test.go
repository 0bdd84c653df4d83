package main

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/actors/relay"
	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/operator/operatortest"
	adminapi "github.com/lastcall-go/lastcall/transport/admin"
)

func TestSessionsAreATableWithAHeadline(t *testing.T) {
	stopping := operatortest.Session(2)
	stopping.Kind = "chat"
	stopping.Phase, stopping.WaitsFor, stopping.ToolsRunning = "stopping", relay.AwaitsAgent, 3
	g := operatortest.New(t, operatortest.Session(1), stopping)
	g.State = adminapi.State{State: actors.Draining, Drains: []adminapi.Drain{{
		Sessions: 3, Left: 2, Untold: 1, Totals: map[actors.Outcome]int{actors.Drained: 1}, Deadline: time.Now().Add(time.Hour),
	}}}
	code, stdout, stderr := adminOutput(t, "sessions", "--admin", g.Address)
	lines := strings.Split(stdout, "\n")
	if code != 0 || stderr != "" || len(lines) != 6 {
		t.Fatalf("exit code %d, %q\n%s", code, stderr, stdout)
	}
	if want := "2 sessions: 1 serving, 1 stopping · draining · drain 1/3 drained 1 · 2 left, 1 of them not asked yet · 1h0m0s to the deadline"; lines[0] != want {
		t.Errorf("got  %s\nwant %s", lines[0], want)
	}
	want := [][]string{
		strings.Fields("WORKFLOW ID PHASE FOR AGE REMOTE AGENT IN OUT TOOLS LAST WAITS FOR"),
		strings.Fields("w1 id0001 serving 1m30s 59m59s 127.0.0.1:5555 127.0.0.1:50052 9999 40 0 3s -"),
		strings.Fields("chat:w2 id0002 stopping 1m30s 59m58s 127.0.0.1:5555 127.0.0.1:50052 9998 40 3 3s agent"),
	}
	for i, line := range lines[2:5] {
		if got := strings.Fields(line); len(got) != len(want[i]) || got[0] != want[i][0] || got[2] != want[i][2] || got[len(got)-1] != want[i][len(got)-1] {
			t.Errorf("got  %s\nwant %q", line, want[i])
		}
		if column := strings.Index(lines[2], "REMOTE"); i > 0 && strings.Index(line, "127.0.0.1:5555") != column {
			t.Errorf("REMOTE is not under its title:\n%s\n%s", lines[2], line)
		}
	}
}

func TestSessionsAreFilteredByTheGateway(t *testing.T) {
	g := operatortest.New(t, operatortest.Sessions(3)...)
	code, stdout, _ := adminOutput(t, "sessions", "--admin", g.Address, "--phase", "serving", "--workflow", "w1", "--agent", "127.0.0.1:50052")
	if code != 0 || !strings.Contains(stdout, "id0001") || strings.Contains(stdout, "id0002") || !strings.HasPrefix(stdout, "3 sessions: 3 serving · 1 shown · serving\n") {
		t.Errorf("exit code %d\n%s", code, stdout)
	}
	if want := "agent=127.0.0.1%3A50052&phase=serving&workflow=w1"; g.Queries[0] != want {
		t.Errorf("asked %s, want %s", g.Queries[0], want)
	}
	if code, _, stderr := adminOutput(t, "sessions", "--phase", "sleeping"); code != 2 || !strings.Contains(stderr, "--phase") {
		t.Errorf("exit code %d, %q", code, stderr)
	}
}

func TestSessionsAsJSONAreOneALine(t *testing.T) {
	g := operatortest.New(t, operatortest.Sessions(3)...)
	code, stdout, _ := adminOutput(t, "sessions", "--json", "--admin", g.Address)
	lines := strings.Split(strings.TrimSuffix(stdout, "\n"), "\n")
	if code != 0 || len(lines) != 3 {
		t.Fatalf("exit code %d\n%s", code, stdout)
	}
	for i, line := range lines {
		var got adminapi.Session
		if err := json.Unmarshal([]byte(line), &got); err != nil || got.ID != g.Sessions[i].ID || !got.Started.Equal(g.Sessions[i].Started) || got.Received != g.Sessions[i].Received {
			t.Errorf("%s: %v", line, err)
		}
	}
}

// Clients choose their workflow's name.
func TestSessionsObeyNobodysEscapes(t *testing.T) {
	evil := operatortest.Session(1)
	evil.Workflow, evil.Agent, evil.WaitsFor = operatortest.EvilText, operatortest.EvilText, operatortest.EvilText
	g := operatortest.New(t, evil)
	g.State.State = operatortest.EvilText
	for _, flag := range []string{"--json=false", "--json"} {
		code, stdout, _ := adminOutput(t, "sessions", flag, "--admin", g.Address)
		if code != 0 || strings.ContainsAny(stdout, "\x1b\x07\u009b\u202e") || !strings.Contains(stdout, "😀") {
			t.Errorf("%s: exit code %d, %q", flag, code, stdout)
		}
		if flag != "--json" {
			continue
		}
		var got adminapi.Session
		if err := json.Unmarshal([]byte(stdout), &got); err != nil || got.Workflow != operatortest.EvilText {
			t.Errorf("got %q, %v", got.Workflow, err)
		}
	}
	event := adminapi.Event{Name: operatortest.EvilText, Data: json.RawMessage(`{"id":"` + "\u009b" + `"}`)}
	for _, asJSON := range []bool{false, true} {
		var out bytes.Buffer
		c := sessionsCmd{JSON: asJSON}
		if err := c.printEvent(&out, event); err != nil || strings.ContainsAny(out.String(), "\x1b\x07\u009b\u202e") || strings.Count(out.String(), "\n") != 1 {
			t.Errorf("%q, %v", out.String(), err)
		}
	}
}

// startAdmin runs a command that goes on until it is asked to end, and returns its exit code then.
func startAdmin(t *testing.T, std streams, args ...string) (end func() int, ended <-chan int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	code := make(chan int, 1)
	go func() { code <- adminRun(ctx, std, args...) }()
	t.Cleanup(cancel)
	return func() int {
		cancel()
		return await(t, code)
	}, code
}

func await(t *testing.T, code <-chan int) int {
	t.Helper()
	select {
	case code := <-code:
		return code
	case <-time.After(patience):
		t.Fatal("the command goes on")
		return 0
	}
}

func TestWatchThatIsPipedPrintsEventsUntilItIsInterrupted(t *testing.T) {
	g := operatortest.New(t)
	var out lockedBuffer
	end, _ := startAdmin(t, streams{strings.NewReader(""), &out, &out}, "sessions", "--watch", "--admin", g.Address)
	eventually(t, out.String, operatortest.Holds(" state serving\n"))
	g.Mu.Lock()
	g.Tell(adminapi.EventSessionStarted, adminapi.SessionStarted{ID: "x7", Remote: "127.0.0.1:1", Transport: "http", Agent: "a:1"})
	g.Tell(adminapi.EventSessionPhase, adminapi.SessionPhase{ID: "x7", Workflow: "w1", Phase: "serving"})
	g.Tell(adminapi.EventSessionStopped, adminapi.SessionStopped{ID: "x7", Workflow: "w1", Outcome: actors.Failed, Code: 1011, Reason: "agent error", Error: "why"})
	g.Tell(adminapi.EventToolUnavailable, adminapi.ToolUnavailable{Session: "x7", Error: "no tool"})
	g.Tell(adminapi.EventServiceStopped, adminapi.ServiceStopped{Name: "pool", Outcome: actors.Drained})
	g.Tell(adminapi.EventLagged, adminapi.Lagged{Missed: 4})
	g.Tell("of-tomorrow", map[string]int{"n": 1})
	g.Mu.Unlock()
	eventually(t, out.String, operatortest.Holds(
		" session-started x7 from 127.0.0.1:1 by http to a:1\n",
		" session-phase x7 w1 serving\n",
		" session-stopped x7 w1 failed 1011 agent error why\n",
		" tool-unavailable x7 no tool\n",
		" service-stopped pool drained\n",
		" lagged missed 4 events\n",
		` of-tomorrow {"n":1}`+"\n",
	))
	if code := end(); code != 0 {
		t.Errorf("exit code %d after Ctrl-C, want 0\n%s", code, out.String())
	}
}

func TestWatchAsJSONPrintsEvents(t *testing.T) {
	g := operatortest.New(t)
	var out lockedBuffer
	end, _ := startAdmin(t, streams{strings.NewReader(""), &out, &out}, "sessions", "--watch", "--json", "--admin", g.Address)
	eventually(t, out.String, operatortest.Holds(`{"event":"state","data":{"state":"serving"}}`+"\n"))
	if code := end(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func TestWatchFailsWhenTheGatewayEndsIt(t *testing.T) {
	g := operatortest.New(t)
	var out lockedBuffer
	_, ended := startAdmin(t, streams{strings.NewReader(""), &out, &out}, "sessions", "--watch", "--admin", g.Address)
	eventually(t, out.String, operatortest.Holds("state"))
	g.LoseStreams()
	if code := await(t, ended); code != 1 || !strings.Contains(out.String(), "ended the stream") {
		t.Errorf("exit code %d\n%s", code, out.String())
	}
}

func TestWatchThatIsPipedHasNoFilter(t *testing.T) {
	for _, flag := range []string{"--phase=serving", "--workflow=w", "--agent=a"} {
		if code, _, stderr := adminOutput(t, "sessions", "--watch", flag); code != 2 || !strings.Contains(stderr, "--phase, --workflow, --agent, --kind and --principal are for the table") {
			t.Errorf("exit code %d, %q", code, stderr)
		}
	}
}

func TestWatchOnATerminalIsTop(t *testing.T) {
	g := operatortest.New(t, operatortest.Sessions(50)...)
	screen := newAdminTerminal(t, 80, 12)
	end, _ := startAdmin(t, screen.streams(), "sessions", "--watch", "--workflow", "w7", "--admin", g.Address)
	shown := eventually(t, screen.String, operatortest.Holds("WORKFLOW", "id0007", "q quit"))
	if strings.Contains(shown, "id0008") {
		t.Errorf("what was not asked for is shown:\n%s", shown)
	}
	if code := end(); code != 0 {
		t.Errorf("exit code %d after Ctrl-C, want 0", code)
	}
}
