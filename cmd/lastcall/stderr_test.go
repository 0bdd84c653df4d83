package main

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/operator/operatortest"
)

// unread is a lastcall whose standard error is the test's to read, or not.
type unread struct {
	*process
	admin string // URL
	read  *bufio.Reader
}

// startUnread runs "lastcall serve" in a role, and reads its log until it listens. stderr is what the
// process writes to, and reader where that is read.
func startUnread(t *testing.T, role string, stderr, reader *os.File, args ...string) *unread {
	t.Helper()
	command := exec.Command(os.Args[0], serveArgs(t, args...)...)
	command.Env = append(os.Environ(), roleVariable+"="+role, "GORACE=atexit_sleep_ms=0")
	command.Stderr = stderr
	stdin, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	u := &unread{process: &process{t: t, cmd: command, stdin: stdin, exited: make(chan struct{})}, read: bufio.NewReader(reader)}
	go func() {
		_ = command.Wait() // the exit code is asked for where it matters
		close(u.exited)
	}()
	t.Cleanup(func() {
		_ = command.Process.Kill()
		<-u.exited
	})
	line := u.line()
	if strings.HasPrefix(line, "lastcall ") { // for a person
		_, u.url, _ = strings.Cut(strings.TrimSpace(u.line()), "sessions  ")
		_, u.admin, _ = strings.Cut(strings.TrimRight(u.line(), "/\r\n"), "page      ")
		return u
	}
	var listening struct{ Sessions, Admin string }
	if err := json.Unmarshal([]byte(line), &listening); err != nil {
		t.Fatalf("%v in %s", err, line)
	}
	u.url, u.admin = listening.Sessions, listening.Admin
	return u
}

func (u *unread) line() string {
	u.t.Helper()
	line, err := u.read.ReadString('\n')
	if err != nil {
		u.t.Fatal(err)
	}
	return line
}

func (u *unread) get(path string) (status int, body string) {
	u.t.Helper()
	return get(u.t, u.admin+path)
}

// get asks on a connection of its own.
func get(t *testing.T, url string) (status int, body string) {
	t.Helper()
	client := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	all, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(all)
}

func (u *unread) wantOneSession() {
	u.t.Helper()
	metrics := func() string {
		_, all := u.get("/metrics")
		return all
	}
	eventually(u.t, metrics, operatortest.Holds(`lastcall_sessions_opened_total{kind="dap",transport="websocket"} 1`))
}

func (u *unread) wantNotReady() {
	u.t.Helper()
	ready := func() string {
		status, _ := u.get("/readyz")
		return http.StatusText(status)
	}
	eventually(u.t, ready, operatortest.Holds(http.StatusText(http.StatusServiceUnavailable)))
}

// pipe is one that takes nothing more where it is filled.
func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return r, w
}

func fill(t *testing.T, w *os.File) {
	t.Helper()
	raw, err := w.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	for size := 4096; size > 0; {
		err := raw.Write(func(fd uintptr) bool {
			_ = syscall.SetNonblock(int(fd), true)
			if _, err := syscall.Write(int(fd), make([]byte, size)); err != nil {
				size /= 2
			}
			return true
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	// The process has the same pipe: its writes are to wait.
	if err := raw.Control(func(fd uintptr) { _ = syscall.SetNonblock(int(fd), false) }); err != nil {
		t.Fatal(err)
	}
}

// The reader of the log goes: logging is lost, and nothing else.
func TestTheLogsReaderMayGo(t *testing.T) {
	r, w := pipe(t)
	u := startUnread(t, "no daemon", w, r, "--log-sessions")
	w.Close()
	r.Close()
	end := u.session("w1")
	u.wantOneSession()
	if _, metrics := u.get("/metrics"); strings.Contains(metrics, "lastcall_log_records_dropped_total 0") {
		t.Error("no record was counted as dropped")
	}
	if status, _ := u.get("/readyz"); status != http.StatusOK {
		t.Errorf("/readyz says %d", status)
	}
	u.drain(syscall.SIGTERM, 0)
	wantClose(t, end, actors.CloseGoingAway, "server shutdown")
	if totals := u.report().Totals; totals[actors.Drained] != 1 {
		t.Errorf("totals %v, want one drained", totals)
	}
}

// The reader of the log stops: the sessions, the metrics, the drain and the exit code don't wait for it.
func TestTheLogsReaderMayStop(t *testing.T) {
	const deadline = 15 * time.Second // nothing should come near it
	for _, test := range []struct {
		role string
		end  func(*unread)
		code int
	}{
		{"no daemon", func(u *unread) { u.signal(syscall.SIGTERM) }, 0},
		{"daemon that fails", func(u *unread) { u.stdin.Close() }, 1}, // and a last line that isn't read
	} {
		t.Run(test.role, func(t *testing.T) {
			r, w := pipe(t)
			u := startUnread(t, test.role, w, r, "--drain-delay", "1s", "--shutdown-timeout", deadline.String())
			fill(t, w)
			end := u.session("w1")
			u.wantOneSession()
			begun := time.Now()
			test.end(u)
			u.wantNotReady()
			if code := u.exit(patience); code != test.code {
				t.Errorf("exit code %d, want %d", code, test.code)
			}
			if took := time.Since(begun); took >= deadline {
				t.Errorf("the process took %v to end", took)
			}
			wantClose(t, end, actors.CloseGoingAway, "server shutdown")
			if totals := u.report().Totals; totals[actors.Drained] != 1 {
				t.Errorf("totals %v, want one drained", totals)
			}
		})
	}
}

// A second signal makes the deadline now, for a log that isn't read too.
func TestAHurriedEndDoesNotWaitForTheLog(t *testing.T) {
	r, w := pipe(t)
	u := startUnread(t, "no daemon", w, r, "--drain-delay", "20s")
	fill(t, w)
	u.signal(syscall.SIGTERM)
	u.wantNotReady()
	u.signal(syscall.SIGINT)
	if code := u.exit(15 * time.Second); code < 0 {
		t.Error("a signal has ended it")
	}
}

// Ctrl-S stops a terminal.
func TestAStoppedTerminalStopsNoDrain(t *testing.T) {
	for _, format := range []string{"json", "auto"} {
		t.Run(format, func(t *testing.T) { stoppedTerminalStopsNoDrain(t, format) })
	}
}

func stoppedTerminalStopsNoDrain(t *testing.T, format string) {
	terminal, stderr, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	u := startUnread(t, "no daemon", stderr, terminal, "--log-format", format)
	stderr.Close()
	if _, err := terminal.WriteString("\x13"); err != nil {
		t.Fatal(err)
	}
	end := u.session("w1")
	u.wantOneSession()
	u.drain(syscall.SIGTERM, 0)
	wantClose(t, end, actors.CloseGoingAway, "server shutdown")
}
