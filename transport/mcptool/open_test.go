package mcptool_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"google.golang.org/protobuf/proto"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/proto/dap"
	"github.com/lastcall-go/lastcall/transport/codec"
	"github.com/lastcall-go/lastcall/transport/grant"
	"github.com/lastcall-go/lastcall/transport/mcptool"
)

func names(start *dap.StartWorkflowRequest) []string {
	var names []string
	for _, tool := range start.GetMcpTools() {
		names = append(names, tool.GetName())
	}
	return names
}

func TestToolsAreOfferedAsTheServerDescribesThem(t *testing.T) {
	for kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			e := newEndpoint(t, kind)
			e.mcp.AddTool(&mcp.Tool{
				Name:        "full",
				Description: "does it all",
				InputSchema: json.RawMessage(`{"type": "object", "properties": {"a": {"type": "number"}}}`),
				Annotations: &mcp.ToolAnnotations{Title: "Full", ReadOnlyHint: true, DestructiveHint: proto.Bool(false), OpenWorldHint: proto.Bool(true)},
			}, args)
			e.handle("plain", args)
			g := e.grant()
			g.Trusted, g.PreApprovedTools = true, []string{"plain", "absent"}
			_, start := open(t, map[string]grant.MCPServer{"s": g})
			if len(start.GetMcpTools()) != 2 {
				t.Fatalf("offered %v", start)
			}
			full := start.GetMcpTools()[0]
			var schema any
			if err := json.Unmarshal([]byte(full.GetInputSchema()), &schema); err != nil || !strings.Contains(full.GetInputSchema(), `"a"`) {
				t.Errorf("the schema is %q: %v", full.GetInputSchema(), err)
			}
			full.InputSchema = ""
			if want := (&dap.McpTool{
				Name: "s_full", Description: "does it all", Trusted: proto.Bool(true),
				Annotations: &dap.ToolAnnotations{
					Title: proto.String("Full"), ReadOnlyHint: proto.Bool(true), DestructiveHint: proto.Bool(false),
					IdempotentHint: proto.Bool(false), OpenWorldHint: proto.Bool(true),
				},
			}); !proto.Equal(full, want) {
				t.Errorf("offered %v, want %v", full, want)
			}
			if plain := start.GetMcpTools()[1]; plain.GetName() != "s_plain" || plain.Annotations != nil {
				t.Errorf("offered %v", plain)
			}
			if got := start.GetPreapprovedTools(); !slices.Equal(got, []string{"s_plain"}) {
				t.Errorf("pre-approved %q", got)
			}
		})
	}
}

func TestTheGrantFiltersTools(t *testing.T) {
	e := newEndpoint(t, "without sessions")
	for _, name := range []string{"a", "b", "c"} {
		e.handle(name, args)
	}
	for _, c := range []struct{ tools, want []string }{
		{nil, []string{"s_a", "s_b", "s_c"}},
		{[]string{}, nil},
		{[]string{"c", "a", "absent"}, []string{"s_a", "s_c"}},
	} {
		g := e.grant()
		g.Tools, g.PreApprovedTools = c.tools, []string{"b"}
		tool, start := open(t, map[string]grant.MCPServer{"s": g})
		if got := names(start); !slices.Equal(got, c.want) {
			t.Errorf("of %q %q are offered, want %q", c.tools, got, c.want)
		}
		if offered := slices.Contains(c.want, "s_b"); offered != tool.Takes(action("s_b", "")) || offered != (len(start.GetPreapprovedTools()) == 1) {
			t.Errorf("of %q s_b is taken or pre-approved, or not, against the filter", c.tools)
		}
	}
}

func TestOnlyWhatWasOfferedIsTaken(t *testing.T) {
	e := newEndpoint(t, "without sessions")
	e.handle("a", args)
	tool := newTool(t, map[string]grant.MCPServer{"s": e.grant()})
	if tool.Takes(action("s_a", "")) {
		t.Error("a tool was taken before it was offered")
	}
	if err := tool.Open(t.Context(), &dap.StartWorkflowRequest{}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"s_a": true, "a": false, "s_b": false, "": false} {
		if got := tool.Takes(action(name, "")); got != want {
			t.Errorf("%q taken: %v", name, got)
		}
	}
	if tool.Takes(&dap.Action{Action: &dap.Action_RunReadFile{}}) || tool.Takes(&dap.Action{}) {
		t.Error("other actions are taken")
	}
	if _, err := tool.Run(t.Context(), action("s_b", "")); err == nil {
		t.Error("a tool that wasn't offered was run")
	}
}

