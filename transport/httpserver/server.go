package httpserver

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"

	"github.com/lastcall-go/lastcall/actors"
)

// Limits of every listener. A connection that was upgraded is past them: net/http lifts its
// deadlines when it hands it over.
const (
	headerTimeout  = 10 * time.Second
	requestTimeout = 60 * time.Second
	idleTimeout    = 60 * time.Second
	maxHeaderBytes = 32 << 10

	// settleTimeout is what a connection has to bring its first request, and to have it answered, once
	// no more are accepted.
	settleTimeout = 250 * time.Millisecond
)

// Server serves a handler on a listener, with limits on headers and time. As a service
// it belongs to the stage AfterSessions: it then refuses new sessions in words for as long as the
// sessions drain, instead of not answering. If another process holds the listening socket too, and
// hands it to the next process, [Server.StopAccepting] leaves new connections to that process.
type Server struct {
	// Listener is best made by [Listen], under TLS too: closed, it resets none of its connections. A plain
	// one is closed at a moment when no connection waits to be accepted, if there is one within 200 ms;
	// connections that come in the microseconds between are reset. So are, where it is wrapped and not a
	// [syscall.Conn], those that wait.
	Listener net.Listener

	Handler http.Handler
	Log     *slog.Logger // of connections that fail or are cut. Nil: nothing is logged

	// MaxBody limits the body of a request, in bytes: a handler that reads more gets an
	// [*http.MaxBytesError], and the connection is closed after the answer. Zero: no limit.
	MaxBody int64

	// RequestTimeout is what a request has to be read, and then again to be answered; what takes longer is
	// cut. A handler can set other limits for its own request with [http.ResponseController]; package
	// httpsession lifts them for its sessions. Zero: 60 s.
	RequestTimeout time.Duration

	// RequestGrace is the time for requests under way when the drain stops the server. Requests that take longer are
	// cut, which is no error. It is for a service whose requests matter less than what stops after it. Zero:
	// what is left of the drain's time, as with [http.Server.Shutdown].
	RequestGrace time.Duration

	// OnShutdown is called once when the drain stops the server, after the listener is closed and before Serve waits
	// for requests. It must end long responses, which would not end by themselves, also of requests that come
	// later on a connection accepted before. Serve waits for its return. Nil: there are no such responses.
	OnShutdown func()

	// KeepFree is how many of the process's descriptors connections leave free, for what else it has to
	// open, such as those of another server's. A connection that takes one of these has its request
	// refused: 503 with Retry-After. Where half of them are taken so, newcomers wait to be accepted. Either
	// is logged once a minute. Zero: connections take all that there are. See [KeptFree].
	KeepFree int

	// OnFull is called for each request that is refused so. Nil: nothing is.
	OnFull func()

	mu      sync.Mutex
	shut    chan struct{} // closed when the listener is. Nil: it is not to be closed yet
	shutErr error         // how that went, once shut is closed
	serving *serving      // nil: Serve was not called yet
}

// serving is a server at work.
type serving struct {
	server  *http.Server
	pending *pendingConns
	crowd   *crowd
	open    func()          // newcomers wait no more
	over    <-chan struct{} // closed by open
	ended   chan struct{}   // closed when no more connections are accepted
	err     error           // why, once ended is closed
}

// Serve implements [actors.Service]. When ctx is done it closes the listener, closes connections that
// bring no request within 250 ms, and waits for the requests under way: for RequestGrace, or for the
// drain's time if that is shorter. Requests that take longer are cut. Only the end of the drain's
// time is an error. Call it once.
func (s *Server) Serve(ctx context.Context) error {
	v := s.begin()
	go v.accept(s.Listener)
	select {
	case <-v.ended:
		if !s.isShut() {
			return errors.Join(v.err, v.server.Close())
		}
		<-ctx.Done()
	case <-ctx.Done():
	}
	limit := actors.OutOfTime(ctx)
	grace, cancel := s.grace(limit)
	defer cancel()
	// Shutdown drops a first request that is on its way, and waits 5 s for a connection without one. So
	// the listener goes first, and each request that got through it is answered.
	v.open()
	s.emptyQueue(grace)
	_, shut := s.shutListener()
	<-shut
	<-v.ended
	if s.OnShutdown != nil {
		s.OnShutdown()
	}
	if !v.pending.settle(grace) {
		v.pending.closeNew()
	}
	return errors.Join(s.shutErr, s.finish(grace, limit, v))
}

// grace is done when requests under way have had their time.
func (s *Server) grace(limit context.Context) (context.Context, context.CancelFunc) {
	if s.RequestGrace > 0 {
		return context.WithTimeout(limit, s.RequestGrace)
	}
	return context.WithCancel(limit)
}

