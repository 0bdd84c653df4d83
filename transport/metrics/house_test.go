package metrics_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/actors/relay"
	"github.com/lastcall-go/lastcall/proto/dap"
	"github.com/lastcall-go/lastcall/transport/grant"
	"github.com/lastcall-go/lastcall/transport/metrics"
)

// house is a supervisor with its metrics, in a bubble.
type house struct {
	*actors.Supervisor
	*metrics.Metrics
	t       *testing.T
	options metrics.Options
}

// in runs a test with a house of its own. change may be nil.
func in(t *testing.T, limits actors.Options, change func(*metrics.Options), test func(t *testing.T, h *house)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		supervisor, err := actors.NewSupervisor(limits)
		if err != nil {
			t.Fatal(err)
		}
		h := &house{Supervisor: supervisor, t: t, options: metrics.Options{Snapshot: supervisor.Snapshot, Version: "v1"}}
		if change != nil {
			change(&h.options)
		}
		h.Metrics = open(t, h.options)
		stop := supervisor.Listen(h.Observe)
		test(t, h)
		supervisor.Close()
		stop()
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

// joined is a session with its two ends.
type joined struct {
	id     string
	client *client
	agent  *agent
}

// join starts a session whose client has said nothing. change may be nil.
func (h *house) join(change func(*relay.Session)) *joined {
	h.t.Helper()
	ticket, err := h.Admit(context.Background())
	if err != nil {
		h.t.Fatal(err)
	}
	j := &joined{client: newClient(), agent: &agent{says: make(chan any)}}
	parts := relay.Session{Client: j.client, Agent: j.agent, Transport: "websocket"}
	if change != nil {
		change(&parts)
	}
	if j.id, err = relay.Start(ticket, parts); err != nil {
		h.t.Fatal(err)
	}
	synctest.Wait()
	return j
}

// serve starts a session that has come to where messages flow.
func (h *house) serve(change func(*relay.Session)) *joined {
	h.t.Helper()
	j := h.join(change)
	j.client.say(startRequest("w1"))
	return j
}

// client is one in memory. A message from it counts 10 bytes, one to it 100.
type client struct {
	mute   bool // doesn't answer a close frame
	panics bool // in Send
	bad    map[actors.BadInput]int

	says           chan any // *dap.ClientEvent or error
	cut            chan struct{}
	abort          sync.Once
	received, sent atomic.Uint64
}

var errCut = errors.New("connection cut")

func newClient() *client { return &client{says: make(chan any, 16), cut: make(chan struct{})} }

func (c *client) say(what any) {
	c.says <- what
	synctest.Wait()
}

func (c *client) Receive() (*dap.ClientEvent, error) {
	select {
	case said := <-c.says:
		if err, failed := said.(error); failed {
			return nil, err
		}
		c.received.Add(1)
		return said.(*dap.ClientEvent), nil
	case <-c.cut:
		return nil, errCut
	}
}

func (c *client) Send(*dap.Action) error {
	if c.panics {
		panic("in Client.Send")
	}
	c.sent.Add(1)
	return nil
}

func (c *client) Close(int, string) error {
	if c.mute {
		<-c.cut
	}
	return nil
}

func (c *client) Abort() { c.abort.Do(func() { close(c.cut) }) }

func (c *client) BadInput() map[actors.BadInput]int { return c.bad }

func (c *client) Traffic() actors.Traffic {
	received, sent := c.received.Load(), c.sent.Load()
	return actors.Traffic{
		Received: actors.Flow{Messages: received, Bytes: 10 * received},
		Sent:     actors.Flow{Messages: sent, Bytes: 100 * sent},
	}
}

// agent is a session's agent, and its stream.
type agent struct {
	ignores bool          // stopWorkflow
	opens   time.Duration // what it takes to open
	stops   time.Duration // what it takes to stop
	openErr error

	ctx  context.Context
	says chan any // *dap.Action or error
}

func (a *agent) Open(ctx context.Context) (relay.Stream, error) {
	time.Sleep(a.opens)
	a.ctx = ctx
	return a, a.openErr
}

// say brings an action, or the stream's end, to the session.
func (a *agent) say(what any) {
	select {
	case a.says <- what:
	case <-a.ctx.Done():
	}
	synctest.Wait()
}

func (a *agent) Send(ev *dap.ClientEvent) error {
	if ev.GetStopWorkflow() != nil && !a.ignores {
		go func() {
			time.Sleep(a.stops)
			select {
			case a.says <- errors.New("UNAVAILABLE: interrupted"):
			case <-a.ctx.Done():
			}
		}()
	}
	return nil
}

func (a *agent) Receive() (*dap.Action, error) {
	select {
	case said := <-a.says:
		if err, ended := said.(error); ended {
			return nil, err
		}
		return said.(*dap.Action), nil
	case <-a.ctx.Done():
		return nil, a.ctx.Err()
	}
}

// completes ends the workflow in order.
func (j *joined) completes() { j.agent.say(io.EOF) }

// closes has the client close with a code.
func (j *joined) closes(code int) { j.client.say(&actors.ClosedError{Code: code}) }

func startRequest(workflow string) *dap.ClientEvent {
	return &dap.ClientEvent{Response: &dap.ClientEvent_StartRequest{StartRequest: &dap.StartWorkflowRequest{WorkflowID: workflow}}}
}

func heartbeat() *dap.ClientEvent {
	return &dap.ClientEvent{Response: &dap.ClientEvent_Heartbeat{Heartbeat: &dap.HeartbeatRequest{}}}
}

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

// leaser gives leases as it is told.
type leaser struct {
	err        error
	releaseErr error
	panics     bool // in Release
	early      bool // the lease is lost before Acquire returns
	lost       func(error)
}

func (l *leaser) Acquire(_ context.Context, _ string, lost func(error)) (relay.Lease, error) {
	if l.err != nil {
		return nil, l.err
	}
	if l.lost = lost; l.early {
		lost(errors.New("ran out"))
	}
	return l, nil
}

func (l *leaser) Token() uint64 { return 1 }

func (l *leaser) Confirm(context.Context) error { return nil }

func (l *leaser) Release(context.Context) error {
	if l.panics {
		panic("in Lease.Release")
	}
	return l.releaseErr
}

// leased leases a session's workflow with l, counted.
func (h *house) leased(l *leaser) func(*relay.Session) {
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

type dapAction = dap.Action

// answer is a client's to the action with that ID.
func answer(id string) *dap.ClientEvent {
	return &dap.ClientEvent{Response: &dap.ClientEvent_ActionResponse{ActionResponse: &dap.ActionResponse{RequestID: id}}}
}

// authorizer decides with a function.
type authorizer func(*http.Request) (*grant.Grant, error)

func (a authorizer) Authorize(r *http.Request) (*grant.Grant, error) { return a(r) }

// addBuild adds what is there from the beginning.
func addBuild(f figures) figures {
	f[fmt.Sprintf("lastcall_build_info{goversion=%q,version=%q}", runtime.Version(), "v1")] = 1
	return f
}
