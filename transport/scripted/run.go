package scripted

import (
	"crypto/rand"
	"io"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/lastcall-go/lastcall/proto/dap"
)

// maxWorkflowID bounds, in bytes, what remembering a workflow costs.
const maxWorkflowID = 256

// run is one stream that plays one workflow. Its methods run on the goroutine of the stream's
// handler, but for read.
type run struct {
	agent    *Agent
	stream   dap.DuoWorkflow_ExecuteWorkflowServer
	stopping <-chan struct{}
	inbox    <-chan received // nil: the client isn't listened to

	id     StreamID
	goal   string
	faults Misbehaviour
	saved  int // steps behind the last checkpoint
}

// received is what Recv returned.
type received struct {
	event *dap.ClientEvent
	err   error
}

func (a *Agent) execute(host *host, stream dap.DuoWorkflow_ExecuteWorkflowServer) error {
	inbox := make(chan received)
	// A Recv ends with its stream's context, and gRPC ends that only once the handler has returned:
	// the handler can't wait for its reader, so the host does.
	host.readers.Go(func() { read(stream, inbox) })

	r := &run{agent: a, stream: stream, stopping: host.stopping, inbox: inbox}
	request, err := r.awaitStart()
	if err != nil {
		return err
	}
	r.start(request)
	err = r.end(r.play())
	a.options.Observe(Ended{r.id, status.Convert(err), stream.Context().Err() != nil})
	return err
}

// read hands over what the client sends, up to the error that ends it.
func read(stream dap.DuoWorkflow_ExecuteWorkflowServer, inbox chan<- received) {
	for {
		event, err := stream.Recv()
		select {
		case inbox <- received{event, err}:
		case <-stream.Context().Done():
			return
		}
		if err != nil {
			return
		}
	}
}

func (r *run) awaitStart() (*dap.StartWorkflowRequest, error) {
	select {
	case first := <-r.inbox:
		return startRequest(first)
	case <-r.stopping:
		return nil, status.Error(codes.Unavailable, errAgentStopping.Error())
	case <-r.stream.Context().Done():
		return nil, r.cancelled()
	}
}

func startRequest(first received) (*dap.StartWorkflowRequest, error) {
	if first.err != nil && first.err != io.EOF {
		return nil, first.err
	}
	request := first.event.GetStartRequest()
	switch {
	case request == nil:
		return nil, status.Error(codes.InvalidArgument, "start request expected")
	case len(request.GetWorkflowID()) > maxWorkflowID:
		return nil, status.Errorf(codes.InvalidArgument, "workflow ID over %d bytes", maxWorkflowID)
	}
	return request, nil
}

func (r *run) start(request *dap.StartWorkflowRequest) {
	options := &r.agent.options
	r.id = StreamID{Stream: r.agent.streams.Add(1), WorkflowID: request.GetWorkflowID()}
	if r.id.WorkflowID == "" {
		r.id.WorkflowID = rand.Text()
	}
	r.goal = request.GetGoal()
	r.faults = options.Misbehave(r.id.WorkflowID)
	r.saved = r.agent.checkpoints.load(r.id.WorkflowID)
	if r.faults.StopReading {
		r.inbox = nil
	}
	md, _ := metadata.FromIncomingContext(r.stream.Context())
	options.Observe(Started{r.id, r.saved, request, md})
}
