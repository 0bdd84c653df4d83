package relay

import (
	"errors"
	"maps"
	"sync"

	"github.com/lastcall-go/lastcall/actors"
)

// The kinds of bad input.
const (
	UnknownRequest   actors.BadInput = "unknown_request"   // a response to a request that isn't open; dropped
	DuplicateRequest actors.BadInput = "duplicate_request" // an action with the ID of an open one; dropped
	UnknownAction    actors.BadInput = "unknown_action"    // an action that the contract doesn't know; answered with an error
	UnknownEvent     actors.BadInput = "unknown_event"     // a message of a kind that the contract doesn't know; ignored
	UnknownField     actors.BadInput = "unknown_field"     // a message with fields that the contract doesn't know; they are ignored
	InvalidMessage   actors.BadInput = "invalid_message"   // not a message: not JSON, too deep, not UTF-8, a wrong type; ends the session
	TooBig           actors.BadInput = "too_big"           // a message over the limit; ends the session
	ProtocolError    actors.BadInput = "protocol_error"    // not a WebSocket frame, or a frame out of place; ends the session
	NotAllowed       actors.BadInput = "not_allowed"       // a message out of turn: no startRequest first, or a second one; ends the session
)

// Bounds on what a session remembers of an agent's open requests.
const (
	maxOpenRequests = 1024
	maxRequestID    = 256 // bytes
)

// requests are the actions of a session that wait for their answer, and the count of what was wrong
// with the messages.
type requests struct {
	mu   sync.Mutex
	open map[string]struct{}
	bad  map[actors.BadInput]int
}

// asked notes an action of the agent's. fresh is false for one whose ID is in use. An agent that
// goes past the bounds is at fault.
func (r *requests) asked(action actionView) (fresh bool, err error) {
	id := action.requestID
	if id == "" || action.kind == actionCheckpoint {
		return true, nil // an answer is not awaited, or can't be matched
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(id) > maxRequestID || len(r.open) >= maxOpenRequests {
		return false, &actors.CloseError{Code: actors.CloseInternal, Reason: "agent error: too many open requests, or too long an ID", Side: actors.SideAgent}
	}
	if _, inUse := r.open[id]; inUse {
		r.count(DuplicateRequest)
		return false, nil
	}
	if r.open == nil {
		r.open = make(map[string]struct{})
	}
	r.open[id] = struct{}{}
	return true, nil
}

// unknown counts an action that is unknown. It reports whether it is the session's first.
func (r *requests) unknown() (first bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.count(UnknownAction)
	return r.bad[UnknownAction] == 1
}

// answered notes a response. It reports false for a response that is not awaited. A response without an
// ID is the agent's to judge, as its request was.
func (r *requests) answered(id string) bool {
	if id == "" {
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, known := r.open[id]; !known {
		r.count(UnknownRequest)
		return false
	}
	delete(r.open, id)
	return true
}

// refused counts the message with which a client ended its own session.
func (r *requests) refused(err error) {
	var closeErr *actors.CloseError
	if !errors.As(err, &closeErr) {
		return
	}
	kind, counted := map[int]actors.BadInput{
		actors.CloseProtocolError: ProtocolError,
		actors.CloseInvalidData:   InvalidMessage,
		actors.CloseTooBig:        TooBig,
		actors.CloseInvalidInput:  NotAllowed,
	}[closeErr.Code]
	if counted {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.count(kind)
	}
}

// count is called with mu held.
func (r *requests) count(kind actors.BadInput) {
	if r.bad == nil {
		r.bad = make(map[actors.BadInput]int)
	}
	r.bad[kind]++
}

// counts adds what a client has counted to what the session has.
func (r *requests) counts(client Client) map[actors.BadInput]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := maps.Clone(r.bad)
	counter, counts := client.(BadInputCounter)
	if !counts {
		return all
	}
	for kind, n := range counter.BadInput() {
		if all == nil {
			all = make(map[actors.BadInput]int)
		}
		all[kind] += n
	}
	return all
}

// BadInputCounter is a [Client] that counts bad input of its own, such as unknown fields. It is asked
// when the session has stopped.
type BadInputCounter interface {
	BadInput() map[actors.BadInput]int
}
