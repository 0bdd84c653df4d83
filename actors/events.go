package actors

import "time"

// The events below go out on the engine's event stream. Logs, metrics and pages listen there, with
// [Supervisor.Listen] or hollywood's Subscribe; the supervisor and the sessions know none of them.

// SessionStarted says that a session has taken over an upgraded connection.
type SessionStarted struct {
	ID     string
	Remote string // the client's address, as it was given to [Ticket.Start]
	At     time.Time
}

// SessionStopped says that nothing is left of a session.
type SessionStopped struct {
	SessionReport
	Remote string
	Code   int    // the close code the client was told, or told us; 0 where the connection was lost or cut
	Reason string // the close frame's reason
	Err    error  // what went wrong, for the log alone; a [*PanicError] carries its stack

	// BadInput counts what was wrong with the messages, by kind. Nil: nothing.
	BadInput map[BadInput]int
}

// ToolUnavailable says that a tool, or a part of it, could not be opened. The session goes on
// without.
type ToolUnavailable struct {
	Session string
	Err     error
}

// ServiceStopped says that a service's Serve has returned. Where Outcome is neither [Drained] nor
// [Killed], nobody had told it to.
type ServiceStopped struct {
	ServiceReport
	Err error
}

// DrainStarted says that a drain was asked for. Admission ends now, or after the drain's delay.
type DrainStarted struct {
	Reason   string
	Sessions int
	Services int
	Deadline time.Time
}

// DrainProgress says how far the drain is. It goes out a tenth of a second after something has
// changed, and every second where nothing does.
type DrainProgress struct {
	Totals   map[Outcome]int // how the sessions that have stopped since the drain began ended
	Left     int             // sessions, and requests between admission and session
	Elapsed  time.Duration
	Deadline time.Time
}

// DrainFinished says that the drain is over.
type DrainFinished struct {
	Report *Report
}

// SupervisorPanicked says that the supervisor survived a panic: a defect in lastcall, or in what an
// embedder gave it.
type SupervisorPanicked struct {
	Err *PanicError
}
