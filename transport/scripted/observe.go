package scripted

import (
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/lastcall-go/lastcall/proto/dap"
)

// Event is what Options.Observe is called with: Started, Received or Ended. A stream that is refused for
// want of a proper startRequest has none. Any other has one Started, then one Received for each
// message that the agent takes up, then one Ended.
type Event interface{ event() }

// StreamID identifies a stream; a workflow can have several. Streams are numbered from 1.
type StreamID struct {
	Stream     uint64
	WorkflowID string
}

// Started says that a stream begins to play. A workflow whose Started outnumber its Ended by two is
// played in two places.
type Started struct {
	StreamID
	ResumedFrom int // steps that earlier streams have put behind the workflow
	Request     *dap.StartWorkflowRequest
	Metadata    metadata.MD
}

// Received is a message that followed the startRequest. The reason of a stop is in it.
type Received struct {
	StreamID
	Event *dap.ClientEvent
}

// Ended says how the stream ends. Cancelled means that the agent didn't end it: the client cancelled
// it, or the connection went away.
type Ended struct {
	StreamID
	Status    *status.Status
	Cancelled bool
}

func (Started) event()  {}
func (Received) event() {}
func (Ended) event()    {}
