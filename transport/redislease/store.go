package redislease

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
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
	// retries is how many rounds are tried in the time of one while the server doesn't answer.
	retries = 10
)

// Failure says what a session does that finds the store unreachable when it starts.
type Failure uint8

const (
	// FailOpen lets it go on without a lease, with a warning. The lease is taken later.
	FailOpen Failure = iota

	// FailClosed refuses it with close code 1013.
	FailClosed
)

// Options say where the store is and how leases are kept.
type Options struct {
	// URL is redis://[user:password@]host[:port][/database], or valkey://; rediss:// and valkeys://
	// are the same over TLS. go-redis documents the query parameters; those for timeouts and
	// retries have no effect.
	URL string

	// TLS is for rediss:// and valkeys://. Nil: the system's roots.
	TLS *tls.Config

	// TTL is how long a lease is held that isn't renewed: a killed instance frees its workflows
	// after it. 0: 30 s. At least 100 ms.
	TTL time.Duration

	// Renew is how often all leases are renewed, at most half of TTL. 0: TTL/3.
	Renew time.Duration

	// Failure is for sessions that find the store unreachable. An answer that is an error, such as
	// one of a server that is loading, counts as none.
	Failure Failure

	// Prefix begins each key. Empty: "lastcall:lease:".
	Prefix string

	// OnWarning is told of each session that goes on without a lease, and of renewals that begin to
	// fail, once an outage. It is called by any goroutine and must not block. May be nil.
	OnWarning func(error)
}

// Stats are the store's figures.
type Stats struct {
	Held        int    // leases granted and neither released nor lost
	Unguarded   int    // those of Held that were granted without the store
	Unavailable uint64 // Acquires that found the store unreachable
	Failures    uint64 // rounds of renewal that failed
	Lost        uint64 // leases that were lost
}

// Store is an [relay.Leaser] for several instances that share a Redis or Valkey. It is an
// [actors.Service], too: without Serve no lease is renewed.
type Store struct {
	options Options
	timeout time.Duration // of a call
	secret  secret
	client  *redis.Client

	mu     sync.Mutex
	leases map[*lease]struct{}  // granted, and neither released nor lost
	unfree map[*lease]time.Time // released, but the server doesn't know; until they have run out
	closed bool
	work   sync.WaitGroup // goroutines that ask the server for a session; added to before closed

	unavailable, failures, lost atomic.Uint64

	urgent  atomic.Bool // a call failed: don't wait for the next round
	failing bool        // the last round failed; Serve's
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
	timeout := min(maxTimeout, options.TTL/3)
	client, err := clientOptions(options.URL, options.TLS, timeout)
	if err != nil {
		return nil, err
	}
	return &Store{
		options: options,
		timeout: timeout,
		secret:  secret(client.Password),
		client:  redis.NewClient(client),
		leases:  make(map[*lease]struct{}),
		unfree:  make(map[*lease]time.Time),
	}, nil
}

// Acquire implements [relay.Leaser]. It takes 2 s at most. It fails with [relay.LeaseHeld] if
// another session has the lease, with a [*actors.Fault] of code 1013 if the store is unreachable and
// Failure is [FailClosed], and with ctx's error if that is done first. lost is told [ErrTaken] or
// [ErrRanOut]; it may be called before Acquire has returned, and must not call Release.
func (s *Store) Acquire(ctx context.Context, workflow string, lost func(error)) (relay.Lease, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	l := newLease(s, workflow, lost)
	answer, ok := s.ask(l)
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

// errHeld says that the server answered, and that it said no.
var errHeld = errors.New("another session has the lease")

// ask tries to take a new lease, on a goroutine: go-redis heeds a context's deadline, but not that
// it is cancelled. It tells whether the store is open.
func (s *Store) ask(l *lease) (answer <-chan error, ok bool) {
	l.turn <- struct{}{}
	result := make(chan error, 1)
	return result, s.background(func() {
		defer l.endTurn()
		foreign, err := s.take(context.Background(), []*lease{l})
		if len(foreign) > 0 {
			err = errHeld
		}
		result <- err
	})
}

// granted decides what the server's answer means for the session.
func (s *Store) granted(l *lease, err error) (relay.Lease, error) {
	if errors.Is(err, errHeld) {
		return nil, relay.LeaseHeld(fmt.Errorf("%q: %w", l.key, err))
	}
	if err != nil {
		s.unavailable.Add(1)
	}
	if err != nil && s.options.Failure == FailClosed {
		l.end()
		s.free(l) // the server may have said yes
		return nil, unavailable(err)
	}
	s.mu.Lock()
	s.leases[l] = struct{}{}
	s.mu.Unlock()
	if err != nil {
		s.urgent.Store(true)
		s.warn(fmt.Errorf("a session goes on without a lease on %q: %w", l.key, err))
	}
	return l, nil
}

// free gives a lease free, once the server has answered what it was asked before. The channel gets
// one value.
func (s *Store) free(l *lease) <-chan error {
	result := make(chan error, 1)
	ok := s.background(func() {
		l.turn <- struct{}{}
		defer l.endTurn()
		_, err := s.eval(context.Background(), freeScript, []*lease{l})
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
	for _, l := range s.held() {
		stats.Held++
		if l.unguarded() {
			stats.Unguarded++
		}
	}
	return stats
}

func unavailable(err error) *actors.Fault {
	return &actors.Fault{Code: actors.CloseTryAgainLater, Reason: "workflow lease unavailable, try again", Err: err}
}
