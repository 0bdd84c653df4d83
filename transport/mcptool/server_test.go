package mcptool_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"go.uber.org/goleak"

	"github.com/lastcall-go/lastcall/proto/dap"
	"github.com/lastcall-go/lastcall/transport/grant"
	"github.com/lastcall-go/lastcall/transport/mcptool"
	"github.com/lastcall-go/lastcall/transport/toolhttp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const secret = "Bearer hunter2"

// withSessions is the last protocol that has MCP sessions; servers of the later one have none.
const withSessions = "2025-11-25"

// endpoint is an MCP server on a real socket. Its behaviour can be changed.
type endpoint struct {
	*httptest.Server
	mcp *mcp.Server

	mu       sync.Mutex
	requests []*http.Request
	handler  http.Handler                         // replaced when the server forgets
	instead  func(next http.Handler) http.Handler // around the handler
}

// kinds are the servers that there are, by what their answers look like.
var kinds = map[string]func() (*mcp.ServerOptions, *mcp.StreamableHTTPOptions){
	"without sessions": func() (*mcp.ServerOptions, *mcp.StreamableHTTPOptions) {
		return nil, &mcp.StreamableHTTPOptions{Stateless: true}
	},
	"with sessions": func() (*mcp.ServerOptions, *mcp.StreamableHTTPOptions) {
		return &mcp.ServerOptions{SupportedProtocolVersions: []string{withSessions}}, nil
	},
	"with sessions and JSON": func() (*mcp.ServerOptions, *mcp.StreamableHTTPOptions) {
		return &mcp.ServerOptions{SupportedProtocolVersions: []string{withSessions}}, &mcp.StreamableHTTPOptions{JSONResponse: true}
	},
}

func newEndpoint(t *testing.T, kind string) *endpoint {
	t.Helper()
	options, http_ := kinds[kind]()
	e := &endpoint{mcp: mcp.NewServer(&mcp.Implementation{Name: "test", Version: "1"}, options)}
	e.handler = mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return e.mcp }, http_)
	e.Server = httptest.NewServer(e)
	t.Cleanup(func() {
		e.CloseClientConnections()
		e.Close()
		for session := range e.mcp.Sessions() {
			_ = session.Close()
		}
	})
	return e
}

// isCall reports whether a request calls a tool.
func isCall(r *http.Request) bool {
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	return bytes.Contains(body, []byte(`"tools/call"`))
}

// forget makes the server lose its MCP sessions, as a restart does.
func (e *endpoint) forget() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.handler = mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return e.mcp }, nil)
}

func (e *endpoint) behave(instead func(next http.Handler) http.Handler) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.instead = instead
}

func (e *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	e.requests = append(e.requests, r)
	handler, instead := e.handler, e.instead
	e.mu.Unlock()
	if instead != nil {
		handler = instead(handler)
	}
	handler.ServeHTTP(w, r)
}

// seen returns the requests so far.
func (e *endpoint) seen() []*http.Request {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.requests
}

func (e *endpoint) count(method string) (n int) {
	for _, r := range e.seen() {
		if r.Method == method {
			n++
		}
	}
	return n
}

// grant is the server's, with a secret in the URL and one in a header.
func (e *endpoint) grant() grant.MCPServer {
	return grant.MCPServer{URL: e.URL + "/hunter2", Headers: map[string]string{"Authorization": secret}}
}

var anything = json.RawMessage(`{"type": "object"}`)

// handle adds a tool that takes anything.
func (e *endpoint) handle(name string, run mcp.ToolHandler) {
	e.mcp.AddTool(&mcp.Tool{Name: name, InputSchema: anything}, run)
}

// returns is a handler with one result.
func returns(result *mcp.CallToolResult) mcp.ToolHandler {
	return func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) { return result, nil }
}

func text(s string) *mcp.CallToolResult {
	return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: s}}}
}

// args answers with the arguments it got.
func args(_ context.Context, r *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	return text(string(r.Params.Arguments)), nil
}

// newTool makes a tool that is closed at the end of the test; by then nothing of it may be left.
func newTool(t *testing.T, servers map[string]grant.MCPServer) *mcptool.Tool {
	t.Helper()
	transport := &http.Transport{}
	tool := mcptool.New(mcptool.Options{Servers: servers, UserAgent: "ide/1 lastcall/2", Transport: transport})
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = tool.Close(ctx)
		transport.CloseIdleConnections()
	})
	return tool
}

// open makes a tool for servers all of which work, and returns what the agent gets.
func open(t *testing.T, servers map[string]grant.MCPServer) (*mcptool.Tool, *dap.StartWorkflowRequest) {
	t.Helper()
	tool, start := newTool(t, servers), &dap.StartWorkflowRequest{}
	if err := tool.Open(t.Context(), start); err != nil {
		t.Fatal(err)
	}
	return tool, start
}

// openOne makes a tool for one server, "s".
func openOne(t *testing.T, e *endpoint) *mcptool.Tool {
	t.Helper()
	tool, _ := open(t, map[string]grant.MCPServer{"s": e.grant()})
	return tool
}

func action(name, args string) *dap.Action {
	return &dap.Action{Action: &dap.Action_RunMCPTool{RunMCPTool: &dap.RunMCPTool{Name: name, Args: args}}}
}

// run runs a tool that has to be offered, and returns its answer.
func run(t *testing.T, tool *mcptool.Tool, name, args string) (*dap.PlainTextResponse, error) {
	t.Helper()
	if !tool.Takes(action(name, args)) {
		t.Fatalf("%s isn't offered", name)
	}
	answer, err := tool.Run(t.Context(), action(name, args))
	wantNoSecret(t, err)
	if got := answer.GetPlainTextResponse(); len(got.GetResponse())+len(got.GetError()) > toolhttp.MaxText {
		t.Errorf("the answer has %d bytes", len(got.GetResponse())+len(got.GetError()))
	}
	return answer.GetPlainTextResponse(), err
}

// wantText runs a tool that must answer with text.
func wantText(t *testing.T, tool *mcptool.Tool, name, args, want string) {
	t.Helper()
	if got, err := run(t, tool, name, args); err != nil || got.GetResponse() != want || got.GetError() != "" {
		t.Errorf("%s(%s) answered %.200q, %.200q, %v, want %.200q", name, args, got.GetResponse(), got.GetError(), err, want)
	}
}

func wantNoSecret(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		return
	}
	for _, word := range []string{"hunter2", "127.0.0.1", "http:"} {
		if strings.Contains(err.Error(), word) {
			t.Errorf("the error names %q: %v", word, err)
		}
	}
}

// wantError checks an error's text, which may not have a secret.
func wantError(t *testing.T, err error, want string) {
	t.Helper()
	wantNoSecret(t, err)
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got the error %v, want one with %q", err, want)
	}
}