// finish waits for the requests under way, and cuts those that take too long.
func (s *Server) finish(grace, limit context.Context, v *serving) error {
	// Shutdown looks for the end of the last request every 500 ms: it is called when that has come.
	v.server.SetKeepAlivesEnabled(false)
	v.pending.await(grace)
	err := v.server.Shutdown(grace)
	if err == nil {
		return nil
	}
	if grace.Err() == nil || limit.Err() != nil {
		return errors.Join(err, v.server.Close())
	}
	if left, _ := v.pending.left(); left > 0 {
		s.logger().Warn("connections cut whose requests took too long", "connections", left)
	}
	return v.server.Close()
}

func (s *Server) logger() *slog.Logger {
	if s.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return s.Log
}

// StopAccepting closes the listener and returns when no request that got through it waits for an answer:
// after 500 ms, or when ctx is done, at the latest. Serve goes on with the open connections until the
// drain stops it; each gets "Connection: close" with its next answer, and idle ones are closed.
//
// It is for a listener whose socket systemd or another process holds too: called before the drain
// ends admission, it leaves new connections in the socket's backlog for the next process, so that no request is
// refused. A request that takes longer than 250 ms to be authorized is still
// admitted if the drain's delay is that long.
//
// It may be called at any time, more than once, and before Serve, which then accepts no connection. The error is
// the listener's, and nil if ctx is done before the listener is closed.
func (s *Server) StopAccepting(ctx context.Context) error {
	v, shut := s.shutListener()
	var err error // only waited for until ctx is done
	select {
	case <-shut:
		err = s.shutErr
	case <-ctx.Done():
	}
	if v == nil {
		return err
	}
	select {
	case <-v.ended:
	case <-ctx.Done():
	}
	v.server.SetKeepAlivesEnabled(false)
	v.pending.settle(ctx)
	return err
}

// emptyQueue accepts the connections that wait: closing a listener resets them. A
// [Listener] does that by itself, and better.
func (s *Server) emptyQueue(ctx context.Context) {
	if listener, ok := s.Listener.(syscall.Conn); ok {
		awaitQueue(ctx, listener)
	}
}

// shutListener begins to close the listener the first time, without the lock: that can take a while. It
// returns what there is to wait for. Once the channel is closed, shutErr holds the listener's error.
func (s *Server) shutListener() (*serving, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shut == nil {
		s.shut = make(chan struct{})
		if s.serving != nil {
			s.serving.open()
		}
		go func() {
			s.shutErr = s.Listener.Close()
			close(s.shut)
		}()
	}
	return s.serving, s.shut
}

func (s *Server) isShut() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.shut != nil
}

// begin makes the server known to StopAccepting before it accepts a connection.
func (s *Server) begin() *serving {
	pending, crowd := newPendingConns(), newCrowd(s.KeepFree, s.logger(), s.OnFull)
	handler := crowd.refuse(s.Handler)
	if s.MaxBody > 0 {
		handler = http.MaxBytesHandler(handler, s.MaxBody)
	}
	server := &http.Server{
		ConnContext: crowd.enter,
		ConnState: func(conn net.Conn, state http.ConnState) {
			pending.track(conn, state)
			crowd.track(conn, state)
		},
		Handler:           handler,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       cmp.Or(s.RequestTimeout, requestTimeout),
		WriteTimeout:      cmp.Or(s.RequestTimeout, requestTimeout),
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(s.logger().Handler(), slog.LevelDebug),
	}
	over := make(chan struct{})
	open := sync.OnceFunc(func() { close(over) })
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serving = &serving{server: server, pending: pending, crowd: crowd, open: open, over: over, ended: make(chan struct{})}
	return s.serving
}

// accept returns when the listener fails or is closed. All accepted connections are tracked then.
func (v *serving) accept(listener net.Listener) {
	v.err = v.server.Serve(crowdedListener{listener, v.crowd, v.over})
	close(v.ended)
}

// pendingConns are the connections that have brought no request yet, or wait for an answer, with
// their states.
type pendingConns struct {
	mu    sync.Mutex
	conns map[net.Conn]http.ConnState
	fewer chan struct{} // closed, and another one made, when there is one less
}

func newPendingConns() *pendingConns {
	return &pendingConns{conns: make(map[net.Conn]http.ConnState), fewer: make(chan struct{})}
}

// track is the server's ConnState.
func (p *pendingConns) track(conn net.Conn, state http.ConnState) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if state == http.StateNew || state == http.StateActive {
		p.conns[conn] = state
		return
	}
	delete(p.conns, conn)
	close(p.fewer)
	p.fewer = make(chan struct{})
}

// settle waits until there are none left, for settleTimeout at most.
func (p *pendingConns) settle(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	return p.await(ctx)
}

// await waits until there are none left, or returns false when ctx is done.
func (p *pendingConns) await(ctx context.Context) bool {
	for {
		left, fewer := p.left()
		if left == 0 {
			return true
		}
		select {
		case <-fewer:
		case <-ctx.Done():
			return false
		}
	}
}

func (p *pendingConns) left() (n int, fewer <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.conns), p.fewer
}

// closeNew closes the connections that have brought no request in time. Shutdown handles the others.
func (p *pendingConns) closeNew() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for conn, state := range p.conns {
		if state == http.StateNew {
			_ = conn.Close()
		}
	}
}
