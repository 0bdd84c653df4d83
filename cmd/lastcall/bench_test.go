package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/alecthomas/kong"

	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/measure"
)

// benching is one run of "lastcall bench" in this process, with its gateway in another.
type benching struct {
	t    *testing.T
	ctx  context.Context
	args []string // of gateways, besides bench's own

	onPhase func(line string) // of the standard error

	mu       sync.Mutex
	launched []*exec.Cmd
	stderr   bytes.Buffer
}

// launch makes a gateway of the test binary.
func (b *benching) launch(args ...string) (*exec.Cmd, error) {
	command, err := measure.Launch(append(args, b.args...)...)
	if err != nil {
		return nil, err
	}
	command.Env = append(command.Env, roleVariable+"=no daemon", "GORACE=atexit_sleep_ms=0")
	b.mu.Lock()
	defer b.mu.Unlock()
	b.launched = append(b.launched, command)
	return command, nil
}

// Write is the run's standard error.
func (b *benching) Write(p []byte) (int, error) {
	b.mu.Lock()
	b.stderr.Write(p)
	b.mu.Unlock()
	if b.onPhase != nil {
		b.onPhase(string(p))
	}
	return len(p), nil
}

func parseBench(args ...string) (*benchCmd, error) {
	var grammar struct {
		Bench benchCmd `cmd:""`
	}
	_, err := kong.Must(&grammar, kong.Name("lastcall"), kong.DefaultEnvars("LASTCALL")).Parse(append([]string{"bench"}, args...))
	return &grammar.Bench, err
}

// run runs it to its end, after which no gateway may be left, nor anything of one.
func (b *benching) run(args ...string) (code int, stdout string) {
	b.t.Helper()
	b.t.Setenv("TMPDIR", b.t.TempDir())
	command, err := parseBench(args...)
	if err != nil {
		b.t.Fatal(err)
	}
	command.Launch = b.launch
	if b.ctx == nil {
		b.ctx = b.t.Context()
	}
	var out bytes.Buffer
	ended := make(chan int, 1)
	go func() { ended <- exitCode(command.run(b.ctx, streams{strings.NewReader(""), &out, b}), b) }()
	select {
	case code = <-ended:
	case <-time.After(2 * patience):
		b.t.Fatalf("bench %q goes on after\n%s", args, b.shown())
	}
	for _, gateway := range b.launched {
		if gateway.Process != nil && gateway.ProcessState == nil {
			b.t.Errorf("a gateway is left: %v", gateway)
		}
	}
	if left, err := filepath.Glob(filepath.Join(os.TempDir(), "*")); err != nil || len(left) > 0 {
		b.t.Errorf("left behind: %v, %v", left, err)
	}
	return code, out.String()
}

func (b *benching) shown() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.stderr.String()
}

func (b *benching) lastLine() string {
	lines := strings.Split(strings.TrimSpace(b.shown()), "\n")
	return lines[len(lines)-1]
}

func TestBenchOfAGatewayOfItsOwn(t *testing.T) {
	b := &benching{t: t}
	code, stdout := b.run("--sessions", "20", "--duration", "200ms", "--json")
	if code != 0 {
		t.Errorf("exit code %d after\n%s", code, b.shown())
	}
	var result measure.Result
	strict := json.NewDecoder(strings.NewReader(stdout))
	strict.DisallowUnknownFields()
	if err := strict.Decode(&result); err != nil {
		t.Fatalf("%v in\n%s", err, stdout)
	}
	if s := result.Sessions; s.Asked != 20 || s.Open != 20 || len(s.Failed) != 0 || s.Silent != 0 || s.PerSecond <= 0 {
		t.Errorf("sessions %+v, want 20 of 20", s)
	}
	if m := result.Memory; m.NotMeasured != "" || m.Empty < 1<<20 || m.Idle < 1<<20 || m.AfterLoad < 1<<20 {
		t.Errorf("memory %+v, want it measured", m)
	}
	if l := result.Load; l.Sessions != 20 || l.Seconds != 0.2 || l.RoundTrips < 1 || l.RoundTrip.P50 <= 0 || l.Reopened != 0 {
		t.Errorf("load %+v, want 20 sessions for 0.2 s", l)
	}
	d := result.Drain
	if !slices.Equal(d.Closed, []measure.Closing{{Code: 1001, Reason: "server shutdown", Clients: 20}}) || !maps.Equal(d.Totals, map[string]int{"drained": 20}) || d.Seconds <= 0 {
		t.Errorf("drain %+v, want each of 20 told 1001", d)
	}
	if len(result.EndedEarly) != 0 || result.Gateway != "own" || result.Shares != "gateway and agent" {
		t.Errorf("result %+v", result)
	}
	wantPhases(t, b.shown(), "starting a gateway", "trying ws://127.0.0.1:", "connecting 20 sessions", "measuring memory", "20 sessions busy for 200ms", "draining 20 sessions")
}

