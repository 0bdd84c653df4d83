package redislease

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
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
	store        *Store
	key, counter string
	owner        string
	early        time.Duration // before its time is up a lease that isn't renewed ends; FailClosed

	// turn is full while a goroutine asks the server about the key. Else a renewal that was sent
	// before a release could arrive after it, and take the lease again for no session.
	turn chan struct{}

	mu      sync.Mutex
	lost    func(error)
	over    bool        // released, lost, or never granted
	token   uint64      // 0: not known yet
	until   moment      // held at least until then; zero: granted without the store
	missing time.Time   // when the server was last asked, and the store failed; zero: it answered
	refused bool        // the server's last answer is that the key holds no lease at all
	expiry  *time.Timer // calls expire; FailClosed
}

func newLease(s *Store, workflow string, lost func(error)) *lease {
	key := s.options.Prefix + boundID(workflow)
	l := &lease{
		store:   s,
		key:     key,
		counter: s.options.Prefix + "{" + key + "}", // the same slot as the key's
		owner:   rand.Text(),
		turn:    make(chan struct{}, 1),
		lost:    lost,
	}
	if s.options.Failure == FailClosed {
		l.early = mathrand.N(s.options.TTL / spread)
	}
	return l
}

// Token returns the lease's fencing token: larger than that of each lease on the same workflow
// before, as far as the server remembers (see the package comment). It doesn't change once Acquire
// has returned.
func (l *lease) Token() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.token
}

// holds is valid, with mu taken.
func (l *lease) holds() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.valid()
}

// valid reports whether the session may go on: the lease is held by this process's clocks, or, with
// [FailOpen], the store was asked less than the time to live ago and didn't answer. It is called
// with mu held.
func (l *lease) valid() bool {
	return !l.over && (l.until.ahead() || l.store.options.Failure == FailOpen && at(l.missing.Add(l.store.options.TTL)).ahead())
}

// moment is a time by two clocks. The monotonic clock stands still while the machine is suspended; the
// wall clock can be set.
type moment struct {
	time.Time // by the monotonic clock
	wall      time.Time
}

func at(t time.Time) moment { return moment{t, t.Round(0)} }

// ahead reports that m has come by neither clock.
func (m moment) ahead() bool {
	now := time.Now()
	return now.Before(m.Time) && now.Round(0).Before(m.wall)
}

// Confirm implements [relay.Lease]. It returns nil at once, without asking the server, if the lease
// is held by this process's clocks, or, with [FailOpen], the store was asked less than the time to
// live ago and didn't answer. Else the server is asked once more, which takes 4 s at most.
func (l *lease) Confirm(ctx context.Context) error {
	if l.holds() {
		return nil
	}
	done := make(chan struct{})
	open := l.store.background(func() {
		defer close(done)
		l.turn <- struct{}{}
		switch {
		case !l.keepTurn():
		case l.holds(): // it was renewed while this waited for the turn
			l.endTurn()
		default:
			l.store.renew(context.Background(), []*lease{l})
		}
	})
	if !open {
		return errClosed
	}
	select {
	case <-done:
	case <-ctx.Done():
		return ctx.Err()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.valid() {
		return nil
	}
	l.lose(ErrRanOut)
	return ErrRanOut
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
func (l *lease) extend(sent time.Time, token uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return
	}
	if l.token == 0 {
		l.token = token
	}
	ttl := l.store.options.TTL
	l.until, l.missing, l.refused = at(sent.Add(ttl-ttl/maxDrift)), time.Time{}, false
	if l.store.options.Failure == FailOpen {
		return // it doesn't run out
	}
	left := time.Until(l.until.Time) - l.early
	if l.expiry == nil {
		l.expiry = time.AfterFunc(left, l.expire)
	} else {
		l.expiry.Reset(left)
	}
}

// missed notes that what was sent then was not answered with yes or no.
func (l *lease) missed(sent time.Time, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refused = isWrongType(err)
	if l.refused {
		l.missing = time.Time{}
	} else {
		l.missing = sent
	}
}

// goOpen is for a lease that is granted without the store: this process's clock orders it among
// the others on its workflow.
func (l *lease) goOpen() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.token == 0 {
		l.token = uint64(time.Now().UnixMicro())
	}
}

// expire is called when the time is up, which it isn't if the lease was extended just then.
func (l *lease) expire() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !time.Now().Before(l.until.Add(-l.early)) {
		l.lose(ErrRanOut)
	}
}

// judge is called after each renewal. With FailOpen no timer ends a lease, but one whose key is
// something else can't be taken back.
func (l *lease) judge(a answer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case errors.Is(a.err, errHeld):
		l.lose(ErrTaken)
	case l.refused && !time.Now().Before(l.until.Time):
		l.lose(ErrRanOut)
	}
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

// tryTurn takes the turn of a lease that is to be renewed, unless another goroutine has it or the
// lease is over.
func (l *lease) tryTurn() bool {
	select {
	case l.turn <- struct{}{}:
		return l.keepTurn()
	default:
		return false
	}
}

// keepTurn ends a turn that the caller has taken if the lease is over by now.
func (l *lease) keepTurn() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		l.endTurn()
	}
	return !l.over
}

func (l *lease) endTurn() { <-l.turn }

// unguarded says that nothing but the holder's word keeps another session from the lease.
func (l *lease) unguarded() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !time.Now().Before(l.until.Time)
}

// confirmed says that the server has had the lease at some time.
func (l *lease) confirmed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.until.IsZero()
}
