package tests

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/proto/dap"
	"github.com/lastcall-go/lastcall/transport/client"
	"github.com/lastcall-go/lastcall/transport/porttest"
	"github.com/lastcall-go/lastcall/transport/scripted"
)

// patience is for what should come at once, on a machine that has other things to do.
const patience = 30 * time.Second

// TestProcesses is about the built binary: its signals, its exit codes, and what its clients see.
func TestProcesses(t *testing.T) {
	runWithBinary(t, []binaryTest{
		{"500 clients are drained on SIGTERM", drain500Clients},
		{"SIGINT drains too", drainOnInterrupt},
		{"the delay still admits, the grace lets workflows finish", delayAndGrace},
		{"peers that never answer cost their timeouts", stubbornPeers},
		{"a second signal kills who is left", secondSignal},
		{"a second signal ends the delay", secondSignalInDelay},
		{"requests that stall don't hold it up", stalledRequests},
		{"the deadline holds", deadlineHit},
		{"an agent that goes away is told to clients", agentGoesAway},
		{"an agent that comes late is found", agentComesLate},
	})
}

func drain500Clients(t *testing.T, binary string) {
	const clients = 500
	p := startServe(t, binary)
	talks := make([]*talk, clients)
	var dialing sync.WaitGroup
	for i := range talks {
		dialing.Go(func() { talks[i] = p.talk(fmt.Sprint("workflow-", i)) })
	}
	dialing.Wait()
	if t.Failed() {
		return
	}
	for _, talk := range talks {
		talk.waitBegun()
	}

	took := p.drain(syscall.SIGTERM, 0)
	if took > 8*time.Second { // the stop timeout is 10s: no session ran into it
		t.Errorf("the process took %v to stop", took)
	}
	for _, talk := range talks {
		talk.wantClose(actors.CloseGoingAway, "server shutdown")
		if status := talk.last.GetNewCheckpoint().GetStatus(); status != scripted.StatusInterrupted {
			t.Errorf("%s: the last message has status %q, want the agent's last words", talk.workflow, status)
		}
	}
	report := p.report()
	workflows := make(map[string]bool)
	for _, session := range report.Sessions {
		workflows[session.Workflow] = true
	}
	if len(report.Sessions) != clients || len(workflows) != clients || report.Totals[actors.Drained] != clients || len(report.Totals) != 1 {
		t.Errorf("report of %d sessions, %d workflows, totals %v; want %d drained", len(report.Sessions), len(workflows), report.Totals, clients)
	}
	if report.Reason != "server shutdown" || report.Took <= 0 || len(report.Services) == 0 {
		t.Errorf("report says reason %q, took %v, services %v", report.Reason, report.Took, report.Services)
	}
	if finished := p.record("drain finished"); finished["sessions"] != float64(clients) || finished["killed"] != "" {
		t.Errorf("log says %v", finished)
	}
}

func drainOnInterrupt(t *testing.T, binary string) {
	p := startServe(t, binary)
	waiting := p.talk("")
	p.drain(syscall.SIGINT, 0)
	waiting.wantClose(actors.CloseGoingAway, "server shutdown")
	if received := p.record("signal received"); received["signal"] != "interrupt" {
		t.Errorf("log says %v", received)
	}
}

func delayAndGrace(t *testing.T, binary string) {
	const delay, grace = 2 * time.Second, 3 * time.Second
	agent := startAgent(t, scripted.Options{Steps: []scripted.Step{
		scripted.Checkpoint("begun"),
		scripted.Ask(&dap.Action{Action: &dap.Action_ListDirectory{ListDirectory: &dap.ListDirectory{Directory: "."}}}),
	}})
	p := startServe(t, binary, "--agent", agent, "--drain-delay", delay.String(), "--drain-grace", grace.String())
	idle, running, finishing := p.talk(""), p.talk("running"), p.talk("finishing")
	running.waitBegun()
	question := finishing.waitAsked()
	wantStatus(t, p.admin+"/readyz", http.StatusOK)

	signalled := time.Now()
	p.signal(syscall.SIGTERM)
	p.record("drain started")
	wantStatus(t, p.admin+"/readyz", http.StatusServiceUnavailable)
	wantStatus(t, p.admin+"/healthz", http.StatusOK)
	late := p.talk("late") // still admitted
	late.waitBegun()

	idle.wantClose(actors.CloseGoingAway, "server shutdown") // the delay is over
	if after := time.Since(signalled); after < delay {
		t.Errorf("an idle session was stopped %v after the signal, within the delay", after)
	}
	wantStatus(t, p.admin+"/readyz", http.StatusServiceUnavailable)
	wantStatus(t, p.admin+"/healthz", http.StatusOK)
	p.wantRefused()
	finishing.answer(question) // within the grace
	finishing.wantClose(actors.CloseNormal, "")

	running.wantClose(actors.CloseGoingAway, "server shutdown")
	late.wantClose(actors.CloseGoingAway, "server shutdown")
	if after := time.Since(signalled); after < delay+grace {
		t.Errorf("workflows were stopped %v after the signal, within the grace", after)
	}
	if code := p.exit(patience); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	p.wantOutcomes(map[string]actors.Outcome{
		"": actors.Drained, "running": actors.Drained, "late": actors.Drained, "finishing": actors.Completed,
	})
}

