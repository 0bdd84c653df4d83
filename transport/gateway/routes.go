package gateway

import (
	"log/slog"
	"net/http"
	"sync"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/transport"
	"github.com/lastcall-go/lastcall/transport/httpserver"
)

// routes are those of the sessions' listener.
func (o *Options) routes(handler *transport.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET "+o.Path, handler)
	mux.Handle("POST "+transport.DefaultExecutePath, handler.Execute())
	routes := named(mux, o.Path)
	if o.Authorizer == nil {
		// Both hosts must be local: that of the request, and that which a proxy says it was asked for.
		return onlyLoopback(o.Proxies.Handler(onlyLoopback(routes, o.Log)), o.Log)
	}
	return o.Proxies.Handler(routes)
}

// named answers requests for paths that are not there with what the listener is for: its port may have been mixed up with
// that of the admin API.
func named(next http.Handler, sessions string) http.Handler {
	paths := http.NewServeMux() // with any method: a wrong one is 405
	paths.Handle(sessions, next)
	paths.Handle(transport.DefaultExecutePath, next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, known := paths.Handler(r); known == "" {
			http.Error(w, "this listener takes sessions, at "+sessions+"; the admin API has a listener of its own", http.StatusNotFound)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// needsAuth says what to do about requests that name another host than this machine.
const needsAuth = "without an authorizer this gateway is for localhost alone: behind a proxy, or under a name of its own, " +
	"start it with --auth tokens or --auth forward, or with --auth none if the proxy authorizes"

// onlyLoopback is for a gateway without authorization, which only this machine reaches. The first
// request that it refuses is logged: behind a proxy it refuses all.
func onlyLoopback(next http.Handler, log *slog.Logger) http.Handler {
	var logged sync.Once
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !httpserver.IsLocal(r.Host) {
			logged.Do(func() { log.Warn("request refused: "+needsAuth, "host", actors.CutText(r.Host, maxShownHost)) })
			http.Error(w, needsAuth, http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// maxShownHost is how many bytes of a request's Host are logged.
const maxShownHost = 256