func TestANameIsGivenOnceAndTheClientsStays(t *testing.T) {
	one, two := newEndpoint(t, "without sessions"), newEndpoint(t, "without sessions")
	one.handle("b_c", returns(text("one")))
	two.handle("c", returns(text("two")))
	two.handle("mine", returns(text("two")))
	second := two.grant()
	second.PreApprovedTools = []string{"c", "mine"}
	tool := newTool(t, map[string]grant.MCPServer{"a_b": second, "a": one.grant()})
	start := &dap.StartWorkflowRequest{McpTools: []*dap.McpTool{{Name: "a_b_mine"}}, PreapprovedTools: []string{"own"}}
	err := tool.Open(t.Context(), start)
	wantError(t, err, `"c" left out: its name is in use`)
	wantError(t, err, `"mine" left out: its name is in use`)
	if got := names(start); !slices.Equal(got, []string{"a_b_mine", "a_b_c"}) {
		t.Errorf("offered %q", got)
	}
	if got := start.GetPreapprovedTools(); !slices.Equal(got, []string{"own"}) {
		t.Errorf("pre-approved %q: what was left out is approved for another tool", got)
	}
	wantText(t, tool, "a_b_c", "", "one")
	if tool.Takes(action("a_b_mine", "")) {
		t.Error("the client's own tool is taken from it")
	}
}

func TestBoundsOfWhatIsOffered(t *testing.T) {
	e := newEndpoint(t, "without sessions")
	long := strings.Repeat("€", mcptool.MaxDescription)
	e.mcp.AddTool(&mcp.Tool{Name: "described", Description: long, InputSchema: anything}, args)
	schema, _ := json.Marshal(map[string]string{"type": "object", "description": strings.Repeat("x", mcptool.MaxSchema)})
	e.mcp.AddTool(&mcp.Tool{Name: "schema", InputSchema: json.RawMessage(schema)}, args)
	tool, start := newTool(t, map[string]grant.MCPServer{"s": e.grant(), strings.Repeat("x", mcptool.MaxName): e.grant()}), &dap.StartWorkflowRequest{}
	err := tool.Open(t.Context(), start)
	wantError(t, err, `"schema" left out: its input schema is over`)
	wantError(t, err, `"described" left out: its name is over`)
	if got := names(start); !slices.Equal(got, []string{"s_described"}) {
		t.Fatalf("offered %.200q", got)
	}
	if got := start.GetMcpTools()[0].GetDescription(); got != actors.CutText(long, mcptool.MaxDescription) || len(got) > mcptool.MaxDescription {
		t.Errorf("the description has %d bytes", len(got))
	}
}

func TestAServerHasAtMostSoManyTools(t *testing.T) {
	e := newEndpoint(t, "without sessions")
	for i := range mcptool.MaxTools + 1 {
		e.handle(fmt.Sprintf("t%03d", i), args)
	}
	tool, start := newTool(t, map[string]grant.MCPServer{"s": e.grant()}), &dap.StartWorkflowRequest{}
	wantError(t, tool.Open(t.Context(), start), "more than 500 tools")
	if len(start.GetMcpTools()) != mcptool.MaxTools {
		t.Errorf("offered %d tools", len(start.GetMcpTools()))
	}
}

