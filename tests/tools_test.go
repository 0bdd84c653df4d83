package tests

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/actors/relay"
	"github.com/lastcall-go/lastcall/proto/dap"
	"github.com/lastcall-go/lastcall/transport"
	"github.com/lastcall-go/lastcall/transport/client"
	"github.com/lastcall-go/lastcall/transport/grant"
	"github.com/lastcall-go/lastcall/transport/httptool"
	"github.com/lastcall-go/lastcall/transport/mcptool"
	"github.com/lastcall-go/lastcall/transport/scripted"
	"github.com/lastcall-go/lastcall/transport/tracktool"
)

// hidden is in everything that must not be shown: tokens, headers, and paths of URLs.
const hidden = "s3cr3t"

// What the agent asks of the tools here, and of the client.
var (
	askAPI     = scripted.Ask(&dap.Action{Action: &dap.Action_RunHTTPRequest{RunHTTPRequest: &dap.RunHTTPRequest{Method: "GET", Path: "/api/v4/user"}}})
	askTrack   = scripted.Ask(&dap.Action{Action: &dap.Action_TrackLlmCallForSelfHosted{TrackLlmCallForSelfHosted: &dap.TrackLlmCallForSelfHosted{WorkflowID: "w1", FeatureQualifiedName: "chat"}}})
	askMCP     = askMCPTool("files_list")
	askUnknown = askMCPTool("files_absent")
	askMkdir   = scripted.Ask(&dap.Action{Action: &dap.Action_Mkdir{Mkdir: &dap.Mkdir{DirectoryPath: "d"}}})
)

func askMCPTool(name string) scripted.Step {
	return scripted.Ask(&dap.Action{Action: &dap.Action_RunMCPTool{RunMCPTool: &dap.RunMCPTool{Name: name, Args: `{"dir":"x"}`}}})
}

// backends are what tools talk to: an API, an MCP server, and a tracking service. Each can hang, and
// then says so.
type backends struct {
	dap.UnimplementedDuoWorkflowServer
	api, mcp *httptest.Server
	tracking string

	hangs  func(what string) bool // "API", "MCP connect", "MCP call", "MCP close", "tracking"
	hung   chan string
	freed  chan struct{} // closed when the test is over: what hangs harder than its context lets go
	mu     sync.Mutex
	tokens map[string]int // what was brought, by server
	ended  []time.Time    // of MCP sessions, by DELETE
}

// withMCPSessions is the last protocol in which a client ends its session.
const withMCPSessions = "2025-11-25"

func newBackends(t *testing.T, hanging ...string) *backends {
	t.Helper()
	b := &backends{
		hangs:  func(what string) bool { return slices.Contains(hanging, what) },
		hung:   make(chan string, 100),
		freed:  make(chan struct{}),
		tokens: make(map[string]int),
	}
	b.api = httptest.NewServer(http.HandlerFunc(b.serveAPI))
	server := mcp.NewServer(&mcp.Implementation{Name: "files", Version: "1"}, &mcp.ServerOptions{SupportedProtocolVersions: []string{withMCPSessions}})
	server.AddTool(&mcp.Tool{Name: "list", InputSchema: json.RawMessage(`{"type": "object"}`)}, b.list)
	handler := mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server }, nil)
	b.mcp = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { b.serveMCP(handler, w, r) }))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b.tracking = listener.Addr().String()
	cloud := grpc.NewServer(grpc.WaitForHandlers(true))
	dap.RegisterDuoWorkflowServer(cloud, b)
	served := make(chan error, 1)
	go func() { served <- cloud.Serve(listener) }()
	t.Cleanup(func() {
		close(b.freed)
		for _, s := range []*httptest.Server{b.api, b.mcp} {
			s.CloseClientConnections()
			s.Close()
		}
		for session := range server.Sessions() {
			_ = session.Close()
		}
		cloud.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return b
}

// hang never answers, not even when no call waits any more.
func (b *backends) hang(what string) {
	b.hung <- what
	<-b.freed
}

func (b *backends) brought(what, token string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tokens[what+" "+token]++
}

func (b *backends) serveAPI(w http.ResponseWriter, r *http.Request) {
	b.brought("API", r.Header.Get("Authorization"))
	if b.hangs("API") {
		b.hang("API")
		return
	}
	w.Header().Set("X-Page", "1")
	_, _ = io.WriteString(w, "ada")
}

func (b *backends) serveMCP(handler http.Handler, w http.ResponseWriter, r *http.Request) {
	b.brought("MCP", r.Header.Get("X-Token"))
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	switch {
	case r.Method == http.MethodDelete:
		if b.hangs("MCP close") {
			b.hang("MCP close")
			return
		}
		b.mu.Lock()
		b.ended = append(b.ended, time.Now())
		b.mu.Unlock()
	case bytes.Contains(body, []byte(`"initialize"`)) && b.hangs("MCP connect"):
		b.hang("MCP connect")
		return
	}
	handler.ServeHTTP(w, r)
}

func (b *backends) list(_ context.Context, r *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	if b.hangs("MCP call") {
		b.hang("MCP call")
	}
	return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: string(r.Params.Arguments)}}}, nil
}

