package transport_test

import (
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/proto/dap"
	"github.com/lastcall-go/lastcall/transport"
	"github.com/lastcall-go/lastcall/transport/agentpool"
	"github.com/lastcall-go/lastcall/transport/grant"
	"github.com/lastcall-go/lastcall/transport/httpsession"
	"github.com/lastcall-go/lastcall/transport/requestid"
	"github.com/lastcall-go/lastcall/transport/scripted"
)

// refusals counts a handler's refusals, by reason.
type refusals struct {
	mu    sync.Mutex
	count map[httpsession.Refusal]int
}

func (r *refusals) take(reason httpsession.Refusal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.count == nil {
		r.count = make(map[httpsession.Refusal]int)
	}
	r.count[reason]++
}

func (r *refusals) want(t *testing.T, want map[httpsession.Refusal]int) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if !maps.Equal(r.count, want) {
		t.Errorf("got %v, want %v", r.count, want)
	}
}

// Each request that becomes no session is reported once, by its reason.
func TestEveryRefusalIsTold(t *testing.T) {
	ada := func(*http.Request) (*grant.Grant, error) { return &grant.Grant{Principal: "ada"}, nil }
	tests := map[httpsession.Refusal]struct {
		limits    actors.Options
		authorize authorizer
		provoke   func(g *gateway)
	}{
		httpsession.RefusedDenied: {authorize: func(*http.Request) (*grant.Grant, error) { return nil, &grant.RefusedError{Status: 401} },
			provoke: func(g *gateway) { g.get(upgradeHeader...) }},
		httpsession.RefusedUndecided: {authorize: func(*http.Request) (*grant.Grant, error) { return nil, errors.New("down") },
			provoke: func(g *gateway) { g.get(upgradeHeader...) }},
		httpsession.RefusedHandshake: {authorize: ada, provoke: func(g *gateway) { g.get() }},
		httpsession.RefusedBody:      {authorize: ada, provoke: func(g *gateway) { g.execute(g.t.Context(), "w1", `{`) }},
		httpsession.RefusedOrigin: {authorize: ada, provoke: func(g *gateway) {
			request, _ := http.NewRequest("POST", "http://gateway/workflows/w1/execute", strings.NewReader(`{}`))
			request.Header.Set("Origin", "https://evil.example")
			if answer, err := g.clients.httpClient(nil).Do(request); err == nil {
				answer.Body.Close()
			}
		}},
		httpsession.RefusedFull: {limits: actors.Options{MaxSessions: 1}, authorize: ada, provoke: func(g *gateway) {
			g.start()
			g.get(upgradeHeader...)
		}},
		httpsession.RefusedPrincipalFull: {limits: actors.Options{MaxSessionsPerPrincipal: 1}, authorize: ada, provoke: func(g *gateway) {
			g.start()
			g.get(upgradeHeader...)
		}},
		httpsession.RefusedDraining: {authorize: ada, provoke: func(g *gateway) {
			if _, err := g.supervisor.Drain(context.Background(), actors.Drain{Standby: true}); err != nil {
				g.t.Error(err)
			}
			g.get(upgradeHeader...)
		}},
	}
	for reason, test := range tests {
		t.Run(string(reason), func(t *testing.T) {
			told := &refusals{}
			handler := func(h *transport.Handler) { h.Authorizer, h.Refused = test.authorize, told.take }
			inGateway(t, setting{agent: waits, limits: test.limits, handler: handler}, func(t *testing.T, g *gateway) {
				test.provoke(g)
				told.want(t, map[httpsession.Refusal]int{reason: 1})
			})
		})
	}
}

func TestASessionIsNoRefusal(t *testing.T) {
	told := &refusals{}
	inGateway(t, setting{agent: waits, handler: func(h *transport.Handler) { h.Refused = told.take }}, func(t *testing.T, g *gateway) {
		g.start()
		told.want(t, nil)
	})
}

// What passes is counted as the JSON that it is, each way.
func TestTrafficIsCounted(t *testing.T) {
	asks := scripted.Ask(&dap.Action{Action: &dap.Action_Mkdir{Mkdir: &dap.Mkdir{DirectoryPath: "d"}}})
	inGateway(t, setting{agent: scripted.Options{Steps: []scripted.Step{asks}}}, func(t *testing.T, g *gateway) {
		ws := g.dial(nil)
		g.send(ws, startW1)
		g.send(ws, heartbeat)
		_, action, err := ws.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		want := actors.Traffic{
			Received: actors.Flow{Messages: 2, Bytes: uint64(len(startW1) + len(heartbeat))},
			Sent:     actors.Flow{Messages: 1, Bytes: uint64(len(action))},
		}
		sessions := g.look().Sessions
		if len(sessions) != 1 || sessions[0].Traffic.Last.IsZero() || sessions[0].Transport != "websocket" || sessions[0].AgentName != "passthrough:///agent" {
			t.Fatalf("%+v", sessions)
		}
		got := sessions[0].Traffic
		got.Last = want.Last
		if got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	})
}

