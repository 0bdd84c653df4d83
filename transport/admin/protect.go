package admin

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/lastcall-go/lastcall/transport/grant"
	"github.com/lastcall-go/lastcall/transport/httpserver"
)

// adminHeader must be in each request that changes something, with any value. A page of another origin can't
// set it: its browser asks first, with OPTIONS, whether it may, and gets no leave.
const adminHeader = "X-Lastcall-Admin"

// authorizeTimeout is for authorizers that have none of their own.
const authorizeTimeout = 30 * time.Second

// admit returns the request with its principal, or answers it and returns nil.
func (h *Handler) admit(w http.ResponseWriter, r *http.Request) *http.Request {
	r = h.authorize(w, h.proxies.Request(r), r.Host)
	switch {
	case r == nil: // and has been answered
	case isForeign(r):
		http.Error(w, "cross-origin request refused", http.StatusForbidden)
	case !isSafe(r) && r.Header.Get(adminHeader) == "":
		http.Error(w, adminHeader+" is missing: send this header with any value", http.StatusForbidden)
	default:
		return r
	}
	return nil
}

// authorize heeds the Host that the request came with too, whatever a proxy says of it.
func (h *Handler) authorize(w http.ResponseWriter, r *http.Request, host string) *http.Request {
	if h.authorizer == nil {
		if !httpserver.IsLocal(r.Host) || !httpserver.IsLocal(host) {
			http.Error(w, "without authorization this listener is for localhost alone: to reach it through a proxy or by another name, start it with --auth", http.StatusForbidden)
			return nil
		}
		return r
	}
	ctx, cancel := context.WithTimeout(r.Context(), authorizeTimeout)
	defer cancel()
	granted, err := h.authorizer.Authorize(bearing(r.WithContext(ctx)))
	if err != nil {
		h.refuse(w, err)
		return nil
	}
	return untilWithdrawn(r.WithContext(context.WithValue(r.Context(), principalKey{}, granted.Principal)), granted.Authorized)
}

// untilWithdrawn ends a request's context with its authorization: a stream of events may last for days.
func untilWithdrawn(r *http.Request, authorized context.Context) *http.Request {
	if authorized == nil {
		return r
	}
	ctx, cancel := context.WithCancel(r.Context())
	unwatch := context.AfterFunc(authorized, cancel)
	context.AfterFunc(r.Context(), func() { unwatch() }) // which ends with the request
	return r.WithContext(ctx)
}

type principalKey struct{}

// principal returns the principal of a request. Empty: there is none.
func principal(r *http.Request) string {
	name, _ := r.Context().Value(principalKey{}).(string)
	return name
}

// refuse answers a request that was not authorized. A 401 offers Basic besides, for which browsers ask.
func (h *Handler) refuse(w http.ResponseWriter, err error) {
	if !errors.As(err, new(*grant.RefusedError)) && !errors.Is(err, context.Canceled) {
		h.log.Warn("authorization of an admin request failed", "error", err)
	}
	grant.Refuse(w, err, `Basic realm="lastcall"`)
}

// bearing makes a bearer token of a Basic password, whatever the user's name. More than one
// Authorization is left as it is: no authorizer takes that.
func bearing(r *http.Request) *http.Request {
	_, password, basic := r.BasicAuth()
	if !basic || !isToken(password) || len(r.Header.Values("Authorization")) != 1 {
		return r
	}
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+password)
	return r
}

// isToken reports whether a password can stand in a header.
func isToken(password string) bool {
	return password != "" && !strings.ContainsFunc(password, func(c rune) bool { return c <= ' ' || c > '~' })
}

// isForeign reports whether a page of another origin makes the request. Following a link is not that,
// but what a foreign page embeds or fetches is, reading too: it could not see the answer, but take
// up the streams and profiles that there are.
func isForeign(r *http.Request) bool {
	if http.NewCrossOriginProtection().Check(r) != nil {
		return true
	}
	site := r.Header.Get("Sec-Fetch-Site")
	return (site == "cross-site" || site == "same-site") && r.Header.Get("Sec-Fetch-Dest") != "document"
}

// isSafe reports whether a request changes nothing.
func isSafe(r *http.Request) bool {
	return r.Method == http.MethodGet || r.Method == http.MethodHead || r.Method == http.MethodOptions
}
