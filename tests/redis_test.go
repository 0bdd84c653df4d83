package tests

import (
	"bufio"
	"cmp"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/lastcall-go/lastcall/transport/porttest"
)

// redisServer is a lease store that a test can stop and start: a Redis or Valkey of its own process
// where one is installed, else miniredis. It forgets everything when it stops.
type redisServer struct {
	t       *testing.T
	address string

	binary string // empty: miniredis
	cmd    *exec.Cmd
	mini   *miniredis.Miniredis
}

func startRedis(t *testing.T) *redisServer {
	t.Helper()
	redis, _ := exec.LookPath("redis-server")
	valkey, _ := exec.LookPath("valkey-server")
	s := &redisServer{t: t, binary: cmp.Or(redis, valkey), address: porttest.Address(t)}
	if s.binary == "" {
		if os.Getenv("CI") == "true" || os.Getenv("LASTCALL_REQUIRE_REDIS") == "1" {
			t.Fatal("redis-server is not installed")
		}
		s.mini = miniredis.NewMiniRedis()
		s.mini.ClockTTL(true)
	}
	t.Cleanup(s.stop)
	s.start()
	return s
}

func (s *redisServer) start() {
	s.t.Helper()
	if s.mini != nil {
		s.mini.FlushAll()
		if err := s.mini.StartAddr(s.address); err != nil {
			s.t.Fatal(err)
		}
		return
	}
	host, port, _ := net.SplitHostPort(s.address)
	s.cmd = exec.Command(s.binary, "--port", port, "--bind", host, "--save", "", "--appendonly", "no", "--dir", s.t.TempDir())
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	eventually(s.t, s.binary+" answers", func() bool {
		answer, err := s.try("PING")
		return err == nil && answer == "+PONG"
	})
}

func (s *redisServer) stop() {
	if s.mini != nil {
		s.mini.Close()
	}
	if s.cmd != nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait() // its error is that it was killed
		s.cmd = nil
	}
}

func (s *redisServer) url() string { return "redis://" + s.address }

