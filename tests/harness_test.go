package tests

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/proto/dap"
	"github.com/lastcall-go/lastcall/transport"
	"github.com/lastcall-go/lastcall/transport/agentpool"
	"github.com/lastcall-go/lastcall/transport/client"
	"github.com/lastcall-go/lastcall/transport/codec"
	"github.com/lastcall-go/lastcall/transport/httpserver"
	"github.com/lastcall-go/lastcall/transport/scripted"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// limit is what a drain in these tests may take. Nothing should come near it.
const limit = 20 * time.Second

// agent is a scripted agent on a port, with what it observed.
type agent struct {
	dap.UnimplementedDuoWorkflowServer
	t       testing.TB
	script  *scripted.Agent
	address string

	mu     sync.Mutex
	events []observed
	sent   map[string]int // actions, by workflow
}

// observed is an event and when it was seen.
type observed struct {
	scripted.Event
	workflow string
	at       time.Time
}

func newAgent(t testing.TB, options scripted.Options) *agent {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a := &agent{t: t, address: listener.Addr().String(), sent: make(map[string]int)}
	options.Observe = a.observe
	a.script = scripted.New(options)
	server := grpc.NewServer(grpc.MaxRecvMsgSize(codec.MaxMessage), grpc.WaitForHandlers(true))
	dap.RegisterDuoWorkflowServer(server, a)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		a.script.Wait()
		if err := <-served; err != nil {
			t.Errorf("the agent: %v", err)
		}
	})
	return a
}

// ExecuteWorkflow is the scripted agent's, whose actions are counted.
func (a *agent) ExecuteWorkflow(stream dap.DuoWorkflow_ExecuteWorkflowServer) error {
	return a.script.ExecuteWorkflow(&countedStream{DuoWorkflow_ExecuteWorkflowServer: stream, agent: a})
}

type countedStream struct {
	dap.DuoWorkflow_ExecuteWorkflowServer
	agent    *agent
	workflow atomic.Value
}

func (s *countedStream) Recv() (*dap.ClientEvent, error) {
	event, err := s.DuoWorkflow_ExecuteWorkflowServer.Recv()
	if start := event.GetStartRequest(); start != nil {
		s.workflow.Store(start.WorkflowID)
	}
	return event, err
}

func (s *countedStream) Send(action *dap.Action) error {
	err := s.DuoWorkflow_ExecuteWorkflowServer.Send(action)
	if err == nil {
		s.agent.count(s.workflow.Load().(string), 1)
	}
	return err
}

// count returns how many actions of a workflow were sent, with these.
func (a *agent) count(workflow string, more int) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sent[workflow] += more
	return a.sent[workflow]
}

// stalls waits until a workflow's actions are not taken any more.
func (a *agent) stalls(workflows ...string) {
	a.t.Helper()
	const still = 3 * time.Second // a busy machine holds an agent up too
	last, since := 0, time.Now()
	eventually(a.t, fmt.Sprint("the agent is held up in ", workflows), func() bool {
		sent, held := 0, true
		for _, workflow := range workflows {
			n := a.count(workflow, 0)
			sent, held = sent+n, held && n > 0
		}
		if sent != last {
			last, since = sent, time.Now()
		}
		return held && time.Since(since) > still
	})
}

func (a *agent) observe(event scripted.Event) {
	seen := observed{Event: event, at: time.Now()}
	switch e := event.(type) {
	case scripted.Started:
		seen.workflow = e.WorkflowID
	case scripted.Received:
		seen.workflow = e.WorkflowID
	case scripted.Ended:
		seen.workflow = e.WorkflowID
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.events = append(a.events, seen)
}

func (a *agent) all(workflow string) []observed {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(a.events), func(o observed) bool { return o.workflow != workflow })
}

// stops returns the reasons of the stopWorkflows that the agent saw of a workflow.
func (a *agent) stops(workflow string) (reasons []string) {
	for _, o := range a.all(workflow) {
		if received, ok := o.Event.(scripted.Received); ok && received.Event.GetStopWorkflow() != nil {
			reasons = append(reasons, received.Event.GetStopWorkflow().GetReason())
		}
	}
	return reasons
}

// ended waits for the end of a workflow's stream.
func (a *agent) ended(workflow string) (end scripted.Ended, at time.Time) {
	a.t.Helper()
	eventually(a.t, workflow+" ends at the agent", func() bool {
		all := a.all(workflow)
		if len(all) == 0 {
			return false
		}
		last := all[len(all)-1]
		var is bool
		end, is = last.Event.(scripted.Ended)
		at = last.at
		return is
	})
	return end, at
}

// eventually waits until done returns true.
func eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it did not come to pass that %s", what)
		}
	}
}

// gateway is what an embedder builds, on a port.
type gateway struct {
	t          testing.TB
	agent      *agent
	supervisor *actors.Supervisor
	pool       *agentpool.Pool
	mux        *http.ServeMux
	address    string

	mu      sync.Mutex
	stopped []actors.SessionStopped
}

// newGateway starts a gateway. start is what a client has until its startRequest, and its agent from then
// on, where that is not the default.
func newGateway(t testing.TB, agent *agent, limits actors.Options, start ...time.Duration) *gateway {
	t.Helper()
	g := &gateway{t: t, agent: agent, mux: http.NewServeMux()}
	var err error
	if g.supervisor, err = actors.NewSupervisor(limits); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.supervisor.Close)
	t.Cleanup(g.supervisor.Listen(g.hear))
	if g.pool, err = agentpool.New(agentpool.Options{Target: agent.address}); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g.address = listener.Addr().String()
	handler := &transport.Handler{Supervisor: g.supervisor, Agents: g.pool}
	for _, timeout := range start {
		handler.Limits.StartTimeout, handler.Limits.OpenTimeout = timeout, timeout
	}
	g.mux.Handle("GET /ws", handler)
	for _, service := range []struct {
		name string
		run  actors.Service
	}{
		{"agent connections", g.pool},
		{"session server", &httpserver.Server{Listener: listener, Handler: g.mux}},
	} {
		if err := g.supervisor.Add(service.name, actors.AfterSessions, service.run); err != nil {
			t.Fatal(err)
		}
	}
	return g
}