// TrackSelfHostedExecuteWorkflow implements the tracking service.
func (b *backends) TrackSelfHostedExecuteWorkflow(stream dap.DuoWorkflow_TrackSelfHostedExecuteWorkflowServer) error {
	md, _ := metadata.FromIncomingContext(stream.Context())
	b.brought("tracking", strings.Join(md.Get("x-token"), ","))
	for {
		report, err := stream.Recv()
		if err != nil {
			return nil
		}
		if b.hangs("tracking") {
			b.hang("tracking")
			return nil
		}
		if err := stream.Send(&dap.TrackSelfHostedAction{RequestID: report.GetRequestID()}); err != nil {
			return err
		}
	}
}

func (b *backends) grant() *grant.Grant {
	token := map[string]string{"x-token": hidden}
	return &grant.Grant{
		Principal:  "ada",
		Agent:      grant.Target{Headers: token},
		Tracking:   grant.Target{Address: b.tracking, Headers: token},
		API:        grant.API{URL: b.api.URL, Token: hidden},
		MCPServers: map[string]grant.MCPServer{"files": {URL: b.mcp.URL + "/" + hidden, Headers: token, PreApprovedTools: []string{"list"}}},
	}
}

type authorizedBy func(*http.Request) (*grant.Grant, error)

func (a authorizedBy) Authorize(r *http.Request) (*grant.Grant, error) { return a(r) }

// toolGateway is a gateway whose sessions have all three tools. All that it reports is kept.
type toolGateway struct {
	*gateway
	mu   sync.Mutex
	said []string
}

func newToolGateway(t *testing.T, a *agent, b *backends, limits actors.Options) *toolGateway {
	t.Helper()
	g := &toolGateway{gateway: newGateway(t, a, limits)}
	t.Cleanup(g.supervisor.Listen(func(event any) {
		text := fmt.Sprintf("%+v", event)
		switch e := event.(type) {
		case actors.SessionStopped:
			text += fmt.Sprint(e.Err)
		case relay.ToolUnavailable:
			text += fmt.Sprint(e.Err)
		}
		g.say(text)
	}))
	shared := &http.Transport{}
	t.Cleanup(shared.CloseIdleConnections)
	g.mux.Handle("GET /tools", &transport.Handler{
		Supervisor: g.supervisor,
		Agents:     g.pool,
		Authorizer: authorizedBy(func(*http.Request) (*grant.Grant, error) { return b.grant(), nil }),
		Tools: func(granted *grant.Grant, r *http.Request) []relay.Tool {
			api, err := httptool.New(httptool.Options{API: granted.API, RemoteAddr: r.RemoteAddr, Transport: shared})
			if err != nil {
				t.Error(err)
			}
			return []relay.Tool{
				api,
				mcptool.New(mcptool.Options{Servers: granted.MCPServers, Transport: shared}),
				tracktool.New(g.pool.Tracking(granted.Tracking, ""), granted.Tracking.Headers),
			}
		},
	})
	return g
}

