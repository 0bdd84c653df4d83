package tests

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/proto/dap"
	"github.com/lastcall-go/lastcall/transport"
	"github.com/lastcall-go/lastcall/transport/agentpool"
	"github.com/lastcall-go/lastcall/transport/client"
	"github.com/lastcall-go/lastcall/transport/grant"
	"github.com/lastcall-go/lastcall/transport/httpserver"
	"github.com/lastcall-go/lastcall/transport/lease"
)

var soakFor = flag.Duration("soak", 2*time.Second, "how long the soak has sessions come and go")

// Sessions open and end in every way, round after round, over real sockets:
//
//	go test ./tests -run TestSoak -v -soak 1h
//
// After each round all are drained, and after the first ones the process holds no more memory,
// goroutines or descriptors than it did before.
func TestSoak(t *testing.T) {
	const rounds = 6
	h := newSoakHouse(t)
	var warm holdings
	for round := range rounds {
		sessions := h.churn(time.Now().Add(*soakFor / rounds))
		h.empty(t)
		now := held(t, warm)
		t.Logf("round %d: %d sessions, then %v", round, sessions, now)
		if round < 2 {
			warm = now
			continue
		}
		if wrong := now.above(warm); wrong != "" {
			t.Errorf("after round %d: %s: %v, %v when warm", round, wrong, now, warm)
		}
	}
	t.Logf("the ends: %v", h.ends)
	for way, n := range h.wrong {
		t.Errorf("%d sessions have not ended as %q is to", n, way)
	}
	for _, way := range slices.Sorted(maps.Keys(soakWays)) {
		if h.ends[way] == 0 {
			t.Errorf("no session has ended as %q is to", way)
		}
	}
}

// holdings are what the process holds.
type holdings struct {
	heap                    int64 // bytes in use
	goroutines, descriptors int
}

func (h holdings) String() string {
	return fmt.Sprintf("%.1f MiB, %d goroutines, %d descriptors", float64(h.heap)/(1<<20), h.goroutines, h.descriptors)
}

// above reports what has grown: goroutines and descriptors by a few, of what the runtime and the pools keep
// or have let go of, memory by less than a thousand leaked sessions would.
func (h holdings) above(warm holdings) string {
	switch {
	case h.goroutines > warm.goroutines+5:
		return "goroutines are left"
	case h.descriptors > warm.descriptors+5:
		return "descriptors are left"
	case h.heap > warm.heap+warm.heap/5+2<<20:
		return "memory is left"
	}
	return ""
}

// held measures when what has ended has let go of everything, or when there was time enough for that.
// Nothing warm: a moment is enough.
func held(t testing.TB, warm holdings) (now holdings) {
	t.Helper()
	first := warm == holdings{}
	patient := 10 * time.Second
	if first {
		patient = 200 * time.Millisecond
	}
	for deadline := time.Now().Add(patient); ; time.Sleep(50 * time.Millisecond) {
		runtime.GC()
		runtime.GC() // what pools keep goes with the second
		var memory runtime.MemStats
		runtime.ReadMemStats(&memory)
		now = holdings{int64(memory.HeapInuse), runtime.NumGoroutine(), descriptors(t)}
		if !first && now.above(warm) == "" || time.Now().After(deadline) {
			return now
		}
	}
}

// descriptors is how many the process has open. 0: the system doesn't tell.
func descriptors(t testing.TB) int {
	t.Helper()
	open, err := os.ReadDir("/proc/self/fd")
	if errors.Is(err, os.ErrNotExist) {
		return 0
	}
	if err != nil {
		t.Fatal(err)
	}
	return len(open)
}

// soakHouse is a gateway that remembers nothing of its sessions, and its agent.
type soakHouse struct {
	t          *testing.T
	supervisor *actors.Supervisor
	address    string

	mu    sync.Mutex
	ends  map[string]int // that were as they are to be, by way
	wrong map[string]int // that were not
}

