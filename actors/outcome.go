package actors

import (
	"fmt"
	"runtime/debug"
	"unicode/utf8"
)

// Outcome is how a session or a service ended.
type Outcome string

// The outcomes. A session has exactly one.
const (
	Completed  Outcome = "completed"   // the agent ended its stream in order, unasked
	ClientGone Outcome = "client_gone" // the client left, and the agent stopped
	Drained    Outcome = "drained"     // the agent stopped for a drain, and the client got a close frame
	Cancelled  Outcome = "cancelled"   // the agent didn't stop in time, and its stream was cancelled
	Refused    Outcome = "refused"     // what the client asked for is not allowed, or not here
	Failed     Outcome = "failed"      // an error, here or in the agent
	Killed     Outcome = "killed"      // still there at the deadline
)

// Outcomes lists all outcomes, in the order in which reports show them.
func Outcomes() []Outcome {
	return []Outcome{Completed, Drained, ClientGone, Refused, Failed, Cancelled, Killed}
}

// DefaultReason is the reason in the close frames of a drain without a reason of its own, ReasonAge that of a
// session which has reached [Options].MaxSessionAge, ReasonRevoked that of a session whose authorization was
// withdrawn.
const (
	DefaultReason = "server shutdown"
	ReasonAge     = "session age limit"
	ReasonRevoked = "authorization withdrawn"
)

// CutText makes valid UTF-8 of at most that many bytes of a text, cut on a rune boundary.
func CutText(text string, most int) string {
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

// MaxWorkflow is how many bytes of a workflow's ID, which a client chose, reports and logs show.
const MaxWorkflow = 256

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

// PanicError is the error of a session or a service that panicked.
type PanicError struct {
	Value any
	Stack []byte
}

// NewPanicError makes the error of what was recovered just now.
func NewPanicError(v any) *PanicError { return &PanicError{Value: v, Stack: debug.Stack()} }

func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v\n%s", e.Value, e.Stack) }
