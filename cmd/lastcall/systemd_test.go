package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/systemd/systemdtest"
	"github.com/lastcall-go/lastcall/proto/dap"
	"github.com/lastcall-go/lastcall/transport/client"
)

// startPassing runs the test binary as a lastcall that was started with sockets. The process is gone
// when the test is over.
func startPassing(t *testing.T, files []*os.File, names string, args ...string) *process {
	t.Helper()
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	args = append([]string{"serve", "--report", filepath.Join(t.TempDir(), "report.json")}, args...)
	return startCommand(t, systemdtest.Passing(files, names, binary, args...))
}

// startCommand starts a lastcall whose command is there already.
func startCommand(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	cmd.Env = append(cmd.Env, roleVariable+"=no daemon", "GORACE=atexit_sleep_ms=0")
	p := &process{t: t, cmd: cmd, exited: make(chan struct{}), grown: make(chan struct{})}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go p.follow(stderr)
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-p.exited
		if t.Failed() {
			t.Logf("log of the process:\n%s", strings.Join(p.lines, "\n"))
		}
	})
	return p
}

// listening waits until the process does, and notes where.
func (p *process) listening() *process {
	p.t.Helper()
	p.url, _ = p.record("listening")["sessions"].(string)
	return p
}

func TestPassedSocketsTakeThePlaceOfTheFlags(t *testing.T) {
	sessions, at := systemdtest.Socket(t, "tcp", "127.0.0.1:0")
	admin, adminAt := systemdtest.Socket(t, "tcp", "127.0.0.1:0")
	// The flags' addresses can't be had.
	p := startPassing(t, []*os.File{sessions, admin}, "sessions:admin", "--listen", "192.0.2.1:1", "--admin", "192.0.2.1:1").listening()
	if !strings.HasPrefix(p.url, "ws://"+at.String()+"/") {
		t.Errorf("sessions are served at %s, want %v", p.url, at)
	}
	answer, err := http.Get("http://" + adminAt.String() + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	if answer.StatusCode != http.StatusOK {
		t.Errorf("/readyz says %s", answer.Status)
	}
	end := p.session("w1")
	p.drain(syscall.SIGTERM, 0)
	wantClose(t, end, actors.CloseGoingAway, "server shutdown")
}

func TestAPassedSocketThatOthersReachNeedsAuth(t *testing.T) {
	everywhere, _ := systemdtest.Socket(t, "tcp", "0.0.0.0:0")
	local, _ := systemdtest.Socket(t, "unix", filepath.Join(t.TempDir(), "s"))
	for _, file := range []*os.File{everywhere, local} {
		p := startPassing(t, []*os.File{file}, "sessions", "--admin", "127.0.0.1:0")
		if code := p.exit(patience); code != 2 || !strings.Contains(p.lastLine(), "authorize with --auth") {
			t.Errorf("exit code %d, %q", code, p.lastLine())
		}
		startPassing(t, []*os.File{file}, "sessions", "--admin", "127.0.0.1:0", "--auth", "none").listening().drain(syscall.SIGTERM, 0)
	}
}

func TestPassedSocketsThatAreAmbiguousAreAUsageError(t *testing.T) {
	one, _ := systemdtest.Socket(t, "tcp", "127.0.0.1:0")
	two, _ := systemdtest.Socket(t, "tcp", "127.0.0.1:0")
	p := startPassing(t, []*os.File{one, two}, "lastcall.socket:lastcall.socket")
	if code := p.exit(patience); code != 2 || !strings.Contains(p.lastLine(), "FileDescriptorName=sessions") {
		t.Errorf("exit code %d, %q", code, p.lastLine())
	}
}

// What fails after the sockets were taken is one line too.
func TestAUsageErrorWithPassedSocketsIsOneLine(t *testing.T) {
	file, _ := systemdtest.Socket(t, "tcp", "127.0.0.1:0")
	p := startPassing(t, []*os.File{file}, "sessions", "--admin", "127.0.0.1:0", "--tls-cert", "missing", "--tls-key", "missing")
	if code := p.exit(patience); code != 2 || len(p.lines) != 1 || !strings.Contains(p.lastLine(), "--tls-cert") {
		t.Errorf("exit code %d, %q", code, p.lines)
	}
}

// visitors are clients that keep coming.
type visitors struct {
	url    string
	stop   chan struct{}
	coming sync.WaitGroup // until no client comes any more, and all are connected or refused
	there  sync.WaitGroup // until all have left
	mu     sync.Mutex
	ends   map[string]error // by workflow
	last   string           // the client that came last
}

func visit(url string, every time.Duration) *visitors {
	v := &visitors{url: url, stop: make(chan struct{}), ends: make(map[string]error)}
	v.coming.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-v.stop:
				return
			case <-time.After(every):
				v.come(fmt.Sprintf("visitor-%04d", n))
			}
		}
	})
	return v
}

// come lets another one connect, begin a workflow and stay to its end.
func (v *visitors) come(workflow string) {
	v.mu.Lock()
	v.last = workflow
	v.mu.Unlock()
	v.coming.Add(1)
	v.there.Go(func() {
		err := v.stay(workflow)
		v.mu.Lock()
		defer v.mu.Unlock()
		v.ends[workflow] = err
	})
}

