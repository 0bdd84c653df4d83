package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/proto/dap"
	"github.com/lastcall-go/lastcall/transport/client"
	"github.com/lastcall-go/lastcall/transport/gateway"
	"github.com/lastcall-go/lastcall/transport/scripted"
)

// patience is for what should come at once, on a machine that has other things to do.
const patience = 30 * time.Second

// roleVariable makes the test binary a lastcall that runs a daemon too.
const roleVariable = "ROLE_OF_TEST_PROCESS"

func TestMain(m *testing.M) {
	role, isProcess := os.LookupEnv(roleVariable)
	if !isProcess {
		// A key or a terminal's answer that arrives as a bubbletea v2.1.1 program ends blocks its input
		// loop for good: the loop sends to the program without a way out. A process of top ends then.
		goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/charmbracelet/ultraviolet.(*TerminalReader).sendEvents"))
		return
	}
	args, std := os.Args[1:], streams{os.Stdin, os.Stdout, os.Stderr}
	switch role {
	case "agent daemon with sessions":
		os.Exit(runWithAgent(args, std, actors.WithSessions))
	case "agent daemon after sessions":
		os.Exit(runWithAgent(args, std, actors.AfterSessions))
	case "daemon that fails":
		os.Exit(run(args, std, gateway.Service{Name: "daemon", Stage: actors.WithSessions, Run: actors.ServiceFunc(failAtEndOfInput)}))
	case "daemon that fails at once":
		failed := make(chan struct{})
		std.err = waitingLog{os.Stderr, failed}
		os.Exit(run(args, std, gateway.Service{Name: "daemon", Stage: actors.WithSessions, Run: failAtOnce(failed)}))
	case "daemon that never stops":
		os.Exit(run(args, std, gateway.Service{Name: "daemon", Stage: actors.WithSessions, Run: actors.ServiceFunc(neverStop)}))
	case "no daemon":
		os.Exit(run(args, std))
	case "stuck log":
		std.err = stuckLog{os.Stderr}
		os.Exit(run(args, std))
	}
	panic("no such role: " + role)
}

// runWithAgent runs a gateway in whose process its agent lives. The agent ends its streams only
// when it is asked to stop itself: never because their sessions ask it to.
func runWithAgent(args []string, std streams, stage actors.Stage) int {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	agent := scripted.New(scripted.Options{
		Steps:     []scripted.Step{scripted.Checkpoint("begun"), scripted.Wait()},
		Misbehave: func(string) scripted.Misbehaviour { return scripted.Misbehaviour{NeverAcknowledge: true} },
	})
	serve := func(ctx context.Context) error { return agent.Serve(ctx, listener) }
	return run(append(args, "--agent", listener.Addr().String()), std, gateway.Service{Name: "daemon", Stage: stage, Run: actors.ServiceFunc(serve)})
}

func failAtEndOfInput(ctx context.Context) error {
	ended := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(ended)
	}()
	select {
	case <-ended:
		return errors.New("out of input")
	case <-ctx.Done():
		return nil
	}
}

func failAtOnce(failed chan<- struct{}) actors.Service {
	return actors.ServiceFunc(func(context.Context) error {
		defer close(failed)
		return errors.New("no good")
	})
}

func neverStop(context.Context) error {
	select {}
}

// waitingLog says that the server listens when something else has happened.
type waitingLog struct {
	io.Writer
	until <-chan struct{}
}

func (w waitingLog) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte(`"listening"`)) {
		<-w.until
	}
	return w.Writer.Write(p)
}

// stuckLog takes no more once a signal was logged.
type stuckLog struct{ io.Writer }

func (s stuckLog) Write(p []byte) (int, error) {
	n, err := s.Writer.Write(p)
	if bytes.Contains(p, []byte("signal received")) {
		select {}
	}
	return n, err
}

// A daemon that holds a session and is asked to stop together with the sessions ends it at once.
func TestDaemonWithSessionsStopsWithThem(t *testing.T) {
	p := startServe(t, "agent daemon with sessions", "--stop-timeout", "3s")
	end := p.session("w1")
	took := p.drain(syscall.SIGTERM, 0)

	if took >= 2*time.Second { // a second, and one for a busy machine
		t.Errorf("the process took %v to stop", took)
	}
	wantClose(t, end, actors.CloseGoingAway, "server shutdown")
	if report := p.report(); report.Totals[actors.Drained] != 1 {
		t.Errorf("totals %v, want one drained", report.Totals)
	}
}

