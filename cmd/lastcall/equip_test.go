package main

import (
	"context"
	"encoding/json"
	"errors"
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

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/proto/dap"
	"github.com/lastcall-go/lastcall/transport/client"
	"github.com/lastcall-go/lastcall/transport/scripted"
)

var (
	asksAPI   = &dap.Action{Action: &dap.Action_RunHTTPRequest{RunHTTPRequest: &dap.RunHTTPRequest{Method: "GET", Path: "/api/v4/user"}}}
	asksMCP   = &dap.Action{Action: &dap.Action_RunMCPTool{RunMCPTool: &dap.RunMCPTool{Name: "files_list", Args: `{"dir":"x"}`}}}
	asksTrack = &dap.Action{Action: &dap.Action_TrackLlmCallForSelfHosted{TrackLlmCallForSelfHosted: &dap.TrackLlmCallForSelfHosted{WorkflowID: "w1"}}}
	asksMkdir = &dap.Action{Action: &dap.Action_Mkdir{Mkdir: &dap.Mkdir{DirectoryPath: "d"}}}
)

func TestFlagsOfToolsAndLeases(t *testing.T) {
	for _, test := range []struct{ helps, args string }{
		{"--tool-concurrency 0", "--tool-concurrency 0"},
		{"--tool-timeout 0s", "--tool-timeout 0s"},
		{"--tool-timeout", "--tool-timeout soon"},
		{"--lease-ttl 10ms", "--lease-ttl 10ms"},
		{"--lease-failure", "--lease-failure maybe"},
		{"--lease-url", "--lease-url http://127.0.0.1:1"},
	} {
		t.Run(test.args, func(t *testing.T) {
			wantUsageError(t, test.helps, append([]string{"serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"}, strings.Fields(test.args)...)...)
		})
	}
}

// tracker is a tracking service.
type tracker struct {
	dap.UnimplementedDuoWorkflowServer
}

func (tracker) TrackSelfHostedExecuteWorkflow(stream dap.DuoWorkflow_TrackSelfHostedExecuteWorkflowServer) error {
	for {
		report, err := stream.Recv()
		if err != nil {
			return nil
		}
		if err := stream.Send(&dap.TrackSelfHostedAction{RequestID: report.GetRequestID()}); err != nil {
			return err
		}
	}
}

func startTracker(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.WaitForHandlers(true))
	dap.RegisterDuoWorkflowServer(server, tracker{})
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

