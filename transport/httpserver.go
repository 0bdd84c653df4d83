package transport

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
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
	server := &http.Server{
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
		return err
	case <-ctx.Done():
	}
	err := server.Shutdown(actors.OutOfTime(ctx))
	if err != nil {
		_ = server.Close()
	}
	if served := <-failed; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}
