package loadtest_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/actors/actorstest"
	"github.com/lastcall-go/lastcall/transport"
	"github.com/lastcall-go/lastcall/transport/agentpool"
	"github.com/lastcall-go/lastcall/transport/loadtest"
	"github.com/lastcall-go/lastcall/transport/scripted"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is for what should come at once, on a machine that has other things to do.
const patience = 30 * time.Second

// gateway is a real one, with this agent, until the test is over.
type gateway struct {
	t          *testing.T
	supervisor *actors.Supervisor
	url        string
}

func serve(t *testing.T, agent *scripted.Agent, options actors.Options) *gateway {
	t.Helper()
	supervisor := actorstest.New(t, options).Supervisor
	pool, err := agentpool.New(agentpool.Options{Target: serveAgent(t, agent)})
	if err != nil {
		t.Fatal(err)
	}
	if err := supervisor.Add("agent connections", actors.AfterSessions, pool); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(&transport.Handler{Supervisor: supervisor, Agents: pool})
	g := &gateway{t, supervisor, strings.Replace(server.URL, "http", "ws", 1) + "/ws"}
	t.Cleanup(func() {
		g.drain()
		server.Close()
		supervisor.Close()
	})
	return g
}

func serveAgent(t *testing.T, agent *scripted.Agent) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- agent.Serve(ctx, listener) }()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return listener.Addr().String()
}

func (g *gateway) drain() *actors.Report {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	report, err := g.supervisor.Drain(ctx, actors.Drain{})
	if err != nil {
		g.t.Error(err)
	}
	return report
}

// stopped reports the sessions that stop from now on.
func (g *gateway) stopped() <-chan actors.SessionStopped {
	stopped := make(chan actors.SessionStopped, 100)
	g.t.Cleanup(g.supervisor.Listen(func(event any) {
		if e, is := event.(actors.SessionStopped); is {
			stopped <- e
		}
	}))
	return stopped
}

// fleetOf is one of that URL, gone when the test is over.
func fleetOf(t *testing.T, options loadtest.Options) *loadtest.Fleet {
	t.Helper()
	fleet, err := loadtest.New(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fleet.Cut)
	return fleet
}

// open opens n sessions, all of which must succeed.
func open(t *testing.T, fleet *loadtest.Fleet, n int) loadtest.Opened {
	t.Helper()
	opened, err := fleet.Open(t.Context(), n, 8)
	if err != nil || opened.Open != n || len(opened.Failed) > 0 {
		t.Fatalf("opened %+v, %v; want all of %d", opened, err, n)
	}
	return opened
}

func answering(status int) *httptest.Server {
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "not for you", status)
	}))
}
