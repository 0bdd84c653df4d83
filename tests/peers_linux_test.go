package tests

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/proto/dap"
	"github.com/lastcall-go/lastcall/transport/scripted"
)

// TestPeersThatVanish is about an agent that is killed, and about clients that are suspended.
func TestPeersThatVanish(t *testing.T) {
	runWithBinary(t, []binaryTest{
		{"an agent is killed in the middle of sessions", agentKilled},
		{"an agent is killed during a drain", agentKilledInDrain},
		{"clients sleep", clientsSleep},
	})
}

// startScripted runs a scripted agent in a process of its own.
func startScripted(t *testing.T, binary, listen string) (agent *process, address string) {
	t.Helper()
	agent = start(t, binary, "agent", "--listen", listen, "--pace", "50ms")
	address, ok := strings.CutPrefix(agent.line(0), "scripted agent on ")
	if !ok {
		t.Fatalf("the agent says %q", agent.line(0))
	}
	return agent, address
}

func (p *process) kill() {
	p.t.Helper()
	p.signal(syscall.SIGKILL)
	p.exit(patience)
}

// usage is what sessions take of the process.
type usage struct{ goroutines, descriptors float64 }

func (p *process) usage() usage {
	p.t.Helper()
	seen := p.scrape()
	return usage{seen["go_goroutines{}"], seen["process_open_fds{}"]}
}

// waitSettled waits until the process has no session, and takes no more than before. The connections to
// the agent and for the metrics come and go, and are the slack.
func (p *process) waitSettled(before usage) {
	p.t.Helper()
	const slack = 5
	var now usage
	eventually(p.t, fmt.Sprintf("the gateway is as before the sessions: %+v", before), func() bool {
		now = p.usage()
		return p.total("lastcall_sessions") == 0 && p.total("lastcall_agent_streams") == 0 &&
			now.goroutines <= before.goroutines+slack && now.descriptors <= before.descriptors+slack
	})
	p.t.Logf("goroutines and descriptors: %+v before the sessions, %+v after", before, now)
	if open := p.command(0, "sessions", "--json"); open != "" {
		p.t.Errorf("sessions are left: %s", open)
	}
}

// warm returns what the gateway takes without sessions, once it has had one: it keeps what sessions share.
func (p *process) warm() usage {
	p.t.Helper()
	p.talk("first").waitBegun()
	p.command(0, "drain", "--sessions", "1")
	eventually(p.t, "the first session is gone", func() bool { return p.total("lastcall_sessions") == 0 })
	return p.usage()
}

func agentKilled(t *testing.T, binary string) {
	t.Parallel()
	const sessions = 50
	agent, address := startScripted(t, binary, "127.0.0.1:0")
	p := startServe(t, binary, "--agent", address, "--lock")
	before := p.warm()

	idle := p.talk("") // has no agent yet
	var talks []*talk
	for i := range sessions {
		talks = append(talks, p.talk(fmt.Sprint("w", i)))
	}
	for _, talk := range talks {
		talk.waitAsked() // and leaves the question unanswered
	}
	for i := range 5 {
		p.silent(fmt.Sprint("silent-", i))
	}
	eventually(t, "all sessions are there", func() bool { return p.total("lastcall_sessions") == sessions+6 })
	taken := p.usage()
	if taken.goroutines < before.goroutines+sessions || taken.descriptors < before.descriptors+sessions {
		t.Errorf("with %d sessions the gateway takes %+v, without %+v", sessions, taken, before)
	}

	killed := time.Now()
	agent.kill()
	for _, talk := range talks {
		talk.wantClose(actors.CloseGoingAway, "agent unavailable")
	}
	t.Logf("%d clients were told 1001 agent unavailable within %v of the kill", sessions, time.Since(killed).Round(time.Millisecond))
	wantStatus(t, p.admin+"/readyz", http.StatusOK)
	idle.wantOpen()
	idle.conn.Cut()
	p.waitSettled(before)

	startScripted(t, binary, address)
	again := p.patient("w0")
	again.waitFor("the workflow's end", func(passage *passage) bool { return passage.finished })
	p.waitSettled(before)
	p.drain(sigterm, 0)
}

// patient is a client that comes back until its workflow has finished.
func (p *process) patient(workflow string) *traveller {
	gate := make(chan struct{})
	close(gate)
	return travel(p.t, p.url, workflow, gate, 250*time.Millisecond)
}

