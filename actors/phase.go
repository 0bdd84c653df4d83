package actors

// Phase is how far a session has come. It only ever moves forward.
type Phase uint8

// The phases of a session, in their order. A connection of [Ticket.Run] is serving, and then stopping.
const (
	PhaseOpening  Phase = iota // upgraded; the startRequest, the lease and the agent's stream are awaited
	PhaseServing               // messages flow both ways
	PhaseStopping              // the agent was told to stop; what it still says reaches the client
	PhaseClosing               // the agent is gone: lease, close frame, the client's answer
	PhaseStopped               // nothing of the session is left
)

func (p Phase) String() string {
	return [...]string{"opening", "serving", "stopping", "closing", "stopped"}[p]
}
