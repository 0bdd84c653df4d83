package scripted

import (
	"errors"
	"io"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// The reasons of a stop after which a workflow can be resumed, as the service knows them.
const (
	reasonShutdown   = "WORKHORSE_SERVER_SHUTDOWN"
	reasonPingFailed = "WORKHORSE_WEBSOCKET_PING_FAILED"
)

var (
	errAgentStopping = errors.New("agent is shutting down")
	errBrokenOff     = errors.New("broken off on purpose")
)

// stopRequested is a stopWorkflow that came while the agent played.
type stopRequested struct{ reason string }

func (s stopRequested) Error() string { return "stop requested: " + s.reason }

// end turns what ended the play into the stream's status, with the last words that belong to it.
func (r *run) end(err error) error {
	if stop, ok := errors.AsType[stopRequested](err); ok {
		err = r.acknowledge(stop.reason)
	}
	switch err {
	case errAgentStopping:
		return r.interrupt(err.Error())
	case errBrokenOff:
		return r.faults.BreakOff.Err()
	case io.EOF: // the client closed its side
		return nil
	}
	return err
}

func (r *run) acknowledge(reason string) error {
	if err := r.dawdle(); err != nil {
		return err
	}
	switch reason {
	case reasonShutdown:
		return r.interrupt(reason)
	case reasonPingFailed:
		return nil
	default:
		r.agent.checkpoints.forget(r.id.WorkflowID)
		return nil
	}
}

func (r *run) interrupt(reason string) error {
	if err := r.tell(StatusInterrupted, "Interrupted: "+reason); err != nil {
		return err
	}
	return status.Error(codes.Unavailable, "workflow execution interrupted: "+reason)
}

// dawdle is what the agent does wrong between a stop and its acknowledgement.
func (r *run) dawdle() error {
	if r.faults.NeverAcknowledge {
		return r.linger(nil)
	}
	if r.faults.AcknowledgeAfter > 0 {
		if err := r.linger(time.After(r.faults.AcknowledgeAfter)); err != nil {
			return err
		}
	}
	for range r.faults.SendAfterStop {
		if err := r.tell(StatusRunning, "One more thing"); err != nil {
			return err
		}
	}
	return nil
}

// linger waits for the timer whatever the client says. A second stop changes nothing.
func (r *run) linger(timer <-chan time.Time) error {
	for {
		err := r.await(timer, "")
		if _, again := errors.AsType[stopRequested](err); !again && err != io.EOF {
			return err
		}
	}
}
