package scripted

import (
	"crypto/rand"
	"encoding/json"

	"github.com/lastcall-go/lastcall/proto/dap"
)

// The states of a workflow that a checkpoint names.
const (
	StatusRunning     = "RUNNING"
	StatusInterrupted = "INTERRUPTED"
	StatusFinished    = "FINISHED"
)

// play takes the steps that are left. Its error says why it didn't come to their end.
func (r *run) play() error {
	if err := r.flood(); err != nil {
		return err
	}
	first := r.saved
	for i, step := range r.agent.options.Steps[first:] {
		if err := r.prepare(i); err != nil {
			return err
		}
		if err := r.take(step, first+i+1); err != nil {
			return err
		}
	}
	return r.finish(first)
}

func (r *run) finish(first int) error {
	all := len(r.agent.options.Steps)
	if err := r.prepare(all - first); err != nil {
		return err
	}
	return r.save(all, StatusFinished, "Finished")
}

// prepare comes before each step, after taken ones of this stream.
func (r *run) prepare(taken int) error {
	if r.faults.BreakOff != nil && taken == r.faults.BreakOffAfter {
		return errBrokenOff
	}
	return r.pause(r.agent.options.Pace)
}

// take takes the step that is the scenario's number-th.
func (r *run) take(step Step, number int) error {
	switch step.kind {
	case askClient:
		return r.ask(step.action)
	case waitForStop:
		return r.await(nil, "")
	default:
		return r.save(number, StatusRunning, step.message)
	}
}

func (r *run) ask(action *dap.Action) error {
	requestID := rand.Text()
	// The scenario's action is shared by all streams: only what goes around it is new.
	if err := r.stream.Send(&dap.Action{RequestID: requestID, Action: action.GetAction()}); err != nil {
		return err
	}
	return r.await(nil, requestID)
}

// save remembers that this many steps are behind the workflow, then sends the client a checkpoint.
func (r *run) save(steps int, state, message string) error {
	r.saved = steps
	r.agent.checkpoints.save(r.id.WorkflowID, steps)
	return r.tell(state, message)
}

// tell sends the last checkpoint.
func (r *run) tell(state, message string) error {
	text, err := json.Marshal(position{r.id.WorkflowID, r.saved, len(r.agent.options.Steps), message})
	if err != nil {
		return err
	}
	return r.sendCheckpoint(&dap.NewCheckpoint{Status: state, Goal: r.goal, Checkpoint: string(text)})
}

// position is a checkpoint's text.
type position struct {
	WorkflowID string `json:"workflowID"`
	Step       int    `json:"step"`
	Steps      int    `json:"steps"`
	Message    string `json:"message"`
}

func (r *run) sendCheckpoint(checkpoint *dap.NewCheckpoint) error {
	return r.stream.Send(&dap.Action{
		RequestID: rand.Text(),
		Action:    &dap.Action_NewCheckpoint{NewCheckpoint: checkpoint},
	})
}

func (r *run) flood() error {
	if r.faults.Flood.Messages == 0 {
		return nil
	}
	water := &dap.NewCheckpoint{Status: StatusRunning, Checkpoint: r.faults.Flood.text()}
	for range r.faults.Flood.Messages {
		if err := r.pause(0); err != nil {
			return err
		}
		if err := r.sendCheckpoint(water); err != nil {
			return err
		}
	}
	return nil
}