// stubbornAgent sends more than a client takes that doesn't read, and waits. It never acknowledges
// a stop of the workflow "stubborn agent". The channels tell of workflows that it has begun, and of
// those that it was asked to stop.
func stubbornAgent(t *testing.T) (address string, begun, stopped <-chan string) {
	starts, stops := make(chan string, 2), make(chan string, 2)
	address = startAgent(t, scripted.Options{
		Steps: []scripted.Step{scripted.Checkpoint("one"), scripted.Checkpoint("two"), scripted.Checkpoint("three"), scripted.Wait()},
		Misbehave: func(workflow string) scripted.Misbehaviour {
			return scripted.Misbehaviour{NeverAcknowledge: workflow == "stubborn agent"}
		},
		Observe: func(event scripted.Event) {
			switch e := event.(type) {
			case scripted.Started:
				starts <- e.WorkflowID
			case scripted.Received:
				if e.Event.GetStopWorkflow() != nil {
					stops <- e.WorkflowID
				}
			}
		},
	})
	return address, starts, stops
}

func stubbornPeers(t *testing.T, binary string) {
	agent, begun, _ := stubbornAgent(t)
	p := startServe(t, binary, "--agent", agent, "--stop-timeout", "1s", "--close-timeout", "1s")
	stubborn := p.talk("stubborn agent")
	p.silent("silent client")
	for range 2 {
		wait(t, begun, "a workflow's begin")
	}
	if took := p.drain(syscall.SIGTERM, 0); took < time.Second || took > 4*time.Second { // the defaults are 10s and 5s
		t.Errorf("the process took %v to stop, with timeouts of 1s", took)
	}
	stubborn.wantClose(actors.CloseGoingAway, "server shutdown")
	p.wantOutcomes(map[string]actors.Outcome{"stubborn agent": actors.Cancelled, "silent client": actors.Drained})
}

func secondSignal(t *testing.T, binary string) {
	agent, begun, stopped := stubbornAgent(t)
	p := startServe(t, binary, "--agent", agent, "--shutdown-timeout", "60s", "--stop-timeout", "40s")
	stubborn := p.talk("stubborn agent")
	p.silent("silent client")
	for range 2 {
		wait(t, begun, "a workflow's begin")
	}
	p.signal(syscall.SIGTERM)
	for range 2 { // both agents were asked to stop, and none of the sessions can end
		wait(t, stopped, "a stopWorkflow")
	}

	took := p.drain(syscall.SIGTERM, 3)
	if took > 4*time.Second { // the close timeout is 5s
		t.Errorf("the process took %v to exit after the second signal", took)
	}
	stubborn.waitEnd() // cut, unless the close frame was faster
	p.wantOutcomes(map[string]actors.Outcome{"stubborn agent": actors.Killed, "silent client": actors.Killed})
	killed, _ := p.record("drain finished")["killed"].(string)
	for _, session := range p.report().Sessions {
		if !strings.Contains(killed, session.ID) {
			t.Errorf("log says %q, which doesn't name session %s", killed, session.ID)
		}
	}
}

func secondSignalInDelay(t *testing.T, binary string) {
	p := startServe(t, binary, "--log-sessions", "--shutdown-timeout", "90s", "--drain-delay", "60s")
	waiting := p.talk("")
	p.record("session started")
	p.signal(syscall.SIGTERM)
	p.record("drain started")
	if took := p.drain(syscall.SIGINT, 3); took > 10*time.Second {
		t.Errorf("the process took %v to exit after the second signal", took)
	}
	p.wantOutcomes(map[string]actors.Outcome{"": actors.Killed})
	waiting.waitEnd()
}

