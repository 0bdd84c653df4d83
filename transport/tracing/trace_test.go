package tracing_test

import (
	"context"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/lastcall-go/lastcall/actors/relay"
	"github.com/lastcall-go/lastcall/proto/dap"
	"github.com/lastcall-go/lastcall/transport/grant"
	"github.com/lastcall-go/lastcall/transport/httptool"
	"github.com/lastcall-go/lastcall/transport/mcptool"
	"github.com/lastcall-go/lastcall/transport/scripted"
	"github.com/lastcall-go/lastcall/transport/tracing"
)

// carried is what of a span's identity a request shows.
func carried(header http.Header) (trace, span string) {
	parts := strings.Split(header.Get("Traceparent"), "-")
	if len(parts) != 4 {
		return "", ""
	}
	return parts[1], parts[2]
}

func ids(span *otlp.Span) (trace, id, parent string) {
	return hex.EncodeToString(span.GetTraceId()), hex.EncodeToString(span.GetSpanId()), hex.EncodeToString(span.GetParentSpanId())
}

// requests keeps the headers that a server is sent, by what it is asked.
type requests struct {
	mu   sync.Mutex
	seen []http.Header
}

func (r *requests) around(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		r.mu.Lock()
		r.seen = append(r.seen, request.Header.Clone())
		r.mu.Unlock()
		next.ServeHTTP(w, request)
	})
}

// api answers everything with 201.
func api(t *testing.T) (*requests, string) {
	t.Helper()
	seen := &requests{}
	server := httptest.NewServer(seen.around(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusCreated) })))
	t.Cleanup(server.Close)
	return seen, server.URL
}

func traced(t *testing.T) http.RoundTripper {
	t.Helper()
	connections := http.DefaultTransport.(*http.Transport).Clone()
	t.Cleanup(connections.CloseIdleConnections)
	return tracing.RoundTripper(connections)
}

func TestOneTraceGoesFromTheClientThroughTheSessionToTheAgentAndTheAPI(t *testing.T) {
	r := newReceiver(t)
	seen, url := api(t)
	connections := traced(t)
	h := open(t, "http://"+r.address, furniture{
		agent: scripted.Options{Steps: scripted.ToolScenario()},
		tools: func() []relay.Tool {
			tool, err := httptool.New(httptool.Options{API: grant.API{URL: url}, Transport: connections})
			if err != nil {
				t.Error(err)
			}
			return []relay.Tool{tool}
		},
	})
	ws := h.start("w1", http.Header{
		"Traceparent":  {traceparent(clientTrace, clientSpan)},
		"Tracestate":   {"rojo=1"},
		"Baggage":      {"user=ada"},
		"X-Request-Id": {"r-1"},
	})
	_ = read(ws)
	h.drain(10 * time.Second)

	session, tool := r.span(t, "session"), r.span(t, "tool runHTTPRequest")
	trace, sessionID, parent := ids(session)
	if trace != clientTrace || parent != clientSpan || session.GetKind() != otlp.Span_SPAN_KIND_SERVER {
		t.Errorf("the session's span is %v in trace %s below %s, want a server's below the client's", session.GetKind(), trace, parent)
	}
	trace, toolID, parent := ids(tool)
	if trace != clientTrace || parent != sessionID {
		t.Errorf("the tool call's span is in trace %s below %s, want below the session's", trace, parent)
	}
	agent := h.streams()[0].Metadata
	if got := strings.Join(agent.Get("traceparent"), ","); got != traceparent(clientTrace, sessionID) {
		t.Errorf("the agent gets traceparent %q, want the session's span", got)
	}
	if got := strings.Join(agent.Get("tracestate"), ","); got != "rojo=1" {
		t.Errorf("the agent gets tracestate %q", got)
	}
	if len(seen.seen) != 1 {
		t.Fatalf("the API gets %d requests", len(seen.seen))
	}
	if got := seen.seen[0].Get("Traceparent"); got != traceparent(clientTrace, toolID) {
		t.Errorf("the API gets traceparent %q, want the tool call's span", got)
	}
	if agent.Get("baggage") != nil || seen.seen[0].Get("Baggage") != "" {
		t.Error("the client's baggage is passed on")
	}
	wantAttributes(t, session.GetAttributes(), map[string]string{
		"lastcall.transport": "websocket", "lastcall.agent": "scripted", "lastcall.request.id": "r-1",
		"lastcall.workflow": "w1", "lastcall.outcome": "completed", "lastcall.close.code": "1000",
		"lastcall.received.messages": "1", "lastcall.sent.messages": "3", "lastcall.tool.calls": "1",
	})
	wantAttributes(t, tool.GetAttributes(), map[string]string{"lastcall.tool.kind": "runHTTPRequest", "http.response.status_code": "201"})
	if attributes(tool.GetAttributes())["lastcall.tool.request_id"] == "" {
		t.Error("the tool call's span has no request ID")
	}
	if r.resource["service.name"] != "lastcall" || r.resource["service.version"] != "v1.2.3" {
		t.Errorf("the resource is %v", r.resource)
	}
}

