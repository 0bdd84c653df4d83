package main

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/operator/operatortest"
	"github.com/lastcall-go/lastcall/transport/porttest"
)

// separate is a lastcall in a process of its own, with standard streams of the test's choice.
func separate(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	c := exec.Command(os.Args[0], args...)
	c.Env = append(os.Environ(), roleVariable+"=no daemon", "GORACE=atexit_sleep_ms=0", "TMPDIR="+t.TempDir())
	t.Cleanup(func() {
		if c.Process != nil && c.ProcessState == nil {
			_ = c.Process.Kill()
			_ = c.Wait()
		}
	})
	return c
}

// broken is a pipe whose reader has gone.
func broken(t *testing.T) *os.File {
	t.Helper()
	r, w := pipe(t)
	r.Close()
	return w
}

// full is a pipe that nothing reads.
func full(t *testing.T) *os.File {
	t.Helper()
	_, w := pipe(t)
	fill(t, w)
	return w
}

// A command whose output nothing reads any more ends as any other does.
func TestACommandEndsQuietlyWithTheReaderOfItsOutput(t *testing.T) {
	var stderr bytes.Buffer
	c := separate(t, "version")
	c.Stdout, c.Stderr = broken(t), &stderr
	_ = c.Run() // how it ended is in its state
	if status, ok := c.ProcessState.Sys().(syscall.WaitStatus); !ok || !status.Signaled() || status.Signal() != syscall.SIGPIPE {
		t.Errorf("ended with %v", c.ProcessState)
	}
	if stderr.Len() > 0 {
		t.Errorf("wrote %s", &stderr)
	}
}

// The agent serves streams, whatever becomes of the line that it writes.
func TestTheAgentOutlivesItsReader(t *testing.T) {
	for name, stderr := range map[string]*os.File{"gone": broken(t), "stopped": full(t)} {
		t.Run(name, func(t *testing.T) {
			address := porttest.Address(t)
			c := separate(t, "agent", "--listen", address)
			c.Stderr = stderr
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			dial := func() string {
				conn, err := net.Dial("tcp", address)
				if err == nil {
					conn.Close()
				}
				return fmt.Sprint(err)
			}
			eventually(t, dial, operatortest.Holds("nil"))
			if err := c.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			if err := c.Wait(); err != nil {
				t.Error(err)
			}
		})
	}
}

// What bench shows is lost, and it measures all the same.
func TestBenchOutlivesItsReader(t *testing.T) {
	for name, stderr := range map[string]*os.File{"gone": broken(t), "stopped": full(t)} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			c := separate(t, "bench", "--sessions", "2", "--busy", "1", "--duration", "100ms")
			c.Stdout, c.Stderr = &out, stderr
			if err := c.Run(); err != nil || !strings.Contains(out.String(), "sessions") {
				t.Errorf("%v, printed\n%s", err, &out)
			}
		})
	}
}

// A bench that is killed leaves no gateway running.
func TestAKilledBenchLeavesNoGateway(t *testing.T) {
	c := separate(t, "bench", "--sessions", "1", "--busy", "1", "--duration", "1m")
	stderr, err := c.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stderr)
	for range 2 { // "starting a gateway", and what comes then
		if !lines.Scan() {
			t.Fatal("bench has ended")
		}
	}
	children := childrenOf(t, c.Process.Pid)
	if len(children) != 1 {
		t.Fatalf("children %v, want a gateway", children)
	}
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = c.Wait() // killed
	left := func() string {
		state, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", children[0]))
		if _, after, _ := strings.Cut(string(state), ") "); err != nil || strings.HasPrefix(after, "Z") {
			return "gone"
		}
		return string(state)
	}
	begun := time.Now()
	eventually(t, left, operatortest.Holds("gone"))
	t.Logf("gone after %v", time.Since(begun))
}

func childrenOf(t *testing.T, pid int) (children []int) {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, field := range strings.Fields(string(data)) {
			child, err := strconv.Atoi(field)
			if err != nil {
				t.Fatal(err)
			}
			children = append(children, child)
		}
	}
	return children
}
