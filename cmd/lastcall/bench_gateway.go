package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/transport/loadtest"
)

const (
	benchStartTimeout = 30 * time.Second
	// benchEndTimeout is what the gateway gets to end once it was told to: more than its own deadline.
	benchEndTimeout = 30 * time.Second
)

// benchAgent is the agent of a gateway that bench has started. It lives in this process.
type benchAgent struct {
	address string
	stop    context.CancelFunc
	stopped chan struct{}
}

func startBenchAgent() (*benchAgent, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start the agent: %w", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	a := &benchAgent{address: listener.Addr().String(), stop: stop, stopped: make(chan struct{})}
	go func() {
		defer close(a.stopped)
		_ = loadtest.NewAgent().Serve(ctx, listener) // if it fails the sessions tell
	}()
	return a, nil
}

// end takes at most 5 s, and is idempotent.
func (a *benchAgent) end() {
	a.stop()
	<-a.stopped
}

// benchGateway is a "lastcall serve" in a process of its own.
type benchGateway struct {
	sessions, admin string // URLs

	command *exec.Cmd
	log     *benchLog
	folder  string // of its report
	exited  chan struct{}

	mu   sync.Mutex
	told bool // to end
}

// startBenchGateway starts a gateway and waits until it listens. If it ends without having been told
// to, over is called.
func startBenchGateway(ctx context.Context, launch benchLauncher, agent string, over func(error)) (*benchGateway, error) {
	folder, err := os.MkdirTemp("", "lastcall-bench-")
	if err != nil {
		return nil, err
	}
	g := &benchGateway{folder: folder, log: &benchLog{listening: make(chan benchListening, 1)}, exited: make(chan struct{})}
	g.command, err = launch("serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--agent", agent,
		"--log-format", "json", "--log-level", "info", "--report", g.reportPath())
	if err == nil {
		g.command.Stderr = g.log
		g.command.WaitDelay = time.Second // its log may be held open by others
		endWithThread(g.command)
		started := make(chan error, 1)
		go g.follow(started, over)
		err = <-started
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start a gateway: %w", err), os.RemoveAll(folder))
	}
	if err := g.awaitListening(ctx); err != nil {
		g.end()
		return nil, fmt.Errorf("start a gateway: %w", err)
	}
	return g, nil
}

// benchLauncher makes the command of a lastcall with these arguments.
type benchLauncher func(args ...string) (*exec.Cmd, error)

// launchBenchGateway is the launcher of this binary. It leaves the gateway nothing of the
// environment that would configure it: what is measured is its defaults.
func launchBenchGateway(args ...string) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	command := exec.Command(self, args...)
	command.Env = benchEnvironment(os.Environ())
	return command, nil
}

func benchEnvironment(all []string) []string {
	kept := []string{}
	for _, variable := range all {
		mine := true
		for _, prefix := range []string{"LASTCALL_", "OTEL_", "LISTEN_", "NOTIFY_SOCKET=", "WATCHDOG_"} {
			mine = mine && !strings.HasPrefix(variable, prefix)
		}
		if mine {
			kept = append(kept, variable)
		}
	}
	return kept
}

func (g *benchGateway) awaitListening(ctx context.Context) error {
	select {
	case at := <-g.log.listening:
		g.sessions, g.admin = at.Sessions, at.Admin
		return nil
	case <-g.exited:
		return g.failure()
	case <-time.After(benchStartTimeout):
		return fmt.Errorf("it doesn't listen after %v", benchStartTimeout)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// follow starts the process, and waits for its end. It keeps its thread, which the process ends with.
func (g *benchGateway) follow(started chan<- error, over func(error)) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(g.exited)
	err := g.command.Start()
	started <- err
	if err != nil {
		return
	}
	_ = g.command.Wait() // what it says is in the process's state
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.told {
		over(g.failure())
	}
}

// failure is for a gateway that has exited. The last line of its log tells why, if it is no record.
func (g *benchGateway) failure() error {
	last := g.log.lastLine()
	if strings.HasPrefix(last, "{") {
		last = ""
	}
	return fmt.Errorf("the gateway ended by itself (%v)%s", g.command.ProcessState, suffix(": ", last))
}

// terminate begins the drain. Only the first call does anything: a second signal would hurry it.
func (g *benchGateway) terminate() error {
	g.mu.Lock()
	first := !g.told
	g.told = true
	g.mu.Unlock()
	if !first {
		return nil
	}
	err := g.command.Process.Signal(syscall.SIGTERM)
	if errors.Is(err, os.ErrProcessDone) {
		<-g.exited
		return g.failure()
	}
	return err
}

// end ends the gateway, by force if it takes too long, and removes what it has left. It is
// idempotent.
func (g *benchGateway) end() {
	err := g.terminate()
	if err == nil {
		err = g.wait()
	}
	if err != nil {
		_ = g.command.Process.Kill() // it may be gone
		<-g.exited
	}
	_ = os.RemoveAll(g.folder)
}

// wait waits for a gateway that was told to end.
func (g *benchGateway) wait() error {
	select {
	case <-g.exited:
		return nil
	case <-time.After(benchEndTimeout):
		return fmt.Errorf("the gateway is still there after %v", benchEndTimeout)
	}
}

func (g *benchGateway) reportPath() string { return filepath.Join(g.folder, "report.json") }

// report is that of its drain, once it has exited.
func (g *benchGateway) report() (*actors.Report, error) {
	data, err := os.ReadFile(g.reportPath())
	if err != nil {
		return nil, fmt.Errorf("%w; %w", g.failure(), err)
	}
	report := new(actors.Report)
	return report, json.Unmarshal(data, report)
}

// benchListening is the gateway's record of that name.
type benchListening struct {
	Message  string `json:"msg"`
	Sessions string `json:"sessions"`
	Admin    string `json:"admin"`
}

// benchLog reads the gateway's log as far as it is needed.
type benchLog struct {
	listening chan benchListening // the first such record

	mu    sync.Mutex
	heard bool
	part  []byte // of a line
	last  []byte // line that was complete
}

// maxBenchLine bounds, in bytes, what is kept of a line.
const maxBenchLine = 4 << 10

// Write implements [io.Writer].
func (l *benchLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range bytes.Lines(p) {
		l.part = append(l.part, line[:min(len(line), maxBenchLine-len(l.part))]...)
		if line[len(line)-1] == '\n' {
			l.read(bytes.TrimSpace(l.part))
			l.part = l.part[:0]
		}
	}
	return len(p), nil
}

func (l *benchLog) read(line []byte) {
	l.last = append(l.last[:0], line...)
	var record benchListening
	if l.heard || json.Unmarshal(line, &record) != nil || record.Message != "listening" {
		return
	}
	l.heard = true
	l.listening <- record
}

func (l *benchLog) lastLine() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return oneLine(string(l.last))
}
