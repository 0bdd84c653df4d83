// Package agentpool opens the streams of sessions to their agents, over gRPC connections that many sessions share.
package agentpool

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	"github.com/lastcall-go/lastcall/actors/relay"
	"github.com/lastcall-go/lastcall/transport/codec"
	"github.com/lastcall-go/lastcall/transport/grant"
)

// Defaults of [Options].
const (
	DefaultStreamsPerConnection = 100
	DefaultKeepalive            = 6 * time.Minute
	DefaultIdleTimeout          = time.Minute
)

const (
	// streamWindow bounds what the agent can send ahead on a stream that its session doesn't read;
	// grpc-go's own estimate would let it grow to 16 MiB.
	streamWindow = 128 << 10
	// connWindow is shared by the streams of a connection. grpc-go gives it back as data arrives,
	// read or not, so a stream that isn't read doesn't hold up the others.
	connWindow = 1 << 20

	keepaliveTimeout = 30 * time.Second // for the answer to a keepalive ping

	maxUserAgent = 256

	// maxUserAgents bounds the connections that clients can cause by calling themselves something new
	// each time. Past it the user agent is the gateway's name alone.
	maxUserAgents = 100
)

// Options say where the agent is and how its connections are used.
type Options struct {
	// Target is a gRPC target, such as "agent.example:50052", "dns:///agent.example:50052" or
	// "ipv4:10.0.0.1:50052,10.0.0.2:50052": the agent of sessions whose grant names none. Streams go
	// to its addresses in turn, and to none that can't be reached.
	Target string

	// Name is what the target is called in events and to operators. Empty: Target.
	Name string

	// TLS encrypts the connections to it. Nil: plaintext. Connections to agents that grants name are
	// encrypted as the grant says, with this configuration if there is one, but for its ServerName.
	TLS *tls.Config

	// StreamsPerConnection is how many streams share a connection. A server that takes fewer, by its
	// MAX_CONCURRENT_STREAMS, makes a stream wait; the pool notices within a second, and opens another
	// connection. 0: 100.
	StreamsPerConnection int

	// Keepalive is how long a connection with streams may be silent before it is pinged. A stock
	// gRPC server closes a connection that pings more often than every 5 minutes, with all its
	// sessions. 0: 6 min; grpc-go makes at least 10 s of it.
	Keepalive time.Duration

	// IdleTimeout is how long a connection without streams is kept. 0: 1 min.
	IdleTimeout time.Duration

	// UserAgent is the gateway's part of the user agent, after the client's. Empty: "lastcall".
	UserAgent string

	// DialOptions are added to the pool's own for Target, such as a dialer for connections in memory.
	DialOptions []grpc.DialOption

	// Interceptor is around the opening of every stream, such as one that passes trace context on.
	// Nil: none.
	Interceptor grpc.StreamClientInterceptor
}

// Pool is the connections to the agents. It opens one when every one it has is full, shares them
// among the sessions with the same agent whose clients have the same user agent (gRPC has one for a
// connection), and closes idle ones. The agent need not be reachable: a connection keeps trying, and meanwhile
// sessions end with 1001 agent unavailable.
type Pool struct {
	options Options

	mu     sync.Mutex
	conns  []*pooled
	closed bool
}

// pooled is a connection with the streams it carries.
type pooled struct {
	*grpc.ClientConn
	route   route
	limit   int         // streams at a time
	streams int         // places that are taken
	open    int         // places whose stream is open
	opened  int         // streams that were ever opened
	idle    *time.Timer // runs while no place is taken
}

// route is what the streams of one connection have in common.
type route struct {
	address   string // empty: the pool's own target
	tls       bool
	userAgent string
}

var errPoolClosed = errors.New("connection pool closed")

// New checks the options; it doesn't connect. An error says that Target doesn't parse.
func New(options Options) (*Pool, error) {
	options.StreamsPerConnection = cmp.Or(options.StreamsPerConnection, DefaultStreamsPerConnection)
	options.Keepalive = cmp.Or(options.Keepalive, DefaultKeepalive)
	options.IdleTimeout = cmp.Or(options.IdleTimeout, DefaultIdleTimeout)
	options.UserAgent = cmp.Or(options.UserAgent, "lastcall")
	p := &Pool{options: options}
	conn, err := p.dial(route{})
	if err != nil {
		return nil, fmt.Errorf("agent target %q: %w", options.Target, err)
	}
	return p, conn.Close()
}

// Serve implements [actors.Service]: it closes the connections when ctx is done. It belongs to the
// stage AfterSessions.
func (p *Pool) Serve(ctx context.Context) error {
	<-ctx.Done()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	var errs []error
	for _, c := range p.conns {
		c.stopIdle()
		errs = append(errs, c.Close())
	}
	p.conns = nil
	return errors.Join(errs...)
}

// Agent is the agent for one client: the granted one, or the pool's own where that has no address.
// The granted headers are sent in both cases. userAgent is the client's, and may be anything.
func (p *Pool) Agent(granted grant.Target, userAgent string) relay.Agent {
	return pooledAgent{p, route{granted.Address, granted.TLS, cleanUserAgent(userAgent)}, granted.Headers}
}

// Name is what the granted agent is called: by its address, or by the pool's own where it has none.
func (p *Pool) Name(granted grant.Target) string {
	return cmp.Or(granted.Address, p.options.Name, p.options.Target)
}

