package metrics_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"google.golang.org/grpc"
	"google.golang.org/grpc/test/bufconn"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/actors/actorstest"
	"github.com/lastcall-go/lastcall/transport"
	"github.com/lastcall-go/lastcall/transport/agentpool"
	"github.com/lastcall-go/lastcall/transport/httpserver"
	"github.com/lastcall-go/lastcall/transport/metrics"
	"github.com/lastcall-go/lastcall/transport/scripted"
)

// patience bounds what happens at once on a machine that isn't busy.
const patience = 20 * time.Second

// gateway is all of lastcall on a real port, wired as a server is, with a scripted agent.
type gateway struct {
	t          *testing.T
	supervisor *actorstest.Supervisor
	address    string
}

func openGateway(t *testing.T) *gateway {
	t.Helper()
	supervisor := actorstest.New(t, actors.Options{})
	inProcess := bufconn.Listen(1 << 20)
	pool, err := agentpool.New(agentpool.Options{
		Target: "passthrough:///agent",
		DialOptions: []grpc.DialOption{grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return inProcess.DialContext(ctx)
		})},
	})
	if err != nil {
		t.Fatal(err)
	}
	m := open(t, metrics.Options{Snapshot: supervisor.Snapshot, Pool: pool.Stats, Version: "v1"})
	t.Cleanup(supervisor.Listen(m.Observe))
	handler := &transport.Handler{Supervisor: supervisor.Supervisor, Agents: pool, Refused: m.Refused}
	mux := http.NewServeMux()
	mux.Handle("GET /ws", handler)
	mux.Handle("POST /workflows/{id}/execute", handler.Execute())
	mux.Handle("GET /metrics", m.Handler())
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	agent := scripted.New(scripted.Options{Steps: []scripted.Step{scripted.Checkpoint("begun"), scripted.Wait()}})
	serve := actors.ServiceFunc(func(ctx context.Context) error { return agent.Serve(ctx, inProcess) })
	for _, service := range []actors.Service{serve, pool, &httpserver.Server{Listener: listener, Handler: mux}} {
		supervisor.AddService("service", actors.AfterSessions, service)
	}
	return &gateway{t, supervisor, listener.Addr().String()}
}

// scrape reads the figures over the wire.
func (g *gateway) scrape() figures {
	g.t.Helper()
	answer, err := http.Get("http://" + g.address + "/metrics")
	if err != nil {
		g.t.Fatal(err)
	}
	defer answer.Body.Close()
	defer http.DefaultClient.CloseIdleConnections()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(answer.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	all := make(figures)
	for name, family := range families {
		for _, metric := range family.GetMetric() {
			all.add(name, metric)
		}
	}
	return all
}

// until scrapes until a figure has a value, and then once more: one scrape reads its figures one after
// the other.
func (g *gateway) until(name string, value float64) figures {
	g.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		all := g.scrape()
		if all[name] == value {
			return g.scrape()
		}
		if time.Now().After(end) {
			g.t.Fatalf("%s is %v, want %v", name, all[name], value)
		}
	}
}

func TestWhatPassesOverRealSocketsIsCountedToTheByte(t *testing.T) {
	g := openGateway(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, "ws://"+g.address+"/ws", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ws.CloseNow()
	const start = `{"startRequest": {"workflowID": "w1", "ofNextYear": 1}}`
	if err := ws.Write(ctx, websocket.MessageText, []byte(start)); err != nil {
		t.Fatal(err)
	}
	_, checkpoint, err := ws.Read(ctx)
	if err != nil {
		t.Fatal(err)
	}
	run, err := http.Post("http://"+g.address+"/workflows/w2/execute", "application/json", strings.NewReader(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	defer run.Body.Close()
	refused, err := http.Get("http://" + g.address + "/ws")
	if err != nil {
		t.Fatal(err)
	}
	refused.Body.Close()
	g.until(`lastcall_messages_total{direction="sent"}`, 2).has(t, figures{
		`lastcall_sessions{kind="dap",phase="serving",transport="websocket"}`: 1,
		`lastcall_sessions{kind="dap",phase="serving",transport="http"}`:      1,
		`lastcall_agent_connections`:                                          1, // both clients call themselves the same
		`lastcall_agent_streams`:                                              2,
		`lastcall_messages_total{direction="received"}`:                       2, // the run's body is one
		`lastcall_message_bytes_total{direction="received"}`:                  float64(len(start) + len(`{}`)),
		`lastcall_requests_refused_total{reason="handshake"}`:                 1,
	})
	drain := actors.Drain{Standby: true} // the port stays open
	if _, err := g.supervisor.Begin(ctx, drain); err != nil {
		t.Fatal(err)
	}
	_, lastWords, err := ws.Read(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := ws.Read(ctx); websocket.CloseStatus(err) != 1001 {
		t.Error(err)
	}
	lines, err := io.ReadAll(run.Body)
	if err != nil {
		t.Error(err)
	}
	g.until(`lastcall_drains_total{result="drained",scope="all"}`, 1).has(t, figures{
		`lastcall_sessions_ended_total{code="1001",outcome="drained"}`: 2,
		`lastcall_messages_total{direction="sent"}`:                    4,
		`lastcall_message_bytes_total{direction="sent"}`:               float64(len(checkpoint) + len(lastWords) + len(lines)),
		`lastcall_bad_input_total{kind="unknown_field"}`:               1,
		`lastcall_draining`: 1,
	})
	g.until(`lastcall_agent_streams`, 0)
}
