package tests

import (
	"bytes"
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
	"testing"
	"time"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/proto/dap"
	"github.com/lastcall-go/lastcall/transport/client"
	"github.com/lastcall-go/lastcall/transport/porttest"
	"github.com/lastcall-go/lastcall/transport/scripted"
)

// TestProxies is about instances behind real proxies, which are configured as "lastcall example" says.
func TestProxies(t *testing.T) {
	runWithBinary(t, []binaryTest{
		{"a rolling restart behind nginx", behindNginx},
		{"a rolling restart behind HAProxy", behindHAProxy},
	})
}

func behindNginx(t *testing.T, binary string) {
	program := proxyProgram(t, "nginx")
	// The clients' own address is in X-Forwarded-For, which has no port.
	restartBehind(t, binary, "127.0.0.2", []string{"--trusted-proxies", "127.0.0.1"}, func(front string, instances [2]*instance) *exec.Cmd {
		site := replaced(t, example(t, "nginx.conf"), "listen 80;", "listen "+front+";",
			"10.0.0.1:8080", instances[0].listen, "10.0.0.2:8080", instances[1].listen)
		dir := t.TempDir()
		config := fmt.Sprintf("user root;\ndaemon off;\nworker_processes 1;\npid %[1]s/pid;\nerror_log stderr warn;\nevents { worker_connections 8000; }\n"+
			"http {\naccess_log off;\nclient_body_temp_path %[1]s/body;\nproxy_temp_path %[1]s/proxy;\nfastcgi_temp_path %[1]s/f;\nuwsgi_temp_path %[1]s/u;\nscgi_temp_path %[1]s/s;\n%[2]s}\n", dir, site)
		return exec.Command(program, "-p", dir, "-e", "stderr", "-c", written(t, "nginx.conf", config))
	})
}

func behindHAProxy(t *testing.T, binary string) {
	program := proxyProgram(t, "haproxy")
	flags := []string{"--trusted-proxies", "127.0.0.1", "--proxy-protocol", "--drain-delay", "2s"}
	restartBehind(t, binary, "127.0.0.2:", flags, func(front string, instances [2]*instance) *exec.Cmd {
		// On one machine each instance needs an admin port of its own.
		server := func(i int) string { return instances[i].listen + " port " + portOf(t, instances[i].admin) }
		config := replaced(t, example(t, "haproxy.cfg"), "bind :80", "bind "+front, " port 8081", "",
			"10.0.0.1:8080", server(0), "10.0.0.2:8080", server(1))
		return exec.Command(program, "-db", "-f", written(t, "haproxy.cfg", config))
	})
}

// proxyProgram finds a proxy.
func proxyProgram(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		path, err = exec.LookPath("/usr/sbin/" + name)
	}
	switch {
	case err == nil:
	case os.Getenv("CI") == "true" || os.Getenv("LASTCALL_REQUIRE_PROXIES") == "1":
		t.Fatalf("%s is not installed", name)
	default:
		t.Skipf("%s is not installed", name)
	}
	return path
}

// example is a file that "lastcall example" prints.
func example(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "cmd", "lastcall", "deploy", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// replaced replaces what must be there, once.
func replaced(t *testing.T, text string, pairs ...string) string {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		if strings.Count(text, pairs[i]) != 1 {
			t.Fatalf("%q is not once in\n%s", pairs[i], text)
		}
		text = strings.ReplaceAll(text, pairs[i], pairs[i+1])
	}
	return text
}