func TestTheOfferFitsIntoStartRequest(t *testing.T) {
	e := newEndpoint(t, "without sessions")
	for i := range 40 {
		schema, _ := json.Marshal(map[string]string{"type": "object", "description": strings.Repeat("x", 60<<10)})
		e.mcp.AddTool(&mcp.Tool{Name: fmt.Sprintf("t%02d", i), InputSchema: json.RawMessage(schema)}, args)
	}
	for _, goal := range []int{0, 3<<20 + 512<<10, 5 << 20} { // little, much, too much
		tool := newTool(t, map[string]grant.MCPServer{"s": e.grant()})
		start := &dap.StartWorkflowRequest{Goal: strings.Repeat("x", goal)}
		wantError(t, tool.Open(t.Context(), start), "no room in startRequest")
		size := proto.Size(&dap.ClientEvent{Response: &dap.ClientEvent_StartRequest{StartRequest: start}})
		if added := size - goal; added > mcptool.MaxOffer+100 || goal < codec.MaxMessage && size > codec.MaxMessage {
			t.Errorf("beside a goal of %d bytes tools of %d were offered", goal, added)
		}
		if goal < codec.MaxMessage && len(start.GetMcpTools()) == 0 || goal > codec.MaxMessage && len(start.GetMcpTools()) > 0 {
			t.Errorf("beside a goal of %d bytes %d tools were offered", goal, len(start.GetMcpTools()))
		}
	}
}

// listing is a server whose list of tools has page after page.
func listing(page func(cursor string) *mcp.ListToolsResult) *mcp.Server {
	server := mcp.NewServer(&mcp.Implementation{Name: "pages", Version: "1"}, nil)
	server.AddReceivingMiddleware(func(next mcp.MethodHandler) mcp.MethodHandler {
		return func(ctx context.Context, method string, r mcp.Request) (mcp.Result, error) {
			if list, ok := r.(*mcp.ListToolsRequest); ok {
				return page(list.Params.Cursor), nil
			}
			return next(ctx, method, r)
		}
	})
	return server
}

func TestAllPagesOfToolsAreListedButNotEndlessOnes(t *testing.T) {
	e := newEndpoint(t, "without sessions")
	e.mcp = listing(func(cursor string) *mcp.ListToolsResult {
		result := &mcp.ListToolsResult{Tools: []*mcp.Tool{{Name: "t" + cursor, InputSchema: anything}}}
		if cursor == "" {
			result.NextCursor = "2"
		}
		return result
	})
	if _, start := open(t, map[string]grant.MCPServer{"s": e.grant()}); !slices.Equal(names(start), []string{"s_t", "s_t2"}) {
		t.Errorf("offered %q", names(start))
	}
	asked := 0
	e.mcp = listing(func(string) *mcp.ListToolsResult {
		asked++
		return &mcp.ListToolsResult{Tools: []*mcp.Tool{}, NextCursor: "again"}
	})
	if _, start := open(t, map[string]grant.MCPServer{"s": e.grant()}); len(names(start)) != 0 || asked > 100 {
		t.Errorf("offered %q after %d pages", names(start), asked)
	}
}

func TestAListThatIsTooLargeLeavesTheServerOut(t *testing.T) {
	e := newEndpoint(t, "without sessions")
	e.mcp = listing(func(cursor string) *mcp.ListToolsResult {
		return &mcp.ListToolsResult{
			Tools:      []*mcp.Tool{{Name: "t" + cursor, InputSchema: anything, Description: strings.Repeat("x", 1<<20)}},
			NextCursor: cursor + "x",
		}
	})
	tool, start := newTool(t, map[string]grant.MCPServer{"s": e.grant()}), &dap.StartWorkflowRequest{}
	wantError(t, tool.Open(t.Context(), start), `MCP server "s": answer exceeded size limit`)
	if len(start.GetMcpTools()) != 0 {
		t.Errorf("offered %q", names(start))
	}
}