// stall begins a request whose body never comes, and is there when the process has accepted it.
func (p *process) stall() {
	p.t.Helper()
	conn, err := net.Dial("tcp", p.address())
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { conn.Close() })
	if _, err := io.WriteString(conn, "POST / HTTP/1.1\r\nHost: lastcall\r\nContent-Length: 4\r\n\r\n"); err != nil {
		p.t.Fatal(err)
	}
	wantStatus(p.t, "http://"+p.address()+"/", http.StatusNotFound) // that connection was accepted later
}

// Any client that reaches the port can make such requests.
func stalledRequests(t *testing.T, binary string) {
	p := startServe(t, binary, "--shutdown-timeout", "25s")
	waiting := p.talk("")
	p.stall()
	p.stall()
	if took := p.drain(syscall.SIGTERM, 0); took > 10*time.Second {
		t.Errorf("the process took %v to exit", took)
	}
	waiting.wantClose(actors.CloseGoingAway, "server shutdown")
	if finished := p.record("drain finished"); finished["killed"] != "" {
		t.Errorf("log says %v", finished)
	}
	if err := p.report().Err(); err != nil {
		t.Errorf("error %v", err)
	}
	p.wantOutcomes(map[string]actors.Outcome{"": actors.Drained})
}

// Sessions have timeouts that fit: it takes something else to get as far as the deadline, here a
// request that doesn't end, and a deadline before such requests are cut.
func deadlineHit(t *testing.T, binary string) {
	const deadline = 500 * time.Millisecond
	p := startServe(t, binary, "--shutdown-timeout", deadline.String())
	waiting := p.talk("")
	p.stall()

	took := p.drain(syscall.SIGTERM, 3)
	if took < deadline || took > deadline+4*time.Second {
		t.Errorf("the process took %v to exit, with a deadline of %v", took, deadline)
	}
	waiting.wantClose(actors.CloseGoingAway, "server shutdown")
	report := p.report()
	if slack := time.Duration(report.Took) - deadline; slack < 0 || slack > time.Second {
		t.Errorf("the drain took %v, with a deadline of %v", report.Took, deadline)
	}
	var killed *actors.KilledError
	if !errors.As(report.Err(), &killed) || !slices.Contains(killed.Services, "session server") || len(killed.Sessions) > 0 {
		t.Errorf("error %v, want the session server named", report.Err())
	}
	p.wantOutcomes(map[string]actors.Outcome{"": actors.Drained})
}

func agentGoesAway(t *testing.T, binary string) {
	agent := start(t, binary, "agent", "--listen", "127.0.0.1:0", "--pace", "10ms")
	address, isAgent := strings.CutPrefix(agent.line(0), "scripted agent on ")
	if !isAgent {
		t.Fatalf("the agent says %q", agent.line(0))
	}
	p := startServe(t, binary, "--agent", address)
	talk := p.talk("w1")
	talk.waitAsked()
	agent.drain(syscall.SIGTERM, 0)
	talk.wantClose(actors.CloseGoingAway, "agent unavailable")
	wantStatus(t, p.admin+"/readyz", http.StatusOK)
	p.drain(syscall.SIGTERM, 0)
}

func agentComesLate(t *testing.T, binary string) {
	port := porttest.Address(t)
	p := startServe(t, binary, "--agent", port)
	p.talk("w1").wantClose(actors.CloseGoingAway, "agent unavailable")
	wantStatus(t, p.admin+"/readyz", http.StatusOK)

	// A client that goes on trying is served as soon as there is an agent.
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	refused, done := make(chan struct{}), make(chan error, 1)
	once := sync.OnceFunc(func() { close(refused) })
	go func() {
		done <- client.Run(ctx, client.Config{
			URL:        p.url,
			Start:      &dap.StartWorkflowRequest{WorkflowID: "w1"},
			MinBackoff: 10 * time.Millisecond,
			MaxBackoff: 200 * time.Millisecond,
			Observe: func(event client.Event) {
				if e, ok := event.(client.Closed); ok && e.Code == actors.CloseGoingAway && e.Reason == "agent unavailable" {
					once()
				}
			},
		})
	}()
	wait(t, refused, "a close that says that the agent is unavailable")
	start(t, binary, "agent", "--listen", port, "--pace", "1ms")
	if err := wait(t, done, "the workflow's end"); err != nil {
		t.Errorf("the workflow ended with %v, want it finished", err)
	}
	p.drain(syscall.SIGTERM, 0)
}

