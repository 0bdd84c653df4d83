package redislease

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/actors/relay"
)

// Defaults of [Options].
const (
	DefaultTTL    = 30 * time.Second
	DefaultPrefix = "lastcall:lease:"
)

const (
	// maxTimeout bounds a call of the server, with the connection that it may need.
	maxTimeout = 2 * time.Second
	// maxDrift is the part of the time to live that clocks may differ by: one in so many.
	maxDrift = 100
	// retries is how many rounds are tried in the time of one while the server doesn't answer, and
	// how often it is probed while it does.
	retries = 10
	// probes is how many leases are renewed between two rounds, to see whether the server has them.
	probes = 3
	// spread is the part of the time to live over which leases end that can't be renewed.
	spread = 10
)

// Failure says what becomes of sessions while the store is unreachable. A server that can't answer
// yet, such as one that is loading, counts as unreachable; a server that refuses to answer doesn't.
type Failure uint8

const (
	// FailOpen lets sessions start without a lease, with a warning, and lets sessions with a lease go
	// on. Their leases are taken as soon as the store answers; one that another session has by
	// then, or has had since, is lost.
	FailOpen Failure = iota

	// FailClosed refuses sessions with close code 1013, and ends those whose lease runs out, spread
	// over a tenth of the time to live.
	FailClosed
)

// Options say where the store is and how leases are kept.
type Options struct {
	// URL is one of
	//
	//	redis://[user:password@]host[:port][/database]
	//	redis://[user:password@]host[:port],host[:port]...  a cluster
	//	redis+cluster://[user:password@]host[:port]         a cluster, by one of its nodes
	//	redis+sentinel://[user:password@]host[:port],.../master[/database]
	//	redis+unix://[user:password@]/path[?db=database]
	//
	// with valkey for redis, or unix for redis+unix; rediss and valkeys are the same over TLS.
	// sentinel_username and sentinel_password are query parameters for sentinels that want them;
	// user and password are the servers'. go-redis documents other parameters; those for timeouts
	// and retries have no effect.
	URL string

	// TLS is for rediss and valkeys. Nil: the system's roots, no client certificate. Without a
	// ServerName each server has to have the name in its certificate that it is reached by.
	TLS *tls.Config

	// TTL is how long a lease is held that isn't renewed: a killed instance frees its workflows
	// after it. 0: 30 s. At least 100 ms.
	TTL time.Duration

	// Renew is how often all leases are renewed, at most half of TTL. 0: TTL/3.
	Renew time.Duration

	// Failure is for when the store is unreachable.
	Failure Failure

	// Prefix begins each key. It has no braces. Empty: "lastcall:lease:".
	Prefix string

	// OnWarning is called for each session that goes on without a lease, and of renewals that begin to
	// fail, once an outage. It is called by any goroutine and must not block. May be nil.
	OnWarning func(error)
}

// Stats are the store's figures.
type Stats struct {
	Reachable   bool      // the store keeps leases, as far as was seen last; false before the first look
	Reached     bool      // Reachable was true at some time
	Since       time.Time // when Reachable became so; zero: nothing was seen yet
	Held        int       // leases granted and neither released nor lost
	Unguarded   int       // those of Held that the store can have given to another session
	Unavailable uint64    // Acquires that the store didn't answer, or refused to
	Failures    uint64    // rounds of renewal that failed
	Lost        uint64    // leases that were lost
}

// Store is a [relay.Leaser] for several instances that share a Redis or Valkey. It is an
// [actors.Service], too: without Serve no lease is renewed.
type Store struct {
	options    Options
	timeout    time.Duration // of a call
	secrets    secrets
	client     redis.UniversalClient
	redirected bool        // the client finds the server by others
	tls        *tls.Config // nil: without
	address    string      // the first one

	health health

	mu     sync.Mutex
	leases map[*lease]struct{}  // granted, and neither released nor lost
	unfree map[*lease]time.Time // released, but the server doesn't know; until they have run out
	closed bool
	work   sync.WaitGroup // goroutines that ask the server for a session; added to before closed

	unavailable, failures, lost atomic.Uint64

	urgent  atomic.Bool // don't wait for the next round: a call failed, or the server may have forgotten
	failing bool        // the last round or probe failed; Serve's
}

var errClosed = errors.New("lease store closed")

// New checks the options; it doesn't connect. No error of the store's ever shows the URL's password.
func New(options Options) (*Store, error) {
	options.TTL = cmp.Or(options.TTL, DefaultTTL)
	options.Renew = cmp.Or(options.Renew, options.TTL/3)
	options.Prefix = cmp.Or(options.Prefix, DefaultPrefix)
	if options.TTL < 100*time.Millisecond {
		return nil, fmt.Errorf("lease TTL %v: at least 100ms", options.TTL)
	}
	if options.Renew < 0 || options.Renew > options.TTL/2 {
		return nil, fmt.Errorf("lease renewal every %v: above 0 and at most half of the TTL of %v", options.Renew, options.TTL)
	}
	if strings.ContainsAny(options.Prefix, "{}") {
		return nil, fmt.Errorf("lease prefix %q: no braces", options.Prefix)
	}
	timeout := min(maxTimeout, options.TTL/3)
	client, err := clientOptions(options.URL, options.TLS, timeout)
	if err != nil {
		return nil, err
	}
	return newStore(options, timeout, client), nil
}

