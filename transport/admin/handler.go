package admin

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/transport/grant"
	"github.com/lastcall-go/lastcall/transport/history"
	"github.com/lastcall-go/lastcall/transport/httpserver"
)

// Options say what a [Handler] serves, and to which operators. Supervisor is required; the zero value of
// anything else is what the field names.
type Options struct {
	Supervisor *actors.Supervisor

	// Authorizer decides about each request but /healthz and /readyz. A request with any grant may see all and
	// drain all. Nil: all requests are let in, which is for listeners that only this machine reaches; the Host
	// of each request must then be local.
	Authorizer grant.Authorizer

	// Proxies are trusted to name the client of a request. Zero: none is.
	Proxies httpserver.Proxies

	// Ready returns why the process is not ready, if that is for another reason than a drain. Each GET
	// /readyz asks it, and answers the text of its error without authorization. It must return at once. Nil: there
	// is no other reason.
	Ready func() error

	// LeaseStore returns the state of the store of leases, for each [State]. It must
	// return at once. Nil: there is no store that can fail.
	LeaseStore func() LeaseStore

	// History is what GET /history and GET /drains/{id} show. Nil: 404.
	History *history.History

	// Instance says which instance of several it is. Nil: it is not said.
	Instance *Instance

	// Metrics answers GET /metrics. Nil: 404.
	Metrics http.Handler

	// Profiles answers GET /debug/pprof/…, as the handlers of net/http/pprof do. Package admin doesn't import that
	// package, which serves profiles on [http.DefaultServeMux] too. Nil: 404.
	Profiles http.Handler

	// Page answers GET / and GET /assets/… for a browser. Nil: 404.
	Page http.Handler

	// Drain is what a drain has where its request says nothing.
	Drain Defaults

	// Log records drains and resumes with their principals, and authorizations that fail. Nil: nothing is logged.
	Log *slog.Logger
}

// Defaults are those of a drain.
type Defaults struct {
	Timeout       time.Duration // from its begin to its deadline. 0: [actors.DefaultDrain]
	Delay         time.Duration // these as in [actors.Drain]
	Grace         time.Duration
	BatchSize     int
	BatchInterval time.Duration
}

// Drain is the drain that ends the process by these, and begins now.
func (d Defaults) Drain() actors.Drain {
	return actors.Drain{
		Deadline:      time.Now().Add(cmp.Or(d.Timeout, actors.DefaultDrain)),
		Delay:         d.Delay,
		Grace:         d.Grace,
		BatchSize:     d.BatchSize,
		BatchInterval: d.BatchInterval,
	}
}

// askTimeout is what the supervisor has to answer, which it does at once unless something is wrong.
const askTimeout = 2 * time.Second

// Handler is the admin API. It is safe for concurrent use.
type Handler struct {
	supervisor *actors.Supervisor
	authorizer grant.Authorizer
	proxies    httpserver.Proxies
	leaseStore func() LeaseStore
	defaults   Defaults
	history    *history.History
	instance   *Instance
	log        *slog.Logger
	health     http.Handler
	profiles   http.Handler
	routes     http.Handler

	events    *hub
	closing   context.Context // done: streams and profiles end
	closeOnce func()
}

// New returns a handler that listens to its supervisor's events. The caller ends it with
// [Handler.Close].
func New(options Options) *Handler {
	h := &Handler{
		supervisor: options.Supervisor,
		authorizer: options.Authorizer,
		proxies:    options.Proxies,
		leaseStore: options.LeaseStore,
		defaults:   options.Drain,
		history:    options.History,
		instance:   options.Instance,
		log:        options.Log,
		profiles:   options.Profiles,
	}
	if options.Ready != nil {
		h.health = httpserver.Health(options.Supervisor, options.Ready)
	} else {
		h.health = httpserver.Health(options.Supervisor)
	}
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	if h.defaults.Timeout == 0 {
		h.defaults.Timeout = actors.DefaultDrain
	}
	h.routes = h.mux(options)
	h.events = newHub(h.state)
	stop := options.Supervisor.Listen(h.events.hear)
	closing, end := context.WithCancel(context.Background())
	h.closing = closing
	h.closeOnce = sync.OnceFunc(func() {
		stop() // first: readers of events get all until now
		end()
	})
	return h
}

// Close ends what would outlast a server's shutdown: streams of events, each after the events until
// now, and profiles. All else is still answered. It can be called any number of times, and takes
// about a second at most. It belongs where a server begins to shut down: to
// [http.Server.RegisterOnShutdown], or [httpserver.Server]'s OnShutdown.
func (h *Handler) Close() { h.closeOnce() }

func (h *Handler) mux(options Options) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /sessions", answering(http.StatusOK, h.getSessions))
	mux.Handle("GET /sessions/{id}", answering(http.StatusOK, h.getSession))
	mux.Handle("GET /drain", answering(http.StatusOK, h.getDrain))
	mux.Handle("GET /drain/estimate", answering(http.StatusOK, h.getEstimate))
	mux.Handle("POST /drain", answering(http.StatusAccepted, h.postDrain))
	mux.Handle("POST /sessions/{id}/drain", answering(http.StatusAccepted, h.postSessionDrain))
	mux.Handle("POST /resume", answering(http.StatusOK, h.postResume))
	mux.HandleFunc("GET /events", h.getEvents)
	if options.History != nil {
		mux.Handle("GET /history", answering(http.StatusOK, h.getHistory))
		mux.Handle("GET /drains/{id}", answering(http.StatusOK, h.getDrainReport))
	}
	if options.Profiles != nil {
		mux.HandleFunc("GET /debug/pprof/", h.getProfiles)
	}
	if options.Metrics != nil {
		mux.Handle("GET /metrics", options.Metrics)
	}
	if options.Page != nil {
		mux.Handle("GET /{$}", options.Page)
		mux.Handle("GET /assets/", options.Page)
	}
	return mux
}

// ServeHTTP implements [http.Handler]. The answer to a request without authorization does not show which paths
// exist.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/healthz" || r.URL.Path == "/readyz" {
		h.health.ServeHTTP(w, r)
		return
	}
	if strings.EqualFold(r.Header.Get("Upgrade"), "websocket") { // the port was mixed up
		http.Error(w, "this is the admin API: sessions have a listener of their own", http.StatusNotFound)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if r = h.admit(w, r); r != nil {
		h.routes.ServeHTTP(w, r)
	}
}

// snapshot asks the supervisor how everything stands. A session that has just stopped is not shown.
func (h *Handler) snapshot(ctx context.Context) (actors.Snapshot, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	view, err := h.supervisor.Snapshot(ctx)
	view.Sessions = withoutStopped(view.Sessions)
	return view, err
}

// state asks the supervisor for all but the sessions.
func (h *Handler) state(ctx context.Context) (State, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	view, err := h.supervisor.Overview(ctx)
	state := stateOf(view)
	state.Instance = h.instance
	if h.leaseStore != nil {
		store := h.leaseStore()
		store.Since, store.SessionsEnd = moment(store.Since), moment(store.SessionsEnd)
		state.LeaseStore = &store
	}
	return state, err
}
