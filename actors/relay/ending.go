package relay

import (
	"errors"
	"fmt"
	"io"

	"github.com/lastcall-go/lastcall/actors"
)

// The reasons of stopWorkflow that the service knows, letter for letter. It keeps a workflow
// resumable for the first two and ends it for the others.
const (
	stopShutdown    = "WORKHORSE_SERVER_SHUTDOWN"
	stopPingFailed  = "WORKHORSE_WEBSOCKET_PING_FAILED"
	stopPongTimeout = "WORKHORSE_WEBSOCKET_PONG_TIMEOUT"
	stopClosed      = "WORKHORSE_WEBSOCKET_CLOSE_%d"
)

// resumable says that a workflow can go on after a stop for that reason.
func resumable(reason string) bool { return reason == stopShutdown || reason == stopPingFailed }

// ReasonAgentUnavailable is the close reason when the agent can't be reached.
const ReasonAgentUnavailable = "agent unavailable"

var (
	agentUnavailable = ending{actors.Failed, actors.CloseGoingAway, ReasonAgentUnavailable, actors.SideAgent}
	internalError    = ending{actors.Failed, actors.CloseInternal, "internal error", actors.SideGateway}
	startExpected    = ending{actors.Refused, actors.CloseInvalidInput, "start request expected", actors.SideClient}
	killedEnding     = ending{outcome: actors.Killed}
	leaseLostEnding  = ending{actors.Failed, actors.CloseTryAgainLater, "workflow lease lost", actors.SideGateway}
	lostEnding       = ending{outcome: actors.ClientGone}
)

// agentEnding returns the session's ending after an unrequested end of the agent's stream.
func agentEnding(err error) ending {
	if err == io.EOF {
		return ending{outcome: actors.Completed, code: actors.CloseNormal}
	}
	return endingOf(err)
}

// endingOf makes an ending of an error. An error without a close code becomes 1011 internal error.
func endingOf(err error) ending {
	var closeErr *actors.CloseError
	if !errors.As(err, &closeErr) {
		return internalError
	}
	return ending{closeErr.Outcome(), closeErr.Code, cutReason(closeErr.Reason), closeErr.Side}
}

// clientEvent turns the error that ended the reading from a client into the session's event.
func clientEvent(err error) event {
	ev := event{kind: clientEnded, done: readClient, end: lostEnding, stop: stopPingFailed, gone: true}
	var closeErr *actors.CloseError
	var closed *actors.ClosedError
	switch {
	case errors.As(err, &closeErr):
		ev.end, ev.gone = endingOf(err), false
	case errors.As(err, &closed):
		ev.end.code, ev.end.reason = closed.Code, closed.Reason
		ev.stop = closedStop(closed.Code)
	case errors.Is(err, ErrSilent):
		ev.stop = stopPongTimeout
	}
	return ev
}

// sendEvent turns the error of a message that didn't reach the client into the session's event. The
// reading from the client may still go on, or be about to end with the same error.
func sendEvent(err error) event {
	ev := clientEvent(err)
	ev.kind, ev.done = mustEnd, 0
	if ev.gone {
		ev.kind, ev.gone = clientLost, false
	}
	return ev
}

// closedStop: the service knows the codes with which a client says that it is done, 1000 and 1001;
// a close frame without a code says the same (a browser's close() sends one). Any other code is a
// client in trouble, and its workflow is kept resumable as for a lost connection.
func closedStop(code int) string {
	switch code {
	case actors.CloseNormal, actors.CloseNoStatus:
		return fmt.Sprintf(stopClosed, actors.CloseNormal)
	case actors.CloseGoingAway:
		return fmt.Sprintf(stopClosed, actors.CloseGoingAway)
	}
	return stopPingFailed
}

// cutReason makes a reason fit a close frame.
func cutReason(reason string) string { return actors.CutText(reason, actors.MaxReason) }