// The shutdown that waited: the session waits for the daemon, and the daemon is asked after it.
func TestDaemonInTheWrongStageCostsTheStopTimeout(t *testing.T) {
	p := startServe(t, "agent daemon after sessions", "--stop-timeout", "3s")
	end := p.session("w1")
	took := p.drain(syscall.SIGTERM, 0)

	if took < 3*time.Second {
		t.Errorf("the process took %v to stop, less than the stop timeout: what does this test show?", took)
	}
	wantClose(t, end, actors.CloseGoingAway, "server shutdown")
	report := p.report()
	if len(report.Sessions) != 1 || report.Sessions[0].Outcome != actors.Cancelled {
		t.Fatalf("sessions %+v, want one cancelled", report.Sessions)
	}
	if stop := time.Duration(report.Sessions[0].Took); stop < 3*time.Second {
		t.Errorf("the session stopped in %v, before the stop timeout", stop)
	}
}

// A service that fails takes the server with it, and the sessions are drained all the same.
func TestFailedServiceDrainsAndExits1(t *testing.T) {
	p := startServe(t, "daemon that fails")
	end := p.session("w1")
	if err := p.stdin.Close(); err != nil {
		t.Fatal(err)
	}
	if code := p.exit(patience); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	wantClose(t, end, actors.CloseGoingAway, "server shutdown")
	if last := p.lastLine(); last != "lastcall: daemon ended: out of input" {
		t.Errorf("last line %q", last)
	}
	if report := p.report(); report.Totals[actors.Drained] != 1 {
		t.Errorf("totals %v, want one drained", report.Totals)
	}
}

// One that fails before the server listens is noticed too.
func TestServiceThatFailsAtOnceExits1(t *testing.T) {
	for range 20 {
		p := start(t, "daemon that fails at once", serveArgs(t)...)
		if code := p.exit(patience); code != 1 {
			t.Fatalf("exit code %d, want 1", code)
		}
	}
}

func TestServiceThatNeverStopsIsGivenUpAtTheDeadline(t *testing.T) {
	p := startServe(t, "daemon that never stops", "--shutdown-timeout", "5s")
	end := p.session("w1")
	took := p.drain(syscall.SIGTERM, 3)

	// The sessions, and the services with them, leave a tenth to the services after them: time enough on a busy machine.
	if took < 4500*time.Millisecond || took > 9*time.Second {
		t.Errorf("the process took %v to stop, with a deadline of 5s", took)
	}
	wantClose(t, end, actors.CloseGoingAway, "server shutdown")
	finished := p.record("drain finished")
	if killed := finished["killed"]; killed != "had to be killed: service daemon" {
		t.Errorf("killed %q, want the daemon named", killed)
	}
	if report := p.report(); report.Totals[actors.Drained] != 1 || outcomeOf(report, "daemon") != actors.Killed {
		t.Errorf("report %+v, want the session drained and the daemon killed", report)
	}
}

// The third signal depends on nothing, not even on the log.
func TestThirdSignalExitsAtOnce(t *testing.T) {
	p := startServe(t, "stuck log", "--drain-delay", "9s")
	p.signal(syscall.SIGTERM)
	p.record("signal received")
	p.signal(syscall.SIGSTOP) // so that the two come at once: the second alone would end it as soon
	p.signal(syscall.SIGINT)
	p.signal(syscall.SIGTERM) // another one than the second: signals of a kind may become one
	p.signal(syscall.SIGCONT)
	if code := p.exit(patience); code != 3 {
		t.Errorf("exit code %d, want 3", code)
	}
}

// Whoever reads that the server listens may signal it.
func TestSignalAtOnceDrains(t *testing.T) {
	for range 5 {
		p := startServe(t, "no daemon")
		p.drain(syscall.SIGINT, 0)
		if report := p.report(); len(report.Services) == 0 {
			t.Errorf("report %+v, want the services in it", report)
		}
	}
}

func outcomeOf(report *actors.Report, service string) actors.Outcome {
	for _, s := range report.Services {
		if s.Name == service {
			return s.Outcome
		}
	}
	return ""
}

// process is a lastcall in a process of its own.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	stdin  io.Closer
	exited chan struct{} // closed when it has been waited for, and all it wrote was read
	url    string        // of sessions

	mu    sync.Mutex
	lines []string      // of its log
	grown chan struct{} // closed when there are more, or it has exited
}

