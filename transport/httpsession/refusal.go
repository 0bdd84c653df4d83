package httpsession

import (
	"errors"

	"github.com/lastcall-go/lastcall/actors"
)

// Refusal is why a request doesn't become a session: a label for metrics.
type Refusal string

// The refusals. Those of the supervisor come from [RefusalOf].
const (
	RefusedDraining      Refusal = "draining"
	RefusedFull          Refusal = "full"
	RefusedPrincipalFull Refusal = "principal_full"
	RefusedDenied        Refusal = "denied"       // not authorized
	RefusedUndecided     Refusal = "undecided"    // the authorization is not available
	RefusedOrigin        Refusal = "origin"       // from a page that may not connect
	RefusedHandshake     Refusal = "handshake"    // no WebSocket upgrade, or two bearer tokens
	RefusedBody          Refusal = "invalid_body" // of a run
)

// RefusalOf returns the refusal for an error of [actors.Supervisor.AdmitAs] or [actors.Ticket.Start].
func RefusalOf(err error) Refusal {
	switch {
	case errors.Is(err, actors.ErrFull):
		return RefusedFull
	case errors.Is(err, actors.ErrPrincipalFull):
		return RefusedPrincipalFull
	}
	return RefusedDraining
}
