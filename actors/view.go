package actors

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"
)

// Overview is a supervisor at one moment.
type Overview struct {
	State   State
	Final   bool          // the drain stops the services too: there is no resuming
	Open    int           // sessions
	Tickets int           // requests on their way to a session
	Drains  []DrainStatus // the last few that are over, and those under way; none for reasons of age or authorization
}

// Snapshot is a supervisor and its sessions at one moment.
type Snapshot struct {
	Overview
	Sessions []SessionInfo // oldest first
	Traffic  Traffic       // of all sessions there have been; its counts only grow
}

// State is what a supervisor does with requests, and with all of its sessions.
type State string

// The states of a supervisor.
const (
	Serving  State = "serving"
	Draining State = "draining" // not ready; after the drain's delay no session is admitted
	Idle     State = "drained"  // the drain is over, and no session is admitted
)

// SessionInfo is a session at one moment.
type SessionInfo struct {
	ID           string
	Kind         string // what serves it: [Info].Kind
	Principal    string // that of [Supervisor.AdmitAs]
	Workflow     string // empty: not known yet, or it has none
	Phase        Phase
	Since        time.Time // when it came to its phase
	WaitsFor     Awaited
	Started      time.Time
	Told         time.Time // when it was asked to stop. Zero: it wasn't
	Remote       string
	Transport    string
	AgentName    string
	Traffic      Traffic
	ToolsRunning int
}

// Awaited is what a session waits for.
type Awaited string

// What any session can be waiting for; package relay has more.
const (
	AwaitsNothing Awaited = ""
	AwaitsHandler Awaited = "handler" // [Ticket.Run]'s function, to return
)

// DrainStatus is how far a drain is.
type DrainStatus struct {
	ID       string
	Part     bool // of some sessions; the others go on, and admission too
	Age      bool // of one session, which has reached its age limit
	Revoked  bool // of one session, whose authorization was withdrawn
	Standby  bool // the services go on
	Reason   string
	Sessions int             // that there were at its begin
	Left     int             // sessions, and requests between admission and session
	Untold   int             // of those, sessions that were not asked to stop yet
	Totals   map[Outcome]int // how the sessions that have stopped since the drain began ended
	Began    time.Time
	Deadline time.Time
	Elapsed  time.Duration // until now, or until it was over
	Over     bool
	Killed   []string // when it is over: the sessions that had to be killed, and the services
}

// Overview is the state of a supervisor without its sessions. It costs little.
func (s *Supervisor) Overview(ctx context.Context) (Overview, error) {
	return ask[Overview](ctx, s, func(reply chan<- Overview) any { return lookOver{reply} })
}

// Snapshot returns the state of a supervisor and its sessions. It takes the supervisor a moment for each session.
func (s *Supervisor) Snapshot(ctx context.Context) (Snapshot, error) {
	view, err := ask[Snapshot](ctx, s, func(reply chan<- Snapshot) any { return look{reply} })
	slices.SortFunc(view.Sessions, func(a, b SessionInfo) int { // not on the actor's time
		return cmp.Or(a.Started.Compare(b.Started), cmp.Compare(a.ID, b.ID))
	})
	return view, err
}

type lookOver struct{ reply chan<- Overview }

type look struct{ reply chan<- Snapshot }

func (s *supervisor) overview() Overview {
	view := Overview{
		State:   s.state(),
		Final:   s.draining != nil && s.draining.kind == drainFinal,
		Open:    len(s.sessions),
		Tickets: len(s.tickets),
		Drains:  slices.Clone(s.past),
	}
	for _, d := range s.drains {
		if !d.alone() {
			view.Drains = append(view.Drains, d.status())
		}
	}
	return view
}

func (s *supervisor) snapshot() Snapshot {
	view := Snapshot{Overview: s.overview(), Sessions: make([]SessionInfo, 0, len(s.sessions)), Traffic: s.traffic}
	for _, c := range s.sessions {
		info := c.look()
		view.Sessions = append(view.Sessions, info)
		view.Traffic.Add(info.Traffic)
	}
	return view
}

func (s *supervisor) state() State {
	switch {
	case s.draining == nil:
		return Serving
	case s.draining.isOver():
		return Idle
	}
	return Draining
}

func (s *supervisor) oldestFirst() []*child {
	return slices.SortedFunc(maps.Values(s.sessions), func(a, b *child) int {
		return cmp.Or(a.began.Compare(b.began), cmp.Compare(a.id, b.id))
	})
}

func (c *child) look() SessionInfo {
	now := c.standing()
	return SessionInfo{
		ID:           c.id,
		Kind:         c.info.Kind,
		Principal:    c.principal,
		Workflow:     now.Workflow,
		Phase:        now.Phase,
		Since:        now.Since,
		WaitsFor:     now.WaitsFor,
		Started:      c.began,
		Told:         c.told,
		Remote:       c.info.Remote,
		Transport:    c.info.Transport,
		AgentName:    c.info.AgentName,
		Traffic:      now.Traffic,
		ToolsRunning: now.ToolsRunning,
	}
}

// matches reports whether a session is one of a selection, but for its ID.
func (of *Selection) matches(c *child) bool {
	return (of.Agent == "" || of.Agent == c.info.AgentName) &&
		(of.Kind == "" || of.Kind == c.info.Kind) &&
		(of.Principal == "" || of.Principal == c.principal) &&
		time.Since(c.began) >= of.OlderThan
}

func (d *drain) status() DrainStatus {
	status := DrainStatus{
		ID:       d.id,
		Part:     d.part(),
		Age:      d.cause == CauseAge,
		Revoked:  d.cause == CauseRevoked,
		Standby:  d.kind == drainStandby,
		Reason:   d.reason,
		Sessions: d.atBegin,
		Totals:   maps.Clone(d.report.Totals),
		Began:    d.began,
		Deadline: d.deadline,
		Elapsed:  time.Since(d.began),
		Over:     d.isOver(),
	}
	if d.isOver() {
		killed := d.report.killed()
		status.Elapsed, status.Killed = time.Duration(d.report.Took), slices.Concat(killed.Sessions, killed.Services)
		return status
	}
	status.Left, status.Untold = len(d.sessions)+d.tickets, d.untold
	return status
}

// Traffic is what has passed between clients and their sessions.
type Traffic struct {
	Received Flow      // from clients
	Sent     Flow      // to clients
	Last     time.Time // when a message passed last, either way. Zero: none has
}

// Flow is one way of a traffic.
type Flow struct {
	Messages, Bytes uint64
}

// Add adds what has passed elsewhere.
func (t *Traffic) Add(more Traffic) {
	t.Received.add(more.Received)
	t.Sent.add(more.Sent)
	if more.Last.After(t.Last) {
		t.Last = more.Last
	}
}

func (f *Flow) add(more Flow) {
	f.Messages += more.Messages
	f.Bytes += more.Bytes
}
