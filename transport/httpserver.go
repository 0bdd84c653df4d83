package transport

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/transport/codec"
)

// Limits of every listener. A connection that was upgraded is past them: net/http lifts its
// deadlines when it hands it over.
const (
	headerTimeout  = 10 * time.Second
	requestTimeout = 60 * time.Second // to read a request, and to answer it
	idleTimeout    = 60 * time.Second
	maxHeaderBytes = 32 << 10

	// firstRequestTimeout is what a connection has to bring its first request once the server was
	// told to stop.
	firstRequestTimeout = 250 * time.Millisecond
)

// HTTPServer serves a handler on a listener, with limits on headers, bodies, and time. As a service
// it belongs to the stage AfterSessions: it then refuses new sessions in words for as long as the
// sessions drain, instead of not answering.
type HTTPServer struct {
	Listener net.Listener
	Handler  http.Handler
	Log      *slog.Logger // of what goes wrong with a connection. Nil: nothing is logged
}

// Serve implements [actors.Service]. It closes the listener, and lets requests under way finish
// within the drain's time.
func (s *HTTPServer) Serve(ctx context.Context) error {
	log := s.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	unused := newUnusedConns()
	server := &http.Server{
		ConnState:         unused.track,
		Handler:           http.MaxBytesHandler(s.Handler, codec.MaxMessage),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       requestTimeout,
		WriteTimeout:      requestTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(s.Listener) }()
	select {
	case err := <-failed:
		return errors.Join(err, server.Close())
	case <-ctx.Done():
	}
	limit := actors.OutOfTime(ctx)
	// Shutdown drops a first request that is on its way, and waits 5 s for one that isn't. So the
	// listener goes first, and who got through it is answered.
	err := s.Listener.Close()
	<-failed
	unused.settle(limit)
	if e := server.Shutdown(limit); e != nil {
		err = errors.Join(err, e, server.Close())
	}
	return err
}

// unusedConns are the connections whose first request has not been answered yet, with their states.
type unusedConns struct {
	mu    sync.Mutex
	conns map[net.Conn]http.ConnState
	fewer chan struct{}
}

func newUnusedConns() *unusedConns {
	return &unusedConns{conns: make(map[net.Conn]http.ConnState), fewer: make(chan struct{}, 1)}
}

// track is the server's ConnState.
func (u *unusedConns) track(conn net.Conn, state http.ConnState) {
	u.mu.Lock()
	defer u.mu.Unlock()
	_, unused := u.conns[conn]
	switch {
	case state == http.StateNew, state == http.StateActive && unused:
		u.conns[conn] = state
	case unused:
		delete(u.conns, conn)
		u.tell()
	}
}

func (u *unusedConns) tell() {
	select {
	case u.fewer <- struct{}{}:
	default:
	}
}

// settle returns when there are none left. Those that bring no request in time are closed; those
// that have brought one are Shutdown's.
func (u *unusedConns) settle(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, firstRequestTimeout)
	defer cancel()
	for !u.none() {
		select {
		case <-u.fewer:
		case <-ctx.Done():
			u.closeNew()
			return
		}
	}
}

func (u *unusedConns) none() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.conns) == 0
}

func (u *unusedConns) closeNew() {
	u.mu.Lock()
	defer u.mu.Unlock()
	for conn, state := range u.conns {
		if state == http.StateNew {
			_ = conn.Close()
		}
	}
}