// try asks on a connection of its own, and returns the first line of the answer.
func (s *redisServer) try(command ...string) (string, error) {
	conn, err := net.DialTimeout("tcp", s.address, patience)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	fmt.Fprintf(conn, "*%d\r\n", len(command))
	for _, word := range command {
		fmt.Fprintf(conn, "$%d\r\n%s\r\n", len(word), word)
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	return strings.TrimSpace(line), err
}

// number asks for a number.
func (s *redisServer) number(command ...string) int64 {
	s.t.Helper()
	answer, err := s.try(command...)
	if err != nil {
		s.t.Fatalf("%v: %v", command, err)
	}
	n, err := strconv.ParseInt(strings.TrimPrefix(answer, ":"), 10, 64)
	if err != nil {
		s.t.Fatalf("%v: %s", command, answer)
	}
	return n
}

// leases is how many there are. The last token of each workflow stays, in a key with a brace.
func (s *redisServer) leases() int64 {
	s.t.Helper()
	return s.number("EVAL", "return #redis.call('KEYS', 'lastcall:lease:[^{]*')", "0")
}

// leaseKey is where an operator finds a workflow's lease.
func leaseKey(workflow string) string { return "lastcall:lease:" + workflow }

// left is how long a workflow's lease is held at least, without a renewal.
func (s *redisServer) left(workflow string) time.Duration {
	s.t.Helper()
	return time.Duration(s.number("PTTL", leaseKey(workflow))) * time.Millisecond
}

func (s *redisServer) waitLeased(workflow string) {
	s.t.Helper()
	eventually(s.t, workflow+" is leased", func() bool { return s.left(workflow) > 0 })
}

// storeAway takes the store away for longer than leases live, from under sessions of which one has
// a lease, and gives it back.
type storeAway struct {
	t      *testing.T
	agent  *witness
	redis  *redisServer
	a, b   *process
	before *talk // has a lease when the store goes away
	went   time.Time
}

const awayTTL = 2 * time.Second

func newStoreAway(t *testing.T, binary, failure string) *storeAway {
	t.Helper()
	agent := newWitness(t, 10*time.Millisecond, journey(0)) // no client answers
	redis := startRedis(t)
	s := &storeAway{
		t:     t,
		agent: agent,
		redis: redis,
		a:     startInstance(t, binary, agent, redis, "--lease-ttl", awayTTL.String(), "--lease-failure", failure),
		b:     startInstance(t, binary, agent, redis, "--lease-ttl", awayTTL.String(), "--lease-failure", failure),
	}
	s.before = s.a.talk("before")
	s.before.waitBegun()
	redis.waitLeased("before")
	s.went = time.Now()
	redis.stop()
	return s
}

// back starts the store again and leaves the instances the time to see it: go-redis looks once a
// second for a server that it couldn't connect to many times.
func (s *storeAway) back() {
	s.redis.start()
	time.Sleep(2 * time.Second)
}

// wantBeforeLost wants the running session to end when its lease can have run out, and not earlier.
func (s *storeAway) wantBeforeLost() {
	s.t.Helper()
	s.before.wantClose(1013, "workflow lease lost")
	took := time.Since(s.went)
	s.t.Logf("the session whose lease couldn't be renewed ended %v after the store went away", took.Round(time.Millisecond))
	// It was renewed a third of its time before, or a bit more.
	if took < awayTTL/2 || took > awayTTL+2*time.Second {
		s.t.Errorf("the session ended after %v, with a lease of %v", took, awayTTL)
	}
	if stops := s.agent.stops("before"); len(stops) != 1 || stops[0] != "WORKHORSE_WEBSOCKET_PING_FAILED" {
		s.t.Errorf("its agent was stopped with %q, want once, to be resumed", stops)
	}
}

// wantWorking wants a new session on one instance to keep the other one off its workflow.
func (s *storeAway) wantWorking() {
	s.t.Helper()
	after := s.a.talk("after")
	after.waitBegun()
	if s.redis.left("after") <= 0 {
		s.t.Error("the session that began after the store was back has no lease")
	}
	s.b.talk("after").wantClose(1013, "workflow is running elsewhere")
	after.wantOpen()
}

// end drains both instances, the second one while the store is away again.
func (s *storeAway) end() {
	s.t.Helper()
	last := s.b.talk("last")
	last.waitBegun()
	s.a.drain(sigterm, 0)
	for _, workflow := range []string{"during", "before", "after"} {
		if left := s.redis.left(workflow); left > 0 {
			s.t.Errorf("%s is still leased for %v after the drain", workflow, left)
		}
	}
	s.redis.waitLeased("last")
	s.redis.stop()
	if took := s.b.drain(sigterm, 0); took > 8*time.Second {
		s.t.Errorf("without a store the drain took %v", took)
	}
	last.wantClose(1001, "server shutdown")
}

func storeAwayOpen(t *testing.T, binary string) {
	t.Parallel()
	s := newStoreAway(t, binary, "open")
	begun := time.Now()
	during := s.a.talk("during")
	during.waitBegun()
	t.Logf("without a store a session began within %v", time.Since(begun).Round(time.Millisecond))
	warned := s.a.waitLogged(`goes on without a lease`)
	if warned["level"] != "WARN" || !strings.Contains(fmt.Sprint(warned), "during") {
		t.Errorf("log says %v, want a warning that names the workflow", warned)
	}
	time.Sleep(time.Until(s.went.Add(2 * awayTTL))) // its lease has run out
	s.before.wantOpen()
	during.wantOpen()
	// What that costs: nothing keeps a workflow in one place, until the store is back.
	twice := []*talk{s.a.talk("twice"), s.b.talk("twice")}
	for _, one := range twice {
		one.waitBegun()
	}

	s.back()
	for _, workflow := range []string{"during", "before"} {
		s.redis.waitLeased(workflow)
		s.b.talk(workflow).wantClose(1013, "workflow is running elsewhere")
	}
	select {
	case err := <-twice[0].end:
		twice[0].end <- err
	case err := <-twice[1].end:
		twice[1].end <- err
		slices.Reverse(twice)
	case <-time.After(patience):
	}
	twice[0].wantClose(1013, "workflow lease lost")
	twice[1].wantOpen()
	s.wantWorking()
	during.wantOpen()
	s.before.wantOpen()
	s.end()
	during.wantClose(1001, "server shutdown")
	s.agent.wantOneAtATime("twice")
}

func storeAwayClosed(t *testing.T, binary string) {
	t.Parallel()
	s := newStoreAway(t, binary, "closed")
	began := time.Now()
	s.a.talk("during").wantClose(1013, "workflow lease unavailable, try again")
	t.Logf("without a store a session was refused within %v", time.Since(began).Round(time.Millisecond))
	s.wantBeforeLost()
	s.a.talk("before").wantClose(1013, "workflow lease unavailable, try again")
	if n := len(s.agent.starts("during")); n != 0 {
		t.Errorf("%d streams were opened for the session that was refused", n)
	}
	patient := travel(t, s.a.url, "during", nil, 250*time.Millisecond) // goes on trying until the store is back
	patient.waitFor("a refusal", func(p *passage) bool { return len(p.closes) >= 2 })

	s.back()
	patient.waitFor("an action", func(p *passage) bool { return p.actions > 0 })
	s.redis.waitLeased("during")
	again := s.a.talk("before")
	again.waitBegun()
	s.wantWorking()
	again.wantOpen()
	patient.abandon()
	s.end()
	again.wantClose(1001, "server shutdown")
	s.agent.wantOneAtATime()
}
