package transport_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/actors/relay"
	"github.com/lastcall-go/lastcall/proto/dap"
	"github.com/lastcall-go/lastcall/transport"
	"github.com/lastcall-go/lastcall/transport/agentpool"
	"github.com/lastcall-go/lastcall/transport/grant"
	"github.com/lastcall-go/lastcall/transport/lease"
	"github.com/lastcall-go/lastcall/transport/scripted"
	"github.com/lastcall-go/lastcall/transport/tlsconfig/tlstest"
)

// authorizer decides with a function.
type authorizer func(*http.Request) (*grant.Grant, error)

func (a authorizer) Authorize(r *http.Request) (*grant.Grant, error) { return a(r) }

// granting gives each request the same grant.
func granting(g grant.Grant) func(*transport.Handler) {
	return func(h *transport.Handler) {
		h.Authorizer = authorizer(func(*http.Request) (*grant.Grant, error) { return &g, nil })
	}
}

// refusing refuses each request.
func refusing(err error) func(*transport.Handler) {
	return func(h *transport.Handler) {
		h.Authorizer = authorizer(func(*http.Request) (*grant.Grant, error) { return nil, err })
	}
}

var upgradeHeader = []string{"Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA=="}

// refused asks at both doors, and wants the same answer there.
func (g *gateway) refused(code int, test func(answer *http.Response, body string)) {
	g.t.Helper()
	for _, door := range []string{"WebSocket", "execute"} {
		var answer *http.Response
		var body string
		if door == "execute" {
			answer = g.execute(g.t.Context(), "w1", `{}`)
			text, err := io.ReadAll(answer.Body)
			if err != nil {
				g.t.Errorf("%s: %v", door, err)
			}
			body = string(text)
		} else {
			answer, body = g.get(upgradeHeader...)
		}
		if answer.StatusCode != code {
			g.t.Errorf("%s: got %d %q, want %d", door, answer.StatusCode, body, code)
		}
		test(answer, body)
	}
}

// records is a log that can be read.
type records struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (r *records) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(p)
}

func (r *records) lines() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Collect(strings.Lines(r.text.String()))
}

func (r *records) log() *slog.Logger { return slog.New(slog.NewTextHandler(r, nil)) }

func TestADenialIsPassedOn(t *testing.T) {
	for _, code := range []int{401, 403, 404} {
		log := &records{}
		denied := &grant.RefusedError{Status: code, Header: http.Header{"Www-Authenticate": {"Bearer", `Basic realm="x"`}}, Reason: "not you"}
		handler := func(h *transport.Handler) {
			refusing(fmt.Errorf("wrapped: %w", denied))(h)
			h.Log = log.log()
		}
		inGateway(t, setting{agent: waits, handler: handler}, func(t *testing.T, g *gateway) {
			g.refused(code, func(answer *http.Response, body string) {
				if got := answer.Header.Values("WWW-Authenticate"); !slices.Equal(got, denied.Header["Www-Authenticate"]) || body != "not you\n" {
					t.Errorf("%d: WWW-Authenticate %q, %q", code, got, body)
				}
			})
			if n := len(observed[scripted.Started](g)); n != 0 || len(log.lines()) != 0 {
				t.Errorf("%d streams, log %q", n, log.lines())
			}
		})
	}
}

func TestAnAuthorizationThatFailsTellsTheClientNothingAndTheLogOnce(t *testing.T) {
	const internal = "endpoint 10.0.0.7 broke"
	for _, c := range []struct {
		err    error
		code   int
		logged bool
	}{
		{errors.New(internal), 502, true},
		{fmt.Errorf(internal+": %w", context.DeadlineExceeded), 504, true},
		{fmt.Errorf(internal+": %w", context.Canceled), 502, false}, // the client has gone
	} {
		log := &records{}
		handler := func(h *transport.Handler) {
			refusing(c.err)(h)
			h.Log = log.log()
		}
		inGateway(t, setting{agent: waits, handler: handler}, func(t *testing.T, g *gateway) {
			want := 0
			g.refused(c.code, func(answer *http.Response, body string) {
				if strings.Contains(body+fmt.Sprint(answer.Header), "10.0.0.7") {
					t.Errorf("the client is told %q %v", body, answer.Header)
				}
				if c.logged {
					want++
				}
				if got := log.lines(); len(got) != want || want > 0 && !strings.Contains(got[want-1], internal) {
					t.Errorf("the log has %q after %d requests", got, want)
				}
			})
		})
	}
}

