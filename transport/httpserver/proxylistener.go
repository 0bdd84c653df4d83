package httpserver

import (
	"cmp"
	"errors"
	"log/slog"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/pires/go-proxyproto"
)

// DefaultProxyHeaderTimeout is how long a proxy has to send its header.
const DefaultProxyHeaderTimeout = 5 * time.Second

// ProxyListener accepts connections of proxies that begin with a header of the PROXY protocol, version 1 or
// 2, as HAProxy's send-proxy, nginx's proxy_protocol and TCP load balancers send it: the connection's
// addresses are then the client's. From other peers connections are taken as they are, and a header is no
// header but what the client says.
//
// A connection of a trusted proxy without a header is closed. Accept doesn't wait for headers: they are
// read with the connection's first use, which waits for HeaderTimeout at most. It belongs on the plain
// listener, under TLS.
type ProxyListener struct {
	// Listener is what is accepted from. Required.
	net.Listener

	// Trusted are the proxies whose connections begin with a header. Zero: there is none.
	Trusted Proxies

	// HeaderTimeout is what they have to send it. 0: [DefaultProxyHeaderTimeout].
	HeaderTimeout time.Duration

	// Log gets one record when a connection of a trusted proxy has no header. Nil: none.
	Log *slog.Logger

	told sync.Once
}

// Accept implements [net.Listener].
func (l *ProxyListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil || !l.Trusted.trusts(conn.RemoteAddr()) {
		return conn, err
	}
	timeout := cmp.Or(l.HeaderTimeout, DefaultProxyHeaderTimeout)
	headed := proxyproto.NewConn(conn, proxyproto.WithPolicy(proxyproto.REQUIRE), proxyproto.SetReadHeaderTimeout(timeout))
	return &proxiedConn{Conn: headed, listener: l}, nil
}

// SyscallConn is the listener's below, if it has one.
func (l *ProxyListener) SyscallConn() (syscall.RawConn, error) {
	if plain, ok := l.Listener.(syscall.Conn); ok {
		return plain.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}

// missing reports a connection without a header.
func (l *ProxyListener) missing(conn net.Conn, err error) {
	if l.Log != nil {
		l.told.Do(func() {
			l.Log.Warn("a trusted proxy's connection began without a PROXY header, and was closed", "proxy", conn.RemoteAddr().String(), "error", err)
		})
	}
}

// proxiedConn is a connection of a trusted proxy.
type proxiedConn struct {
	*proxyproto.Conn
	listener *ProxyListener
}

// Read implements [net.Conn].
func (c *proxiedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if errors.Is(err, proxyproto.ErrNoProxyProtocol) {
		c.listener.missing(c.Raw(), err)
	}
	return n, err
}
