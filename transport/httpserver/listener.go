package httpserver

import (
	"context"
	"net"
	"sync"
	"syscall"
	"time"
)

const (
	// handshakeTime is what a client has to complete a handshake that began before its listener went deaf.
	handshakeTime = 20 * time.Millisecond

	// queueTime is what connections that wait to be accepted hold up a stop at most.
	queueTime = 200 * time.Millisecond
)

// Listener is a TCP listener that resets no connection when it is closed. A plain one does: the kernel
// completes connections before they are accepted, and resets those that still wait then.
//
// On Linux, Close has the kernel ignore new connections, and returns once those before have been
// accepted, after 220 ms at most: Accept must be called meanwhile. A client that is ignored tries again
// after a second, by itself, and is refused then. What is reset even so is a connection whose client
// took more than 20 ms to complete the handshake, and the rest of the queue if it isn't accepted in
// time. On other systems Close is that of a plain listener.
//
// Its socket is its own: it can't be handed to another process, in which it would be deaf too.
type Listener struct {
	tcp   *net.TCPListener
	close sync.Once
	err   error // of Close
}

// Listen listens on a TCP address, as [net.Listen] does, but without Multipath TCP, whose sockets can't
// be made to ignore new connections.
func Listen(address string) (*Listener, error) {
	var config net.ListenConfig
	config.SetMultipathTCP(false)
	listener, err := config.Listen(context.Background(), "tcp", address)
	if err != nil {
		return nil, err
	}
	return &Listener{tcp: listener.(*net.TCPListener)}, nil
}

// Accept implements [net.Listener].
func (l *Listener) Accept() (net.Conn, error) { return l.tcp.Accept() }

// Addr implements [net.Listener].
func (l *Listener) Addr() net.Addr { return l.tcp.Addr() }

// Close implements [net.Listener].
func (l *Listener) Close() error {
	l.close.Do(func() {
		if deafen(l.tcp) == nil { // else the window is small, not closed
			time.Sleep(handshakeTime)
		}
		awaitQueue(context.Background(), l.tcp)
		l.err = l.tcp.Close()
	})
	return l.err
}

// awaitQueue returns when no connection waits to be accepted from a listener, after queueTime or when
// ctx is done at the latest.
func awaitQueue(ctx context.Context, listener syscall.Conn) {
	ctx, cancel := context.WithTimeout(ctx, queueTime)
	defer cancel()
	for isQueued(listener) {
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			return
		}
	}
}