// Stats are a pool's connections and the streams on them, at one moment.
type Stats struct {
	Connections int
	Streams     int
}

// Stats returns how many connections and streams there are.
func (p *Pool) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	stats := Stats{Connections: len(p.conns)}
	for _, c := range p.conns {
		stats.Streams += c.streams
	}
	return stats
}

// take finds a place for one more stream on a connection, or opens a connection. A new connection has
// the limit that others to the same agent have shown.
func (p *Pool) take(to route) (*place, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, errPoolClosed
	}
	if !p.knows(to.userAgent) {
		to.userAgent = ""
	}
	limit := p.options.StreamsPerConnection
	for _, c := range p.conns {
		if c.route == to && c.streams < c.limit {
			c.stopIdle()
			c.streams++
			return &place{conn: c}, nil
		}
		if c.route.address == to.address && c.route.tls == to.tls {
			limit = min(limit, c.limit)
		}
	}
	conn, err := p.dial(to)
	if err != nil {
		return nil, err
	}
	c := &pooled{ClientConn: conn, route: to, limit: limit, streams: 1}
	p.conns = append(p.conns, c)
	return &place{conn: c}, nil
}

// knows reports whether a user agent has a connection, or may have one.
func (p *Pool) knows(userAgent string) bool {
	seen := make(map[string]bool)
	for _, c := range p.conns {
		if c.route.userAgent == userAgent {
			return true
		}
		seen[c.route.userAgent] = true
	}
	return len(seen) < maxUserAgents
}

func (p *Pool) giveBack(at *place) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := at.conn
	c.streams--
	switch at.state {
	case placeWaiting:
		at.state = placeLeft
	case placeOpen:
		at.state = placeLeft
		c.open--
	}
	if c.streams == 0 && !p.closed {
		c.idle = time.AfterFunc(p.options.IdleTimeout, func() { p.closeIdle(c) })
	}
}

func (p *Pool) closeIdle(c *pooled) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.streams > 0 || p.closed {
		return
	}
	for i := range p.conns {
		if p.conns[i] == c {
			p.conns = append(p.conns[:i], p.conns[i+1:]...)
			_ = c.Close() // says only that it was closed before
			return
		}
	}
}

func (c *pooled) stopIdle() {
	if c.idle != nil {
		c.idle.Stop()
	}
}

// dial makes a connection. It is opened by the first stream; only a target that gRPC can never use is
// an error.
func (p *Pool) dial(to route) (*grpc.ClientConn, error) {
	target, encrypted, own := to.address, to.tls, []grpc.DialOption(nil)
	if target == "" {
		target, encrypted, own = p.options.Target, p.options.TLS != nil, p.options.DialOptions
	}
	conn, err := grpc.NewClient(target, append(p.dialOptions(to, p.security(target, encrypted)), own...)...)
	if err != nil {
		return nil, err
	}
	if err := checkTarget(conn.CanonicalTarget()); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

// checkTarget refuses an address that could never be resolved. Other resolvers than gRPC's own know
// themselves.
func checkTarget(canonical string) error {
	switch scheme, _, _ := strings.Cut(canonical, ":"); scheme {
	case "dns", "ipv4", "ipv6":
		return grant.CheckAddress(canonical)
	}
	return nil
}

// security is the TLS configuration of a connection. Nil: plaintext. The pool's server name is that of
// its own agent.
func (p *Pool) security(target string, encrypted bool) *tls.Config {
	switch config := p.options.TLS; {
	case !encrypted:
		return nil
	case config == nil:
		return &tls.Config{MinVersion: tls.VersionTLS12} // with the system's authorities
	case config.ServerName != "" && target != p.options.Target:
		config = config.Clone()
		config.ServerName = ""
		return config
	default:
		return config
	}
}

func (p *Pool) dialOptions(to route, security *tls.Config) []grpc.DialOption {
	secure, named := insecure.NewCredentials(), false
	if security != nil {
		secure, named = credentials.NewTLS(security), security.ServerName != ""
	}
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(secure),
		grpc.WithUserAgent(strings.TrimSpace(to.userAgent + " " + p.options.UserAgent)),
		grpc.WithStaticStreamWindowSize(streamWindow),
		grpc.WithStaticConnWindowSize(connWindow),
		grpc.WithDisableServiceConfig(), // the resolver's
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig":[{"round_robin":{}}]}`),
		grpc.WithResolvers(addressList{"ipv4", named}, addressList{"ipv6", named}),
		grpc.WithDisableRetry(), // a retry would keep what a stream has sent in memory
		grpc.WithDefaultCallOptions(
			grpc.MaxCallRecvMsgSize(codec.MaxMessage),
			grpc.MaxCallSendMsgSize(codec.MaxMessage),
		),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: p.options.Keepalive, Timeout: keepaliveTimeout}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 500 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 5 * time.Second},
			MinConnectTimeout: 5 * time.Second,
		}),
	}
	if p.options.Interceptor != nil {
		options = append(options, grpc.WithStreamInterceptor(p.options.Interceptor))
	}
	return options
}

// cleanUserAgent makes what a client sent fit for a header: printable ASCII, and short.
func cleanUserAgent(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return -1
		}
		return r
	}, s)
	return s[:min(len(s), maxUserAgent)]
}
