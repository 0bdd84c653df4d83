package metrics

import (
	"errors"
	"net/http"
	"time"

	"github.com/lastcall-go/lastcall/transport/grant"
)

// Authorizer times what next takes to decide. Nil is nil.
func (m *Metrics) Authorizer(next grant.Authorizer) grant.Authorizer {
	if next == nil {
		return nil
	}
	return &authorizer{next, m}
}

type authorizer struct {
	next    grant.Authorizer
	metrics *Metrics
}

// Authorize implements [grant.Authorizer].
func (a *authorizer) Authorize(r *http.Request) (granted *grant.Grant, err error) {
	began, result := time.Now(), unavailable // also after a panic
	defer func() { a.metrics.authorizationSeconds.with(result).Observe(time.Since(began).Seconds()) }()
	granted, err = a.next.Authorize(r)
	result = decision(r, err)
	return granted, err
}

func decision(r *http.Request, err error) string {
	switch {
	case err == nil:
		return allowed
	case errors.As(err, new(*grant.RefusedError)):
		return denied
	case r.Context().Err() != nil:
		return cancelled
	}
	return unavailable
}
