package admin

import (
	"encoding/json"
	"time"

	"github.com/lastcall-go/lastcall/actors"
)

// Sessions is the answer of GET /sessions.
type Sessions struct {
	Total    int            `json:"total"`  // that match, before offset and limit
	Phases   map[string]int `json:"phases"` // of all sessions, whatever the query
	Sessions []Session      `json:"sessions"`
}

// Session is one session at one moment.
type Session struct {
	ID           string         `json:"id"`
	Kind         string         `json:"kind"`
	Principal    string         `json:"principal,omitempty"` // that opened it. Empty: none
	Workflow     string         `json:"workflow"`            // empty: not known yet, or it has none
	Phase        string         `json:"phase"`
	Since        time.Time      `json:"since"` // when it came to its phase
	Started      time.Time      `json:"started"`
	Told         time.Time      `json:"told,omitzero"` // when it was asked to stop
	WaitsFor     actors.Awaited `json:"waits_for"`
	Remote       string         `json:"remote"`
	Transport    string         `json:"transport"`
	Agent        string         `json:"agent"`
	Received     Flow           `json:"received"` // from the client
	Sent         Flow           `json:"sent"`     // to the client
	ToolsRunning int            `json:"tools_running"`
	LastMessage  time.Time      `json:"last_message,omitzero"` // when one passed last, either way
}

// Flow is what has passed one way.
type Flow struct {
	Messages uint64 `json:"messages"`
	Bytes    uint64 `json:"bytes"` // as JSON
}

// State is the answer of GET /drain.
type State struct {
	State  actors.State `json:"state"`
	Final  bool         `json:"final"`  // the process ends after the drain
	Drains []Drain      `json:"drains"` // the last few that are over, and those under way

	// LeaseStore is nil where leases are the process's own.
	LeaseStore *LeaseStore `json:"lease_store,omitempty"`

	// Instance is nil where it is not known.
	Instance *Instance `json:"instance,omitempty"`
}

// Instance is which gateway of several this is.
type Instance struct {
	Name    string    `json:"name"` // such as its host's
	Version string    `json:"version"`
	Since   time.Time `json:"since"`
	Agent   string    `json:"agent"`

	// Flags are the settings that differ from their defaults, such as "--drain-grace=5s". Secrets are not in them.
	Flags []string `json:"flags"`

	// TraceURL is where a trace is looked at, with {trace} for its ID. Empty: nowhere.
	TraceURL string `json:"trace_url,omitempty"`
}

// LeaseStore is the store of leases, as the process has seen it last.
type LeaseStore struct {
	Reachable bool      `json:"reachable"`
	Since     time.Time `json:"since,omitzero"` // when Reachable became so; zero: the store was not asked yet

	// SessionsEnd is when the sessions that are open now have ended if the store stays unreachable.
	// Zero: they go on without a lease, or the store is reachable.
	SessionsEnd time.Time `json:"sessions_end,omitzero"`
}

// Drain is one drain at one moment.
type Drain struct {
	ID       string                 `json:"id"`
	Part     bool                   `json:"part"` // of some sessions; the others go on, and admission too
	Reason   string                 `json:"reason"`
	Sessions int                    `json:"sessions"` // at its begin
	Left     int                    `json:"left"`     // requests on their way to a session included
	Untold   int                    `json:"untold"`   // of those, sessions that were not asked to stop yet
	Totals   map[actors.Outcome]int `json:"totals"`
	Began    time.Time              `json:"began"`
	Deadline time.Time              `json:"deadline"`
	Over     bool                   `json:"over"`
	Took     actors.Seconds         `json:"took_seconds,omitempty"`
	Killed   []string               `json:"killed,omitempty"`
}

// Estimate is what a drain would take that began now: [actors.Estimate].
type Estimate struct {
	Sessions int `json:"sessions"`
	Batches  int `json:"batches"`
	Stops    int `json:"stops"`   // that it is based on. 0: nothing is known yet, and all times of a stop are 0
	Unknown  int `json:"unknown"` // sessions of a kind and an agent without stops so far
	Cut      int `json:"cut"`     // sessions that are likely to run into the stop timeout or the deadline

	// The drain's timeline, each from its begin.
	Closes   actors.Seconds `json:"closes_seconds"`
	LastAsk  actors.Seconds `json:"last_ask_seconds"`
	GraceEnd actors.Seconds `json:"grace_end_seconds"`
	Kill     actors.Seconds `json:"kill_seconds"`
	Deadline actors.Seconds `json:"deadline_seconds"`

	StopP50 actors.Seconds `json:"stop_p50_seconds"`
	StopP99 actors.Seconds `json:"stop_p99_seconds"`
	TookP50 actors.Seconds `json:"took_p50_seconds"`
	TookP99 actors.Seconds `json:"took_p99_seconds"`
	InTime  bool           `json:"in_time"` // TookP99 is before Kill, or there is no session
}

// Event is one event of GET /events.
type Event struct {
	Name string // one of the Event constants
	Data json.RawMessage
}

// The names of events, each with the type of its data.
const (
	EventState           = "state"            // State: the first event
	EventSessionStarted  = "session-started"  // SessionStarted
	EventSessionPhase    = "session-phase"    // SessionPhase
	EventSessionStopped  = "session-stopped"  // SessionStopped
	EventToolUnavailable = "tool-unavailable" // ToolUnavailable
	EventServiceStopped  = "service-stopped"  // ServiceStopped
	EventDrainStarted    = "drain-started"    // Drain
	EventDrainProgress   = "drain-progress"   // Drain
	EventDrainFinished   = "drain-finished"   // Drain
	EventResumed         = "resumed"          // State
	EventLagged          = "lagged"           // Lagged: read everything anew
)

// SessionStarted is the data of [EventSessionStarted].
type SessionStarted struct {
	ID        string    `json:"id"`
	Kind      string    `json:"kind"`
	Remote    string    `json:"remote"`
	Transport string    `json:"transport"`
	Agent     string    `json:"agent"`
	At        time.Time `json:"at"`
}

// SessionPhase is the data of [EventSessionPhase].
type SessionPhase struct {
	ID       string    `json:"id"`
	Workflow string    `json:"workflow"`
	Phase    string    `json:"phase"`
	At       time.Time `json:"at"`
}

// SessionStopped is the data of [EventSessionStopped].
type SessionStopped struct {
	ID       string         `json:"id"`
	Workflow string         `json:"workflow"`
	Remote   string         `json:"remote"`
	Outcome  actors.Outcome `json:"outcome"`
	Code     int            `json:"code"`
	Reason   string         `json:"reason"`
	Age      actors.Seconds `json:"age_seconds"`
	Took     actors.Seconds `json:"stop_seconds"`
	Error    string         `json:"error,omitempty"`

	WaitedFor actors.Awaited `json:"waited_for,omitempty"` // of a killed session, when its time was up
	TraceID   string         `json:"trace_id,omitempty"`   // of its span, if there is one
}

// ToolUnavailable is the data of [EventToolUnavailable].
type ToolUnavailable struct {
	Session string `json:"session"`
	Error   string `json:"error"`
}

// ServiceStopped is the data of [EventServiceStopped].
type ServiceStopped struct {
	Name    string         `json:"name"`
	Outcome actors.Outcome `json:"outcome"`
	Took    actors.Seconds `json:"stop_seconds"`
	Error   string         `json:"error,omitempty"`
}

// Lagged is the data of [EventLagged].
type Lagged struct {
	Missed int `json:"missed"` // events that the reader was too slow for
}
