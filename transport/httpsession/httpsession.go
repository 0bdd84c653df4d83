// Package httpsession makes sessions of requests that last: WebSockets (coder/websocket,
// gorilla/websocket), server-sent events, long polls, and whatever else an [http.Handler] upgrades,
// hijacks or streams. It needs package actors and net/http alone.
package httpsession

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/lastcall-go/lastcall/actors"
)

// Options say how [Wrap] makes sessions. Supervisor is required; the zero value of anything else is
// what the field names.
type Options struct {
	Supervisor *actors.Supervisor

	// Kind says what the handler serves, such as "terminal". Empty: [actors.DefaultKind].
	Kind string

	// Transport says what clients are connected by, such as "websocket". Empty: "http".
	Transport string

	// Principal returns the principal of a request, for limits by principal. Nil: no principal.
	Principal func(*http.Request) string

	// Authorized returns what ends when the authorization is withdrawn that a request came with: it is then
	// time to say goodbye, with [actors.CloseUnauthorized] where there is a close frame. Nil: it never is.
	Authorized func(*http.Request) context.Context

	// Workflow names what a request is about, such as a room. Nil: nothing.
	Workflow func(*http.Request) string

	// Refuse answers a request that doesn't become a session, with its own status and text. err is one
	// of those of [actors.Supervisor.Admit] and [actors.Ticket.Run]. Nil: [Refuse].
	Refuse func(w http.ResponseWriter, r *http.Request, err error)
}

// What a refused client is asked to wait: a draining instance is replaced at once, a full one takes
// a while.
const (
	retryAfterDraining = 1 * time.Second
	retryAfterFull     = 5 * time.Second
)

// Wrap returns a handler that runs next as a session of the supervisor, or answers that there is none
// to be had. The session lasts until next returns: next must not return before it is done with a
// connection that it hijacked.
//
// The request's context is done when it is time to say goodbye; see [actors.Ticket.Run] for its cause
// and for the time that next has. At a kill the connection is cut: a hijacked one is closed, on another
// reads and writes fail. The server's read and write timeouts are lifted. A panic of next is the session's outcome, and goes on to net/http.
func Wrap(next http.Handler, options Options) http.Handler {
	return &handler{next: next, Options: options}
}

type handler struct {
	next http.Handler
	Options
}

// ServeHTTP implements [http.Handler].
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ticket, err := h.Supervisor.AdmitAs(r.Context(), ask(h.Principal, r))
	if err != nil {
		h.refuse(w, r, err)
		return
	}
	defer ticket.Cancel()
	response := &response{ResponseWriter: w}
	response.unlimit()
	var authorized context.Context
	if h.Authorized != nil {
		authorized = h.Authorized(r)
	}
	ran := false
	err = ticket.Run(actors.Connection{
		Kind:       h.Kind,
		Workflow:   ask(h.Workflow, r),
		Remote:     r.RemoteAddr,
		Transport:  cmp.Or(h.Transport, "http"),
		Authorized: authorized,
		Context:    r.Context(),
		Cut:        response.cut,
	}, func(ctx context.Context) error {
		ran = true
		return h.serve(response, r.WithContext(ctx))
	})
	var panicked *actors.PanicError
	switch {
	case !ran:
		h.refuse(w, r, err)
	case errors.Is(err, http.ErrAbortHandler):
		response.closeHijacked()
		panic(http.ErrAbortHandler)
	case errors.As(err, &panicked):
		response.closeHijacked()
		panic(panicked.Value)
	}
}

// serve reports the client's end as the context's error: a handler has no error of its own to return.
func (h *handler) serve(w *response, r *http.Request) (err error) {
	defer func() {
		switch v := recover(); {
		case v == nil:
		case v == http.ErrAbortHandler:
			err = http.ErrAbortHandler
		default:
			panic(v)
		}
	}()
	h.next.ServeHTTP(w, r)
	return r.Context().Err()
}

func (h *handler) refuse(w http.ResponseWriter, r *http.Request, err error) {
	if h.Refuse != nil {
		h.Refuse(w, r, err)
		return
	}
	Refuse(w, err)
}

// Refuse answers a request that doesn't become a session: 503 with Retry-After, or 429 where there are
// too many of its principal. The connection is closed, so that a client which keeps it alive doesn't come
// back to an instance that goes.
func Refuse(w http.ResponseWriter, err error) {
	status, wait, text := http.StatusServiceUnavailable, retryAfterDraining, "draining, try again"
	switch {
	case errors.Is(err, actors.ErrFull):
		wait, text = retryAfterFull, "full, try again later"
	case errors.Is(err, actors.ErrPrincipalFull):
		status, wait, text = http.StatusTooManyRequests, retryAfterFull, "too many sessions, try again later"
	}
	w.Header().Set("Retry-After", strconv.Itoa(int(wait.Seconds())))
	w.Header().Set("Connection", "close")
	http.Error(w, text, status)
}

func ask(what func(*http.Request) string, r *http.Request) string {
	if what == nil {
		return ""
	}
	return what(r)
}

// response is a ResponseWriter whose connection can be cut.
type response struct {
	http.ResponseWriter

	mu       sync.Mutex
	hijacked net.Conn // nil: not yet
	gone     bool     // the connection was cut
}

// Unwrap is for http.ResponseController.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Flush implements [http.Flusher].
func (w *response) Flush() { _ = http.NewResponseController(w.ResponseWriter).Flush() }

// Hijack implements [http.Hijacker].
func (w *response) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.gone {
		return nil, nil, net.ErrClosed
	}
	conn, buffered, err := http.NewResponseController(w.ResponseWriter).Hijack()
	w.hijacked = conn
	return conn, buffered, err
}

// unlimit lifts the server's time limits on a request: a session lasts as long as it lasts.
func (w *response) unlimit() {
	control := http.NewResponseController(w.ResponseWriter)
	_ = control.SetReadDeadline(time.Time{})
	_ = control.SetWriteDeadline(time.Time{})
}

// closeHijacked closes what a handler that has panicked left open: net/http knows it no more.
func (w *response) closeHijacked() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.hijacked != nil {
		cutConn(w.hijacked)
	}
}

// cut is called at a kill, by another goroutine than the handler's.
func (w *response) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.gone = true
	if w.hijacked != nil {
		cutConn(w.hijacked)
		return
	}
	control := http.NewResponseController(w.ResponseWriter)
	_ = control.SetReadDeadline(time.Now())
	_ = control.SetWriteDeadline(time.Now())
}

// cutConn closes a connection without a word: TLS's own goodbye could block, so what is under it is closed.
func cutConn(conn net.Conn) {
	if encrypted, ok := conn.(interface{ NetConn() net.Conn }); ok {
		conn = encrypted.NetConn()
	}
	_ = conn.Close()
}