// A whole gateway with all that an endpoint can grant: the agent is answered by the API, the MCP
// server and the tracking service, the client sees nothing of that, and nothing shows a token.
func TestToolsEndToEnd(t *testing.T) {
	const mcpToken = "mcp-s3cret"
	server := mcp.NewServer(&mcp.Implementation{Name: "files", Version: "1"}, nil)
	server.AddTool(&mcp.Tool{Name: "list", InputSchema: json.RawMessage(`{"type": "object"}`)}, func(_ context.Context, r *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: string(r.Params.Arguments)}}}, nil
	})
	handler := mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server }, &mcp.StreamableHTTPOptions{Stateless: true})
	var mu sync.Mutex
	authorized := make(map[string]bool)
	files := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		authorized["MCP "+r.Header.Get("Authorization")] = true
		mu.Unlock()
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(files.Close)

	agent := startAgent(t, scripted.Ask(asksAPI), scripted.Ask(asksMCP), scripted.Ask(asksTrack), scripted.Ask(asksMkdir), scripted.Wait())
	answer := `{"GL_ID": "user-1", "DuoWorkflow": {
		"Service": {"URI": "` + agent.address + `", "Headers": {"Authorization": "Bearer ` + agentToken + `", "x-gitlab-oauth-token": "` + apiToken + `"}},
		"CloudServiceForSelfHosted": {"URI": "` + startTracker(t) + `", "Headers": {"authorization": "Bearer ` + agentToken + `"}},
		"McpServers": {"files": {"URL": "` + files.URL + `", "Headers": {"Authorization": "Bearer ` + mcpToken + `"}, "PreApprovedTools": ["list"]},
			"broken": {"URL": "http://127.0.0.1:1/` + mcpToken + `", "Headers": {"Authorization": "Bearer ` + mcpToken + `"}}}}}`
	// The endpoint's own address is the API's.
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/api/v4/user" {
			mu.Lock()
			authorized["API "+r.Header.Get("Authorization")] = true
			mu.Unlock()
			_, _ = io.WriteString(w, "ada")
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, answer)
	}))
	t.Cleanup(endpoint.Close)

	p := startServe(t, "no daemon", "--auth", "forward", "--auth-url", endpoint.URL, "--log-level", "debug")
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := client.Dial(ctx, client.Config{
		URL:    p.url,
		Header: http.Header{"Authorization": {"Bearer " + clientToken}},
		Start:  &dap.StartWorkflowRequest{WorkflowID: "w1"},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Cut()
	for _, want := range []string{"checkpoint", "mkdir"} { // and none of the three
		action, err := conn.Receive(ctx)
		if err != nil || (want == "mkdir") != (action.GetMkdir() != nil) || (want == "checkpoint") != (action.GetNewCheckpoint() != nil) {
			t.Fatalf("the client got %v, %v, want %s", action, err, want)
		}
	}
	received := seen[scripted.Received](agent)
	if len(received) != 3 || received[0].Event.GetActionResponse().GetHttpResponse().GetBody() != "ada" ||
		received[1].Event.GetActionResponse().GetPlainTextResponse().GetResponse() != `{"dir":"x"}` ||
		received[2].Event.GetActionResponse().GetPlainTextResponse() == nil || received[2].Event.GetActionResponse().GetPlainTextResponse().GetError() != "" {
		t.Errorf("the agent was answered %v", received)
	}
	start := seen[scripted.Started](agent)[0].Request
	if len(start.McpTools) != 1 || start.McpTools[0].Name != "files_list" || !slices.Equal(start.PreapprovedTools, []string{"files_list"}) {
		t.Errorf("offered %v, pre-approved %q", start.McpTools, start.PreapprovedTools)
	}
	mu.Lock()
	if len(authorized) != 2 || !authorized["API Bearer "+apiToken] || !authorized["MCP Bearer "+mcpToken] {
		t.Errorf("tokens that were brought: %v", authorized)
	}
	mu.Unlock()
	if unavailable := p.record("tool unavailable"); !strings.Contains(unavailable["error"].(string), `"broken"`) {
		t.Errorf("the log says %v", unavailable)
	}
	end := make(chan error, 1)
	go func() {
		var err error
		for err == nil {
			_, err = conn.Receive(ctx)
		}
		end <- err
	}()
	p.wantSilence(clientToken, apiToken, agentToken, mcpToken)
	wantClose(t, end, actors.CloseGoingAway, "server shutdown")
}

// The flags reach the session: a call is cut at --tool-timeout, and --lock holds a workflow.
func TestFlagsOfASessionAreHeeded(t *testing.T) {
	endpointOf := func(agent string) *httptest.Server {
		endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/api/v4/user" {
				<-r.Context().Done()
				return
			}
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"DuoWorkflow": {"ServerCapabilities": ["made_up"], "Service": {"URI": "`+agent+`", "Headers": {"x-gitlab-oauth-token": "`+apiToken+`"}}}}`)
		}))
		t.Cleanup(endpoint.Close)
		return endpoint
	}
	agent := startAgent(t, scripted.Ask(asksAPI), scripted.Wait())
	p := startServe(t, "no daemon", "--auth", "forward", "--auth-url", endpointOf(agent.address).URL, "--tool-timeout", "100ms", "--lock", "--server-capabilities", "made_up")
	end := p.session("w1")
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	second, err := client.Dial(ctx, client.Config{URL: p.url, Start: &dap.StartWorkflowRequest{WorkflowID: "w1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer second.Cut()
	var closed *client.CloseError
	if _, err := second.Receive(ctx); !errors.As(err, &closed) || closed.Code != 1013 {
		t.Errorf("a second session: %v", err)
	}
	for late := time.Now().Add(patience); len(seen[scripted.Received](agent)) == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(late) {
			t.Fatal("the agent was not answered")
		}
	}
	if got := seen[scripted.Received](agent)[0].Event.GetActionResponse().GetHttpResponse().GetError(); !strings.Contains(got, "timed out") {
		t.Errorf("the agent was answered %q", got)
	}
	if got := seen[scripted.Started](agent)[0].Request.ClientCapabilities; !slices.Equal(got, []string{"made_up"}) {
		t.Errorf("the agent was told of %q", got)
	}
	p.wantSilence(apiToken)
	wantClose(t, end, actors.CloseGoingAway, "server shutdown")
}