func TestARunsTrafficIsCounted(t *testing.T) {
	inGateway(t, setting{agent: scripted.Options{Steps: []scripted.Step{}}}, func(t *testing.T, g *gateway) {
		answer := g.execute(t.Context(), "w1", `{}`)
		text, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		stopped := <-g.stopped
		lines := strings.Count(string(text), "\n")
		if want := (actors.Flow{Messages: uint64(lines), Bytes: uint64(len(text))}); stopped.Traffic.Sent != want || lines == 0 || stopped.Transport != "http" {
			t.Errorf("got %+v by %s, want %+v", stopped.Traffic.Sent, stopped.Transport, want)
		}
		if want := (actors.Flow{Messages: 1, Bytes: uint64(len(`{}`))}); stopped.Traffic.Received != want {
			t.Errorf("got %+v, want the request's body", stopped.Traffic.Received)
		}
	})
}

func (g *gateway) look() actors.Snapshot {
	g.t.Helper()
	view, err := g.supervisor.Snapshot(context.Background())
	if err != nil {
		g.t.Fatal(err)
	}
	return view
}

// A request is known by the client's name for it, where that can stand in a log, or gets one.
func TestARequestsID(t *testing.T) {
	for sent, kept := range map[string]bool{
		"": false, "id-1": true, strings.Repeat("x", 128): true, strings.Repeat("x", 129): false, "two words": false, "é": false,
	} {
		t.Run(sent, func(t *testing.T) {
			inGateway(t, setting{agent: waits}, func(t *testing.T, g *gateway) {
				header := http.Header{}
				if sent != "" {
					header.Set("X-Request-Id", sent)
				}
				options := &websocket.DialOptions{HTTPHeader: header, HTTPClient: g.clients.httpClient(nil)}
				ws, answer, err := websocket.Dial(t.Context(), "ws://gateway/", options)
				if err != nil {
					t.Fatal(err)
				}
				ws.CloseNow()
				id := requestid.Of((<-g.stopped).Context)
				if id == "" || (id == sent) != kept || answer.Header.Get("X-Request-Id") != id {
					t.Errorf("the session has %q, the client was told %q", id, answer.Header.Get("X-Request-Id"))
				}
			})
		})
	}
}

func TestWithoutARequestThereIsNoID(t *testing.T) {
	if id := requestid.Of(context.Background()); id != "" {
		t.Errorf("%q", id)
	}
}

// What the handler's Context makes is what the interceptor of the agent's stream sees.
func TestTheContextReachesTheAgentsStream(t *testing.T) {
	type key struct{}
	intercept := func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, streamer grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
		id := requestid.Of(ctx)
		ctx = metadata.AppendToOutgoingContext(ctx, "x-seen", ctx.Value(key{}).(string), "x-request", id)
		return streamer(ctx, desc, cc, method, opts...)
	}
	made := func(h *transport.Handler) {
		h.Context = func(r *http.Request) context.Context { return context.WithValue(r.Context(), key{}, "made") }
	}
	inGateway(t, setting{agent: waits, pool: agentpool.Options{Interceptor: intercept}, handler: made}, func(t *testing.T, g *gateway) {
		g.start()
		sent := observed[scripted.Started](g)[0].Metadata
		if got := sent.Get("x-seen"); len(got) != 1 || got[0] != "made" || len(sent.Get("x-request")[0]) == 0 {
			t.Errorf("the agent saw %v", sent)
		}
	})
}

func TestThePoolTellsWhatItHolds(t *testing.T) {
	inGateway(t, setting{agent: waits, pool: agentpool.Options{StreamsPerConnection: 2, Name: "the agent"}}, func(t *testing.T, g *gateway) {
		if got := g.pool.Stats(); got != (agentpool.Stats{}) {
			t.Errorf("%+v", got)
		}
		for range 3 {
			g.send(g.dial(nil), `{"startRequest": {}}`)
		}
		for len(observed[scripted.Started](g)) < 3 {
			time.Sleep(time.Millisecond)
		}
		if got := g.pool.Stats(); got != (agentpool.Stats{Connections: 2, Streams: 3}) {
			t.Errorf("%+v", got)
		}
		if a, b := g.pool.Name(grant.Target{}), g.pool.Name(grant.Target{Address: "b:1"}); a != "the agent" || b != "b:1" {
			t.Errorf("%q, %q", a, b)
		}
	})
}