func newSoakHouse(t *testing.T) *soakHouse {
	t.Helper()
	h := &soakHouse{t: t, ends: make(map[string]int), wrong: make(map[string]int)}
	var err error
	if h.supervisor, err = actors.NewSupervisor(actors.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.supervisor.Close)
	pool, err := agentpool.New(agentpool.Options{Target: soakAgentOn(t)})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h.address = listener.Addr().String()
	handler := &transport.Handler{Supervisor: h.supervisor, Agents: pool, Authorizer: soakAuthorizer{}, Leaser: &lease.Memory{}, LockAll: true}
	for name, service := range map[string]actors.Service{
		"agent connections": pool,
		"session server":    &httpserver.Server{Listener: listener, Handler: handler},
	} {
		if err := h.supervisor.Add(name, actors.AfterSessions, service); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

// soakWay is the header by which the authorizer knows what is to become of a session.
const soakWay = "X-Soak-Way"

type soakAuthorizer struct{}

// Authorize grants each way a principal of its own.
func (soakAuthorizer) Authorize(r *http.Request) (*grant.Grant, error) {
	way := r.Header.Get(soakWay)
	granted := &grant.Grant{Principal: way}
	switch way {
	case "denied":
		return nil, &grant.RefusedError{Status: http.StatusForbidden, Reason: "not you"}
	case "authorizer fails":
		return nil, errors.New("no answer")
	case "authorizer panics":
		panic(http.ErrAbortHandler)
	case "revoked":
		ctx, cancel := context.WithCancel(context.Background())
		time.AfterFunc(20*time.Millisecond, cancel)
		granted.Authorized = ctx
	}
	return granted, nil
}

// soakAgent does what the goal says.
type soakAgent struct {
	dap.UnimplementedDuoWorkflowServer
}

func soakAgentOn(t *testing.T) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.WaitForHandlers(true))
	dap.RegisterDuoWorkflowServer(server, soakAgent{})
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return listener.Addr().String()
}

// ExecuteWorkflow implements the service.
func (soakAgent) ExecuteWorkflow(stream dap.DuoWorkflow_ExecuteWorkflowServer) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	for range 3 {
		said := &dap.Action{Action: &dap.Action_NewCheckpoint{NewCheckpoint: &dap.NewCheckpoint{Status: "RUNNING"}}}
		if err := stream.Send(said); err != nil {
			return err
		}
	}
	switch first.GetStartRequest().GetGoal() {
	case "agent completes":
		return nil
	case "agent fails":
		return status.Error(codes.Internal, "broken")
	}
	for {
		event, err := stream.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil || event.GetStopWorkflow() != nil {
			return err
		}
	}
}

// soakWays are the ways of a session, by what its client does with it, and whether its end is right.
var soakWays = map[string]func(ctx context.Context, h *soakHouse, config client.Config) bool{
	"agent completes":   ends(1000),
	"agent fails":       ends(1011),
	"part drained":      ends(1001),
	"part killed":       ends(1001, 1006),
	"revoked":           ends(3000),
	"denied":            refused(http.StatusForbidden),
	"authorizer fails":  refused(http.StatusServiceUnavailable, http.StatusBadGateway, http.StatusInternalServerError),
	"authorizer panics": fails,
	"client leaves":     leaves(func(c *client.Conn) { c.Close(1000, "bye") }),
	"client is cut":     leaves((*client.Conn).Cut),
	"no start": func(ctx context.Context, _ *soakHouse, config client.Config) bool {
		config.Start = nil
		c, err := client.Dial(ctx, config)
		if err == nil {
			c.Cut()
		}
		return err == nil
	},
	"held elsewhere": func(ctx context.Context, _ *soakHouse, config client.Config) bool {
		first, err := client.Dial(ctx, config)
		if err != nil {
			return false
		}
		defer first.Cut()
		if _, err := first.Receive(ctx); err != nil {
			return false
		}
		return ends(1013)(ctx, nil, config)
	},
	"half a request": func(ctx context.Context, h *soakHouse, _ client.Config) bool {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", h.address)
		if err != nil {
			return false
		}
		_, err = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\nUpgr")
		return errors.Join(err, conn.Close()) == nil
	},
}

// ends is a session that the other side ends, with one of these codes.
func ends(with ...int) func(context.Context, *soakHouse, client.Config) bool {
	return func(ctx context.Context, _ *soakHouse, config client.Config) bool {
		c, err := client.Dial(ctx, config)
		for err == nil {
			_, err = c.Receive(ctx)
		}
		if c != nil {
			c.Cut()
		}
		return slices.Contains(with, told(err).Code)
	}
}

