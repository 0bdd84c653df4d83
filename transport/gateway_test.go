package transport_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"
	"google.golang.org/grpc"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/actors/actorstest"
	"github.com/lastcall-go/lastcall/proto/dap"
	"github.com/lastcall-go/lastcall/transport"
	"github.com/lastcall-go/lastcall/transport/agentpool"
	"github.com/lastcall-go/lastcall/transport/codec"
	"github.com/lastcall-go/lastcall/transport/httpserver"
	"github.com/lastcall-go/lastcall/transport/scripted"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// gateway is all of lastcall in memory: an HTTP server with the handler under test, a pool, and a
// scripted agent. It runs in a bubble, where time is not real and no goroutine may be left behind.
type gateway struct {
	t          *testing.T
	supervisor *actors.Supervisor
	clients    memory
	agents     memory
	pool       *agentpool.Pool
	stopped    chan actors.SessionStopped
	killed     error // of a drain at whose deadline a session is left

	mu     sync.Mutex
	events []scripted.Event
}

// setting is what a test wants to be different.
type setting struct {
	limits  actors.Options
	agent   scripted.Options
	pool    agentpool.Options
	handler func(*transport.Handler) // nil: as it is
}

// inGateway runs test beside a gateway, and then drains that.
func inGateway(t *testing.T, s setting, test func(t *testing.T, g *gateway)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		g := open(t, s)
		test(t, g)
		if _, err := g.supervisor.Drain(context.Background(), actors.Drain{}); (err == nil) != (g.killed == nil) {
			t.Errorf("the gateway drains: %v", err)
		}
		g.supervisor.Close()
	})
}

func open(t *testing.T, s setting) *gateway {
	t.Helper()
	g := &gateway{t: t, clients: newMemory(), agents: newMemory(), stopped: make(chan actors.SessionStopped, 100)}
	g.supervisor = actorstest.New(t, s.limits).Supervisor
	var err error
	g.supervisor.Listen(func(event any) {
		if e, ok := event.(actors.SessionStopped); ok {
			g.stopped <- e
		}
	})
	s.agent.Observe = g.observe
	agent := scripted.New(s.agent)
	g.add("agent", actors.ServiceFunc(func(ctx context.Context) error { return agent.Serve(ctx, g.agents) }))
	s.pool.Target = "passthrough:///agent"
	s.pool.DialOptions = append([]grpc.DialOption{g.agents.dialOption()}, s.pool.DialOptions...)
	if g.pool, err = agentpool.New(s.pool); err != nil {
		t.Fatal(err)
	}
	g.add("pool", g.pool)
	handler := &transport.Handler{Supervisor: g.supervisor, Agents: g.pool}
	if s.handler != nil {
		s.handler(handler)
	}
	mux := http.NewServeMux()
	mux.Handle("/", handler)
	mux.Handle("POST /workflows/{id}/execute", handler.Execute())
	g.add("http", &httpserver.Server{Listener: g.clients, Handler: mux})
	return g
}

func (g *gateway) add(name string, run actors.Service) {
	g.t.Helper()
	if err := g.supervisor.Add(name, actors.AfterSessions, run); err != nil {
		g.t.Fatal(err)
	}
}

func (g *gateway) observe(event scripted.Event) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.events = append(g.events, event)
}

// observed returns what the agent saw of one kind, in order.
func observed[E scripted.Event](g *gateway) []E {
	synctest.Wait()
	g.mu.Lock()
	defer g.mu.Unlock()
	var found []E
	for _, event := range g.events {
		if e, ok := event.(E); ok {
			found = append(found, e)
		}
	}
	return found
}

// stops returns the reasons of the stopWorkflows that the agent saw.
func (g *gateway) stops() []string {
	var reasons []string
	for _, e := range observed[scripted.Received](g) {
		if stop := e.Event.GetStopWorkflow(); stop != nil {
			reasons = append(reasons, stop.GetReason())
		}
	}
	return reasons
}

// alive reports whether no session has ended.
func (g *gateway) alive() bool {
	synctest.Wait()
	return len(g.stopped) == 0
}

func (g *gateway) wantStop(reason string) {
	g.t.Helper()
	if got := g.stops(); len(got) != 1 || got[0] != reason {
		g.t.Errorf("the agent was stopped with %q, want once %q", got, reason)
	}
}

// dial opens a WebSocket. options may be nil.
func (g *gateway) dial(options *websocket.DialOptions) *websocket.Conn {
	g.t.Helper()
	if options == nil {
		options = &websocket.DialOptions{}
	}
	if options.HTTPClient == nil {
		options.HTTPClient = g.clients.httpClient(nil)
	}
	ws, _, err := websocket.Dial(g.t.Context(), "ws://gateway/", options)
	if err != nil {
		g.t.Fatal(err)
	}
	ws.SetReadLimit(-1)
	g.t.Cleanup(func() { ws.CloseNow() })
	return ws
}

// start opens a session whose workflow has begun.
func (g *gateway) start() *websocket.Conn {
	g.t.Helper()
	ws := g.dial(nil)
	g.send(ws, startW1)
	for len(observed[scripted.Started](g)) == 0 {
		if len(g.stopped) > 0 {
			g.t.Fatalf("the session ended: %+v", <-g.stopped)
		}
		time.Sleep(time.Millisecond)
	}
	return ws
}

const (
	startW1   = `{"startRequest": {"workflowID": "w1"}}`
	heartbeat = `{"heartbeat": {"timestamp": "1"}}`
)

func (g *gateway) send(ws *websocket.Conn, text string) {
	g.t.Helper()
	if err := ws.Write(context.Background(), websocket.MessageText, []byte(text)); err != nil {
		g.t.Fatal(err)
	}
}

// act reads one action.
func (g *gateway) act(ws *websocket.Conn) (websocket.MessageType, *dap.Action) {
	g.t.Helper()
	kind, message, err := ws.Read(context.Background())
	if err != nil {
		g.t.Fatal(err)
	}
	action := &dap.Action{}
	if err := codec.Decode(message, action); err != nil {
		g.t.Fatal(err)
	}
	return kind, action
}

// closeFrame reads up to the close frame.
func closeFrame(ws *websocket.Conn) websocket.CloseError {
	for {
		if _, _, err := ws.Read(context.Background()); err != nil {
			var frame websocket.CloseError
			if !errors.As(err, &frame) {
				frame = websocket.CloseError{Code: websocket.StatusAbnormalClosure, Reason: err.Error()}
			}
			return frame
		}
	}
}

func wantFrame(t *testing.T, got websocket.CloseError, code websocket.StatusCode, reason string) {
	t.Helper()
	if got.Code != code || got.Reason != reason {
		t.Errorf("the client was told %d %q, want %d %q", got.Code, got.Reason, code, reason)
	}
}

// memory is a network that HTTP and gRPC clients can use.
type memory struct{ *actorstest.Network }

func newMemory() memory { return memory{actorstest.NewNetwork()} }

func (m memory) dialOption() grpc.DialOption {
	return grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return m.Dial(ctx) })
}

func (m memory) httpClient(through func(net.Conn) net.Conn) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			conn, err := m.Dial(ctx)
			if err == nil && through != nil {
				conn = through(conn)
			}
			return conn, err
		},
	}}
}
