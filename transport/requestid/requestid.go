// Package requestid gives each request an ID, by which logs, traces and the agent name it.
package requestid

import (
	"context"
	"crypto/rand"
	"net/http"
	"strings"
)

// requestIDHeader is the one with which clients of the platform name their requests.
const requestIDHeader = "X-Request-Id"

// maxRequestID is how many bytes of a client's name for its request are taken.
const maxRequestID = 128

type requestIDKey struct{}

// Of is the ID of the request that a session began with: the client's X-Request-Id, or a
// random one. It is in the context of the session and of its events. Elsewhere it is empty.
func Of(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}

// Give gives a request its ID, and tells the client.
func Give(w http.ResponseWriter, r *http.Request) *http.Request {
	id := r.Header.Get(requestIDHeader)
	if !plainID(id) {
		id = strings.ToLower(rand.Text())
	}
	w.Header().Set(requestIDHeader, id)
	return r.WithContext(context.WithValue(r.Context(), requestIDKey{}, id))
}

// plainID reports whether a client's ID can stand in logs and headers.
func plainID(id string) bool {
	return id != "" && len(id) <= maxRequestID && !strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r > '~' })
}
