package httpserver

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/transport/httpsession"
)

// crowdPause is how often at most it is logged that descriptors run out.
const crowdPause = time.Minute

// crowd are the connections of a server that hold descriptors which should stay free. Their requests are
// refused, and with it they are closed. When there are too many of them no more are accepted: newcomers
// wait in the listener's queue.
type crowd struct {
	floor  int // the lowest of these descriptors
	most   int // of these connections
	log    *slog.Logger
	onFull func()

	mu     sync.Mutex
	conns  map[net.Conn]struct{}
	fewer  chan struct{} // closed, and another one made, when there is one less
	logged time.Time
}

func newCrowd(keepFree int, log *slog.Logger, onFull func()) *crowd {
	return &crowd{
		floor:  floorBelow(keepFree),
		most:   max(1, keepFree/2),
		log:    log,
		onFull: onFull,
		conns:  make(map[net.Conn]struct{}),
		fewer:  make(chan struct{}),
	}
}

// crowded is the key of a context whose connection is of the crowd.
type crowded struct{}

// enter is the server's ConnContext.
func (c *crowd) enter(ctx context.Context, conn net.Conn) context.Context {
	if descriptorOf(conn) < c.floor {
		return ctx
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conns[conn] = struct{}{}
	return context.WithValue(ctx, crowded{}, true)
}

// track is the server's ConnState.
func (c *crowd) track(conn net.Conn, state http.ConnState) {
	if state != http.StateClosed && state != http.StateHijacked {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, in := c.conns[conn]; !in {
		return
	}
	delete(c.conns, conn)
	close(c.fewer)
	c.fewer = make(chan struct{})
}

// refuse answers the requests of the crowd.
func (c *crowd) refuse(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Context().Value(crowded{}) == nil {
			next.ServeHTTP(w, r)
			return
		}
		c.warn("no descriptors for new connections: they are refused")
		if c.onFull != nil {
			c.onFull()
		}
		httpsession.Refuse(w, actors.ErrFull)
	})
}

// await waits until a connection may be accepted, or until nothing is to be waited for any more.
func (c *crowd) await(over <-chan struct{}) {
	for {
		c.mu.Lock()
		full, fewer := len(c.conns) >= c.most, c.fewer
		c.mu.Unlock()
		if !full {
			return
		}
		c.warn("no descriptors for new connections: they wait")
		select {
		case <-fewer:
		case <-over:
			return
		}
	}
}

func (c *crowd) warn(message string) {
	limit, _ := DescriptorLimit()
	c.mu.Lock()
	quiet := time.Since(c.logged) < crowdPause
	if !quiet {
		c.logged = time.Now()
	}
	c.mu.Unlock()
	if !quiet {
		c.log.Warn(message, "limit", limit)
	}
}

// crowdedListener accepts no more than its crowd has room for.
type crowdedListener struct {
	net.Listener
	crowd *crowd
	over  <-chan struct{} // closed when newcomers wait no more
}

// Accept implements [net.Listener].
func (l crowdedListener) Accept() (net.Conn, error) {
	l.crowd.await(l.over)
	conn, err := l.Listener.Accept()
	if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
		l.crowd.warn("no descriptors for new connections: they wait")
	}
	return conn, err
}
