package transport

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"github.com/lastcall-go/lastcall/transport/grant"
)

// Deny answers a request that an authorizer didn't let in: with its decision, a [*grant.Denied], or
// that there is none, with 502, or 504 where it took too long. Of err nothing else is told. challenges
// are offered with a 401 besides the decision's own.
func Deny(w http.ResponseWriter, err error, challenges ...string) {
	var denied *grant.Denied
	if errors.As(err, &denied) {
		for name, values := range denied.Header {
			w.Header()[name] = slices.Clone(values)
		}
		if denied.Status == http.StatusUnauthorized {
			for _, challenge := range challenges {
				w.Header().Add("WWW-Authenticate", challenge)
			}
		}
		http.Error(w, denied.Reason, denied.Status)
		return
	}
	status := http.StatusBadGateway
	if errors.Is(err, context.DeadlineExceeded) {
		status = http.StatusGatewayTimeout
	}
	http.Error(w, "authorization is not available, try again", status)
}
