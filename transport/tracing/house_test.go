package tracing_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.opentelemetry.io/otel"
	"go.uber.org/goleak"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/actors/actorstest"
	"github.com/lastcall-go/lastcall/actors/relay"
	"github.com/lastcall-go/lastcall/transport"
	"github.com/lastcall-go/lastcall/transport/agentpool"
	"github.com/lastcall-go/lastcall/transport/grant"
	"github.com/lastcall-go/lastcall/transport/httpserver"
	"github.com/lastcall-go/lastcall/transport/scripted"
	"github.com/lastcall-go/lastcall/transport/tracing"
)

// TestMain makes whatever reaches OpenTelemetry's global error handler a failure: by default that
// writes to the standard error.
func TestMain(m *testing.M) {
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		fmt.Fprintln(os.Stderr, "OpenTelemetry's global error handler was told:", err)
		os.Exit(1)
	}))
	goleak.VerifyTestMain(m)
}

// The client's span, as in the examples of W3C Trace Context.
const (
	clientTrace = "0af7651916cd43dd8448eb211c80319c"
	clientSpan  = "b7ad6b7169203331"
)

// watched is a supervisor with the tracing under test, and nothing else unless a test adds it.
type watched struct {
	t          *testing.T
	supervisor *actorstest.Supervisor
	tracing    *tracing.Tracing

	mu   sync.Mutex
	told []error
}

func watch(t *testing.T, endpoint string) *watched {
	t.Helper()
	w := &watched{t: t, supervisor: actorstest.New(t, actors.Options{})}
	var err error
	w.tracing, err = tracing.New(context.Background(), tracing.Options{Endpoint: endpoint, Version: "v1.2.3", OnError: w.tell})
	if err != nil {
		t.Fatal(err)
	}
	w.supervisor.AddService("tracing", actors.AfterSessions, w.tracing)
	w.tracing.Follow(w.supervisor.Supervisor)
	return w
}

func (w *watched) tell(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.told = append(w.told, err)
}

// errors are what OnError got.
func (w *watched) errors() []error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.told)
}

// broadcast says what a supervisor with sessions would say.
func (w *watched) broadcast(events ...any) {
	for _, event := range events {
		w.supervisor.Engine().BroadcastEvent(event)
	}
}

// drain drains everything, after which all spans have been exported.
func (w *watched) drain(limit time.Duration) *actors.Report {
	w.t.Helper()
	return w.supervisor.Drained(actorstest.Within(limit))
}

// request is a client's, with headers in pairs.
func request(headers ...string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	return r
}

// house is a gateway on real sockets, with a scripted agent.
type house struct {
	*watched
	url     string
	stopped chan actors.SessionStopped

	mu      sync.Mutex
	started []scripted.Started
}

// furniture is what a test wants in its house.
type furniture struct {
	agent scripted.Options
	tools func() []relay.Tool
}

func open(t *testing.T, endpoint string, f furniture) *house {
	t.Helper()
	h := &house{watched: watch(t, endpoint), stopped: make(chan actors.SessionStopped, 100)}
	h.supervisor.Listen(func(event any) {
		if e, ok := event.(actors.SessionStopped); ok {
			h.stopped <- e
		}
	})
	agents, clients := listen(t), listen(t)
	f.agent.Observe = h.observe
	agent := scripted.New(f.agent)
	h.supervisor.AddService("agent", actors.AfterSessions, actors.ServiceFunc(func(ctx context.Context) error { return agent.Serve(ctx, agents) }))
	pool, err := agentpool.New(agentpool.Options{Target: agents.Addr().String(), Name: "scripted", Interceptor: tracing.Interceptor})
	if err != nil {
		t.Fatal(err)
	}
	h.supervisor.AddService("pool", actors.AfterSessions, pool)
	handler := &transport.Handler{Supervisor: h.supervisor.Supervisor, Agents: pool, Context: h.tracing.Context}
	if f.tools != nil {
		handler.Tools = func(*grant.Grant, *http.Request) []relay.Tool { return h.tracing.Tools(f.tools()) }
	}
	h.supervisor.AddService("http", actors.AfterSessions, &httpserver.Server{Listener: clients, Handler: handler})
	h.url = "ws://" + clients.Addr().String()
	return h
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return listener
}

func (h *house) observe(event scripted.Event) {
	if e, ok := event.(scripted.Started); ok {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.started = append(h.started, e)
	}
}

// streams are the streams whose begin the agent has seen.
func (h *house) streams() []scripted.Started {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.started)
}

// start opens a session for a workflow, and waits until its agent has it.
func (h *house) start(workflow string, header http.Header) *websocket.Conn {
	h.t.Helper()
	ws, _, err := websocket.Dial(context.Background(), h.url, &websocket.DialOptions{HTTPHeader: header})
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { ws.CloseNow() })
	if err := ws.Write(context.Background(), websocket.MessageText, fmt.Appendf(nil, `{"startRequest": {"workflowID": %q}}`, workflow)); err != nil {
		h.t.Fatal(err)
	}
	h.await("the stream of "+workflow, func() bool {
		return slices.ContainsFunc(h.streams(), func(s scripted.Started) bool { return s.WorkflowID == workflow })
	})
	return ws
}

func (w *watched) await(what string, condition func() bool) {
	w.t.Helper()
	for end := time.Now().Add(10 * time.Second); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("%s: not within 10 s", what)
		}
	}
}

// read reads until the gateway closes the connection.
func read(ws *websocket.Conn) error {
	for {
		if _, _, err := ws.Read(context.Background()); err != nil {
			return err
		}
	}
}

// traceparent is what a request of a span's would carry.
func traceparent(trace, span string) string {
	return strings.Join([]string{"00", trace, span, "01"}, "-")
}
