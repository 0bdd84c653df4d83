package tests

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/proto/dap"
)

// TestSuspended is about a gateway that is suspended for longer than its leases live, and wakes.
// Before it relays another message it knows whether it still holds each workflow's lease.
func TestSuspended(t *testing.T) {
	runWithBinary(t, []binaryTest{
		{"the lease was taken meanwhile", suspendedAndTaken},
		{"the lease was taken and released meanwhile", suspendedAndReleased},
		{"the lease was left alone", suspendedAndAlone},
		{"the lease was left alone, and the store must guard it", suspendedAndAloneClosed},
		{"the store is away at the wake", suspendedWithoutStore},
		{"the store is away at the wake, and must guard it", suspendedWithoutStoreClosed},
	})
}

// suspend stops the process as a debugger or a frozen container does.
func suspend(t *testing.T, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the process is suspended", func() bool { return suspended(t, pid) })
}

// suspended reports whether each thread of the process is.
func suspended(t *testing.T, pid int) bool {
	t.Helper()
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil || len(threads) == 0 {
		t.Fatalf("process %d has %d threads: %v", pid, len(threads), err)
	}
	return !slices.ContainsFunc(threads, func(file string) bool {
		stat, err := os.ReadFile(file)
		_, state, _ := strings.Cut(string(stat), ") ")
		return err == nil && !strings.HasPrefix(state, "T")
	})
}

func wake(t *testing.T, pid int) (at time.Time) {
	t.Helper()
	at = time.Now()
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	return at
}

// sleeper is an instance with sessions that is suspended while they go on talking.
type sleeper struct {
	t        *testing.T
	agent    *puppet
	redis    *redisServer
	a, b     *process
	sessions []*asleep
}

// asleep is one of these sessions.
type asleep struct {
	*talk
	agent *puppetStream
	mu    sync.Mutex
	got   []string // requestIDs
}

const sleepTTL = 2 * time.Second

// newSleeper suspends an instance. Then the agent asks something in each session, and the client
// answers what it was asked before and sends a heartbeat. It returns when no lease is held any more.
func newSleeper(t *testing.T, binary string, sessions int, failure string) *sleeper {
	t.Helper()
	s := &sleeper{t: t, agent: newPuppet(t), redis: startRedis(t)}
	instance := func() *process {
		return startServe(t, binary, "--agent", s.agent.address, "--lock", "--lease-url", s.redis.url(),
			"--lease-ttl", sleepTTL.String(), "--lease-failure", failure)
	}
	s.a, s.b = instance(), instance()
	for i := range sessions {
		one := s.a.converse(fmt.Sprint("w", i))
		one.agent = s.agent.stream(one.workflow, 0)
		one.agent.ask("before")
		one.waitBegun()
		s.redis.waitLeased(one.workflow)
		s.sessions = append(s.sessions, one)
	}

	suspend(t, s.a.cmd.Process.Pid)
	for _, one := range s.sessions {
		one.agent.ask("asleep")
		one.send(&dap.ClientEvent{Response: &dap.ClientEvent_ActionResponse{ActionResponse: &dap.ActionResponse{RequestID: "before"}}})
		one.send(&dap.ClientEvent{Response: &dap.ClientEvent_Heartbeat{Heartbeat: &dap.HeartbeatRequest{}}})
	}
	eventually(t, "the leases run out", func() bool { return s.redis.leases() == 0 })
	return s
}

// converse starts a workflow whose client remembers what it is asked.
func (p *process) converse(workflow string) *asleep {
	one := &asleep{talk: &talk{t: p.t, workflow: workflow, begun: make(chan struct{}), end: make(chan error, 1)}}
	if one.conn = p.dial(workflow); one.conn != nil {
		go one.listen()
	}
	return one
}

func (c *asleep) listen() {
	for {
		action, err := c.conn.Receive(context.Background())
		if err != nil {
			c.end <- err
			return
		}
		c.mu.Lock()
		c.got = append(c.got, action.GetRequestID())
		first := len(c.got) == 1
		c.mu.Unlock()
		if first {
			close(c.begun)
		}
	}
}

func (c *asleep) send(event *dap.ClientEvent) {
	c.t.Helper()
	if err := c.conn.Send(context.Background(), event); err != nil {
		c.t.Errorf("%s: %v", c.workflow, err)
	}
}

func (c *asleep) asked() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.got)
}

// waitRelayed waits until what was said during the suspension has come through, each once.
func (c *asleep) waitRelayed() {
	c.t.Helper()
	eventually(c.t, c.workflow+" goes on", func() bool {
		return len(c.asked()) > 1 && c.agent.heartbeats() > 0
	})
	if got := c.asked(); !slices.Equal(got, []string{"before", "asleep"}) {
		c.t.Errorf("%s: the client was asked %q", c.workflow, got)
	}
	if got := c.agent.answers(); !slices.Equal(got, []string{"before"}) {
		c.t.Errorf("%s: the agent was answered %q", c.workflow, got)
	}
}