func refused(with ...int) func(context.Context, *soakHouse, client.Config) bool {
	return func(ctx context.Context, _ *soakHouse, config client.Config) bool {
		c, err := client.Dial(ctx, config)
		if err == nil {
			c.Cut()
		}
		var answer *client.RefusedError
		return errors.As(err, &answer) && slices.Contains(with, answer.Status)
	}
}

func fails(ctx context.Context, _ *soakHouse, config client.Config) bool {
	c, err := client.Dial(ctx, config)
	if err == nil {
		c.Cut()
	}
	return err != nil
}

func leaves(how func(*client.Conn)) func(context.Context, *soakHouse, client.Config) bool {
	return func(ctx context.Context, _ *soakHouse, config client.Config) bool {
		c, err := client.Dial(ctx, config)
		if err != nil {
			return false
		}
		defer c.Cut()
		_, err = c.Receive(ctx)
		how(c)
		return err == nil
	}
}

func onlyKilled(err error) bool {
	var killed *actors.KilledError
	return err == nil || errors.As(err, &killed)
}

// churn has sessions come and go until then, and returns how many there were.
func (h *soakHouse) churn(until time.Time) (sessions int) {
	const clients = 16
	var running sync.WaitGroup
	counts := make([]int, clients)
	over := make(chan struct{})
	ways := slices.Sorted(maps.Keys(soakWays))
	for i := range clients {
		running.Go(func() {
			for time.Now().Before(until) {
				h.visit(ways[(i+counts[i])%len(ways)], fmt.Sprintf("workflow %d-%d", i, counts[i]))
				counts[i]++
			}
		})
	}
	var drains sync.WaitGroup
	drains.Go(func() { h.drainParts(over) })
	running.Wait()
	close(over)
	drains.Wait()
	for _, n := range counts {
		sessions += n
	}
	return sessions
}

func (h *soakHouse) visit(way, workflow string) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	right := soakWays[way](ctx, h, client.Config{
		URL:    "ws://" + h.address + "/",
		Header: http.Header{soakWay: {way}},

		HTTPClient: soakClient(),

		Start: &dap.StartWorkflowRequest{WorkflowID: workflow, Goal: way},
	})
	if ctx.Err() != nil {
		h.t.Errorf("%q has not ended", way)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if right {
		h.ends[way]++
	} else {
		h.wrong[way]++
	}
}

// soakClient connects from any of thousands of loopback addresses, where the system has them: with one, the
// ports run out that closed connections keep for a minute, and a long soak slows down.
func soakClient() *http.Client {
	dialer := &net.Dialer{}
	if runtime.GOOS == "linux" {
		dialer.LocalAddr = &net.TCPAddr{IP: net.IPv4(127, 1, byte(rand.IntN(256)), byte(1+rand.IntN(254)))}
	}
	return &http.Client{Transport: &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true}}
}

// drainParts drains the sessions that wait for that.
func (h *soakHouse) drainParts(over <-chan struct{}) {
	for {
		for way, within := range map[string]time.Duration{"part drained": time.Minute, "part killed": 0} {
			drain := actors.Drain{Deadline: time.Now().Add(within), Only: &actors.Selection{Principal: way}}
			if _, err := h.supervisor.Begin(context.Background(), drain); err != nil {
				h.t.Error(err)
			}
		}
		select {
		case <-over:
			return
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// empty drains everything, and admits again. A session of "part killed" may still be about to be
// killed when its client has gone: that one is waited for first.
func (h *soakHouse) empty(t *testing.T) {
	t.Helper()
	killed := actors.Drain{Only: &actors.Selection{Principal: "part killed"}}
	if _, err := h.supervisor.Drain(context.Background(), killed); !onlyKilled(err) {
		t.Error(err)
	}
	if _, err := h.supervisor.Drain(context.Background(), actors.Drain{Standby: true}); err != nil {
		t.Error(err)
	}
	if err := h.supervisor.Resume(context.Background()); err != nil {
		t.Error(err)
	}
}
