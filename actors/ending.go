package actors

import (
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// Outcome is how a session or a service ended.
type Outcome string

// The outcomes. A session has exactly one.
const (
	Completed  Outcome = "completed"   // the agent ended its stream in order, unasked
	ClientGone Outcome = "client_gone" // the client left, and the agent stopped
	Drained    Outcome = "drained"     // the agent stopped for a drain, and the client was told
	Cancelled  Outcome = "cancelled"   // the agent didn't stop in time, and its stream was cancelled
	Refused    Outcome = "refused"     // what the client asked for is not allowed, or not here
	Failed     Outcome = "failed"      // an error, here or in the agent
	Killed     Outcome = "killed"      // still there at the deadline
)

// Outcomes lists all outcomes, in the order in which reports show them.
func Outcomes() []Outcome {
	return []Outcome{Completed, Drained, ClientGone, Refused, Failed, Cancelled, Killed}
}

// The reasons of stopWorkflow that the service knows, letter for letter. It keeps a workflow
// resumable for the first two and ends it for the others.
const (
	stopShutdown    = "WORKHORSE_SERVER_SHUTDOWN"
	stopPingFailed  = "WORKHORSE_WEBSOCKET_PING_FAILED"
	stopPongTimeout = "WORKHORSE_WEBSOCKET_PONG_TIMEOUT"
	stopClosed      = "WORKHORSE_WEBSOCKET_CLOSE_%d"
)

// ReasonAgentUnavailable is what clients are told of an agent that can't be reached.
const ReasonAgentUnavailable = "agent unavailable"

// DefaultReason is what clients are told of a drain that gives no reason of its own, ReasonAge what
// those are told whose session has reached [Options].MaxSessionAge.
const (
	DefaultReason = "server shutdown"
	ReasonAge     = "session age limit"
)

var (
	agentUnavailable = ending{Failed, CloseGoingAway, ReasonAgentUnavailable}
	internalError    = ending{Failed, CloseInternal, "internal error"}
	startExpected    = ending{Refused, ClosePolicy, "start request expected"}
	killedEnding     = ending{outcome: Killed}
	leaseLostEnding  = ending{Failed, CloseTryAgainLater, "workflow lease lost"}
	lostEnding       = ending{outcome: ClientGone}
)

// agentEnding tells how the end of the agent's stream ends the session, unless it was asked for.
func agentEnding(err error) ending {
	if err == io.EOF {
		return ending{Completed, CloseNormal, ""}
	}
	return faultEnding(err)
}

// faultEnding: who isn't a Fault has nothing to say to a client.
func faultEnding(err error) ending {
	var fault *Fault
	if !errors.As(err, &fault) {
		return internalError
	}
	outcome := Failed
	switch fault.Code {
	case ClosePolicy, CloseTryAgainLater, CloseInvalidInput:
		outcome = Refused
	}
	return ending{outcome, fault.Code, cutReason(fault.Reason)}
}

// clientEvent turns the error that ended the reading from a client into the session's event.
func clientEvent(err error) event {
	ev := event{kind: clientEnded, done: readClient, end: lostEnding, stop: stopPingFailed, gone: true}
	var fault *Fault
	var closed *ClosedError
	switch {
	case errors.As(err, &fault):
		ev.end, ev.gone = faultEnding(err), false
	case errors.As(err, &closed):
		ev.end.code, ev.end.reason = closed.Code, closed.Reason
		ev.stop = closedStop(closed.Code)
	case errors.Is(err, ErrSilent):
		ev.stop = stopPongTimeout
	}
	return ev
}

// sendEvent turns the error of a message that didn't reach the client into the session's event.
func sendEvent(err error) event {
	if errors.As(err, new(*Fault)) {
		return event{kind: mustEnd, end: faultEnding(err), stop: stopPingFailed}
	}
	return event{kind: clientLost, end: lostEnding, stop: stopPingFailed}
}

// closedStop: the service knows the codes with which a client says that it is done, 1000 and 1001;
// a close frame without a code says the same (a browser's close() sends one). Any other code is a
// client in trouble, and its workflow is kept resumable as for a lost connection.
func closedStop(code int) string {
	switch code {
	case CloseNormal, CloseNoStatus:
		return fmt.Sprintf(stopClosed, CloseNormal)
	case CloseGoingAway:
		return fmt.Sprintf(stopClosed, CloseGoingAway)
	}
	return stopPingFailed
}

// cutReason makes a reason fit a close frame.
func cutReason(reason string) string { return cutText(reason, MaxReason) }

// cutText makes valid UTF-8 of at most that many bytes of a text, cut on a rune boundary.
func cutText(text string, most int) string {
	if !utf8.ValidString(text) {
		text = string([]rune(text)) // each bad byte becomes U+FFFD
	}
	if len(text) <= most {
		return text
	}
	for !utf8.RuneStart(text[most]) {
		most--
	}
	return text[:most]
}