func newStore(options Options, timeout time.Duration, client *redis.UniversalOptions) *Store {
	s := &Store{
		options:    options,
		timeout:    timeout,
		secrets:    secrets{client.Password, client.SentinelPassword},
		redirected: client.IsClusterMode || len(client.Addrs) > 1 || client.MasterName != "",
		tls:        client.TLSConfig,
		address:    client.Addrs[0],
		leases:     make(map[*lease]struct{}),
		unfree:     make(map[*lease]time.Time),
	}
	client.OnConnect = func(context.Context, *redis.Conn) error {
		s.urgent.Store(true) // a server that was restarted may have forgotten
		return nil
	}
	s.client = redis.NewUniversalClient(client)
	return s
}

// Acquire implements [relay.Leaser]. It takes 2 s at most. It fails with [relay.LeaseHeld] if
// another session has the lease, with a [*actors.CloseError] of code 1013 if the store refuses to answer,
// or if it is unreachable and Failure is [FailClosed], and with ctx's error if that is done first.
// lost is called with [ErrTaken] or [ErrRanOut]; it may be called before Acquire has returned, and must not
// call a method of the lease.
func (s *Store) Acquire(ctx context.Context, workflow string, lost func(error)) (relay.Lease, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	l := newLease(s, workflow, lost)
	answer, ok := s.request(l)
	if !ok {
		return nil, unavailable(errClosed)
	}
	select {
	case err := <-answer:
		return s.granted(l, err)
	case <-ctx.Done():
		l.end()
		s.free(l) // the server may yet say yes
		return nil, ctx.Err()
	}
}

// request tries to take a new lease, on a goroutine: go-redis heeds a context's deadline, but not that
// it is cancelled. It reports whether the store is open.
func (s *Store) request(l *lease) (answer <-chan error, ok bool) {
	l.turn <- struct{}{}
	result := make(chan error, 1)
	return result, s.background(func() {
		defer l.endTurn()
		result <- s.take(context.Background(), []*lease{l})[0].err
	})
}

var errHeldHere = errors.New("another session of this process has the lease")

// granted decides what the server's answer means for the session.
func (s *Store) granted(l *lease, err error) (relay.Lease, error) {
	switch {
	case err == nil:
		s.keep(l)
		return l, nil
	case errors.Is(err, errHeld):
		return nil, relay.LeaseHeld(fmt.Errorf("%q: %w", l.key, err))
	}
	s.unavailable.Add(1)
	l.goOpen()
	switch {
	case s.options.Failure == FailClosed || s.refusal(err):
		err = unavailable(err)
	case !s.keepAlone(l):
		err = relay.LeaseHeld(fmt.Errorf("%q: %w", l.key, errHeldHere))
	default:
		s.urgent.Store(true)
		s.warn(fmt.Errorf("a session goes on without a lease on %q: %w", l.key, err))
		return l, nil
	}
	l.end()
	s.free(l) // the server may have said yes
	return nil, err
}

func (s *Store) keep(l *lease) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leases[l] = struct{}{}
}

// keepAlone keeps a lease that the store didn't grant, unless another one of this process is on the
// same workflow.
func (s *Store) keepAlone(l *lease) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for other := range s.leases {
		if other.key == l.key {
			return false
		}
	}
	s.leases[l] = struct{}{}
	return true
}

// free gives a lease free, once the server has answered what it was asked before. The channel gets
// one value.
func (s *Store) free(l *lease) <-chan error {
	result := make(chan error, 1)
	ok := s.background(func() {
		l.turn <- struct{}{}
		defer l.endTurn()
		err := s.eval(context.Background(), freeScript, []*lease{l})[0].err
		if isWrongType(err) {
			err = nil // it is gone
		}
		if err != nil {
			s.freeLater(l)
			err = fmt.Errorf("release workflow lease: %w", err)
		}
		result <- err
	})
	if !ok {
		result <- fmt.Errorf("release workflow lease: %w", errClosed)
	}
	return result
}

// freeLater leaves a lease to the renewal, for as long as the server can have it.
func (s *Store) freeLater(l *lease) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unfree[l] = time.Now().Add(s.options.TTL)
	s.urgent.Store(true)
}

func (s *Store) forget(l *lease) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.leases, l)
}

// background runs f on a goroutine that Serve waits for, unless Serve has ended.
func (s *Store) background(f func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.work.Go(f)
	}
	return !s.closed
}

func (s *Store) warn(err error) {
	if s.options.OnWarning != nil {
		s.options.OnWarning(err)
	}
}

// Stats returns the store's figures. It takes a moment for each lease that is held.
func (s *Store) Stats() Stats {
	stats := Stats{Unavailable: s.unavailable.Load(), Failures: s.failures.Load(), Lost: s.lost.Load()}
	s.health.tell(&stats)
	for _, l := range s.held() {
		stats.Held++
		if l.unguarded() {
			stats.Unguarded++
		}
	}
	return stats
}

func unavailable(err error) *actors.CloseError {
	return &actors.CloseError{Code: actors.CloseTryAgainLater, Reason: "workflow lease unavailable, try again", Err: err}
}