func TestAPrincipalHasALimitUntilASessionEnds(t *testing.T) {
	handler := func(h *transport.Handler) {
		h.Authorizer = authorizer(func(r *http.Request) (*grant.Grant, error) {
			return &grant.Grant{Principal: r.Header.Get("X-Principal")}, nil
		})
	}
	limits := actors.Options{MaxSessionsPerPrincipal: 1}
	inGateway(t, setting{agent: waits, handler: handler, limits: limits}, func(t *testing.T, g *gateway) {
		as := func(principal string) *websocket.DialOptions {
			return &websocket.DialOptions{HTTPHeader: http.Header{"X-Principal": {principal}}}
		}
		tooMany := func() {
			t.Helper()
			answer, body := g.get(append(upgradeHeader, "X-Principal", "ada")...)
			if answer.StatusCode != 429 || answer.Header.Get("Retry-After") != "5" || !answer.Close || !strings.Contains(body, "too many sessions") {
				t.Errorf("%s %v %q", answer.Status, answer.Header, body)
			}
		}
		ada := g.dial(as("ada"))
		tooMany()
		request, err := http.NewRequestWithContext(t.Context(), "POST", "http://gateway/workflows/w2/execute", strings.NewReader(`{}`))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("X-Principal", "ada")
		answer, err := g.clients.httpClient(nil).Do(request)
		if err != nil || answer.StatusCode != 429 || answer.Header.Get("Retry-After") != "5" {
			t.Fatalf("execute: %v, %v", answer, err)
		}
		answer.Body.Close()
		g.dial(as("bob"))
		for range 3 { // no principal
			g.dial(nil)
		}
		ada.Close(1000, "")
		<-g.stopped
		synctest.Wait()
		g.dial(as("ada"))
		tooMany()
	})
}

// grantedAgents are two agents on ports, one of them with TLS, and what they are started with.
func grantedAgents(t *testing.T) (plain, encrypted string, roots *x509.CertPool, events chan scripted.Started) {
	t.Helper()
	events = make(chan scripted.Started, 10)
	ca := tlstest.NewAuthority(t)
	pair := ca.Issue(t, 1)
	open := func(options ...grpc.ServerOption) string {
		agent := scripted.New(scripted.Options{
			Steps: []scripted.Step{scripted.Checkpoint("granted")},
			Observe: func(e scripted.Event) {
				if started, ok := e.(scripted.Started); ok {
					events <- started
				}
			},
		})
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		server := grpc.NewServer(append(options, grpc.WaitForHandlers(true))...)
		dap.RegisterDuoWorkflowServer(server, agent)
		served := make(chan error, 1)
		go func() { served <- server.Serve(listener) }()
		t.Cleanup(func() {
			server.Stop()
			agent.Wait()
			if err := <-served; err != nil {
				t.Error(err)
			}
		})
		return listener.Addr().String()
	}
	config := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	return open(), open(grpc.Creds(credentials.NewTLS(config))), ca.Pool(), events
}

// A granted address is reached over a real socket: the gateway's own dialer is for its own agent.
func TestTheGrantsAgentIsTheOne(t *testing.T) {
	plain, encrypted, roots, granted := grantedAgents(t)
	for name, target := range map[string]grant.Target{
		"plaintext": {Address: plain},
		"encrypted": {Address: encrypted, TLS: true},
	} {
		t.Run(name, func(t *testing.T) {
			target.Headers = map[string]string{"authorization": "Bearer agent-token", "x-gitlab-realm": "saas"}
			var dials atomic.Int32
			pool := agentpool.Options{
				TLS: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
				DialOptions: []grpc.DialOption{
					grpc.WithTransportCredentials(insecure.NewCredentials()),
					grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) {
						dials.Add(1)
						return nil, errors.New("this is the gateway's own agent")
					}),
				},
			}
			g := open(t, setting{pool: pool, handler: granting(grant.Grant{Agent: target})})
			defer g.supervisor.Close()
			ws := g.dial(&websocket.DialOptions{HTTPHeader: http.Header{"User-Agent": {"ide/7"}, "Authorization": {"Bearer client-token"}}})
			g.send(ws, startW1)
			wantFrame(t, closeFrame(ws), 1000, "")
			select {
			case started := <-granted:
				md := started.Metadata
				if got := md.Get("authorization"); !slices.Equal(got, []string{"Bearer agent-token"}) || !slices.Equal(md.Get("x-gitlab-realm"), []string{"saas"}) {
					t.Errorf("metadata %v", md)
				}
				if got := md.Get("user-agent"); len(got) != 1 || !strings.HasPrefix(got[0], "ide/7 lastcall") {
					t.Errorf("user agent %q", got)
				}
			default:
				t.Error("the granted agent saw nothing")
			}
			if _, err := g.supervisor.Drain(context.Background(), actors.Drain{}); err != nil {
				t.Error(err)
			}
			if n := dials.Load(); n != 0 || len(g.events) != 0 {
				t.Errorf("the gateway's own agent was dialled %d times and saw %v", n, g.events)
			}
		})
	}
}