// failing are servers that can't be used, and what is said about them.
func failing(t *testing.T) map[string]struct{ url, want string } {
	serve := func(handler http.HandlerFunc) string {
		server := httptest.NewServer(handler)
		t.Cleanup(server.Close)
		return server.URL + "/hunter2"
	}
	status := func(code int) string {
		return serve(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "hunter2", code) })
	}
	body := func(kind, text string) string {
		return serve(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			_, _ = w.Write([]byte(text))
		})
	}
	refusing := func(code int, text string) string {
		return serve(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(code)
			_, _ = io.WriteString(w, text)
		})
	}
	sse := func(code int) string { // for what is POSTed
		return serve(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodGet {
				http.Error(w, "hunter2", code)
				return
			}
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, "event: endpoint\ndata: /message?sessionId=hunter2\n\n")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done() // the stream stays open
		})
	}
	return map[string]struct{ url, want string }{
		"refused":                      {"http://127.0.0.1:1/hunter2", "connection refused"},
		"unauthorized":                 {status(401), "answered 401 Unauthorized"},
		"forbidden":                    {status(403), "answered 403 Forbidden"},
		"broken":                       {status(500), "answered 500 Internal Server Error"},
		"bad request":                  {status(400), "answered 400 Bad Request"},
		"absent":                       {status(404), "answered 404 Not Found"},
		"POST refused":                 {status(405), "answered 405 Method Not Allowed"},
		"words":                        {refusing(400, `{"jsonrpc":"2.0","id":"1","error":{"code":-32000,"message":"Server not initialized"}}`), "answered 400 Bad Request: Server not initialized"},
		"SSE, as the reference server": {sse(404), "speaks only HTTP+SSE, the protocol's older transport: want streamable HTTP"},
		"SSE, POST refused":            {sse(405), "speaks only HTTP+SSE, the protocol's older transport: want streamable HTTP"},
		"web page":                     {body("text/html", "<html>hunter2"), "connection lost"},
		"no JSON":                      {body("application/json", "{hunter2"), "connection lost"},
		"deep JSON":                    {body("application/json", strings.Repeat("[", 3<<20)), "connection lost"},
		"endless":                      {body("application/json", strings.Repeat(" ", 5<<20)), "answer exceeded size limit"},
		"empty stream":                 {body("text/event-stream", ""), "no valid MCP answer"},
		"aborts":                       {serve(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }), "connection reset before the answer was complete"},
		"no URL":                       {"hunter2\x7f", "not a URL"},
		"no host":                      {"/hunter2", "not a URL"},
	}
}

func TestAServerThatFailsIsLeftOutAndNamed(t *testing.T) {
	good := newEndpoint(t, "with sessions")
	good.handle("a", args)
	for name, c := range failing(t) {
		t.Run(name, func(t *testing.T) {
			tool := newTool(t, map[string]grant.MCPServer{
				"bad":  {URL: c.url, Headers: map[string]string{"Authorization": secret}},
				"good": good.grant(),
			})
			start := &dap.StartWorkflowRequest{}
			wantError(t, tool.Open(t.Context(), start), `MCP server "bad": `+c.want)
			if !slices.Equal(names(start), []string{"good_a"}) {
				t.Errorf("offered %q", names(start))
			}
			wantText(t, tool, "good_a", `{"b":1}`, `{"b":1}`)
		})
	}
}

func TestServersConnectBesideEachOtherEachInTenSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tool := mcptool.New(mcptool.Options{
			Servers:   map[string]grant.MCPServer{"x": {URL: "http://x"}, "y": {URL: "http://y"}, "z": {URL: "http://z"}},
			Transport: roundTripper(hung),
		})
		began := time.Now()
		err := tool.Open(t.Context(), &dap.StartWorkflowRequest{})
		if took := time.Since(began); took != mcptool.ConnectTimeout {
			t.Errorf("open took %v", took)
		}
		for _, name := range []string{"x", "y", "z"} {
			wantError(t, err, fmt.Sprintf("MCP server %q: timed out", name))
		}
		if err := tool.Close(t.Context()); err != nil || time.Since(began) != mcptool.ConnectTimeout {
			t.Errorf("close: %v after %v", err, time.Since(began))
		}
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func hung(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

func TestOpenEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tool := mcptool.New(mcptool.Options{Servers: map[string]grant.MCPServer{"x": {URL: "http://x"}}, Transport: roundTripper(hung)})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		wantError(t, tool.Open(ctx, &dap.StartWorkflowRequest{}), "timed out")
		if took := time.Since(began); took != time.Second {
			t.Errorf("open took %v", took)
		}
	})
}