// binaryTest is a test of the built binary.
type binaryTest struct {
	name string
	run  func(t *testing.T, binary string)
}

// runWithBinary builds the binary once for all of these.
func runWithBinary(t *testing.T, tests []binaryTest) {
	t.Helper()
	binary := buildLastcall(t)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { test.run(t, binary) })
	}
}

// buildLastcall builds the command, with the race detector where the test has it.
func buildLastcall(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "lastcall")
	args := []string{"build", "-buildvcs=false", "-o", binary}
	if info, ok := debug.ReadBuildInfo(); ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		args = append(args, "-race")
	}
	if out, err := exec.Command("go", append(args, "../cmd/lastcall")...).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return binary
}

// startAgent runs a scripted agent on a port.
func startAgent(t *testing.T, options scripted.Options) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- scripted.New(options).Serve(ctx, listener) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return listener.Addr().String()
}

// wait receives, or fails the test.
func wait[T any](t *testing.T, c <-chan T, what string) (value T) {
	t.Helper()
	select {
	case value = <-c:
	case <-time.After(patience):
		t.Fatalf("no sign of %s", what)
	}
	return value
}

// process is a lastcall that runs.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	exited chan struct{} // closed when it has been waited for, and all it wrote was read

	url        string // of sessions
	admin      string // URL of the admin port
	reportFile string

	mu    sync.Mutex
	lines []string      // of its stderr
	grown chan struct{} // closed when there are more
}

// start runs the binary. The process is gone when the test is over.
func start(t *testing.T, binary string, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(binary, args...), exited: make(chan struct{}), grown: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0") // a race detector's process would linger
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go p.follow(stderr)
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.exited
		if t.Failed() {
			t.Logf("%s\n%s", p.cmd, strings.Join(p.lines[max(0, len(p.lines)-50):], "\n"))
		}
	})
	return p
}

// startServe runs "lastcall serve", and waits until it listens.
func startServe(t *testing.T, binary string, args ...string) *process {
	t.Helper()
	report := filepath.Join(t.TempDir(), "report.json")
	p := start(t, binary, append([]string{"serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--report", report}, args...)...)
	listening := p.record("listening")
	p.url, p.admin, p.reportFile = listening["sessions"].(string), listening["admin"].(string), report
	return p
}

// follow reads what the process writes to the end.
func (p *process) follow(stderr io.Reader) {
	lines := bufio.NewScanner(stderr)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		p.mu.Lock()
		p.lines = append(p.lines, lines.Text())
		close(p.grown)
		p.grown = make(chan struct{})
		p.mu.Unlock()
	}
	_ = p.cmd.Wait() // the exit code is asked for where it matters
	close(p.exited)
}

// line waits for the n-th line.
func (p *process) line(n int) string {
	p.t.Helper()
	late := time.After(patience)
	for ended := false; ; {
		p.mu.Lock()
		lines, grown := p.lines, p.grown
		p.mu.Unlock()
		if len(lines) > n {
			return lines[n]
		}
		if ended {
			p.t.Fatalf("the process exited, and wrote %d lines", len(lines))
		}
		select {
		case <-grown:
		case <-p.exited:
			ended = true
		case <-late:
			p.t.Fatalf("the process wrote only %d lines", len(lines))
		}
	}
}

// record waits for the log's first record with this message.
func (p *process) record(message string) (record map[string]any) {
	p.t.Helper()
	for n := 0; record["msg"] != message; n++ {
		line := p.line(n)
		record = nil
		if err := json.Unmarshal([]byte(line), &record); err != nil {
			p.t.Fatalf("%s: %v", line, err)
		}
	}
	return record
}

func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// exit waits for the process's end.
func (p *process) exit(within time.Duration) (code int) {
	p.t.Helper()
	select {
	case <-p.exited:
	case <-time.After(within):
		p.t.Fatalf("the process is still there after %v", within)
	}
	return p.cmd.ProcessState.ExitCode()
}

// drain returns how long the process took to exit after a signal.
func (p *process) drain(s syscall.Signal, wantCode int) time.Duration {
	p.t.Helper()
	begun := time.Now()
	p.signal(s)
	if code := p.exit(patience); code != wantCode {
		p.t.Errorf("exit code %d, want %d", code, wantCode)
	}
	return time.Since(begun)
}

func (p *process) report() *actors.Report {
	p.t.Helper()
	data, err := os.ReadFile(p.reportFile)
	if err != nil {
		p.t.Fatal(err)
	}
	report := new(actors.Report)
	if err := json.Unmarshal(data, report); err != nil {
		p.t.Fatal(err)
	}
	return report
}

