package measure

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
	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/terminal"
	"github.com/lastcall-go/lastcall/transport/loadtest"
)

const (
	startTimeout = 30 * time.Second
	// endTimeout is how long the gateway has to end after SIGTERM: more than its own deadline.
	endTimeout = 30 * time.Second
)

// Agent is the agent of a gateway that bench has started. It lives in this process.
type Agent struct {
	Address string
	stop    context.CancelFunc
	stopped chan struct{}
}

func StartAgent() (*Agent, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start the agent: %w", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	a := &Agent{Address: listener.Addr().String(), stop: stop, stopped: make(chan struct{})}
	go func() {
		defer close(a.stopped)
		_ = loadtest.NewAgent().Serve(ctx, listener) // if it fails, the sessions fail too
	}()
	return a, nil
}

// End takes at most 5 s, and is idempotent.
func (a *Agent) End() {
	a.stop()
	<-a.stopped
}

// ownGateway is a "lastcall serve" in a process of its own.
type ownGateway struct {
	sessions, admin string // URLs

	command *exec.Cmd
	log     *gatewayLog
	folder  string // of its report
	exited  chan struct{}

	mu   sync.Mutex
	told bool // to end
}

// startBenchGateway starts a gateway and waits until it listens. If it ends without
// SIGTERM, over is called.
func startBenchGateway(ctx context.Context, launch Launcher, agent string, over func(error)) (*ownGateway, error) {
	folder, err := os.MkdirTemp("", "lastcall-bench-")
	if err != nil {
		return nil, err
	}
	g := &ownGateway{folder: folder, log: &gatewayLog{listening: make(chan listening, 1)}, exited: make(chan struct{})}
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

// Launcher makes the command of a lastcall with these arguments.
type Launcher func(args ...string) (*exec.Cmd, error)

// Launch is the launcher of this binary. It leaves the gateway nothing of the
// environment that would configure it: what is measured is its defaults.
func Launch(args ...string) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	command := exec.Command(self, args...)
	command.Env = cleanEnvironment(os.Environ())
	return command, nil
}

func cleanEnvironment(all []string) []string {
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

func (g *ownGateway) awaitListening(ctx context.Context) error {
	select {
	case at := <-g.log.listening:
		g.sessions, g.admin = at.Sessions, at.Admin
		return nil
	case <-g.exited:
		return g.failure()
	case <-time.After(startTimeout):
		return fmt.Errorf("it doesn't listen after %v", startTimeout)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// follow starts the process, and waits for its end. It keeps its thread, which the process ends with.
func (g *ownGateway) follow(started chan<- error, over func(error)) {
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

// failure is for a gateway that has exited. The last line of its log says why, if it is no record.
func (g *ownGateway) failure() error {
	last := g.log.lastLine()
	if strings.HasPrefix(last, "{") {
		last = ""
	}
	return fmt.Errorf("the gateway ended by itself (%v)%s", g.command.ProcessState, terminal.Suffix(": ", last))
}

// terminate begins the drain. Only the first call does anything: a second signal would hurry it.
func (g *ownGateway) terminate() error {
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
func (g *ownGateway) end() {
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

// wait waits for a gateway that got SIGTERM.
func (g *ownGateway) wait() error {
	select {
	case <-g.exited:
		return nil
	case <-time.After(endTimeout):
		return fmt.Errorf("the gateway is still there after %v", endTimeout)
	}
}

func (g *ownGateway) reportPath() string { return filepath.Join(g.folder, "report.json") }

// report is that of its drain, once it has exited.
func (g *ownGateway) report() (*actors.Report, error) {
	data, err := os.ReadFile(g.reportPath())
	if err != nil {
		return nil, fmt.Errorf("%w; %w", g.failure(), err)
	}
	report := new(actors.Report)
	return report, json.Unmarshal(data, report)
}

// listening is the gateway's record of that name.
type listening struct {
	Message  string `json:"msg"`
	Sessions string `json:"sessions"`
	Admin    string `json:"admin"`
}

// gatewayLog reads the gateway's log as far as it is needed.
type gatewayLog struct {
	listening chan listening // the first such record

	mu    sync.Mutex
	heard bool
	part  []byte // of a line
	last  []byte // line that was complete
}

// maxBenchLine bounds, in bytes, what is kept of a line.
const maxBenchLine = 4 << 10

// Write implements [io.Writer].
func (l *gatewayLog) Write(p []byte) (int, error) {
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

func (l *gatewayLog) read(line []byte) {
	l.last = append(l.last[:0], line...)
	var record listening
	if l.heard || json.Unmarshal(line, &record) != nil || record.Message != "listening" {
		return
	}
	l.heard = true
	l.listening <- record
}

func (l *gatewayLog) lastLine() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return terminal.OneLine(string(l.last))
}