// The workflows can't finish within the grace without their agent: the drain doesn't wait for them, and
// their clients get the reason.
func agentKilledInDrain(t *testing.T, binary string) {
	t.Parallel()
	agent, address := startScripted(t, binary, "127.0.0.1:0")
	p := startServe(t, binary, "--agent", address, "--shutdown-timeout", "60s", "--drain-grace", "30s")
	var talks []*talk
	for i := range 10 {
		talks = append(talks, p.talk(fmt.Sprint("w", i)))
	}
	for _, talk := range talks {
		talk.waitAsked()
	}
	p.signal(sigterm)
	p.record("drain started")
	killed := time.Now()
	agent.kill()
	for _, talk := range talks {
		talk.wantClose(actors.CloseGoingAway, "agent unavailable")
	}
	if code := p.exit(patience); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	if took := time.Since(killed); took > 15*time.Second {
		t.Errorf("the drain waited %v for an agent that is gone, with a grace of 30s", took)
	}
	if totals := p.report().Totals; totals[actors.Failed] != len(talks) {
		t.Errorf("outcomes %v, want %d failed", totals, len(talks))
	}
}

// connected is a "lastcall connect" in a process of its own.
type connected struct {
	*exec.Cmd
	mu    sync.Mutex
	shown bytes.Buffer
}

// Write implements [io.Writer].
func (c *connected) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.shown.Write(p)
}

func (c *connected) output() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.shown.String()
}

func (p *process) connect(workflow string) *connected {
	p.t.Helper()
	c := &connected{Cmd: exec.Command(p.cmd.Path, "connect", "--url", p.url, "--workflow", workflow)}
	c.Dir, c.Stdout, c.Stderr = p.t.TempDir(), c, c
	if err := c.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait() // its error is that it was killed
	})
	return c
}

// clientsSleep suspends one client for longer than the gateway's limit of silence, 30 s, and one for
// less, but past a ping, which comes every 20 s.
func clientsSleep(t *testing.T, binary string) {
	t.Parallel()
	const nap, limit = 24 * time.Second, 30 * time.Second
	ask := scripted.Ask(&dap.Action{Action: &dap.Action_ListDirectory{ListDirectory: &dap.ListDirectory{Directory: "."}}})
	agent := newWitness(t, 100*time.Millisecond, slices.Repeat([]scripted.Step{ask}, 10_000))
	p := startServe(t, binary, "--log-sessions", "--agent", agent.address, "--lock")
	before := p.warm()
	long, short := p.connect("long"), p.connect("short")
	for _, c := range []*connected{long, short} {
		eventually(t, "the client works", func() bool { return strings.Count(c.output(), "list   .") > 2 })
	}
	suspend(t, long.Process.Pid)
	suspend(t, short.Process.Pid)
	slept := time.Now()
	time.Sleep(nap)
	done := strings.Count(short.output(), "list   .")
	wake(t, short.Process.Pid)
	eventually(t, "the client that woke works", func() bool { return strings.Count(short.output(), "list   .") > done+5 })

	ended := p.recordOf("session stopped", "long")
	took := time.Since(slept)
	t.Logf("the silent client's session ended %v after it fell asleep: %v", took.Round(time.Millisecond), ended)
	if took < limit-time.Second || took > limit+10*time.Second || ended["outcome"] != string(actors.ClientGone) {
		t.Errorf("it ended after %v, as %v", took, ended)
	}
	eventually(t, "the agent of the silent client is stopped", func() bool { return len(agent.stops("long")) == 1 })
	if stops := agent.stops("long"); stops[0] != "WORKHORSE_WEBSOCKET_PONG_TIMEOUT" {
		t.Errorf("its agent was stopped with %q", stops)
	}
	wake(t, long.Process.Pid)
	eventually(t, "the client that woke late comes back", func() bool {
		_, after, closed := strings.Cut(long.output(), "closed 1006")
		return closed && strings.Contains(after, "connected") && strings.Contains(after, "list   .")
	})
	if seen := short.output(); strings.Contains(seen, "closed:") || strings.Count(seen, "connected") != 1 || len(agent.starts("short")) != 1 {
		t.Errorf("the client that slept for %v saw\n%s", nap, seen)
	}
	for _, c := range []*connected{long, short} {
		if err := c.Process.Kill(); err != nil {
			t.Error(err)
		}
	}
	p.waitSettled(before)
	agent.wantOneAtATime()
}

// recordOf waits for the log's first record with this message about a workflow.
func (p *process) recordOf(message, workflow string) map[string]any {
	p.t.Helper()
	for n := 0; ; n++ {
		var record map[string]any
		if err := json.Unmarshal([]byte(p.line(n)), &record); err != nil {
			p.t.Fatal(err)
		}
		if record["msg"] == message && record["workflow"] == workflow {
			return record
		}
	}
}