func TestASessionsSpanHasItsPhasesInOrder(t *testing.T) {
	r := newReceiver(t)
	h := open(t, "http://"+r.address, furniture{agent: scripted.Options{Steps: []scripted.Step{scripted.Wait()}}})
	ws := h.start("w1", nil)
	go func() { _ = read(ws) }()
	h.drain(10 * time.Second)

	session := r.span(t, "session")
	if got, want := eventNames(session), []string{"opening", "serving", "stopping", "closing", "stopped"}; !slices.Equal(got, want) {
		t.Errorf("the events are %v, want %v", got, want)
	}
	before := session.GetStartTimeUnixNano()
	for _, event := range session.GetEvents() {
		if event.GetTimeUnixNano() < before || event.GetTimeUnixNano() > session.GetEndTimeUnixNano() {
			t.Errorf("event %s is out of order", event.GetName())
		}
		before = event.GetTimeUnixNano()
	}
	wantAttributes(t, session.GetAttributes(), map[string]string{"lastcall.outcome": "drained", "lastcall.close.code": "1001", "lastcall.close.reason": "server shutdown"})
	wantStatus(t, session, otlp.Status_STATUS_CODE_UNSET, "")
}

func TestRequestsToMCPServersCarryTheTrace(t *testing.T) {
	r := newReceiver(t)
	seen := &requests{}
	server := mcp.NewServer(&mcp.Implementation{Name: "test", Version: "1"}, nil)
	mcp.AddTool(server, &mcp.Tool{Name: "look"}, func(context.Context, *mcp.CallToolRequest, struct{}) (*mcp.CallToolResult, any, error) {
		return &mcp.CallToolResult{IsError: true, Content: []mcp.Content{&mcp.TextContent{Text: "secret content"}}}, nil, nil
	})
	endpoint := httptest.NewServer(seen.around(mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server }, &mcp.StreamableHTTPOptions{Stateless: true})))
	t.Cleanup(endpoint.Close)
	connections := traced(t)
	ask := &dap.Action{Action: &dap.Action_RunMCPTool{RunMCPTool: &dap.RunMCPTool{Name: "s_look", Args: "{}"}}}
	h := open(t, "http://"+r.address, furniture{
		agent: scripted.Options{Steps: []scripted.Step{scripted.Ask(ask)}},
		tools: func() []relay.Tool {
			servers := map[string]grant.MCPServer{"s": {URL: endpoint.URL, Headers: map[string]string{"traceparent": "of the grant's"}}}
			return []relay.Tool{mcptool.New(mcptool.Options{Servers: servers, Transport: connections})}
		},
	})
	_ = read(h.start("w1", http.Header{"Traceparent": {traceparent(clientTrace, clientSpan)}}))
	h.drain(10 * time.Second)

	_, session, _ := ids(r.span(t, "session"))
	call := r.span(t, "tool runMCPTool")
	_, tool, _ := ids(call)
	bySpan := make(map[string]int)
	for _, header := range seen.seen {
		trace, span := carried(header)
		if trace != clientTrace {
			t.Errorf("a request carries traceparent %q", header.Get("Traceparent"))
		}
		bySpan[span]++
	}
	if bySpan[session] == 0 || bySpan[tool] == 0 {
		t.Errorf("requests by span: %v; want some of the session's (%s), which opens the tool, and the call's (%s)", bySpan, session, tool)
	}
	wantStatus(t, call, otlp.Status_STATUS_CODE_ERROR, "the answer is an error") // what a server says is content
}
