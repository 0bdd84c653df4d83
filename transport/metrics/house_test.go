package metrics_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/actors/actorstest"
	"github.com/lastcall-go/lastcall/actors/relay"
	"github.com/lastcall-go/lastcall/proto/dap"
	"github.com/lastcall-go/lastcall/transport/grant"
	"github.com/lastcall-go/lastcall/transport/metrics"
)

// house is a supervisor with its metrics, in a bubble.
type house struct {
	*actorstest.Supervisor
	*metrics.Metrics
	t       *testing.T
	options metrics.Options
}

// in runs a test with a house of its own. change may be nil.
func in(t *testing.T, limits actors.Options, change func(*metrics.Options), test func(t *testing.T, h *house)) {
	t.Helper()
	actorstest.Run(t, limits, func(t *testing.T, s *actorstest.Supervisor) {
		h := &house{Supervisor: s, t: t, options: metrics.Options{Snapshot: s.Snapshot, Version: "v1"}}
		if change != nil {
			change(&h.options)
		}
		h.Metrics = open(t, h.options)
		t.Cleanup(s.Listen(h.Observe))
		test(t, h)
	})
}

func open(t testing.TB, options metrics.Options) *metrics.Metrics {
	t.Helper()
	m, err := metrics.New(options)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// now returns the figures when all has come to rest.
func (h *house) now() figures {
	h.t.Helper()
	synctest.Wait()
	return scraped(h.t, h.Metrics)
}

// joined is a session whose ends say one thing after the other.
type joined struct{ *actorstest.Session }

// join starts a session whose client has said nothing. change may be nil.
func (h *house) join(change func(*relay.Session)) joined {
	h.t.Helper()
	j := joined{h.Session()}
	j.Transport, j.Decorate = "websocket", change
	j.Join()
	synctest.Wait()
	return j
}

// serve starts a session that has come to where messages flow.
func (h *house) serve(change func(*relay.Session)) joined {
	h.t.Helper()
	j := h.join(change)
	j.clientSays(actorstest.StartRequest("w1"))
	return j
}

// clientSays has the client say something.
func (j joined) clientSays(event *dap.ClientEvent) {
	j.Client.Say(event)
	synctest.Wait()
}

// agentSays has the agent say something.
func (j joined) agentSays(action *dap.Action) {
	j.Stream().Say(action)
	synctest.Wait()
}

// clientEnds ends the client's side.
func (j joined) clientEnds(err error) {
	j.Client.End(err)
	synctest.Wait()
}

// agentEnds ends the agent's stream.
func (j joined) agentEnds(err error) {
	j.Stream().End(err)
	synctest.Wait()
}

// completes ends the workflow in order.
func (j joined) completes() { j.agentEnds(io.EOF) }

// closes has the client close with a code.
func (j joined) closes(code int) { j.clientEnds(&actors.ClosedError{Code: code}) }

// mkdir is an action for the client.
func mkdir() *dap.Action { return &dap.Action{Action: &dap.Action_Mkdir{Mkdir: &dap.Mkdir{}}} }

// tool runs every action but those for the client, as the action's requestID says.
type tool struct{ closes func() }

func (tool) Open(context.Context, *dap.StartWorkflowRequest) error { return nil }

func (tool) Takes(action *dap.Action) bool { return action.GetMkdir() == nil }

func (t tool) Close(context.Context) error {
	if t.closes != nil {
		t.closes()
	}
	return nil
}

func (tool) Run(ctx context.Context, action *dap.Action) (*dap.ActionResponse, error) {
	switch does, _, _ := strings.Cut(action.GetRequestID(), "-"); does {
	case "fails":
		return nil, errors.New("no")
	case "answers":
		return httpAnswer("API request failed"), nil
	case "says":
		return textAnswer("the MCP tool failed"), nil
	case "nothing":
		return nil, nil
	case "status":
		return &dap.ActionResponse{ResponseType: &dap.ActionResponse_HttpResponse{HttpResponse: &dap.HttpResponse{StatusCode: rand.Int32()}}}, nil
	case "panics":
		panic("in Tool.Run")
	case "waits":
		<-ctx.Done()
		return nil, ctx.Err()
	case "late": // the tool of the platform's API answers a timeout, too
		<-ctx.Done()
		return httpAnswer("API request failed"), nil
	}
	time.Sleep(2 * time.Second)
	return textAnswer(""), nil
}

func textAnswer(err string) *dap.ActionResponse {
	return &dap.ActionResponse{ResponseType: &dap.ActionResponse_PlainTextResponse{PlainTextResponse: &dap.PlainTextResponse{Error: err}}}
}

func httpAnswer(err string) *dap.ActionResponse {
	return &dap.ActionResponse{ResponseType: &dap.ActionResponse_HttpResponse{HttpResponse: &dap.HttpResponse{Error: err}}}
}

func runHTTP(id string) *dap.Action {
	return &dap.Action{RequestID: id, Action: &dap.Action_RunHTTPRequest{RunHTTPRequest: &dap.RunHTTPRequest{}}}
}

func runMCP(id string) *dap.Action {
	return &dap.Action{RequestID: id, Action: &dap.Action_RunMCPTool{RunMCPTool: &dap.RunMCPTool{Name: id}}}
}

func track(id string) *dap.Action {
	return &dap.Action{RequestID: id, Action: &dap.Action_TrackLlmCallForSelfHosted{TrackLlmCallForSelfHosted: &dap.TrackLlmCallForSelfHosted{}}}
}

// tooled gives a session the tool, timed.
func (h *house) tooled(parts *relay.Session) { parts.Tools = h.Tools([]relay.Tool{tool{}}) }

// leased leases a session's workflow with l, counted.
func (h *house) leased(l *actorstest.Leaser) func(*relay.Session) {
	return func(parts *relay.Session) { parts.Leaser = h.Leaser(l) }
}

// ask sends a handler a request, which gets no session.
func ask(t *testing.T, handler http.Handler, method string, header ...string) {
	t.Helper()
	request := httptest.NewRequest(method, "http://gateway/", strings.NewReader("no JSON"))
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	answer := httptest.NewRecorder()
	handler.ServeHTTP(answer, request)
	if answer.Code < 400 {
		t.Errorf("answered %d", answer.Code)
	}
}

// authorizer decides with a function.
type authorizer func(*http.Request) (*grant.Grant, error)

func (a authorizer) Authorize(r *http.Request) (*grant.Grant, error) { return a(r) }

// addBuild adds what is there from the beginning.
func addBuild(f figures) figures {
	f[fmt.Sprintf("lastcall_build_info{goversion=%q,version=%q}", runtime.Version(), "v1")] = 1
	f["lastcall_lease_store_reachable"] = 1
	return f
}
