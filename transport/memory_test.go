package transport

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Memory is a network of one listener, for use in a bubble. Its connections buffer 64 KiB each way,
// and time out as sockets do. (bufconn's may time out after their deadline was moved, and net.Pipe
// has no buffer.)
type Memory struct {
	Down   atomic.Bool // nobody can connect
	accept chan net.Conn
	closed chan struct{}
	close  sync.Once
}

// NewMemory returns a network whose listener listens.
func NewMemory() *Memory {
	return &Memory{accept: make(chan net.Conn), closed: make(chan struct{})}
}

// Accept implements [net.Listener].
func (m *Memory) Accept() (net.Conn, error) {
	select {
	case conn := <-m.accept:
		return conn, nil
	case <-m.closed:
		return nil, net.ErrClosed
	}
}

// Close implements [net.Listener].
func (m *Memory) Close() error {
	m.close.Do(func() { close(m.closed) })
	return nil
}

// Addr implements [net.Listener].
func (m *Memory) Addr() net.Addr { return &net.UnixAddr{Name: "memory"} }

// Dial connects to the listener.
func (m *Memory) Dial(ctx context.Context) (net.Conn, error) {
	if m.Down.Load() {
		return nil, errors.New("network down")
	}
	up, down := newMemoryBuffer(), newMemoryBuffer()
	select {
	case m.accept <- &memoryConn{in: up, out: down, addr: m.Addr()}:
		return &memoryConn{in: down, out: up, addr: m.Addr()}, nil
	case <-m.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

type memoryConn struct {
	in, out *memoryBuffer
	addr    net.Addr
}

func (c *memoryConn) Read(p []byte) (int, error)  { return c.in.read(p) }
func (c *memoryConn) Write(p []byte) (int, error) { return c.out.write(p) }

func (c *memoryConn) Close() error {
	c.in.change(func() { c.in.deaf = true })
	c.out.change(func() { c.out.ended = true })
	return nil
}

func (c *memoryConn) LocalAddr() net.Addr  { return c.addr }
func (c *memoryConn) RemoteAddr() net.Addr { return c.addr }

func (c *memoryConn) SetReadDeadline(t time.Time) error {
	c.in.wakeAt(t, &c.in.readBy)
	return nil
}

func (c *memoryConn) SetWriteDeadline(t time.Time) error {
	c.out.wakeAt(t, &c.out.writeBy)
	return nil
}

func (c *memoryConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// memoryBuffer is one direction of a connection.
type memoryBuffer struct {
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

func newMemoryBuffer() *memoryBuffer {
	b := &memoryBuffer{}
	b.changed.L = &b.mu
	return b
}

func (b *memoryBuffer) change(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
	b.changed.Broadcast()
}

// wakeAt moves a deadline. A timer that fires late wakes somebody for nothing, and does no harm.
func (b *memoryBuffer) wakeAt(t time.Time, d *deadline) {
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

func (b *memoryBuffer) read(p []byte) (int, error) {
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

func (b *memoryBuffer) write(p []byte) (n int, err error) {
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
