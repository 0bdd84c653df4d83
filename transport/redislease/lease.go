package redislease

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Why a lease was lost.
var (
	ErrTaken  = errors.New("workflow lease was taken by another session")
	ErrRanOut = errors.New("workflow lease ran out: it could not be renewed")
)

// lease is a lease that was asked for.
type lease struct {
	store      *Store
	key, token string

	// turn is full while somebody asks the server about the key. Else a renewal that was sent
	// before a release could arrive after it, and take the lease again for nobody.
	turn chan struct{}

	mu     sync.Mutex
	lost   func(error)
	over   bool        // released, lost, or never granted
	until  time.Time   // held at least until then; zero: granted without the store
	expiry *time.Timer // calls expire at until
}

func newLease(s *Store, workflow string, lost func(error)) *lease {
	return &lease{
		store: s,
		key:   s.options.Prefix + boundID(workflow),
		token: rand.Text(),
		turn:  make(chan struct{}, 1),
		lost:  lost,
	}
}

// Release implements [relay.Lease]. The lease is given free also where ctx is done before the
// server has answered: that goes on for at most 4 s. If the server doesn't answer, each renewal
// tries again until the lease has run out. An error says that it may be held until then.
func (l *lease) Release(ctx context.Context) error {
	l.end()
	select {
	case err := <-l.store.free(l):
		return err
	case <-ctx.Done():
		return fmt.Errorf("release workflow lease: %w", ctx.Err())
	}
}

// end makes sure that lost isn't called any more.
func (l *lease) end() {
	l.store.forget(l)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.finish()
}

func (l *lease) finish() {
	l.over = true
	if l.expiry != nil {
		l.expiry.Stop()
	}
}

// extend notes that the server said yes to what was sent then. The server counts from when it
// arrived, which is later.
func (l *lease) extend(sent time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	ttl := l.store.options.TTL
	l.until = sent.Add(ttl - ttl/maxDrift)
	if l.expiry == nil {
		l.expiry = time.AfterFunc(time.Until(l.until), l.expire)
	} else {
		l.expiry.Reset(time.Until(l.until))
	}
}

// expire is called when the time is up, which it isn't if the lease was extended just then.
func (l *lease) expire() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !time.Now().Before(l.until) {
		l.lose(ErrRanOut)
	}
}

// taken says that somebody else has the lease.
func (l *lease) taken() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lose(ErrTaken)
}

// lose is called with mu held, and calls lost with it, so that Release returns after lost or lost
// isn't called.
func (l *lease) lose(err error) {
	if l.over {
		return
	}
	l.finish()
	l.store.forget(l)
	l.store.lost.Add(1)
	l.lost(err)
}

// tryTurn takes the turn of a lease that is to be renewed.
func (l *lease) tryTurn() bool {
	select {
	case l.turn <- struct{}{}:
	default:
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		l.endTurn()
	}
	return !l.over
}

func (l *lease) endTurn() { <-l.turn }

// unguarded says that the lease was granted without the store, which hasn't confirmed it since.
func (l *lease) unguarded() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.until.IsZero()
}
