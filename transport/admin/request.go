package admin

import (
	"fmt"
	"net/url"
	"strconv"
	"time"
)

// Query selects, sorts and pages the sessions of [Client.Sessions]. The zero value asks for all, the oldest first.
type Query struct {
	// Sessions have these, exactly. Empty: any.
	Phase, Workflow, Agent, Kind, Principal string

	// Text is a part of the ID, workflow, remote or agent, in any case of letters. Empty: any.
	Text string

	// Sort is started, phase, workflow, agent, messages, bytes or last; "-" before it reverses. Empty: started.
	Sort string

	// Offset is how many of the sessions are left out at the begin, and Limit how many are asked for after
	// these. Limit 0: all.
	Offset, Limit int
}

func (q Query) values() url.Values {
	values := url.Values{}
	for name, value := range map[string]string{
		"phase": q.Phase, "workflow": q.Workflow, "agent": q.Agent, "kind": q.Kind, "principal": q.Principal,
		"q": q.Text, "sort": q.Sort, "offset": positive(q.Offset), "limit": positive(q.Limit),
	} {
		setText(values, name, value)
	}
	return values
}

// DrainOptions are what a drain has in place of the gateway's defaults. The zero value changes none.
type DrainOptions struct {
	Deadline      time.Duration  // from now. 0: the gateway's default
	Grace         *time.Duration // for running workflows. nil: the gateway's default
	BatchSize     *int           // 0: all at once. nil: the gateway's default
	BatchInterval *time.Duration // nil: the gateway's default
	Reason        string         // for clients, 123 bytes at most. Empty: the gateway's default
}

func (o DrainOptions) values() url.Values {
	values := url.Values{}
	setText(values, "reason", o.Reason)
	setText(values, "deadline", duration(o.Deadline))
	setGiven(values, "grace", o.Grace)
	setGiven(values, "batch-size", o.BatchSize)
	setGiven(values, "batch-interval", o.BatchInterval)
	return values
}

// Part selects the sessions of [Client.DrainPart] that match all of its fields. A zero field matches
// each session.
type Part struct {
	Sessions               int           // so many at most, the oldest
	OlderThan              time.Duration // older than this
	Agent, Kind, Principal string        // with these, exactly
}

func (p Part) values() url.Values {
	values := url.Values{}
	setText(values, "sessions", positive(p.Sessions))
	setText(values, "older-than", duration(p.OlderThan))
	setText(values, "agent", p.Agent)
	setText(values, "kind", p.Kind)
	setText(values, "principal", p.Principal)
	return values
}

// setText leaves an empty value out.
func setText(values url.Values, name, value string) {
	if value != "" {
		values.Set(name, value)
	}
}

func setGiven[T any](values url.Values, name string, value *T) {
	if value != nil {
		values.Set(name, fmt.Sprint(*value))
	}
}

// positive and duration are empty for zero.

func positive(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

func duration(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return d.String()
}
