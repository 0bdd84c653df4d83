package scripted

import (
	"strings"
	"time"

	"google.golang.org/grpc/status"
)

// Misbehaviour is what an agent does wrong in a stream. Each zero value is good behaviour. None of
// it survives the cancellation of the stream or the stop of the agent's own server.
type Misbehaviour struct {
	// NeverAcknowledge leaves the stream open and silent after a stopWorkflow.
	NeverAcknowledge bool

	// AcknowledgeAfter is how long after a stopWorkflow the agent begins to end the stream.
	AcknowledgeAfter time.Duration

	// SendAfterStop is how many more checkpoints follow a stopWorkflow, before the one that the
	// reason calls for and after AcknowledgeAfter.
	SendAfterStop int

	// Flood comes right after the start.
	Flood Flood

	// StopReading leaves what follows the startRequest to the flow control: neither answers nor
	// stopWorkflow are seen. (One message is taken off the stream and put aside.)
	StopReading bool

	// BreakOff, if not nil, ends the stream with this status before the step that follows the first
	// BreakOffAfter ones of the stream.
	BreakOff      *status.Status
	BreakOffAfter int
}

// Flood is that many checkpoints of Size bytes of text each, sent as fast as flow control lets them
// out. They say nothing, and are not remembered. A stop between two of them ends the flood.
type Flood struct {
	Messages, Size int

	Controls bool // the text is of control characters, each six bytes as JSON
}

func (f Flood) text() string {
	if f.Controls {
		return strings.Repeat("\x01", f.Size)
	}
	return strings.Repeat("~", f.Size)
}