func written(t *testing.T, name, text string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func portOf(t *testing.T, address string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// instance is a gateway that is started again on the same ports.
type instance struct {
	*process
	listen, admin string
}

func (i *instance) start(t *testing.T, binary string, flags []string) {
	t.Helper()
	i.process = startServe(t, binary, append([]string{"--listen", i.listen, "--admin", i.admin}, flags...)...)
}

// restartBehind restarts two instances behind a proxy, one after the other and then the first again, while
// clients arrive. The gateways must see them come from remote.
func restartBehind(t *testing.T, binary, remote string, flags []string, proxy func(front string, instances [2]*instance) *exec.Cmd) {
	agent := startAgent(t, scripted.Options{
		Steps: []scripted.Step{scripted.Checkpoint("begun"), scripted.Wait()},
		Misbehave: func(string) scripted.Misbehaviour {
			return scripted.Misbehaviour{AcknowledgeAfter: 500 * time.Millisecond}
		},
	})
	flags = append(flags, "--log-sessions", "--agent", agent)
	var instances [2]*instance
	for i := range instances {
		instances[i] = &instance{listen: porttest.Address(t), admin: porttest.Address(t)}
		instances[i].start(t, binary, flags)
	}
	front := porttest.Address(t)
	runProxy(t, proxy(front, instances), front)
	a := arrive(t, "ws://"+front+"/api/v4/ai/duo_workflows/ws")
	for _, i := range []int{0, 1, 0} {
		for _, p := range instances {
			if from, _ := p.record("session started")["remote"].(string); !strings.HasPrefix(from, remote) {
				t.Errorf("the gateway has its client at %q, want %s", from, remote)
			}
			p.waitBusy()
		}
		instances[i].drain(sigterm, 0)
		report := instances[i].report()
		if n := report.Totals[actors.Drained]; n == 0 || n != len(report.Sessions) {
			t.Errorf("the drain ended %d sessions with %v, want all drained", len(report.Sessions), report.Totals)
		}
		instances[i].start(t, binary, flags)
	}
	for _, p := range instances {
		p.waitBusy()
	}
	a.stop()
	for _, p := range instances {
		p.signal(sigterm)
	}
	for _, p := range instances {
		p.exit(patience)
	}
	a.wantAllTold()
}

// waitBusy waits until the proxy has brought some sessions.
func (i *instance) waitBusy() {
	i.t.Helper()
	eventually(i.t, i.listen+" has sessions", func() bool {
		i.mu.Lock()
		defer i.mu.Unlock()
		n := 0
		for _, line := range i.lines {
			if strings.Contains(line, `"msg":"session started"`) {
				n++
			}
		}
		return n >= arrivalsPerSecond/2
	})
}

// runProxy runs a proxy until the test ends.
func runProxy(t *testing.T, cmd *exec.Cmd, front string) {
	t.Helper()
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(sigterm)
		<-exited
		if t.Failed() {
			t.Logf("%s\n%s", cmd, said.String())
		}
	})
	eventually(t, "the proxy listens", func() bool {
		conn, err := net.Dial("tcp", front)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

// arrivals are clients that come at a constant rate, and stay until they are closed.
type arrivals struct {
	t       *testing.T
	url     string
	over    chan struct{}
	coming  sync.WaitGroup // their entrance
	staying sync.WaitGroup

	mu   sync.Mutex
	seen map[string]int // what clients saw in the end
}

const arrivalsPerSecond = 50

func arrive(t *testing.T, url string) *arrivals {
	a := &arrivals{t: t, url: url, over: make(chan struct{}), seen: make(map[string]int)}
	a.coming.Go(func() {
		tick := time.NewTicker(time.Second / arrivalsPerSecond)
		defer tick.Stop()
		for n := 0; ; n++ {
			select {
			case <-tick.C:
				a.coming.Add(1)
				a.staying.Go(func() { a.saw(a.stay(fmt.Sprint("w", n))) })
			case <-a.over:
				return
			}
		}
	})
	t.Cleanup(a.stop)
	return a
}

func (a *arrivals) saw(what string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.seen[what]++
}

// stay is one client's visit, from an address of its own. It returns how that ended.
func (a *arrivals) stay(workflow string) string {
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	connections := &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true}
	defer connections.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	conn, err := client.Dial(ctx, client.Config{
		URL: a.url, HTTPClient: &http.Client{Transport: connections}, Start: &dap.StartWorkflowRequest{WorkflowID: workflow},
	})
	a.coming.Done()
	if err != nil {
		var closed *client.CloseError // before the start request was sent
		if errors.As(err, &closed) {
			return fmt.Sprint(closed.Code)
		}
		return err.Error()
	}
	defer conn.Cut()
	for {
		if _, err := conn.Receive(ctx); err != nil {
			return fmt.Sprint(told(err).Code)
		}
	}
}

// stop ends the arrivals, and returns when all have been let in or refused: one whose connection came as a
// port was closed tries again after a second.
func (a *arrivals) stop() {
	select {
	case <-a.over:
	default:
		close(a.over)
	}
	a.coming.Wait()
}

// wantAllTold wants all of them to have been admitted, and closed with 1001.
func (a *arrivals) wantAllTold() {
	a.t.Helper()
	a.staying.Wait()
	if a.t.Logf("the clients saw %v", a.seen); len(a.seen) != 1 || a.seen["1001"] == 0 {
		a.t.Errorf("the clients saw %v, want 1001 alone", a.seen)
	}
}
