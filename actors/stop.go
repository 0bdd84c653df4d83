package actors

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Cause is why a session or a service has to stop.
type Cause string

// The causes of a [Stop].
const (
	CauseDrain Cause = "drain" // everything drains
	CausePart  Cause = "part"  // a part of the sessions is drained, and this one is in it
	CauseAge   Cause = "age"   // the session has reached [Options].MaxSessionAge
	CauseKill  Cause = "kill"  // no time is left

	CauseRevoked Cause = "revoked" // the session's authorization was withdrawn
)

// Stop tells a session or a service to finish. It is the message that their actors get, and for a
// function that runs under a context the context's cause:
//
//	var stop *actors.Stop
//	if errors.As(context.Cause(ctx), &stop) { … }
//
// A later drain can bring both times forward; a session's actor is then sent another Stop.
type Stop struct {
	Cause      Cause
	Reason     string    // for the client: [Drain].Reason
	GraceUntil time.Time // work under way may go on until then. Past or zero: it may not
	Deadline   time.Time // when it is to be gone; a moment later it is killed
}

func (s *Stop) Error() string { return fmt.Sprintf("told to stop (%s): %s", s.Cause, s.Reason) }

// CloseCode is the close code that goes with Reason in a WebSocket's close frame.
func (s *Stop) CloseCode() int {
	if s.Cause == CauseRevoked {
		return CloseUnauthorized
	}
	return CloseGoingAway
}

type outOfTime struct{}

// OutOfTime returns a context that is done when a service or a session that was told to stop has no
// time left. ctx is the one that its function was called with, or comes from it: pass the result to
// http.Server.Shutdown and its like. For any other ctx it returns ctx itself.
func OutOfTime(ctx context.Context) context.Context {
	if limit, ok := ctx.Value(outOfTime{}).(context.Context); ok {
		return limit
	}
	return ctx
}

// isContextError tells whether err only says that a context was done.
func isContextError(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || errors.As(err, new(*Stop))
}
