package scripted_test

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"pgregory.net/rapid"

	"github.com/lastcall-go/lastcall/proto/dap"
	"github.com/lastcall-go/lastcall/transport/scripted"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	shutdown   = "WORKHORSE_SERVER_SHUTDOWN"
	pingFailed = "WORKHORSE_WEBSOCKET_PING_FAILED"
)

// stage is an agent that serves in memory, a client of it, and what was observed.
type stage struct {
	t        rapid.TB
	agent    *scripted.Agent
	client   dap.DuoWorkflowClient
	conn     *grpc.ClientConn
	listener *bufconn.Listener
	stop     context.CancelFunc
	served   chan error

	mu     sync.Mutex
	events []scripted.Event
}

// onStage runs the test in a bubble, where time is not real and no goroutine may be left behind.
func onStage(t *testing.T, options scripted.Options, test func(t *testing.T, s *stage)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &stage{t: t}
		options.Observe = s.observe
		s.agent = scripted.New(options)
		s.serve()
		test(t, s)
		s.close()
	})
}

func (s *stage) serve() {
	var ctx context.Context
	ctx, s.stop = context.WithCancel(context.Background())
	s.served = make(chan error, 1)
	s.listener = bufconn.Listen(64 << 10)
	go func(listener net.Listener) { s.served <- s.agent.Serve(ctx, listener) }(s.listener)
	s.dial()
}

func (s *stage) dial(options ...grpc.DialOption) {
	listener := s.listener
	options = append(options,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	conn, err := grpc.NewClient("passthrough:///agent", options...)
	if err != nil {
		s.t.Fatal(err)
	}
	s.conn, s.client = conn, dap.NewDuoWorkflowClient(conn)
}

func (s *stage) close() {
	s.conn.Close()
	s.stop()
	if err := <-s.served; err != nil {
		s.t.Errorf("Serve: %v", err)
	}
}

func (s *stage) observe(event scripted.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, event)
}

// observed returns the events of one type, in order.
func observed[E scripted.Event](s *stage) []E {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []E
	for _, event := range s.events {
		if e, ok := event.(E); ok {
			found = append(found, e)
		}
	}
	return found
}

// stream is the client's side of one stream.
type stream struct {
	dap.DuoWorkflow_ExecuteWorkflowClient
	t      rapid.TB
	cancel context.CancelFunc
}

func (s *stage) open() *stream {
	s.t.Helper()
	// The agent's keepalive keeps a bubble's clock going: what hangs must end by itself.
	ctx, cancel := context.WithTimeout(context.Background(), 48*time.Hour)
	raw, err := s.client.ExecuteWorkflow(ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	return &stream{raw, s.t, cancel}
}

func (s *stage) start(workflowID string) *stream {
	s.t.Helper()
	opened := s.open()
	opened.send(startOf(workflowID))
	return opened
}

func startOf(workflowID string) *dap.ClientEvent {
	request := &dap.StartWorkflowRequest{WorkflowID: workflowID, Goal: "tidy up"}
	return &dap.ClientEvent{Response: &dap.ClientEvent_StartRequest{StartRequest: request}}
}

func (s *stream) send(event *dap.ClientEvent) {
	s.t.Helper()
	if err := s.Send(event); err != nil && err != io.EOF {
		s.t.Fatal(err)
	}
}

func (s *stream) answer(requestID string) {
	s.t.Helper()
	s.send(&dap.ClientEvent{Response: &dap.ClientEvent_ActionResponse{ActionResponse: &dap.ActionResponse{RequestID: requestID}}})
}

func (s *stream) heartbeat() {
	s.t.Helper()
	s.send(&dap.ClientEvent{Response: &dap.ClientEvent_Heartbeat{Heartbeat: &dap.HeartbeatRequest{}}})
}

func (s *stream) stop(reason string) {
	s.t.Helper()
	s.send(&dap.ClientEvent{Response: &dap.ClientEvent_StopWorkflow{StopWorkflow: &dap.StopWorkflowRequest{Reason: reason}}})
}

func (s *stream) next() *dap.Action {
	s.t.Helper()
	action, err := s.Recv()
	if err != nil {
		s.t.Fatalf("the stream ended: %v", err)
	}
	return action
}

// rest answers all that is asked until the stream ends.
func (s *stream) rest() ([]*dap.Action, *status.Status) {
	s.t.Helper()
	defer s.cancel()
	var actions []*dap.Action
	for {
		action, err := s.Recv()
		if err == io.EOF {
			return actions, status.New(codes.OK, "")
		}
		if err != nil {
			return actions, status.Convert(err)
		}
		actions = append(actions, action)
		if action.GetNewCheckpoint() == nil {
			s.answer(action.GetRequestID())
		}
	}
}

// ends checks the status that the rest of the stream ends with.
func (s *stream) ends(code codes.Code, message string) []*dap.Action {
	s.t.Helper()
	actions, got := s.rest()
	if got.Code() != code || got.Message() != message {
		s.t.Errorf("the stream ended with %v %q, want %v %q", got.Code(), got.Message(), code, message)
	}
	return actions
}

// position is a checkpoint's text.
type position struct {
	WorkflowID  string
	Step, Steps int
	Message     string
}

func positionOf(t rapid.TB, action *dap.Action) position {
	t.Helper()
	var p position
	if err := json.Unmarshal([]byte(action.GetNewCheckpoint().GetCheckpoint()), &p); err != nil {
		t.Fatalf("no checkpoint: %v", action)
	}
	return p
}

// told describes each action: a checkpoint by its status and message, listDirectory by its folder.
func told(t rapid.TB, actions ...*dap.Action) []string {
	t.Helper()
	var all []string
	for _, action := range actions {
		if checkpoint := action.GetNewCheckpoint(); checkpoint != nil {
			all = append(all, checkpoint.GetStatus()+" "+positionOf(t, action).Message)
		} else {
			all = append(all, "list "+action.GetListDirectory().GetDirectory())
		}
	}
	return all
}

func (s *stream) tells(want ...string) {
	s.t.Helper()
	for _, one := range want {
		if got := told(s.t, s.next()); got[0] != one {
			s.t.Fatalf("the agent told %q, want %q", got[0], one)
		}
	}
}

func wantTold(t rapid.TB, actions []*dap.Action, want ...string) {
	t.Helper()
	if got := told(t, actions...); !slices.Equal(got, want) {
		t.Errorf("the agent told %q, want %q", got, want)
	}
}

func list(directory string) scripted.Step {
	return scripted.Ask(&dap.Action{Action: &dap.Action_ListDirectory{ListDirectory: &dap.ListDirectory{Directory: directory}}})
}

// small is a scenario with actions before, between and after checkpoints.
func small() []scripted.Step {
	return []scripted.Step{list("a"), scripted.Checkpoint("one"), list("b"), scripted.Checkpoint("two"), list("c")}
}

func idle() []scripted.Step { return []scripted.Step{scripted.Wait()} }