func (g *gateway) hear(event any) {
	if end, ok := event.(actors.SessionStopped); ok {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.stopped = append(g.stopped, end)
	}
}

// end waits for the end of a session, by its workflow; empty where none was started.
func (g *gateway) end(workflow string) (end actors.SessionStopped) {
	g.t.Helper()
	eventually(g.t, fmt.Sprintf("the session of %q stops", workflow), func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		i := slices.IndexFunc(g.stopped, func(s actors.SessionStopped) bool { return s.Workflow == workflow })
		if i >= 0 {
			end = g.stopped[i]
		}
		return i >= 0
	})
	return end
}

// drain drains, and fails the test if a session has to be killed for that.
func (g *gateway) drain() *actors.Report {
	g.t.Helper()
	report, err := g.supervisor.Drain(context.Background(), actors.Drain{Deadline: time.Now().Add(limit)})
	if err != nil {
		g.t.Errorf("the gateway drains: %v", err)
	}
	return report
}

func (g *gateway) config(workflow string) client.Config {
	return client.Config{
		URL:   "ws://" + g.address + "/ws",
		Start: &dap.StartWorkflowRequest{WorkflowID: workflow, Goal: "a goal"},
	}
}

// guest is a client of one session.
type guest struct {
	*client.Conn
	g        *gateway
	workflow string
	actions  []*dap.Action // received so far
	closed   time.Time     // when the session was over
}

// join opens a session.
func (g *gateway) join(workflow string) *guest {
	g.t.Helper()
	conn, err := client.Dial(context.Background(), g.config(workflow))
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(conn.Cut)
	return &guest{Conn: conn, g: g, workflow: workflow}
}

// next receives one action.
func (c *guest) next() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	action, err := c.Receive(ctx)
	if err == nil {
		c.actions = append(c.actions, action)
	}
	return err
}

// begun waits until the session has brought an action.
func (c *guest) begun() *guest {
	c.g.t.Helper()
	if err := c.next(); err != nil {
		c.g.t.Fatalf("%s: %v", c.workflow, err)
	}
	return c
}

// over receives until the session ends, and returns the close frame that the client got.
func (c *guest) over() *client.CloseError {
	for {
		if err := c.next(); err != nil {
			c.closed = time.Now()
			return told(err)
		}
	}
}

// told is the end of a connection; 1006 where it wasn't a close frame.
func told(err error) *client.CloseError {
	var closed *client.CloseError
	if !errors.As(err, &closed) {
		closed = &client.CloseError{Code: 1006, Reason: err.Error()}
	}
	return closed
}

func wantTold(t testing.TB, who string, got *client.CloseError, code int, reason string) {
	t.Helper()
	if got.Code != code || got.Reason != reason {
		t.Errorf("%s was told %v, want %d %q", who, got, code, reason)
	}
}

func wantEnd(t testing.TB, end actors.SessionStopped, want actors.Outcome) {
	t.Helper()
	if end.Outcome != want {
		t.Errorf("the session of %q is %s, want %s: %v", end.Workflow, end.Outcome, want, end.Err)
	}
}

// goodOnes are clients that run one workflow after another, and for which everything must go well.
type goodOnes struct {
	t       testing.TB
	over    chan struct{}
	running sync.WaitGroup
	rounds  [5]int // of each; read after running
}

// good are the workflows of the good ones.
const good = "good"

// goodSteps is their scenario: something is said, something asked.
func goodSteps() []scripted.Step {
	ask := scripted.Ask(&dap.Action{Action: &dap.Action_Mkdir{Mkdir: &dap.Mkdir{DirectoryPath: "d"}}})
	return []scripted.Step{scripted.Checkpoint("begun"), ask, scripted.Checkpoint("half way"), ask}
}

func (g *gateway) goodOnes() *goodOnes {
	o := &goodOnes{t: g.t, over: make(chan struct{})}
	for i := range o.rounds {
		o.running.Go(func() {
			for {
				o.run(g.config(fmt.Sprintf("%s-%d-%d", good, i, o.rounds[i])))
				o.rounds[i]++
				select {
				case <-o.over:
					return
				default:
				}
			}
		})
	}
	return o
}

func (o *goodOnes) run(config client.Config) {
	finished := false
	config.Handle = func(context.Context, *dap.Action) *dap.ActionResponse {
		return &dap.ActionResponse{ResponseType: &dap.ActionResponse_PlainTextResponse{PlainTextResponse: &dap.PlainTextResponse{}}}
	}
	config.Observe = func(event client.Event) {
		switch e := event.(type) {
		case client.Reconnecting:
			o.t.Errorf("%s has to connect again: %v", config.Start.WorkflowID, e.Cause)
		case client.Received:
			finished = e.Action.GetNewCheckpoint().GetStatus() == scripted.StatusFinished
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := client.Run(ctx, config); err != nil || !finished {
		o.t.Errorf("%s: finished: %v; %v", config.Start.WorkflowID, finished, err)
	}
}

// finish lets each end the workflow that it runs, which it began during the misery or before.
func (o *goodOnes) finish() {
	close(o.over)
	o.running.Wait()
}

func isGood(workflow string) bool { return strings.HasPrefix(workflow, good) }