// wantOutcomes wants the report to have exactly these workflows.
func (p *process) wantOutcomes(want map[string]actors.Outcome) {
	p.t.Helper()
	sessions := p.report().Sessions
	if len(sessions) != len(want) {
		p.t.Errorf("report of %d sessions, want %d", len(sessions), len(want))
	}
	for _, session := range sessions {
		if session.Outcome != want[session.Workflow] {
			p.t.Errorf("workflow %q: outcome %q, want %q", session.Workflow, session.Outcome, want[session.Workflow])
		}
	}
}

// address is where sessions are taken.
func (p *process) address() string {
	return strings.Split(strings.TrimPrefix(p.url, "ws://"), "/")[0]
}

// wantRefused wants a session to be refused in a way that a client can act on.
func (p *process) wantRefused() {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := client.Dial(ctx, client.Config{URL: p.url})
	if err == nil {
		conn.Cut()
	}
	var refused *client.RefusedError
	if !errors.As(err, &refused) || refused.Status != http.StatusServiceUnavailable || refused.RetryAfter <= 0 {
		p.t.Errorf("a new session got %v, want 503 with Retry-After", err)
	}
}

func wantStatus(t *testing.T, url string, want int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Close = true
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Error(err)
		return
	}
	response.Body.Close()
	if response.StatusCode != want {
		t.Errorf("%s: status %d, want %d", url, response.StatusCode, want)
	}
}

// talk is a client's connection that is read to its end.
type talk struct {
	t        *testing.T
	workflow string
	conn     *client.Conn
	begun    chan struct{}    // closed at the first action
	asked    chan *dap.Action // receives the first one that needs an answer
	end      chan error
	last     *dap.Action // once end has received
}

// talk starts a workflow; without a name it only connects. It may be called on any goroutine.
func (p *process) talk(workflow string) *talk {
	c := &talk{
		t:        p.t,
		workflow: workflow,
		begun:    make(chan struct{}),
		asked:    make(chan *dap.Action, 1),
		end:      make(chan error, 1),
	}
	c.conn = p.dial(workflow)
	if c.conn != nil {
		go c.read()
	}
	return c
}

// silent starts a workflow and reads nothing of it: neither actions nor, behind them, the close.
func (p *process) silent(workflow string) {
	p.dial(workflow)
}

func (p *process) dial(workflow string) *client.Conn {
	config := client.Config{URL: p.url}
	if workflow != "" {
		config.Start = &dap.StartWorkflowRequest{WorkflowID: workflow}
	}
	conn, err := client.Dial(context.Background(), config)
	if err != nil {
		p.t.Errorf("%s: %v", workflow, err)
		return nil
	}
	p.t.Cleanup(conn.Cut)
	return conn
}

func (c *talk) read() {
	for first := true; ; first = false {
		action, err := c.conn.Receive(context.Background())
		if err != nil {
			c.end <- err
			return
		}
		c.last = action
		if first {
			close(c.begun)
		}
		if action.GetNewCheckpoint() == nil {
			c.asked <- action
		}
	}
}

// waitBegun waits until the workflow is under way.
func (c *talk) waitBegun() {
	c.t.Helper()
	wait(c.t, c.begun, "an action of "+c.workflow)
}

// waitAsked waits for an action that needs an answer.
func (c *talk) waitAsked() *dap.Action {
	c.t.Helper()
	return wait(c.t, c.asked, "a question of "+c.workflow)
}

func (c *talk) answer(action *dap.Action) {
	c.t.Helper()
	response := &dap.ActionResponse{RequestID: action.GetRequestID()}
	event := &dap.ClientEvent{Response: &dap.ClientEvent_ActionResponse{ActionResponse: response}}
	if err := c.conn.Send(context.Background(), event); err != nil {
		c.t.Errorf("%s: %v", c.workflow, err)
	}
}

// waitEnd waits for the connection's end.
func (c *talk) waitEnd() error {
	c.t.Helper()
	return wait(c.t, c.end, "the end of "+c.workflow)
}

func (c *talk) wantClose(code int, reason string) {
	c.t.Helper()
	var closed *client.CloseError
	if err := c.waitEnd(); !errors.As(err, &closed) || closed.Code != code || closed.Reason != reason {
		c.t.Errorf("%q: ended with %v, want close code %d %q", c.workflow, err, code, reason)
	}
}
