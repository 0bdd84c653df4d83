package actors

import (
	"context"
	"time"
)

// The events below go out on the engine's event stream. Logs, metrics and pages listen there, with
// [Supervisor.Listen] or hollywood's Subscribe; the supervisor and the sessions know none of them.

// SessionStarted says that a session has taken over an upgraded connection.
type SessionStarted struct {
	ID string
	Info
	At time.Time
}

// SessionPhase says that a session has come to another phase. For the first and the last there are
// [SessionStarted] and [SessionStopped].
type SessionPhase struct {
	ID        string
	Workflow  string
	AgentName string
	Phase     Phase
	Left      PhaseSpan // the one before
	At        time.Time
	Context   context.Context // carries [Session].Context's values, and never ends
}

// PhaseSpan is how long a session was in a phase.
type PhaseSpan struct {
	Phase  Phase
	Lasted time.Duration
}

// SessionStopped says that nothing is left of a session.
type SessionStopped struct {
	SessionReport
	Info
	Left      PhaseSpan // the last phase
	Code      int       // the close code the client was told, or told us; 0 where the connection was lost or cut
	Reason    string    // the close frame's reason
	Err       error     // what went wrong, for the log alone; a [*PanicError] carries its stack
	Traffic   Traffic
	ToolCalls int

	// BadInput counts what was wrong with the messages, by kind. Nil: nothing.
	BadInput map[BadInput]int
}

// ServiceStopped says that a service's Serve has returned. Where Outcome is neither [Drained] nor
// [Killed], nobody had told it to.
type ServiceStopped struct {
	ServiceReport
	Err error
}

// DrainStarted says that a drain was asked for. Where it is of everything, admission ends now, or
// after the drain's delay.
type DrainStarted struct {
	DrainStatus
	Services int // that it stops
}

// DrainProgress says how far a drain is. It goes out a tenth of a second after something has
// changed, and every second where nothing does.
type DrainProgress struct{ DrainStatus }

// DrainFinished says that a drain is over.
type DrainFinished struct {
	DrainStatus
	Report *Report
}

// Resumed says that requests are admitted again after a standby.
type Resumed struct{ At time.Time }

// SupervisorPanicked says that the supervisor survived a panic: a defect in lastcall, or in what an
// embedder gave it.
type SupervisorPanicked struct {
	Err *PanicError
}

// EventsMissed says that a listener of [Supervisor.Listen] was too far behind, and how many events it
// has missed. It is for that listener alone, and comes where they would have come.
type EventsMissed struct{ Count int }

// BadInput is a kind of input that is wrong. Each is counted.
type BadInput string
