package grant

import (
	"context"
	"errors"
	"net/http"
	"slices"
)

// Refuse answers a request for which an [Authorizer] returned err: a [*RefusedError] with its status, header and
// reason, [context.DeadlineExceeded] with 504, and any other error with 502. Nothing else of err is in the
// answer. challenges are added to the header WWW-Authenticate of a 401.
func Refuse(w http.ResponseWriter, err error, challenges ...string) {
	var refused *RefusedError
	if errors.As(err, &refused) {
		for name, values := range refused.Header {
			w.Header()[name] = slices.Clone(values)
		}
		if refused.Status == http.StatusUnauthorized {
			for _, challenge := range challenges {
				w.Header().Add("WWW-Authenticate", challenge)
			}
		}
		http.Error(w, refused.Reason, refused.Status)
		return
	}
	status := http.StatusBadGateway
	if errors.Is(err, context.DeadlineExceeded) {
		status = http.StatusGatewayTimeout
	}
	http.Error(w, "authorization is not available, try again", status)
}
