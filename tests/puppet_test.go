package tests

import (
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/lastcall-go/lastcall/proto/dap"
	"github.com/lastcall-go/lastcall/transport/agentpool"
)

// puppet is an agent that sends what a test says, and keeps what it receives.
type puppet struct {
	dap.UnimplementedDuoWorkflowServer
	t       *testing.T
	address string

	mu      sync.Mutex
	streams map[string][]*puppetStream // by workflow, in the order in which they began
}

// puppetStream is one stream of a workflow.
type puppetStream struct {
	agent    *puppet
	workflow string
	token    []string // the fencing token in the stream's metadata
	stream   dap.DuoWorkflow_ExecuteWorkflowServer

	mu     sync.Mutex
	events []*dap.ClientEvent // after the startRequest
	ended  bool
}

func newPuppet(t *testing.T) *puppet {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a := &puppet{t: t, address: listener.Addr().String(), streams: make(map[string][]*puppetStream)}
	server := grpc.NewServer(grpc.WaitForHandlers(true))
	dap.RegisterDuoWorkflowServer(server, a)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-served; err != nil {
			t.Errorf("the agent: %v", err)
		}
	})
	return a
}

// ExecuteWorkflow receives until the client closes its side or stops the workflow. Either ends the
// stream with OK.
func (a *puppet) ExecuteWorkflow(stream dap.DuoWorkflow_ExecuteWorkflowServer) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	from, _ := metadata.FromIncomingContext(stream.Context())
	s := &puppetStream{
		agent: a, workflow: first.GetStartRequest().GetWorkflowID(),
		token: from.Get(agentpool.FencingTokenMetadata), stream: stream,
	}
	a.mu.Lock()
	a.streams[s.workflow] = append(a.streams[s.workflow], s)
	a.mu.Unlock()
	for {
		event, err := stream.Recv()
		s.note(event, err)
		if err != nil || event.GetStopWorkflow() != nil {
			return nil
		}
	}
}

func (s *puppetStream) note(event *dap.ClientEvent, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		s.events = append(s.events, event)
	}
	s.ended = err != nil || event.GetStopWorkflow() != nil
}

// stream waits for the n-th stream of a workflow.
func (a *puppet) stream(workflow string, n int) (s *puppetStream) {
	a.t.Helper()
	eventually(a.t, "the agent has a stream of "+workflow, func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		if len(a.streams[workflow]) > n {
			s = a.streams[workflow][n]
		}
		return s != nil
	})
	return s
}

// ask sends an action that is to be answered.
func (s *puppetStream) ask(requestID string) {
	s.agent.t.Helper()
	action := &dap.Action{RequestID: requestID, Action: &dap.Action_ListDirectory{ListDirectory: &dap.ListDirectory{Directory: "."}}}
	if err := s.stream.Send(action); err != nil {
		s.agent.t.Errorf("%s: ask: %v", s.workflow, err)
	}
}

// answers are the requestIDs of the answers so far.
func (s *puppetStream) answers() (requestIDs []string) {
	for _, event := range s.received() {
		if answer := event.GetActionResponse(); answer != nil {
			requestIDs = append(requestIDs, answer.GetRequestID())
		}
	}
	return requestIDs
}

// heartbeats is how many came so far.
func (s *puppetStream) heartbeats() (n int) {
	for _, event := range s.received() {
		if event.GetHeartbeat() != nil {
			n++
		}
	}
	return n
}

// stops are the reasons of the stopWorkflows so far.
func (s *puppetStream) stops() (reasons []string) {
	for _, event := range s.received() {
		if stop := event.GetStopWorkflow(); stop != nil {
			reasons = append(reasons, stop.GetReason())
		}
	}
	return reasons
}

func (s *puppetStream) received() []*dap.ClientEvent {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.events)
}

// waitEnded waits until nothing more can come.
func (s *puppetStream) waitEnded() {
	s.agent.t.Helper()
	eventually(s.agent.t, "the agent's stream of "+s.workflow+" ends", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.ended
	})
}

// total is the sum of a metric over its labels.
func (p *process) total(name string) (sum float64) {
	p.t.Helper()
	for series, value := range p.scrape() {
		if strings.HasPrefix(series, name+"{") {
			sum += value
		}
	}
	return sum
}