// TestOpenIsCutWhereTheSDKWouldGoOn has a server that begins an MCP session and then hangs: the SDK
// would wait for it to end that session.
func TestOpenIsCutWhereTheSDKWouldGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tool := mcptool.New(mcptool.Options{Servers: map[string]grant.MCPServer{"x": {URL: "http://x"}}, Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
			if r.Method == http.MethodPost {
				body, _ := io.ReadAll(r.Body)
				switch {
				case strings.Contains(string(body), `"server/discover"`):
					return response(http.StatusBadRequest, ""), nil
				case strings.Contains(string(body), `"initialize"`):
					return response(http.StatusOK, `{"jsonrpc":"2.0","id":2,"result":{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"x","version":"1"}}}`), nil
				}
			}
			return hung(r)
		})})
		began := time.Now()
		wantError(t, tool.Open(t.Context(), &dap.StartWorkflowRequest{}), "timed out")
		if took := time.Since(began); took != mcptool.ConnectTimeout {
			t.Errorf("open took %v", took)
		}
	})
}

func response(status int, body string) *http.Response {
	header := http.Header{"Content-Type": {"application/json"}, "Mcp-Session-Id": {"hunter2"}}
	return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(strings.NewReader(body))}
}

func TestOpenEndsWhenTheToolIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tool := mcptool.New(mcptool.Options{Servers: map[string]grant.MCPServer{"x": {URL: "http://x"}}, Transport: roundTripper(hung)})
		opened := make(chan error)
		began := time.Now()
		go func() { opened <- tool.Open(t.Context(), &dap.StartWorkflowRequest{}) }()
		synctest.Wait()
		if err := tool.Close(t.Context()); err != nil {
			t.Errorf("close: %v", err)
		}
		wantError(t, <-opened, "cancelled")
		if took := time.Since(began); took != 0 {
			t.Errorf("it took %v", took)
		}
	})
}

func TestAPanicInTheTransportIsTheServersFailureAlone(t *testing.T) {
	tool := mcptool.New(mcptool.Options{Servers: map[string]grant.MCPServer{"x": {URL: "http://x"}}, Transport: roundTripper(func(*http.Request) (*http.Response, error) {
		panic(errors.New("boom"))
	})})
	wantError(t, tool.Open(t.Context(), &dap.StartWorkflowRequest{}), "panic")
	_ = tool.Close(t.Context())
}

func TestHeadersGoToTheServerAlone(t *testing.T) {
	elsewhere := newEndpoint(t, "without sessions")
	elsewhere.handle("a", args)
	e := newEndpoint(t, "with sessions")
	e.handle("a", args)
	e.behave(func(http.Handler) http.Handler {
		return http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect)
	})
	tool := newTool(t, map[string]grant.MCPServer{"s": e.grant()})
	wantError(t, tool.Open(t.Context(), &dap.StartWorkflowRequest{}), "redirected to another host")
	if len(elsewhere.seen()) != 0 {
		t.Error("another host was asked")
	}
}

func TestARedirectOnTheSameHostIsFollowed(t *testing.T) {
	e := newEndpoint(t, "with sessions")
	e.handle("a", args)
	e.behave(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !strings.HasSuffix(r.URL.Path, "/") {
				http.Redirect(w, r, r.URL.Path+"/", http.StatusTemporaryRedirect)
				return
			}
			next.ServeHTTP(w, r)
		})
	})
	wantText(t, openOne(t, e), "s_a", `{"b":1}`, `{"b":1}`)
}

func TestEachRequestHasTheHeaders(t *testing.T) {
	e := newEndpoint(t, "with sessions")
	e.handle("a", args)
	tool := openOne(t, e)
	wantText(t, tool, "s_a", "", "{}")
	if err := tool.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if e.count("DELETE") != 1 {
		t.Error("the MCP session wasn't ended")
	}
	for _, r := range e.seen() {
		if r.Header.Get("Authorization") != secret || r.UserAgent() != "ide/1 lastcall/2" {
			t.Errorf("%s had %q from %q", r.Method, r.Header.Get("Authorization"), r.UserAgent())
		}
	}
}
