package actors

import "unicode/utf8"

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

// DefaultReason is what clients are told of a drain that gives no reason of its own, ReasonAge what
// those are told whose session has reached [Options].MaxSessionAge, ReasonRevoked what those are told
// whose authorization was withdrawn.
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