// An agent that can't be encrypted to is not spoken to in plaintext.
func TestATokenIsNotSentInPlaintextToAnAgentThatWasGrantedWithTLS(t *testing.T) {
	plain, _, roots, granted := grantedAgents(t)
	pool := agentpool.Options{TLS: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	target := grant.Target{Address: plain, TLS: true, Headers: map[string]string{"authorization": "Bearer agent-token"}}
	g := open(t, setting{pool: pool, handler: granting(grant.Grant{Agent: target})})
	defer g.supervisor.Close()
	ws := g.dial(nil)
	g.send(ws, startW1)
	wantFrame(t, closeFrame(ws), 1001, "agent unavailable")
	if _, err := g.supervisor.Drain(context.Background(), actors.Drain{}); err != nil || len(granted) != 0 {
		t.Errorf("%v; the agent saw %d streams", err, len(granted))
	}
}

func TestAGrantWithoutAnAddressIsForTheGatewaysOwnAgent(t *testing.T) {
	headers := map[string]string{"x-gitlab-realm": "saas"}
	inGateway(t, setting{agent: waits, handler: granting(grant.Grant{Agent: grant.Target{TLS: true, Headers: headers}})}, func(t *testing.T, g *gateway) {
		g.start()
		if md := observed[scripted.Started](g)[0].Metadata; !slices.Equal(md.Get("x-gitlab-realm"), []string{"saas"}) {
			t.Errorf("metadata %v", md)
		}
	})
}

func TestAFixedWorkflowIsTheOnlyOne(t *testing.T) {
	inGateway(t, setting{agent: waits, handler: granting(grant.Grant{WorkflowID: "w1"})}, func(t *testing.T, g *gateway) {
		ws := g.dial(nil)
		g.send(ws, `{"startRequest": {"workflowID": "w2"}}`)
		wantFrame(t, closeFrame(ws), 3003, "workflow not allowed")
		if end := <-g.stopped; end.Outcome != actors.Refused {
			t.Errorf("%+v", end)
		}
		if answer := g.execute(t.Context(), "w2", `{}`); answer.StatusCode != 403 {
			t.Errorf("execute of another workflow: %s", answer.Status)
		}
		<-g.stopped
		if got := observed[scripted.Started](g); len(got) != 0 {
			t.Fatalf("the agent was started with %v", got)
		}
		g.send(g.dial(nil), `{"startRequest": {"goal": "none named"}}`)
		g.send(g.dial(nil), startW1)
		started := observed[scripted.Started](g)
		if len(started) != 2 || started[0].Request.WorkflowID != "w1" || started[1].Request.WorkflowID != "w1" {
			t.Errorf("the agent was started with %v", started)
		}
	})
}

func TestTheAgentIsToldWhatBothSidesCanDo(t *testing.T) {
	const says = `{"startRequest": {"workflowID": "w1", "clientCapabilities": ["telepathy", "shell_command", "advanced_search", "shell_command"]}}`
	granted := grant.Grant{Capabilities: []string{"made_up", "advanced_search", "shell_command", "tool_call_approval"}}
	for _, c := range []struct {
		client, server []string
		want, alone    []string
	}{
		{nil, nil, []string{"shell_command", "advanced_search", "tool_call_approval"}, []string{"advanced_search", "tool_call_approval"}},
		{[]string{"telepathy"}, []string{"made_up"}, []string{"telepathy", "made_up"}, []string{"made_up"}},
		{[]string{}, []string{}, nil, nil},
	} {
		handler := func(h *transport.Handler) {
			granting(granted)(h)
			h.ClientCapabilities, h.ServerCapabilities = c.client, c.server
		}
		inGateway(t, setting{agent: scripted.Options{Steps: []scripted.Step{scripted.Checkpoint("x")}}, handler: handler}, func(t *testing.T, g *gateway) {
			ws := g.dial(nil)
			g.send(ws, says)
			closeFrame(ws)
			checkpoints(t, g.execute(t.Context(), "w2", `{"clientCapabilities": ["shell_command", "telepathy"]}`))
			started := observed[scripted.Started](g)
			if len(started) != 2 || !slices.Equal(started[0].Request.ClientCapabilities, c.want) || !slices.Equal(started[1].Request.ClientCapabilities, c.alone) {
				t.Errorf("the agent was told %v, want %q and without a client %q", started, c.want, c.alone)
			}
		})
	}
}

func TestAnotherSitesPageIsLetInWhereItIsNamed(t *testing.T) {
	handler := func(h *transport.Handler) { h.AllowOrigins = []string{"*.example.com", "ide.test:8080"} }
	inGateway(t, setting{agent: waits, handler: handler}, func(t *testing.T, g *gateway) {
		for _, origin := range []string{"https://evil.test", "https://example.com", "https://x.example.com.evil.test", "https://ide.test"} {
			if answer, body := g.get(append(upgradeHeader, "Origin", origin)...); answer.StatusCode != 403 {
				t.Errorf("%s: %s %q", origin, answer.Status, body)
			}
		}
		for _, origin := range []string{"https://ide.example.com", "http://ide.test:8080", "https://gateway"} {
			g.dial(&websocket.DialOptions{HTTPHeader: http.Header{"Origin": {origin}}})
		}
	})
	inGateway(t, setting{agent: waits}, func(t *testing.T, g *gateway) {
		if answer, body := g.get(append(upgradeHeader, "Origin", "https://ide.example.com")...); answer.StatusCode != 403 {
			t.Errorf("with nobody named: %s %q", answer.Status, body)
		}
	})
}

// slowRelease is a store that takes its time to release: a close frame before that is too early.
type slowRelease struct{ relay.Leaser }

func (s slowRelease) Acquire(ctx context.Context, workflow string, lost func(error)) (relay.Lease, error) {
	held, err := s.Leaser.Acquire(ctx, workflow, lost)
	if err != nil {
		return nil, err
	}
	return slowlyReleased{held}, nil
}

type slowlyReleased struct{ relay.Lease }

func (s slowlyReleased) Release(ctx context.Context) error {
	time.Sleep(time.Second)
	return s.Lease.Release(ctx)
}

func TestALockedWorkflowRunsInOnePlace(t *testing.T) {
	for name, lock := range map[string]func(*transport.Handler){
		"the grant says so": granting(grant.Grant{Lock: true}),
		"all are locked":    func(h *transport.Handler) { h.LockAll = true },
	} {
		t.Run(name, func(t *testing.T) {
			handler := func(h *transport.Handler) {
				h.Leaser = slowRelease{&lease.Memory{}}
				lock(h)
			}
			inGateway(t, setting{agent: waits, handler: handler}, func(t *testing.T, g *gateway) {
				first := g.start()
				for range 2 {
					second := g.dial(nil)
					g.send(second, startW1)
					wantFrame(t, closeFrame(second), 1013, "workflow is running elsewhere")
					if end := <-g.stopped; end.Outcome != actors.Refused {
						t.Errorf("%+v", end)
					}
				}
				if answer := g.execute(t.Context(), "w1", `{}`); answer.StatusCode != 409 {
					t.Errorf("execute: %s", answer.Status)
				}
				g.send(g.dial(nil), `{"startRequest": {"workflowID": "w2"}}`)
				if n := len(observed[scripted.Started](g)); n != 2 {
					t.Errorf("the agent has %d streams, want those of w1 and w2", n)
				}
				// At the very moment that the close frame is here the workflow is free.
				g.send(first, `{"stopWorkflow": {"reason": "enough"}}`)
				wantFrame(t, closeFrame(first), 1000, "")
				third := g.dial(nil)
				g.send(third, startW1)
				time.Sleep(time.Second)
				if n := len(observed[scripted.Started](g)); n != 3 {
					t.Errorf("the agent has seen %d streams, want w1 again", n)
				}
				g.send(third, `{"stopWorkflow": {"reason": "enough"}}`)
				wantFrame(t, closeFrame(third), 1000, "")
			})
		})
	}
}

func TestWithoutALockAWorkflowMayRunTwice(t *testing.T) {
	handler := func(h *transport.Handler) { h.Leaser = &lease.Memory{} }
	inGateway(t, setting{agent: waits, handler: handler}, func(t *testing.T, g *gateway) {
		g.start()
		g.start()
		if n := len(observed[scripted.Started](g)); n != 2 {
			t.Errorf("%d streams", n)
		}
	})
}

// leases is a store that answers with a function.
type leases func(lost func(error)) (relay.Lease, error)

func (l leases) Acquire(_ context.Context, _ string, lost func(error)) (relay.Lease, error) {
	return l(lost)
}

type noLease struct{}

func (noLease) Token() uint64                 { return 1 }
func (noLease) Confirm(context.Context) error { return nil }
func (noLease) Release(context.Context) error { return nil }

func TestEveryCloseCodeIsSeenByAClient(t *testing.T) {
	breaks := func(code codes.Code, text string) scripted.Options {
		return scripted.Options{Misbehave: func(string) scripted.Misbehaviour {
			return scripted.Misbehaviour{BreakOff: status.New(code, text)}
		}}
	}
	leasing := func(l leases) func(*transport.Handler) {
		return func(h *transport.Handler) { h.Leaser, h.LockAll = l, true }
	}
	const internal = "10.0.0.7"
	for name, c := range map[string]struct {
		agent   scripted.Options
		handler func(*transport.Handler)
		says    []string
		drain   bool
		code    websocket.StatusCode
		reason  string // begins so
	}{
		"the agent has finished": {agent: scripted.Options{Steps: []scripted.Step{scripted.Checkpoint("x")}}, says: []string{startW1}, code: 1000},
		"a drain":                {agent: waits, says: []string{startW1}, drain: true, code: 1001, reason: "server shutdown"},
		"the agent is away":      {agent: breaks(codes.Unavailable, internal), says: []string{startW1}, code: 1001, reason: "agent unavailable"},
		"not JSON":               {agent: waits, says: []string{startW1, "hello"}, code: 1007, reason: "not a ClientEvent: "},
		"not JSON at first":      {agent: waits, says: []string{"hello"}, code: 1007, reason: "not a ClientEvent: "},
		"deep nesting":           {agent: waits, says: []string{startW1, strings.Repeat(`{"x":`, 20_000)}, code: 1007, reason: "not a ClientEvent: "},
		"invalid UTF-8":          {agent: waits, says: []string{"{\"startRequest\": {\"goal\": \"\xff\"}}"}, code: 1007, reason: "not a ClientEvent: "},
		"a wrong type":           {agent: waits, says: []string{`{"startRequest": {"goal": 7}}`}, code: 1007, reason: "not a ClientEvent: "},
		"no start request":       {agent: waits, says: []string{heartbeat}, code: 4400, reason: "start request expected"},
		"nothing in time":        {agent: waits, code: 4400, reason: "start request expected"},
		"two start requests":     {agent: waits, says: []string{startW1, startW1}, code: 4400, reason: "start request sent twice"},
		"no credits":             {agent: breaks(codes.ResourceExhausted, "USAGE_QUOTA_EXCEEDED "+internal), says: []string{startW1}, code: 1008, reason: "usage quota exceeded"},
		"not entitled":           {agent: breaks(codes.PermissionDenied, internal+" USAGE_QUOTA_NOT_ENTITLED: "+internal), says: []string{startW1}, code: 1008, reason: "USAGE_QUOTA_NOT_ENTITLED"},
		"another workflow":       {agent: waits, handler: granting(grant.Grant{WorkflowID: "w2"}), says: []string{startW1}, code: 3003, reason: "workflow not allowed"},
		"over 4 MiB":             {agent: waits, says: []string{startW1, ofSize(4<<20+1, "~")}, code: 1009, reason: "message over 4 MiB"},
		"the agent fails":        {agent: breaks(codes.Internal, internal), says: []string{startW1}, code: 1011, reason: "agent error: INTERNAL"},
		"the store fails": {agent: waits, handler: leasing(func(func(error)) (relay.Lease, error) { return nil, errors.New(internal) }),
			says: []string{startW1}, code: 1011, reason: "internal error"},
		"the store panics": {agent: waits, handler: leasing(func(func(error)) (relay.Lease, error) { panic(internal) }),
			says: []string{startW1}, code: 1011, reason: "internal error"},
		"held elsewhere": {agent: waits, handler: leasing(func(func(error)) (relay.Lease, error) { return nil, relay.LeaseHeld(errors.New(internal)) }),
			says: []string{startW1}, code: 1013, reason: "workflow is running elsewhere"},
		"the lease is lost": {agent: waits, handler: leasing(func(lost func(error)) (relay.Lease, error) {
			time.AfterFunc(time.Second, func() { lost(errors.New(internal)) })
			return noLease{}, nil
		}), says: []string{startW1}, code: 1013, reason: "workflow lease lost"},
		"the agent refuses": {agent: breaks(codes.InvalidArgument, "no such flow"), says: []string{startW1}, code: 4400, reason: "no such flow"},
	} {
		t.Run(name, func(t *testing.T) {
			inGateway(t, setting{agent: c.agent, handler: c.handler}, func(t *testing.T, g *gateway) {
				ws := g.dial(nil)
				go func() {
					for _, text := range c.says {
						_ = ws.Write(context.Background(), websocket.MessageText, []byte(text))
					}
				}()
				if c.drain {
					synctest.Wait()
					go g.supervisor.Drain(context.Background(), actors.Drain{})
				}
				frame := closeFrame(ws)
				if frame.Code != c.code || !strings.HasPrefix(frame.Reason, c.reason) || c.reason == "" && frame.Reason != "" || strings.Contains(frame.Reason, internal) {
					t.Errorf("the client was told %d %q, want %d %q", frame.Code, frame.Reason, c.code, c.reason)
				}
				if end := <-g.stopped; end.Code != int(c.code) || end.Reason != frame.Reason {
					t.Errorf("the event says %d %q", end.Code, end.Reason)
				}
			})
		})
	}
}

func TestTheStatusesThatAreNotTheAuthorizers(t *testing.T) {
	inGateway(t, setting{agent: waits}, func(t *testing.T, g *gateway) {
		if answer, _ := g.get(); answer.StatusCode != 426 {
			t.Errorf("no upgrade: %s", answer.Status)
		}
		if answer := g.execute(t.Context(), "w1", `{"goal": "`+strings.Repeat("x", 4<<20)+`"}`); answer.StatusCode != 413 {
			t.Errorf("a body over 4 MiB: %s", answer.Status)
		}
		g.start() // and doesn't answer the close frame, which makes the drain last
		go g.supervisor.Drain(context.Background(), actors.Drain{})
		synctest.Wait()
		g.refused(503, func(answer *http.Response, body string) { wantUnavailable(t, answer, body, "1", "draining") })
	})
}

// repeater is an agent that uses a requestID twice, and ends after a heartbeat.
type repeater struct {
	dap.UnimplementedDuoWorkflowServer
	answers atomic.Int32
}

func (r *repeater) ExecuteWorkflow(stream dap.DuoWorkflow_ExecuteWorkflowServer) error {
	if _, err := stream.Recv(); err != nil {
		return err
	}
	for range 2 {
		if err := stream.Send(&dap.Action{RequestID: "r1", Action: &dap.Action_Mkdir{Mkdir: &dap.Mkdir{DirectoryPath: "d"}}}); err != nil {
			return err
		}
	}
	for {
		event, err := stream.Recv()
		switch {
		case err != nil:
			return err
		case event.GetHeartbeat() != nil:
			return nil
		case event.GetActionResponse() != nil:
			r.answers.Add(1)
		}
	}
}

func TestBadInputIsCountedByKind(t *testing.T) {
	var network memory // of another agent than the scripted one; made in the bubble
	dialer := grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return network.Dial(ctx) })
	inGateway(t, setting{pool: agentpool.Options{DialOptions: []grpc.DialOption{dialer}}}, func(t *testing.T, g *gateway) {
		network = newMemory()
		agent := &repeater{}
		g.add("repeater", actors.ServiceFunc(func(ctx context.Context) error {
			server := grpc.NewServer(grpc.WaitForHandlers(true))
			dap.RegisterDuoWorkflowServer(server, agent)
			stop := context.AfterFunc(ctx, server.Stop)
			defer stop()
			return server.Serve(network)
		}))
		ws := g.dial(nil)
		g.send(ws, `{"startRequest": {"workflowID": "w1", "colour": "red"}}`)
		if _, action := g.act(ws); action.GetRequestID() != "r1" {
			t.Errorf("got %v", action)
		}
		g.send(ws, `{"greeting": {}}`) // a field, and a kind, that isn't known
		g.send(ws, `{}`)
		g.send(ws, `{"actionResponse": {"requestID": "nobody's", "plainTextResponse": {}}}`)
		for range 2 {
			synctest.Wait()
			g.send(ws, `{"actionResponse": {"requestID": "r1", "plainTextResponse": {}}}`)
		}
		g.send(ws, heartbeat)
		if _, message, err := ws.Read(t.Context()); websocket.CloseStatus(err) != 1000 {
			t.Errorf("after the one action came %s, %v", message, err)
		}
		end := <-g.stopped
		want := map[actors.BadInput]int{relay.UnknownField: 2, relay.UnknownEvent: 2, relay.UnknownRequest: 2, relay.DuplicateRequest: 1}
		if end.Outcome != actors.Completed || !maps.Equal(end.BadInput, want) {
			t.Errorf("counted %v, want %v; %s", end.BadInput, want, end.Outcome)
		}
		if n := agent.answers.Load(); n != 1 {
			t.Errorf("the agent was answered %d times", n)
		}
	})
}

