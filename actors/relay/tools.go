package relay

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/proto/dap"
)

// Tool runs some of the agent's actions here, instead of at the client. A session has its own.
type Tool interface {
	// Open makes the tool ready for one workflow, before its startRequest goes out, and may add to
	// that what the agent should know. It must return promptly once ctx is done. An error becomes
	// the event [ToolUnavailable], and the session goes on with what the tool can do.
	Open(ctx context.Context, start *dap.StartWorkflowRequest) error

	// Takes reports whether the tool runs this action. It is asked for each but a checkpoint, which
	// waits for no answer, and must be fast.
	Takes(action *dap.Action) bool

	// Run runs one action and returns its answer, to which the session adds the requestID. It is
	// called several at a time, and must return promptly once ctx is done. The text of an error is
	// what the agent is answered, so it names nothing secret.
	Run(ctx context.Context, action *dap.Action) (*dap.ActionResponse, error)

	// Close lets go of all that the tool holds. It is called once Open was, whatever became of that;
	// a session that ends before has no use for its tools, so they hold nothing until Open. It must
	// return once ctx is done.
	Close(ctx context.Context) error
}

// calls are a session's tool calls. They run beside the pumps, a limited number at a time: the pump
// from the agent waits for a place. A session without tools has none of this.
type calls struct {
	context context.Context // done when calls have no sense any more
	cancel  context.CancelFunc
	places  chan struct{}

	mu      sync.Mutex
	over    bool
	total   int // that there have been
	running sync.WaitGroup
}

func newCalls(values context.Context, limit int) *calls {
	c := &calls{places: make(chan struct{}, limit)}
	c.context, c.cancel = context.WithCancel(values)
	return c
}

// begin waits for a place. It reports false if there will be no more calls.
func (c *calls) begin() bool {
	select {
	case c.places <- struct{}{}:
	case <-c.context.Done():
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return false
	}
	c.total++
	c.running.Add(1)
	return true
}

// count is how many calls there have been.
func (c *calls) count() int {
	if c == nil {
		return 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.total
}

// runningNow is how many there are.
func (c *calls) runningNow() int {
	if c == nil {
		return 0
	}
	return len(c.places)
}

func (c *calls) end() {
	<-c.places
	c.running.Done()
}

// finish cancels the calls that run; there will be no more.
func (c *calls) finish() {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	c.cancel()
}

// settle waits until no call runs, or ctx is done, or for so long. It comes after finish.
func (c *calls) settle(ctx context.Context, timeout time.Duration) {
	if c == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	settled := make(chan struct{})
	go func() {
		c.running.Wait()
		close(settled)
	}()
	select {
	case <-settled:
	case <-ctx.Done():
	}
}

// openTools opens the session's tools one after the other; what each has to wait for it does beside
// each other itself.
func (s *session) openTools(start *dap.StartWorkflowRequest) {
	for _, tool := range s.Tools {
		if err := tool.Open(s.stream, start); err != nil {
			s.engine.BroadcastEvent(ToolUnavailable{Session: s.place.ID, Workflow: actors.CutText(start.GetWorkflowID(), actors.MaxWorkflow), Err: err, Context: s.place.Context})
		}
	}
}

func (s *session) closeTools(ctx context.Context) error {
	errs := make([]error, len(s.Tools))
	var closing sync.WaitGroup
	for i, tool := range s.Tools {
		closing.Go(func() {
			defer func() {
				if v := recover(); v != nil {
					errs[i] = actors.NewPanicError(v)
				}
			}()
			errs[i] = tool.Close(ctx)
		})
	}
	closing.Wait()
	return errors.Join(errs...)
}

// callTool runs an action where a tool takes it. It returns as soon as the call is under way.
func (s *session) callTool(view actionView, encoded Message) (taken bool) {
	if len(s.Tools) == 0 || view.kind == actionCheckpoint {
		return false
	}
	action := new(dap.Action)
	if err := encoded.Decode(action); err != nil {
		return false // the client's side says what is wrong with it
	}
	for _, tool := range s.Tools {
		if tool.Takes(action) {
			if s.calls.begin() {
				go s.runTool(tool, action)
			} else {
				s.answer(action.GetRequestID(), errorAnswer(cancelledCall))
			}
			return true
		}
	}
	return false
}

// runTool answers exactly once, whatever becomes of the call: an agent left without an answer
// stalls. A panic is answered too, and then ends the session. Without the lease nothing is run.
func (s *session) runTool(tool Tool, action *dap.Action) {
	defer s.calls.end()
	defer func() {
		if v := recover(); v != nil { // in the lease or the stream
			s.post(&message{event: event{kind: panicked, end: internalError}, err: actors.NewPanicError(v)})
		}
	}()
	if !s.confirm() {
		return
	}
	ctx, cancel := context.WithTimeout(s.calls.context, s.limits.ToolTimeout)
	defer cancel()
	answer, err := guardedRun(ctx, tool, action)
	panicked := errors.As(err, new(*actors.PanicError))
	switch {
	case panicked:
		answer = errorAnswer(internalError.reason)
	case err != nil:
		answer = errorAnswer(toolError(ctx, err))
	}
	s.answer(action.GetRequestID(), answer)
	if panicked { // after the answer: the agent is asked to stop, not cut off
		s.post(&message{event: event{kind: mustEnd, end: internalError, stop: stopPingFailed}, err: err})
	}
}

func guardedRun(ctx context.Context, tool Tool, action *dap.Action) (answer *dap.ActionResponse, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &ToolPanicError{actors.NewPanicError(v)}
		}
	}()
	answer, err = tool.Run(ctx, action)
	if err == nil && answer == nil {
		err = errors.New("the tool gave no answer")
	}
	return answer, err
}

// ToolPanicError is the error of a session that ended because a tool panicked in Run.
type ToolPanicError struct{ *actors.PanicError }

// Unwrap returns the panic.
func (e *ToolPanicError) Unwrap() error { return e.PanicError }

// toolError says which context it was that ended a call.
func toolError(ctx context.Context, err error) string {
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return "timed out"
	case ctx.Err() != nil:
		return cancelledCall
	}
	return err.Error()
}

func errorAnswer(text string) *dap.ActionResponse {
	return &dap.ActionResponse{ResponseType: &dap.ActionResponse_PlainTextResponse{
		PlainTextResponse: &dap.PlainTextResponse{Error: actors.CutText(text, maxToolError)},
	}}
}

// cancelledCall is what the agent is answered to a call that the session's end cuts.
const cancelledCall = "cancelled: the session ends"

// maxToolError is how many bytes of an error's text an agent is answered.
const maxToolError = 4 << 10