// wantPhases wants these lines, which begin so, and no others.
func wantPhases(t *testing.T, shown string, want ...string) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(shown), "\n")
	if !slices.EqualFunc(lines, want, strings.HasPrefix) {
		t.Errorf("shown\n%s\nwant\n%s", shown, strings.Join(want, "\n"))
	}
}

func TestBenchUsageErrors(t *testing.T) {
	for args, helps := range map[string]string{
		"--sessions 0":                             "--sessions 0: must be from 1",
		"--sessions 1000001":                       "--sessions 1000001: must be from 1 to 1000000",
		"--concurrency 0":                          "--concurrency 0",
		"--busy=-1":                                "--busy -1: must be from 0",
		"--duration 0s":                            "--duration 0s: must be from 1ms",
		"--duration 1001h":                         "--duration 1001h0m0s",
		"--url ws://127.0.0.1:1/ws --drain":        "--drain needs --admin",
		"--url http://127.0.0.1:1/ws":              "the scheme must be ws or wss",
		"--url ws:///ws":                           "names no host",
		"--url ws://127.0.0.1:1/ws --admin 8081":   `--admin "8081"`,
		"--url ws://127.0.0.1:1/ws --admin ftp://": `--admin "ftp://"`,
	} {
		b := &benching{t: t}
		code, stdout := b.run(strings.Fields(args)...)
		if line := b.lastLine(); code != 2 || stdout != "" || b.shown() != line+"\n" || !strings.Contains(line, helps) {
			t.Errorf("%s: exit code %d, want one line that says %q:\n%s", args, code, helps, b.shown())
		}
	}
}

func TestBenchOfAnUnreachableGateway(t *testing.T) {
	b := &benching{t: t}
	code, stdout := b.run("--url", "ws://127.0.0.1:1/ws")
	if code != 1 || stdout != "" || !strings.HasPrefix(b.lastLine(), "lastcall: connect to the gateway: ") || !strings.HasSuffix(b.lastLine(), "connection refused") {
		t.Errorf("exit code %d\n%s%s", code, stdout, b.shown())
	}
}

func TestBenchOfAGatewayThatRefusesTheToken(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "not "+r.Header.Get("Authorization"), http.StatusUnauthorized)
	}))
	defer server.Close()
	b := &benching{t: t}
	t.Setenv("LASTCALL_TOKEN", "mine")
	code, stdout := b.run("--url", "ws"+strings.TrimPrefix(server.URL, "http"))
	if want := "lastcall: gateway refused the connection: 401 Unauthorized: not Bearer mine"; code != 1 || stdout != "" || b.lastLine() != want {
		t.Errorf("exit code %d\n%s%s\nwant %s", code, stdout, b.shown(), want)
	}
}

// agentOfBench answers at once.
func agentOfBench(t *testing.T) (address string) {
	t.Helper()
	agent, err := measure.StartAgent()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(agent.End)
	return agent.Address
}

// Half of the sessions may fail, and the numbers are still of use; with fewer they are not.
func TestBenchCountsRefusedSessions(t *testing.T) {
	for _, test := range []struct {
		room, code int
		last       string
	}{
		{12, 0, "closing 12 sessions"},
		{10, 1, "lastcall: 10 of 20 sessions failed: 10 503 Service Unavailable"},
	} {
		p := startServe(t, "no daemon", "--agent", agentOfBench(t), "--max-sessions", fmt.Sprint(test.room))
		b := &benching{t: t}
		code, stdout := b.run("--url", p.url, "--sessions", "20", "--busy", "0")
		failed := fmt.Sprintf("%d failed: 503 Service Unavailable\n", 20-test.room)
		if code != test.code || b.lastLine() != test.last || !strings.Contains(stdout, failed) {
			t.Errorf("room for %d: exit code %d\n%s%s", test.room, code, stdout, b.shown())
		}
		for _, want := range []string{"memory        not measured: give --admin\n", "drain         not measured: give --drain and --admin\n", "gateway shared the clients'"} {
			if !strings.Contains(stdout, want) {
				t.Errorf("%q is not in\n%s", want, stdout)
			}
		}
		p.drain(syscall.SIGTERM, 0) // it was left alone until now
	}
}

