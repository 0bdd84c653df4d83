package actorstest

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Network is a network of one listener, a [net.Listener], for use in a bubble, where real sockets don't
// belong. Its connections buffer 64 KiB each way, and time out as sockets do. (bufconn's may time out
// after their deadline was moved, and net.Pipe has no buffer.)
type Network struct {
	Down   atomic.Bool // nothing can connect
	accept chan net.Conn
	closed chan struct{}
	close  sync.Once
}

// NewNetwork returns a network whose listener listens.
func NewNetwork() *Network {
	return &Network{accept: make(chan net.Conn), closed: make(chan struct{})}
}

// Accept implements [net.Listener].
func (n *Network) Accept() (net.Conn, error) {
	select {
	case conn := <-n.accept:
		return conn, nil
	case <-n.closed:
		return nil, net.ErrClosed
	}
}

// Close implements [net.Listener].
func (n *Network) Close() error {
	n.close.Do(func() { close(n.closed) })
	return nil
}

// Addr implements [net.Listener].
func (n *Network) Addr() net.Addr { return &net.UnixAddr{Name: "memory"} }

// Dial connects to the listener.
func (n *Network) Dial(ctx context.Context) (net.Conn, error) {
	if n.Down.Load() {
		return nil, errors.New("network down")
	}
	up, down := newNetworkBuffer(), newNetworkBuffer()
	select {
	case n.accept <- &networkConn{in: up, out: down, addr: n.Addr()}:
		return &networkConn{in: down, out: up, addr: n.Addr()}, nil
	case <-n.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Client returns an HTTP client all of whose connections lead to the listener. Close its idle connections
// before the test ends.
func (n *Network) Client() *http.Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) { return n.Dial(ctx) }
	return &http.Client{Transport: &http.Transport{DialContext: dial}}
}

type networkConn struct {
	in, out *networkBuffer
	addr    net.Addr
}

func (c *networkConn) Read(p []byte) (int, error)  { return c.in.read(p) }
func (c *networkConn) Write(p []byte) (int, error) { return c.out.write(p) }

func (c *networkConn) Close() error {
	c.in.change(func() { c.in.deaf = true })
	c.out.change(func() { c.out.ended = true })
	return nil
}

func (c *networkConn) LocalAddr() net.Addr  { return c.addr }
func (c *networkConn) RemoteAddr() net.Addr { return c.addr }

func (c *networkConn) SetReadDeadline(t time.Time) error {
	c.in.wakeAt(t, &c.in.readBy)
	return nil
}

func (c *networkConn) SetWriteDeadline(t time.Time) error {
	c.out.wakeAt(t, &c.out.writeBy)
	return nil
}

func (c *networkConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// networkBuffer is one direction of a connection.
type networkBuffer struct {
	mu      sync.Mutex
	changed sync.Cond
	bytes   []byte
	ended   bool // the writer has closed
	deaf    bool // the reader has closed
	readBy  deadline
	writeBy deadline
}

type deadline struct {
	at    time.Time
	timer *time.Timer
}

func (d *deadline) passed() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

func newNetworkBuffer() *networkBuffer {
	b := &networkBuffer{}
	b.changed.L = &b.mu
	return b
}

func (b *networkBuffer) change(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
	b.changed.Broadcast()
}

// wakeAt moves a deadline. A timer that fires late wakes a goroutine for nothing, and does no harm.
func (b *networkBuffer) wakeAt(t time.Time, d *deadline) {
	b.change(func() {
		d.at = t
		if d.timer != nil {
			d.timer.Stop()
		}
		if !t.IsZero() {
			d.timer = time.AfterFunc(time.Until(t), func() { b.change(func() {}) })
		}
	})
}

func (b *networkBuffer) read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		switch {
		case b.deaf:
			return 0, net.ErrClosed
		case b.readBy.passed():
			return 0, os.ErrDeadlineExceeded
		case len(b.bytes) > 0:
			n := copy(p, b.bytes)
			b.bytes = b.bytes[n:]
			b.changed.Broadcast()
			return n, nil
		case b.ended:
			return 0, io.EOF
		}
		b.changed.Wait()
	}
}

func (b *networkBuffer) write(p []byte) (n int, err error) {
	const capacity = 64 << 10
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(p) > 0 {
		room := min(len(p), capacity-len(b.bytes))
		switch {
		case b.ended, b.deaf:
			return n, net.ErrClosed
		case b.writeBy.passed():
			return n, os.ErrDeadlineExceeded
		case room > 0:
			b.bytes = append(b.bytes, p[:room]...)
			b.changed.Broadcast()
			p, n = p[room:], n+room
		default:
			b.changed.Wait()
		}
	}
	return n, nil
}