// wantLost wants the session to end for want of its lease, without a word of what was said during the
// suspension.
func (c *asleep) wantLost() {
	c.t.Helper()
	c.wantClose(actors.CloseTryAgainLater, "workflow lease lost")
	c.agent.waitEnded()
	if got := c.asked(); !slices.Equal(got, []string{"before"}) {
		c.t.Errorf("%s: the client was asked %q", c.workflow, got)
	}
	if answers, beats := c.agent.answers(), c.agent.heartbeats(); len(answers) > 0 || beats > 0 {
		c.t.Errorf("%s: the agent was sent answers to %q and %d heartbeats", c.workflow, answers, beats)
	}
	if stops := c.agent.stops(); !slices.Equal(stops, []string{"WORKHORSE_WEBSOCKET_PING_FAILED"}) {
		c.t.Errorf("%s: the agent was stopped with %q, want once, to be resumed", c.workflow, stops)
	}
}

// wantAllLost wakes the instance, and wants each session to end for want of its lease.
func (s *sleeper) wantAllLost() {
	s.t.Helper()
	woken := wake(s.t, s.a.cmd.Process.Pid)
	for _, one := range s.sessions {
		one.wantLost()
	}
	s.t.Logf("%d sessions ended 1013 within %v of the wake", len(s.sessions), time.Since(woken).Round(time.Millisecond))
	eventually(s.t, "the instance has no session left", func() bool { return s.a.total("lastcall_sessions") == 0 })
}

func suspendedAndTaken(t *testing.T, binary string) {
	t.Parallel()
	s := newSleeper(t, binary, 20, "open")
	var others []*asleep
	for _, one := range s.sessions {
		other := s.b.converse(one.workflow)
		other.agent = s.agent.stream(one.workflow, 1)
		s.redis.waitLeased(one.workflow)
		others = append(others, other)
	}
	s.wantAllLost()
	for i, other := range others {
		other.agent.ask("after")
		other.waitBegun()
		other.wantOpen()
		older, newer := s.sessions[i].agent.token, other.agent.token
		if len(older) != 1 || len(newer) != 1 || number(t, newer[0]) <= number(t, older[0]) {
			t.Errorf("%s: the fencing tokens are %q and then %q", other.workflow, older, newer)
		}
	}
	s.b.drain(sigterm, 0)
}

func number(t *testing.T, text string) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Error(err)
	}
	return n
}

// The keys are gone again, but the store knows that the leases were given since.
func suspendedAndReleased(t *testing.T, binary string) {
	t.Parallel()
	s := newSleeper(t, binary, 5, "open")
	for _, one := range s.sessions {
		other := s.b.converse(one.workflow)
		s.agent.stream(one.workflow, 1)
		other.conn.Cut()
	}
	eventually(t, "the leases are released", func() bool { return s.redis.leases() == 0 })
	s.wantAllLost()
}

func suspendedAndAlone(t *testing.T, binary string) {
	t.Parallel()
	s := newSleeper(t, binary, 5, "open")
	woken := wake(t, s.a.cmd.Process.Pid)
	for _, one := range s.sessions {
		one.waitRelayed()
		if left := s.redis.left(one.workflow); left <= 0 {
			t.Errorf("%s was relayed without a lease", one.workflow)
		}
	}
	t.Logf("the sessions had their leases again and went on within %v of the wake", time.Since(woken).Round(time.Millisecond))
	s.b.talk("w0").wantClose(actors.CloseTryAgainLater, "workflow is running elsewhere")
	for _, one := range s.sessions {
		one.wantOpen()
	}
	s.a.drain(sigterm, 0)
}

// Either the lease is taken again and everything is relayed, or it is lost and nothing is: that depends
// on which is first, a message or the timer that ends a lease which could not be renewed.
func suspendedAndAloneClosed(t *testing.T, binary string) {
	t.Parallel()
	s := newSleeper(t, binary, 20, "closed")
	woken := wake(t, s.a.cmd.Process.Pid)
	lost := 0
	for _, one := range s.sessions {
		var end error
		eventually(t, one.workflow+" goes on or ends", func() bool {
			select {
			case end = <-one.end:
				one.end <- end
				return true
			default:
				return len(one.asked()) > 1 && one.agent.heartbeats() > 0
			}
		})
		if end != nil {
			lost++
			one.wantLost()
			continue
		}
		one.waitRelayed()
		if left := s.redis.left(one.workflow); left <= 0 {
			t.Errorf("%s was relayed without a lease", one.workflow)
		}
	}
	t.Logf("%d of %d sessions had lost their lease, within %v of the wake", lost, len(s.sessions), time.Since(woken).Round(time.Millisecond))
	s.a.drain(sigterm, 0)
}

func suspendedWithoutStore(t *testing.T, binary string) {
	t.Parallel()
	s := newSleeper(t, binary, 5, "open")
	s.redis.stop()
	woken := wake(t, s.a.cmd.Process.Pid)
	for _, one := range s.sessions {
		one.waitRelayed()
		one.wantOpen()
	}
	t.Logf("unguarded, the sessions went on within %v of the wake", time.Since(woken).Round(time.Millisecond))
}

func suspendedWithoutStoreClosed(t *testing.T, binary string) {
	t.Parallel()
	s := newSleeper(t, binary, 5, "closed")
	s.redis.stop()
	s.wantAllLost()
}