func (g *toolGateway) say(text string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.said = append(g.said, text)
}

func (g *toolGateway) join(workflow string) *guest {
	g.t.Helper()
	config := g.config(workflow)
	config.URL = "ws://" + g.address + "/tools"
	conn, err := client.Dial(context.Background(), config)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(conn.Cut)
	return &guest{Conn: conn, g: g.gateway, workflow: workflow}
}

// silent wants no secret in any output: the events, the report, the close reason, what
// the agent was answered and what the client saw.
func (g *toolGateway) silent(report *actors.Report, guests ...*guest) {
	g.t.Helper()
	if report != nil {
		text, err := json.Marshal(report)
		if err != nil {
			g.t.Fatal(err)
		}
		g.say(string(text))
	}
	for _, c := range guests {
		g.say(fmt.Sprint(c.actions))
		for _, o := range g.agent.all(c.workflow) {
			switch e := o.Event.(type) {
			case scripted.Started:
				g.say(e.Request.String())
			case scripted.Received:
				g.say(e.Event.String())
			}
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.said) == 0 {
		g.t.Error("nothing was said")
	}
	for _, text := range g.said {
		if strings.Contains(text, hidden) {
			g.t.Errorf("a secret is told: %s", text)
		}
	}
}

// answers returns what the agent was answered, and fails where a request was answered twice.
func (a *agent) answers(workflow string) (all []*dap.ActionResponse) {
	a.t.Helper()
	ids := make(map[string]bool)
	for _, o := range a.all(workflow) {
		received, ok := o.Event.(scripted.Received)
		if !ok || received.Event.GetActionResponse() == nil {
			continue
		}
		answer := received.Event.GetActionResponse()
		if ids[answer.GetRequestID()] {
			a.t.Errorf("%s: answered twice: %v", workflow, answer)
		}
		ids[answer.GetRequestID()] = true
		all = append(all, answer)
	}
	return all
}

func TestToolsAnswerTheAgentAndTheClientSeesNothing(t *testing.T) {
	t.Parallel()
	b := newBackends(t)
	a := newAgent(t, scripted.Options{Steps: []scripted.Step{scripted.Checkpoint("begun"), askAPI, askMCP, askTrack, askUnknown, askMkdir, askAPI, askTrack, askMCP}})
	g := newToolGateway(t, a, b, short)
	c := g.join("w1")
	for {
		err := c.next()
		if err != nil {
			wantTold(t, "the client", told(err), 1000, "")
			g.say(told(err).Reason)
			break
		}
		action := c.actions[len(c.actions)-1]
		if action.GetNewCheckpoint() != nil {
			continue
		}
		answer := &dap.ActionResponse{RequestID: action.GetRequestID(), ResponseType: &dap.ActionResponse_PlainTextResponse{
			PlainTextResponse: &dap.PlainTextResponse{Response: "the client's"},
		}}
		if err := c.Send(t.Context(), &dap.ClientEvent{Response: &dap.ClientEvent_ActionResponse{ActionResponse: answer}}); err != nil {
			t.Fatal(err)
		}
	}
	gone := time.Now()

	var saw []string
	for _, action := range c.actions {
		switch {
		case action.GetNewCheckpoint() != nil:
		case action.GetRunMCPTool() != nil:
			saw = append(saw, action.GetRunMCPTool().GetName())
		default:
			saw = append(saw, fmt.Sprintf("%T", action.GetAction()))
		}
	}
	if !slices.Equal(saw, []string{"files_absent", "*dap.Action_Mkdir"}) {
		t.Errorf("the client saw %q", saw)
	}
	const wantAPI, wantMCP, wantTrack, wantClient = "API ada", `text {"dir":"x"}`, "text ", "text the client's"
	var got []string
	for _, answer := range a.answers("w1") {
		if api := answer.GetHttpResponse(); api != nil {
			got = append(got, "API "+api.GetBody()+api.GetError())
			if api.GetStatusCode() != 200 || api.GetHeaders()["X-Page"] != "1" {
				t.Errorf("the API's answer is %v", api)
			}
			continue
		}
		got = append(got, "text "+answer.GetPlainTextResponse().GetResponse()+answer.GetPlainTextResponse().GetError())
	}
	if want := []string{wantAPI, wantMCP, wantTrack, wantClient, wantClient, wantAPI, wantTrack, wantMCP}; !slices.Equal(got, want) {
		t.Errorf("the agent was answered %q, want %q", got, want)
	}
	start := a.all("w1")[0].Event.(scripted.Started)
	if tools := start.Request.McpTools; len(tools) != 1 || tools[0].GetName() != "files_list" || !slices.Equal(start.Request.PreapprovedTools, []string{"files_list"}) {
		t.Errorf("the agent was offered %v", start.Request)
	}
	wantEnd(t, g.end("w1"), actors.Completed)
	b.mu.Lock()
	if len(b.ended) != 1 || b.ended[0].After(gone) {
		t.Errorf("MCP sessions ended at %v, the client was told at %v", b.ended, gone)
	}
	if b.tokens["API Bearer "+hidden] != 2 || b.tokens["tracking "+hidden] != 1 || b.tokens["MCP "+hidden] < 3 || len(b.tokens) != 3 {
		t.Errorf("tokens were brought so: %v", b.tokens)
	}
	b.mu.Unlock()
	g.silent(g.drain(), c)
}

// A call that is under way when the drain comes is cut, and answered once, before the agent is asked
// to stop. Who hangs can't make the drain wait for more than the close timeout and the tools' second.
func TestADrainAnswersTheCallsThatItCuts(t *testing.T) {
	t.Parallel()
	for what, ask := range map[string]scripted.Step{"API": askAPI, "MCP call": askMCP, "tracking": askTrack} {
		for _, closes := range []string{"", "MCP close"} {
			t.Run(what+" "+closes, func(t *testing.T) {
				t.Parallel()
				b := newBackends(t, what, closes)
				a := newAgent(t, scripted.Options{Steps: []scripted.Step{scripted.Checkpoint("begun"), ask, scripted.Wait()}})
				g := newToolGateway(t, a, b, short)
				c := g.join("w1").begun()
				for hung := range b.hung {
					if hung == what {
						break
					}
				}
				began := time.Now()
				end := make(chan *client.CloseError, 1)
				go func() { end <- c.over() }()
				report := g.drain()
				took := time.Since(began)

				closed := <-end
				wantTold(t, "the client", closed, 1001, "server shutdown")
				g.say(closed.Reason)
				wantEnd(t, g.end("w1"), actors.Drained)
				if limit := time.Second + short.CloseTimeout; took > limit {
					t.Errorf("the drain took %v, over %v", took, limit)
				}
				if got := a.stops("w1"); !slices.Equal(got, []string{"WORKHORSE_SERVER_SHUTDOWN"}) {
					t.Errorf("the agent was stopped with %q", got)
				}
				answers := a.answers("w1")
				if len(answers) != 1 || answers[0].GetHttpResponse().GetError()+answers[0].GetPlainTextResponse().GetError() == "" {
					t.Errorf("the agent was answered %v, want one error", answers)
				}
				if first := a.all("w1")[1].Event.(scripted.Received); first.Event.GetActionResponse() == nil {
					t.Errorf("first the agent received %v", first.Event)
				}
				b.mu.Lock()
				if ended := len(b.ended); ended != 1 && closes == "" || ended == 1 && b.ended[0].After(c.closed) {
					t.Errorf("MCP sessions ended at %v, the session at %v", b.ended, c.closed)
				}
				b.mu.Unlock()
				g.silent(report, c)
			})
		}
	}
}

// A server that doesn't even let a session begin holds up neither the drain nor, past its limit, the
// session.
func TestADrainWhileToolsOpenIsNotHeldUp(t *testing.T) {
	t.Parallel()
	b := newBackends(t, "MCP connect")
	a := newAgent(t, scripted.Options{Steps: []scripted.Step{scripted.Checkpoint("begun"), scripted.Wait()}})
	g := newToolGateway(t, a, b, short)
	c := g.join("w1")
	<-b.hung
	began := time.Now()
	end := make(chan *client.CloseError, 1)
	go func() { end <- c.over() }()
	report := g.drain()
	if took := time.Since(began); took > time.Second+short.CloseTimeout {
		t.Errorf("the drain took %v", took)
	}
	wantTold(t, "the client", <-end, 1001, "server shutdown")
	if all := a.all("w1"); len(all) != 0 {
		t.Errorf("the agent saw %v", all)
	}
	g.silent(report, c)
}

// Backends that are away are answered with an error, not with an address or a token.
func TestBackendsThatAreAwayAreAnErrorForTheAgent(t *testing.T) {
	t.Parallel()
	b := newBackends(t)
	b.api.Close()
	b.mcp.Close()
	a := newAgent(t, scripted.Options{Steps: []scripted.Step{scripted.Checkpoint("begun"), askAPI, scripted.Checkpoint("answered")}})
	g := newToolGateway(t, a, b, short)
	c := g.join("w1")
	wantTold(t, "the client", c.over(), 1000, "")
	answers := a.answers("w1")
	if len(answers) != 1 || answers[0].GetHttpResponse().GetError() != "API request failed: connection refused" {
		t.Errorf("the agent was answered %v", answers)
	}
	g.mu.Lock()
	if !slices.ContainsFunc(g.said, func(text string) bool {
		return strings.Contains(text, `MCP server "files"`) && strings.Contains(text, "connection refused")
	}) {
		t.Errorf("that the MCP server is away isn't told: %q", g.said)
	}
	g.mu.Unlock()
	g.silent(g.drain(), c)
}

// A client that leaves has its calls cut, and its MCP session ended.
func TestWhoLeavesHasItsCallsCut(t *testing.T) {
	t.Parallel()
	b := newBackends(t, "API")
	a := newAgent(t, scripted.Options{Steps: []scripted.Step{scripted.Checkpoint("begun"), askAPI, scripted.Wait()}})
	g := newToolGateway(t, a, b, short)
	c := g.join("w1").begun()
	<-b.hung
	c.Cut()
	wantEnd(t, g.end("w1"), actors.ClientGone)
	if n := len(a.answers("w1")); n != 1 {
		t.Errorf("the agent was answered %d times", n)
	}
	b.mu.Lock()
	if len(b.ended) != 1 {
		t.Errorf("%d MCP sessions were ended", len(b.ended))
	}
	b.mu.Unlock()
	g.silent(g.drain(), c)
}

// A tool's panic ends its session, and no other.
func TestAToolThatPanicsEndsItsOwnSession(t *testing.T) {
	t.Parallel()
	a := newAgent(t, scripted.Options{Steps: []scripted.Step{scripted.Checkpoint("begun"), askMkdir, scripted.Wait()}})
	g := newGateway(t, a, short, 2*time.Second)
	g.mux.Handle("GET /tools", &transport.Handler{Supervisor: g.supervisor, Agents: g.pool, Tools: func(*grant.Grant, *http.Request) []relay.Tool {
		return []relay.Tool{panics{}}
	}})
	other := g.join("other").begun()
	c := (&toolGateway{gateway: g}).join("w1")
	wantTold(t, "the client", c.over(), 1011, "internal error")
	end := g.end("w1")
	if !errors.As(end.Err, new(*actors.PanicError)) {
		t.Errorf("the event says %v", end.Err)
	}
	if end, _ := a.ended("w1"); end.Cancelled || len(a.answers("w1")) != 1 {
		t.Errorf("the agent's stream ended with %v after %d answers", end.Status, len(a.answers("w1")))
	}
	ended := make(chan *client.CloseError, 1)
	go func() { ended <- other.over() }()
	g.drain()
	wantTold(t, "the other", <-ended, 1001, "server shutdown")
}

type panics struct{}

func (panics) Open(context.Context, *dap.StartWorkflowRequest) error { return nil }
func (panics) Takes(action *dap.Action) bool                         { return action.GetMkdir() != nil }
func (panics) Close(context.Context) error                           { return nil }
func (panics) Run(context.Context, *dap.Action) (*dap.ActionResponse, error) {
	panic(hidden)
}