// A running gateway is drained where that was asked for, and left as it was found.
func TestBenchDrainsAGivenGatewayAndResumesIt(t *testing.T) {
	p := startServe(t, "no daemon", "--agent", agentOfBench(t))
	var looks, resumed atomic.Int32
	admin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer mine" {
			t.Errorf("asked without the token: %v", r.URL)
		}
		switch r.Method + " " + r.URL.Path {
		case "GET /metrics":
			fmt.Fprintln(w, "process_resident_memory_bytes 2e+07")
		case "POST /drain":
			p.signal(syscall.SIGTERM)
			w.WriteHeader(http.StatusAccepted)
			fmt.Fprintln(w, `{"id":"d1"}`)
		case "GET /drain":
			over := looks.Add(1) > 1
			fmt.Fprintf(w, `{"drains":[{"id":"d0","over":true},{"id":"d1","over":%v,"took_seconds":0.25,"totals":{"drained":5}}]}`, over)
		case "POST /resume":
			resumed.Add(1)
			fmt.Fprintln(w, `{"state":"serving"}`)
		default:
			t.Errorf("asked for %v", r.URL)
		}
	}))
	defer admin.Close()
	b := &benching{t: t}
	code, stdout := b.run("--url", p.url, "--admin", admin.URL, "--drain", "--token", "mine", "--sessions", "5", "--busy", "0", "--json")
	var result measure.Result
	if err := json.Unmarshal([]byte(stdout), &result); err != nil || code != 0 {
		t.Fatalf("exit code %d, %v\n%s", code, err, b.shown())
	}
	if want := (measure.Memory{Empty: 2e7, Idle: 2e7}); result.Memory != want || result.Load != nil {
		t.Errorf("memory %+v, load %+v; want %+v and no load", result.Memory, result.Load, want)
	}
	want := measure.Drain{Seconds: result.Drain.Seconds, Closed: []measure.Closing{{Code: 1001, Reason: "server shutdown", Clients: 5}}, GatewaySeconds: 0.25, Totals: map[string]int{"drained": 5}}
	if !reflect.DeepEqual(result.Drain, want) || want.Seconds <= 0 {
		t.Errorf("drain %+v, want %+v", result.Drain, want)
	}
	if resumed.Load() != 1 {
		t.Errorf("resumed %d times", resumed.Load())
	}
}

// Whatever it is at, an interruption ends it, and nothing is left: run looks.
func TestBenchInterrupted(t *testing.T) {
	for _, phase := range []string{"starting", "trying", "connecting", "measuring", "busy", "draining"} {
		t.Run(phase, func(t *testing.T) {
			ctx, interrupt := context.WithCancel(t.Context())
			b := &benching{t: t, ctx: ctx, onPhase: func(line string) {
				if strings.Contains(line, phase) {
					interrupt()
				}
			}}
			duration := "1h"
			if phase == "draining" {
				duration = "1ms"
			}
			code, stdout := b.run("--sessions", "20", "--duration", duration)
			if code != 1 || stdout != "" || b.lastLine() != "lastcall: interrupted" {
				t.Errorf("exit code %d\n%s%s", code, stdout, b.shown())
			}
		})
	}
}

// What was measured until then is shown.
func TestBenchOfAGatewayThatDies(t *testing.T) {
	b := &benching{t: t}
	b.onPhase = func(line string) {
		if strings.Contains(line, "busy") {
			time.AfterFunc(100*time.Millisecond, func() {
				b.mu.Lock()
				defer b.mu.Unlock()
				_ = b.launched[0].Process.Kill()
			})
		}
	}
	code, stdout := b.run("--sessions", "5", "--duration", "1h")
	if code != 1 || b.lastLine() != "lastcall: the gateway ended by itself (signal: killed)" {
		t.Errorf("exit code %d\n%s", code, b.shown())
	}
	for _, want := range []string{"5 of 5 open", "round trips a second", "ended early   5 with 1006", "drain         not measured: it did not come to that"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("%q is not in\n%s", want, stdout)
		}
	}
}

func TestBenchOfAGatewayThatDoesNotStart(t *testing.T) {
	b := &benching{t: t, args: []string{"--bogus"}}
	code, stdout := b.run()
	if line := b.lastLine(); code != 1 || stdout != "" || !strings.HasPrefix(line, "lastcall: start a gateway: the gateway ended by itself (exit status 2): ") || !strings.Contains(line, "unknown flag --bogus") {
		t.Errorf("exit code %d\n%s", code, b.shown())
	}
}

func TestBenchHelpHasExamplesThatWork(t *testing.T) {
	_, example, _ := strings.Cut((*benchCmd)(nil).Help(), "Example:")
	examples := 0
	for line := range strings.Lines(example) {
		args := strings.Fields(line)
		if len(args) == 0 {
			continue
		}
		command, err := parseBench(args[2:]...)
		if err == nil {
			err = command.Check()
		}
		if args[0] != "lastcall" || args[1] != "bench" || err != nil {
			t.Errorf("%s: %v", line, err)
		}
		examples++
	}
	if examples == 0 {
		t.Error("no example")
	}
}