func TestGoodInputIsNotCounted(t *testing.T) {
	inGateway(t, setting{agent: waits}, func(t *testing.T, g *gateway) {
		ws := g.start()
		g.send(ws, heartbeat)
		g.send(ws, `{"stopWorkflow": {"reason": "enough"}}`)
		wantFrame(t, closeFrame(ws), 1000, "")
		if end := <-g.stopped; end.BadInput != nil {
			t.Errorf("counted %v", end.BadInput)
		}
	})
}

// A form on any page can post; only the origin shows it.
func TestAnotherSitesPageCannotStartARun(t *testing.T) {
	allow := func(h *transport.Handler) { h.AllowOrigins = []string{"*.friend.example"} }
	for origin, want := range map[string]int{
		"": 200, "http://gateway": 200, "https://a.friend.example": 200,
		"https://evil.example": 403, "null": 403, "https://friend.example.evil.example": 403,
	} {
		t.Run(origin, func(t *testing.T) {
			inGateway(t, setting{handler: allow, agent: scripted.Options{Steps: []scripted.Step{}}}, func(t *testing.T, g *gateway) {
				request, err := http.NewRequest("POST", "http://gateway/workflows/w1/execute", strings.NewReader(`{}`))
				if err != nil {
					t.Fatal(err)
				}
				if origin != "" {
					request.Header.Set("Origin", origin)
				}
				response, err := g.clients.httpClient(nil).Do(request)
				if err != nil {
					t.Fatal(err)
				}
				defer response.Body.Close()
				if _, err := io.ReadAll(response.Body); response.StatusCode != want || err != nil {
					t.Errorf("got %d, %v, want %d", response.StatusCode, err, want)
				}
				if started := len(observed[scripted.Started](g)); (started == 1) != (want == 200) {
					t.Errorf("%d workflows were started", started)
				}
			})
		})
	}
}

