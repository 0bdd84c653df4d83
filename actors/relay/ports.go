package relay

import (
	"context"
	"errors"

	"github.com/lastcall-go/lastcall/actors"
)

// Client is the session's end that asked for the workflow. Package transport has one over a
// WebSocket.
//
// Receive and Send are called by one goroutine each, Close by a third at most once, Abort by any.
type Client interface {
	// Receive returns the client's next message, a ClientEvent. After an error it is not called
	// again. The error's type says what happened: a [*actors.ClosedError], [ErrSilent], a
	// [*actors.CloseError] of the client's, whose close frame can still be written; any other error means
	// that the connection is lost.
	Receive() (Message, error)

	// Send delivers one message, an Action, and keeps nothing of it. It blocks for as long as the
	// client's side takes no more. A [*actors.CloseError] means that this message can't be sent, or is what
	// Receive returns too, and is the client's close frame; any other error, of the types that Receive has,
	// that the connection is lost.
	Send(Message) error

	// Close sends the one close frame and waits for the client's answer. It returns when that has
	// come or can't come any more. The reason has at most [actors.MaxReason] bytes; Err is nil.
	Close(end actors.CloseError) error

	// Abort cuts the connection: whatever is blocked in another method returns at once. It doesn't
	// block, and may be called any number of times.
	Abort()
}

// Agent is the other end: it opens the stream on which a workflow is carried out.
type Agent interface {
	// Open returns a stream that lives until it has ended or ctx is done. It must return promptly
	// once ctx is done. A [*actors.CloseError] becomes the client's close frame. The agent
	// should get the [FencingToken] of ctx.
	Open(ctx context.Context) (Stream, error)
}

// Stream is a session's stream to its agent. Send and Receive may be called at the same time, but
// Send by one goroutine at a time. Both return once the context that the stream was opened with is
// done.
type Stream interface {
	// Send hands one message over, a ClientEvent, and keeps nothing of it. It blocks for as long as
	// the agent's side takes no more. An error means that the stream has ended; Receive returns why.
	Send(Message) error

	// Receive returns the agent's next message, an Action; io.EOF where the agent ended the stream in
	// order, and otherwise an error; a [*actors.CloseError] becomes the client's close frame.
	Receive() (Message, error)
}

// Leaser makes sure that a workflow runs in one place at a time.
type Leaser interface {
	// Acquire takes the lease on a workflow, and must return promptly once ctx is done. A
	// [*actors.CloseError] becomes the client's close frame; [LeaseHeld] returns the one for a workflow that
	// runs elsewhere. After an error nothing is held. lost is called at most once, before Release
	// has returned, if the lease is lost: another session has it, or it could not be renewed until it
	// ran out. lost doesn't block.
	Acquire(ctx context.Context, workflow string, lost func(error)) (Lease, error)
}

// Lease is a held lease. The session releases it exactly once, before the client's close frame.
type Lease interface {
	// Token returns the lease's fencing token: larger than that of each lease on the workflow before,
	// as far as the store remembers. It doesn't change.
	Token() uint64

	// Confirm returns nil if the lease is still held, and otherwise why not: ctx's error, or an error
	// with which the lease is lost. It is called before each message, so it must not block while the
	// lease is known to be held. It asks the store only where that is in doubt, as after the process
	// was suspended for longer than the lease lives.
	Confirm(ctx context.Context) error

	// Release gives the workflow free. It must return once ctx is done.
	Release(ctx context.Context) error
}

// ErrSilent says that a client gave no sign of life for too long.
var ErrSilent = errors.New("client silent")

// ErrLeaseHeld is in the chain of the errors of [LeaseHeld].
var ErrLeaseHeld = errors.New("lease held")

// LeaseHeld returns the error of a workflow whose lease another session has. err says which session, for the
// log; it may be nil.
func LeaseHeld(err error) *actors.CloseError {
	return &actors.CloseError{Code: actors.CloseTryAgainLater, Reason: "workflow is running elsewhere", Err: leaseHeld{err}}
}

// leaseHeld has the words of err, and is ErrLeaseHeld.
type leaseHeld struct{ err error }

func (h leaseHeld) Error() string {
	if h.err == nil {
		return ErrLeaseHeld.Error()
	}
	return h.err.Error()
}

func (h leaseHeld) Is(target error) bool { return target == ErrLeaseHeld }

func (h leaseHeld) Unwrap() error { return h.err }

// AgentUnavailable returns the error of an agent that can't be reached, or that went away unasked. err is for the
// log.
func AgentUnavailable(err error) *actors.CloseError {
	return &actors.CloseError{Code: agentUnavailable.code, Reason: agentUnavailable.reason, Err: err, Side: actors.SideAgent}
}
