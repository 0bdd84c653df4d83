package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/proto/dap"
	"github.com/lastcall-go/lastcall/transport"
	"github.com/lastcall-go/lastcall/transport/agentpool"
	"github.com/lastcall-go/lastcall/transport/gateway"
	"github.com/lastcall-go/lastcall/transport/httpserver"
	"github.com/lastcall-go/lastcall/transport/metrics"
	"github.com/lastcall-go/lastcall/transport/scripted"
)

// The gateways and the agent run in processes of their own, which are this test binary again under
// a role: what is measured of a gateway is then nothing but the gateway.
const (
	roleVariable  = "LASTCALL_BENCH_ROLE"
	agentVariable = "LASTCALL_BENCH_AGENT"
)

func TestMain(m *testing.M) {
	role := map[string]func(net.Listener){
		"asking agent":    func(listener net.Listener) { serveAskingAgent(listener, 100_000, 200) },
		"verbose agent":   func(listener net.Listener) { serveAskingAgent(listener, 100_000, 64<<10) },
		"one large agent": func(listener net.Listener) { serveAskingAgent(listener, 1, 4<<20-100) },
		"idle agent":      serveIdleAgent,
		"asking peer":     func(listener net.Listener) { servePeer(listener, 200) },
		"verbose peer":    func(listener net.Listener) { servePeer(listener, 64<<10) },
		"idle peer":       func(listener net.Listener) { servePeer(listener, 0) },
		"lastcall":        serveLastcall,
		"plain":           servePlain,
		"nginx":           serveNginx,
	}[os.Getenv(roleVariable)]
	if role == nil {
		code := m.Run()
		table.print(os.Stdout)
		os.Exit(code)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	if os.Getenv(roleVariable) != "nginx" { // which has something to tidy up
		go exitWithParent(func() {})
	}
	fmt.Println(listener.Addr())
	role(listener)
}

// exitWithParent waits for the parent's end, however it ends.
func exitWithParent(tidy func()) {
	_, _ = os.Stdin.Read(make([]byte, 1))
	tidy()
	os.Exit(0)
}

// serveAskingAgent sends so many actions of that size in bytes, each as soon as the one before is answered,
// and then nothing until it is stopped.
func serveAskingAgent(listener net.Listener, actions, size int) {
	text := textOf(size)
	steps := make([]scripted.Step, actions, actions+1)
	for i := range steps {
		steps[i] = scripted.Ask(writeFile(text))
	}
	steps = append(steps, scripted.Wait())
	_ = scripted.New(scripted.Options{Steps: steps}).Serve(context.Background(), listener)
}

func textOf(size int) string {
	const line = "\tif err := run(); err != nil { return fmt.Errorf(\"run: %w\", err) }\n"
	return strings.Repeat(line, size/len(line)+1)[:size]
}

func writeFile(text string) *dap.Action {
	return &dap.Action{Action: &dap.Action_RunWriteFile{RunWriteFile: &dap.WriteFile{Filepath: "src/main.go", Contents: text}}}
}

// serveIdleAgent says nothing until it is stopped, and stops at once.
func serveIdleAgent(listener net.Listener) {
	_ = scripted.New(scripted.Options{Steps: []scripted.Step{scripted.Wait()}}).Serve(context.Background(), listener)
}

func serveLastcall(listener net.Listener) {
	supervisor, err := actors.NewSupervisor(actors.Options{})
	if err != nil {
		panic(err)
	}
	pool, err := agentpool.New(agentpool.Options{Target: os.Getenv(agentVariable)})
	if err != nil {
		panic(err)
	}
	figures, err := metrics.New(metrics.Options{Snapshot: supervisor.Snapshot})
	if err != nil {
		panic(err)
	}
	defer gateway.Observers{Metrics: figures, Log: slog.New(slog.NewJSONHandler(io.Discard, nil))}.Attach(supervisor)()
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", figures.Handler())
	mux.Handle("GET /ws", &transport.Handler{Supervisor: supervisor, Agents: pool})
	mux.HandleFunc("POST /drain", func(w http.ResponseWriter, _ *http.Request) {
		report, err := supervisor.Drain(context.Background(), actors.Drain{})
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_ = json.NewEncoder(w).Encode(report.Took)
	})
	addMeasurements(mux)
	_ = (&httpserver.Server{Listener: listener, Handler: mux}).Serve(context.Background())
}

// usage is what a gateway says of itself.
type usage struct {
	Resident   int64 // bytes
	Goroutines int
	CPU        time.Duration
}

func microseconds(before, after usage) float64 {
	return float64((after.CPU - before.CPU).Microseconds())
}

func addMeasurements(mux *http.ServeMux) {
	mux.HandleFunc("GET /usage", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Has("settle") {
			// What an hour does: collections halve the stacks that were once needed, and free pages
			// go back to the system.
			for range 5 {
				runtime.GC()
			}
			debug.FreeOSMemory()
		}
		var times syscall.Rusage
		_ = syscall.Getrusage(syscall.RUSAGE_SELF, &times)
		_ = json.NewEncoder(w).Encode(usage{
			Resident:   residentBytes("self"),
			Goroutines: runtime.NumGoroutine(),
			CPU:        time.Duration(times.Utime.Nano() + times.Stime.Nano()),
		})
	})
}

// residentBytes is the second number of a process's statm, in pages.
func residentBytes(process string) int64 {
	statm, err := os.ReadFile("/proc/" + process + "/statm")
	if err != nil {
		return 0
	}
	pages, _ := strconv.ParseInt(strings.Fields(string(statm))[1], 10, 64)
	return pages * int64(os.Getpagesize())
}

// startBefore runs a gateway before an agent, and returns the gateway's address.
func startBefore(b *testing.B, gateway, agent string) string {
	if gateway != "nginx" {
		return start(b, gateway, start(b, agent, ""))
	}
	peer := strings.Replace(agent, "agent", "peer", 1) // WebSockets on both sides
	address := start(b, gateway, start(b, peer, ""))
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		response, err := http.Get("http://" + address + "/usage")
		if err == nil {
			_ = response.Body.Close()
			return address
		}
		if time.Now().After(deadline) {
			b.Fatal(err)
		}
	}
}

// start runs a role until the benchmark ends, and returns its address.
func start(b *testing.B, role, agent string) string {
	b.Helper()
	command := exec.Command(os.Args[0])
	command.Env = append(os.Environ(), roleVariable+"="+role, agentVariable+"="+agent)
	command.Stderr = os.Stderr
	stdin, err := command.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	stdout, err := command.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := command.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = stdin.Close()
		_ = command.Wait()
	})
	address, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		b.Fatalf("%s: %v", role, err)
	}
	return strings.TrimSpace(address)
}

func measure(b *testing.B, gateway, query string) (u usage) {
	b.Helper()
	response, err := http.Get("http://" + gateway + "/usage" + query)
	if err != nil {
		b.Fatal(err)
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(&u); err != nil {
		b.Fatal(err)
	}
	return u
}