// A client that sends its body slowly takes no place of another.
func TestARunTakesItsPlaceOnceItsBodyIsRead(t *testing.T) {
	inGateway(t, setting{limits: actors.Options{MaxSessions: 1}, agent: scripted.Options{Steps: []scripted.Step{}}}, func(t *testing.T, g *gateway) {
		body, writer := io.Pipe()
		slow, err := http.NewRequest("POST", "http://gateway/workflows/w1/execute", body)
		if err != nil {
			t.Fatal(err)
		}
		answered := make(chan int, 1)
		go func() {
			response, err := g.clients.httpClient(nil).Do(slow)
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = io.Copy(io.Discard, response.Body)
			response.Body.Close()
			answered <- response.StatusCode
		}()
		_, _ = io.WriteString(writer, `{"goal": `)
		time.Sleep(30 * time.Second)
		if response := g.execute(t.Context(), "w2", `{}`); response.StatusCode != 200 {
			t.Errorf("the place is taken: %d", response.StatusCode)
		} else if statuses, _ := checkpoints(t, response); len(statuses) != 1 {
			t.Errorf("%q", statuses)
		}
		<-g.stopped // the place is free again
		_, _ = io.WriteString(writer, `"x"}`)
		writer.Close()
		if status := <-answered; status != 200 {
			t.Errorf("and then: %d", status)
		}
	})
}