func (v *visitors) stay(workflow string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	conn, err := client.Dial(ctx, client.Config{URL: v.url, Start: &dap.StartWorkflowRequest{WorkflowID: workflow}})
	v.coming.Done()
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer conn.Cut()
	for err == nil {
		_, err = conn.Receive(ctx)
	}
	return err
}

// lastYet is the client that came last until now.
func (v *visitors) lastYet() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.last
}

// What socket activation is for: one process drains, the next takes over, and no client that connects
// meanwhile is refused, reset or refused. They wait.
func TestARestartBehindASocketRefusesNobody(t *testing.T) {
	file, _ := systemdtest.Socket(t, "tcp", "127.0.0.1:0")
	serve := func(grace string) *process {
		return startPassing(t, []*os.File{file}, "sessions", "--admin", "127.0.0.1:0", "--drain-grace", grace).listening()
	}
	before := serve("2s")
	held := before.session("held")
	visitors := visit(before.url, 20*time.Millisecond)
	time.Sleep(300 * time.Millisecond) // some come before the signal
	before.signal(syscall.SIGTERM)
	before.record("drain started")
	asDrainBegan := visitors.lastYet()
	if code := before.exit(patience); code != 0 {
		t.Errorf("exit code %d", code)
	}
	asItExited := visitors.lastYet()
	after := serve("0s")
	time.Sleep(300 * time.Millisecond) // and some come to the next process
	close(visitors.stop)
	visitors.coming.Wait()
	after.drain(syscall.SIGTERM, 0)
	visitors.there.Wait()

	wantClose(t, held, actors.CloseGoingAway, "server shutdown")
	for workflow, err := range visitors.ends {
		var closed *client.CloseError
		if !errors.As(err, &closed) || closed.Code != actors.CloseGoingAway {
			t.Errorf("%s (the drain began after %s) was not served: %v", workflow, asDrainBegan, err)
		}
	}
	duringDrain := func(workflow string) bool { return workflow > asDrainBegan && workflow <= asItExited }
	if waited := before.served(duringDrain); len(waited) > 0 {
		t.Errorf("%v came after the door was closed, and got in", waited)
	}
	if waited := after.served(duringDrain); len(waited) < 10 {
		t.Errorf("only %v came during the drain: what does this test show?", waited)
	}
}

// served are the workflows of such a kind that a process served, by its report.
func (p *process) served(kind func(workflow string) bool) (names []string) {
	for _, s := range p.report().Sessions {
		if kind(s.Workflow) {
			names = append(names, s.Workflow)
		}
	}
	return names
}

// notices collects what a service manager gets until the socket is closed.
func notices(conn *net.UnixConn) (all func() []systemdtest.Notice) {
	var heard []systemdtest.Notice
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		buffer := make([]byte, 4096)
		for {
			n, err := conn.Read(buffer)
			if err != nil {
				return
			}
			heard = append(heard, systemdtest.Notice{At: time.Now(), Text: string(buffer[:n])})
		}
	}()
	return func() []systemdtest.Notice {
		_ = conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond)) // what is there can be read
		<-ended
		return heard
	}
}

// systemd learns when sessions can come, how the end goes, and all the while that there is life.
func TestSystemdIsToldOfALife(t *testing.T) {
	conn := systemdtest.NotifySocket(t, filepath.Join(t.TempDir(), "notify"))
	file, at := systemdtest.Socket(t, "tcp", "127.0.0.1:0")
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := systemdtest.Passing([]*os.File{file}, "admin", binary, serveArgs(t, "--drain-grace", "2s", "--shutdown-timeout", "20s")...)
	cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+conn.LocalAddr().String(), "WATCHDOG_USEC=900000")
	p := startCommand(t, cmd)
	for !systemdtest.NextNotice(t, conn).Has("READY=1") {
	}
	answer, err := http.Get("http://" + at.String() + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	if answer.StatusCode != http.StatusOK {
		t.Errorf("it says that it is ready, /readyz says %s", answer.Status)
	}
	end := p.listening().session("w1")
	for !systemdtest.NextNotice(t, conn).Has("STATUS=serving 1 session") {
	}
	all := notices(conn)
	signalled := time.Now()
	p.drain(syscall.SIGTERM, 0)
	wantClose(t, end, actors.CloseGoingAway, "server shutdown")
	wantEnd(t, all(), signalled.Add(20*time.Second))
}

// wantEnd wants the notices of a drain with one session, that lasted 2 s.
func wantEnd(t *testing.T, heard []systemdtest.Notice, deadline time.Time) {
	t.Helper()
	if n := systemdtest.CountNotices(heard, "STOPPING=1"); n != 1 || systemdtest.CountNotices(heard, "READY=1") > 0 {
		t.Errorf("STOPPING was told %d times: %v", n, heard)
	}
	stopping, pings := 0, 0
	for _, n := range heard {
		switch {
		case n.Has("WATCHDOG=1"):
			pings++
		case strings.Contains(n.Text, "STATUS=draining: "):
			stopping++
			if end := n.At.Add(n.Extends()); end.Before(deadline) {
				t.Errorf("%q: systemd kills %v before the deadline", n.Text, deadline.Sub(end))
			}
		}
	}
	if stopping < 2 || pings < 3 {
		t.Errorf("in a drain of 2s %d states and %d signs of life were told: %v", stopping, pings, heard)
	}
}
