package redislease_test

import (
	"cmp"
	"context"
	"net"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
)

// server is a Redis that a test can stop and start. It forgets everything when it stops.
type server interface {
	start(t *testing.T)
	stop(t *testing.T)
	addr() string
}

// onEachServer runs a test on miniredis, and on a real server where one is installed. Where it must
// be, the test fails without.
func onEachServer(t *testing.T, test func(t *testing.T, s server)) {
	t.Parallel()
	t.Run("miniredis", func(t *testing.T) {
		t.Parallel()
		s := &mini{Miniredis: miniredis.NewMiniRedis()}
		s.ClockTTL(true)
		s.start(t)
		t.Cleanup(s.Close)
		test(t, s)
	})
	binary := serverBinary()
	if binary == "" {
		if os.Getenv("CI") == "true" || os.Getenv("LASTCALL_REQUIRE_REDIS") == "1" {
			t.Error("redis-server is not installed: the store was shown on miniredis only")
		}
		return
	}
	t.Run("real", func(t *testing.T) {
		t.Parallel()
		s := &process{binary: binary, port: freePort(t)}
		s.start(t)
		t.Cleanup(func() { s.stop(t) })
		test(t, s)
	})
}

func serverBinary() string {
	redis, _ := exec.LookPath("redis-server")
	valkey, _ := exec.LookPath("valkey-server")
	return cmp.Or(redis, valkey)
}

type mini struct{ *miniredis.Miniredis }

func (m *mini) addr() string { return m.Addr() }

func (m *mini) start(t *testing.T) {
	m.FlushAll()
	if err := m.Restart(); err != nil {
		t.Fatal(err)
	}
}

func (m *mini) stop(*testing.T) { m.Close() }

// process is a server of its own process, without persistence.
type process struct {
	binary string
	port   int
	cmd    *exec.Cmd
}

func (p *process) addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(p.port)) }

func (p *process) start(t *testing.T) {
	t.Helper()
	p.cmd = exec.Command(p.binary, "--port", strconv.Itoa(p.port), "--bind", "127.0.0.1",
		"--save", "", "--appendonly", "no", "--dir", t.TempDir())
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(&redis.Options{Addr: p.addr(), MaxRetries: 100})
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for client.Ping(ctx).Err() != nil {
		if ctx.Err() != nil {
			t.Fatalf("%s on port %d doesn't answer", p.binary, p.port)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (p *process) stop(*testing.T) {
	if p.cmd != nil {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
		p.cmd = nil
	}
}

func freePort(t *testing.T) int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// admin is an operator's view of a server.
func admin(t *testing.T, s server) *redis.Client {
	client := redis.NewClient(&redis.Options{Addr: s.addr()})
	t.Cleanup(func() { _ = client.Close() })
	return client
}