// start runs the test binary in a role. The process is gone when the test is over.
func start(t *testing.T, role string, args ...string) *process {
	t.Helper()
	return startProcess(t, role, exec.Command(os.Args[0], args...))
}

// startLimited is start, below a limit that a shell sets.
func startLimited(t *testing.T, role, limit string, args ...string) *process {
	t.Helper()
	return startProcess(t, role, exec.Command("sh", append([]string{"-c", limit + ` && exec "$0" "$@"`, os.Args[0]}, args...)...))
}

func startProcess(t *testing.T, role string, command *exec.Cmd) *process {
	t.Helper()
	p := &process{t: t, cmd: command, exited: make(chan struct{}), grown: make(chan struct{})}
	// A race detector's process would linger for a second.
	p.cmd.Env = append(os.Environ(), roleVariable+"="+role, "GORACE=atexit_sleep_ms=0")
	var err error
	p.stdin, err = p.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
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
			t.Logf("log of the process:\n%s", strings.Join(p.lines, "\n"))
		}
	})
	return p
}

func serveArgs(t *testing.T, more ...string) []string {
	report := filepath.Join(t.TempDir(), "report.json")
	return append([]string{"serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--report", report}, more...)
}

// startServe runs "lastcall serve", and waits until it listens.
func startServe(t *testing.T, role string, args ...string) *process {
	t.Helper()
	p := start(t, role, serveArgs(t, args...)...)
	p.url, _ = p.record("listening")["sessions"].(string)
	return p
}

// follow reads the process's log to its end.
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

// record waits for the log's first record with this message.
func (p *process) record(message string) map[string]any {
	p.t.Helper()
	late := time.After(patience)
	for seen, ended := 0, false; ; {
		p.mu.Lock()
		lines, grown := p.lines[seen:], p.grown
		p.mu.Unlock()
		seen += len(lines)
		for _, line := range lines {
			var record map[string]any
			if json.Unmarshal([]byte(line), &record) == nil && record["msg"] == message {
				return record
			}
		}
		if ended {
			p.t.Fatalf("the process exited without a record %q", message)
		}
		select {
		case <-grown:
		case <-p.exited:
			ended = true
		case <-late:
			p.t.Fatalf("no record %q", message)
		}
	}
}

func (p *process) lastLine() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lines[len(p.lines)-1]
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

// drain returns how long the process took to stop.
func (p *process) drain(s syscall.Signal, wantCode int) time.Duration {
	p.t.Helper()
	begun := time.Now()
	p.signal(s)
	if code := p.exit(patience); code != wantCode {
		p.t.Errorf("exit code %d, want %d", code, wantCode)
	}
	return time.Since(begun)
}

// session begins a workflow, waits until it is under way, and reads on. The channel says how it
// ends.
func (p *process) session(workflow string) <-chan error {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	p.t.Cleanup(cancel)
	conn, err := client.Dial(ctx, client.Config{URL: p.url, Start: &dap.StartWorkflowRequest{WorkflowID: workflow}})
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(conn.Cut)
	if _, err := conn.Receive(ctx); err != nil {
		p.t.Fatal(err)
	}
	return endOf(ctx, conn)
}

// endOf reads on, and returns how a session ends.
func endOf(ctx context.Context, conn *client.Conn) <-chan error {
	end := make(chan error, 1)
	go func() {
		var err error
		for err == nil {
			_, err = conn.Receive(ctx)
		}
		end <- err
	}()
	return end
}

func wantClose(t *testing.T, end <-chan error, code int, reason string) {
	t.Helper()
	var closed *client.CloseError
	if err := <-end; !errors.As(err, &closed) || closed.Code != code || closed.Reason != reason {
		t.Errorf("session ended with %v, want close code %d %q", err, code, reason)
	}
}

// report is the drain's, from its file.
func (p *process) report() *actors.Report {
	p.t.Helper()
	for i, arg := range p.cmd.Args {
		if arg == "--report" {
			return readReport(p.t, p.cmd.Args[i+1])
		}
	}
	p.t.Fatal("started without --report")
	return nil
}

func readReport(t *testing.T, path string) *actors.Report {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	report := new(actors.Report)
	if err := json.Unmarshal(data, report); err != nil {
		t.Fatal(err)
	}
	return report
}
