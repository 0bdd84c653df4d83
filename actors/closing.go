package actors

import "fmt"

// The close codes of the protocol, from RFC 6455 section 7.4.1, IANA's registry and the DAP wire.
const (
	CloseNormal        = 1000 // the agent ended its stream in order
	CloseGoingAway     = 1001 // come back: the server drains, or the agent is unavailable
	CloseProtocolError = 1002 // the client broke the WebSocket protocol
	CloseNoStatus      = 1005 // never sent: the peer's close frame had no code
	CloseInvalidData   = 1007 // a message is not what it should be
	ClosePolicy        = 1008 // no credits, and nothing else: clients take it for that, whatever its reason
	CloseTooBig        = 1009 // a message is too large
	CloseInternal      = 1011 // something failed, here or in the agent
	CloseTryAgainLater = 1013 // the workflow runs elsewhere
	CloseUnauthorized  = 3000 // the credentials are no longer good
	CloseForbidden     = 3003 // what was asked for is not allowed
	CloseInvalidInput  = 4400 // the agent refused the input, and says why; or a startRequest that is missing, or one too many
)

// MaxReason is how many bytes of a reason a close frame carries: a control frame holds 125 bytes,
// two of them are the code (RFC 6455 section 5.5).
const MaxReason = 123

// ClosedError says that the client itself closed the connection.
type ClosedError struct {
	Code   int // from its close frame; [CloseNoStatus] where that had none
	Reason string
}

func (e *ClosedError) Error() string {
	return fmt.Sprintf("client closed with %d %q", e.Code, e.Reason)
}

// CloseError is an error that ends a session with a close code and a reason for the client. The reason is cut to
// [MaxReason] bytes; it helps the client and names nothing internal.
type CloseError struct {
	Code   int
	Reason string
	Err    error // for the log alone. Nil: there is nothing more to say
	Side   Side  // which failed
}

// Side is a side of a session.
type Side uint8

// The sides of a session.
const (
	SideGateway Side = iota
	SideClient
	SideAgent
)

func (e *CloseError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("%s (close code %d)", e.Reason, e.Code)
	}
	return fmt.Sprintf("%s (close code %d): %v", e.Reason, e.Code, e.Err)
}

// Unwrap returns what is for the log alone.
func (e *CloseError) Unwrap() error { return e.Err }

// Outcome is how the error ends a session: [Refused] where the client asked for what is not allowed or
// not to be had here, else [Failed].
func (e *CloseError) Outcome() Outcome {
	switch e.Code {
	case ClosePolicy, CloseTryAgainLater, CloseUnauthorized, CloseForbidden, CloseInvalidInput:
		return Refused
	}
	return Failed
}
