package loadtest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"syscall"

	"github.com/lastcall-go/lastcall/transport/client"
)

// End is how the gateway ended a session, as its client saw it. A Code of 1006 means that the
// connection was lost.
type End struct {
	Code   int
	Reason string // of the gateway's choice: it may hold anything
}

// TakeEnds returns how the sessions that have ended since the last call ended, and how many each
// way. Those that never were open, were closed by the fleet, or opened again are not among them.
func (f *Fleet) TakeEnds() map[End]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	ends := maps.Clone(f.ends)
	clear(f.ends)
	return ends
}

// count notes how a session ended, unless that was the fleet's own doing.
func (f *Fleet) count(err error) {
	var closed *client.CloseError
	if !errors.As(err, &closed) {
		return
	}
	f.ended.Add(1)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ends[End{closed.Code, closed.Reason}]++
}

// failures counts what went wrong, by kind.
type failures map[string]int

// maxKinds bounds how many kinds there are: the words may be the gateway's.
const maxKinds = 16

func (f failures) add(err error) {
	kind := failureKind(err)
	if _, known := f[kind]; !known && len(f) >= maxKinds-1 {
		kind = "something else"
	}
	f[kind]++
}

// failureKind is an error without what differs from one connection to the next, such as its port.
func failureKind(err error) string {
	var refused *client.RefusedError
	var closed *client.CloseError
	var number syscall.Errno
	switch {
	case errors.As(err, &refused):
		return fmt.Sprintf("%d %s", refused.Status, http.StatusText(refused.Status))
	case errors.As(err, &closed):
		return strings.TrimSpace(fmt.Sprintf("closed: %d %s", closed.Code, closed.Reason))
	case errors.As(err, &number):
		return number.Error()
	case errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	}
	return err.Error()
}
