package redislease_test

import (
	"cmp"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/lastcall-go/lastcall/transport/porttest"
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
		s := &mini{miniredis.NewMiniRedis(), porttest.Address(t)}
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
		s := &process{binary: binary, address: porttest.Address(t)}
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

type mini struct {
	*miniredis.Miniredis
	address string
}

func (m *mini) addr() string { return m.address }

func (m *mini) start(t *testing.T) {
	m.FlushAll()
	if err := m.StartAddr(m.address); err != nil {
		t.Fatal(err)
	}
}

func (m *mini) stop(*testing.T) { m.Close() }

// process is a server of its own process, without persistence.
type process struct {
	binary  string
	address string
	args    []string // more of them
	cmd     *exec.Cmd
}

func (p *process) addr() string { return p.address }

func (p *process) port() string { return strings.TrimPrefix(p.address, "127.0.0.1:") }

func (p *process) start(t *testing.T) {
	t.Helper()
	args := []string{"--bind", "127.0.0.1", "--dir", t.TempDir()}
	if len(p.args) > 0 && !strings.HasPrefix(p.args[0], "--") { // a configuration file comes first
		args = append([]string{p.args[0]}, args...)
	}
	rest := p.args[len(args)-4:]
	if len(args) == 4 {
		args = append(args, "--save", "", "--appendonly", "no")
	}
	port := "--port"
	if slices.Contains(p.args, "--tls-cert-file") {
		args, port = append(args, "--port", "0"), "--tls-port"
	}
	p.cmd = exec.Command(p.binary, append(append(args, port, p.port()), rest...)...)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); !p.answers(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s at %s doesn't answer", p.binary, p.address)
		}
	}
}

// answers reports whether the port is open and what answers there isn't loading.
func (p *process) answers() bool {
	conn, err := net.Dial("tcp", p.addr())
	if err != nil {
		return false
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	answer := make([]byte, 8)
	if _, err := conn.Write([]byte("PING\r\n")); err != nil {
		return false
	}
	n, err := conn.Read(answer)
	return (err == nil || slices.Contains(p.args, "--tls-cert-file")) && string(answer[:n]) != "-LOADING"
}

func (p *process) stop(*testing.T) {
	if p.cmd != nil {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
		p.cmd = nil
	}
}

// admin is an operator's view of a server.
func admin(t *testing.T, s server) *redis.Client {
	client := redis.NewClient(&redis.Options{Addr: s.addr()})
	t.Cleanup(func() { _ = client.Close() })
	return client
}
