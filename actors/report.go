package actors

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// Report is what a drain leaves behind. As JSON its durations are seconds.
type Report struct {
	ID       string          `json:"id"`
	Part     bool            `json:"part,omitempty"` // of some sessions; the others went on
	Reason   string          `json:"reason"`
	Started  time.Time       `json:"started"`
	Took     Seconds         `json:"took_seconds"`
	Phases   Phases          `json:"phases"`
	Totals   map[Outcome]int `json:"totals"`   // of the sessions
	Sessions []SessionReport `json:"sessions"` // in the order in which they stopped
	Services []ServiceReport `json:"services"` // in the order in which they stopped
}

// Phases are what the parts of a drain took, one after the other.
type Phases struct {
	Delay    Seconds `json:"delay_seconds"`    // until the sessions were asked to stop
	Sessions Seconds `json:"sessions_seconds"` // until the last of them had stopped
	Services Seconds `json:"services_seconds"` // until the services after them had
}

// SessionReport is how one session ended.
type SessionReport struct {
	ID       string  `json:"id"`
	Workflow string  `json:"workflow"` // empty where no startRequest came, or it named none
	Age      Seconds `json:"age_seconds"`
	Outcome  Outcome `json:"outcome"`
	Took     Seconds `json:"stop_seconds"` // from the request to stop; 0 if it ended without one

	// WaitedFor is what a killed session waited for when its time was up.
	WaitedFor Awaited `json:"waited_for,omitempty"`
}

// ServiceReport is how one service ended.
type ServiceReport struct {
	Name    string  `json:"name"`
	Outcome Outcome `json:"outcome"`
	Took    Seconds `json:"stop_seconds"`
}

// Seconds is a duration that JSON shows in seconds, to the millisecond.
type Seconds time.Duration

func (s Seconds) String() string {
	return time.Duration(s).Round(time.Millisecond).String()
}

// MarshalJSON implements [json.Marshaler].
func (s Seconds) MarshalJSON() ([]byte, error) {
	return json.Marshal(time.Duration(s).Round(time.Millisecond).Seconds())
}

// UnmarshalJSON implements [json.Unmarshaler].
func (s *Seconds) UnmarshalJSON(data []byte) error {
	var seconds float64
	if err := json.Unmarshal(data, &seconds); err != nil {
		return err
	}
	*s = Seconds(time.Duration(seconds * float64(time.Second)).Round(time.Millisecond))
	return nil
}

func newReport(d *drain) Report {
	return Report{
		ID:       d.id,
		Part:     d.part(),
		Reason:   d.reason,
		Started:  d.began,
		Totals:   make(map[Outcome]int),
		Sessions: []SessionReport{},
		Services: []ServiceReport{},
	}
}

// end closes the report of a drain that is over.
func (r *Report) end(d *drain) {
	now := time.Now()
	r.Took = Seconds(now.Sub(d.began))
	r.Phases = Phases{
		Delay:    Seconds(d.closedAt.Sub(d.began)),
		Sessions: Seconds(d.stoppedAt.Sub(d.closedAt)),
		Services: Seconds(now.Sub(d.stoppedAt)),
	}
}

func (r *Report) addSession(s SessionReport) {
	r.Sessions = append(r.Sessions, s)
	r.Totals[s.Outcome]++
}

// Err is nil if all sessions and services stopped by the deadline, and otherwise a [*KilledError].
func (r *Report) Err() error {
	if killed := r.killed(); killed.Sessions != nil || killed.Services != nil {
		return &killed
	}
	return nil
}

func (r *Report) killed() KilledError {
	var killed KilledError
	for _, s := range r.Sessions {
		if s.Outcome == Killed {
			killed.Sessions = append(killed.Sessions, s.ID)
		}
	}
	for _, s := range r.Services {
		if s.Outcome == Killed {
			killed.Services = append(killed.Services, s.Name)
		}
	}
	return killed
}

// KilledError names the sessions and services that were still there at the drain's deadline.
type KilledError struct {
	Sessions []string // IDs
	Services []string // names
}

func (e *KilledError) Error() string {
	var parts []string
	if len(e.Sessions) > 0 {
		parts = append(parts, listing("session", e.Sessions))
	}
	if len(e.Services) > 0 {
		parts = append(parts, listing("service", e.Services))
	}
	return "had to be killed: " + strings.Join(parts, "; ")
}

// listing keeps an error that may name thousands readable.
func listing(what string, names []string) string {
	const most = 10
	more := ""
	if len(names) > most {
		more = fmt.Sprintf(" and %d more", len(names)-most)
		names = names[:most]
	}
	return what + " " + strings.Join(names, ", ") + more
}
