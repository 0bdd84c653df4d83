package actorstest

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lastcall-go/lastcall/actors/relay"
)

// Leaser is a [relay.Leaser] in memory that gives every lease at once, also a held one: a store
// that keeps the leases apart is lease.Memory in package transport/lease. Set its fields before the session starts.
// It notes in its journal:
//
//	lease on WORKFLOW taken
//	lease released
type Leaser struct {
	Journal *Journal // nil: nothing is noted

	// OnAcquire is interrupted only where it Hangs: a lease that Takes long comes also when nothing waits
	// for it any more.
	OnAcquire Call
	OnRelease Call // cut short by its context

	// LostAtOnce has a lease be lost before Acquire has returned it.
	LostAtOnce bool

	confirm atomic.Pointer[func(context.Context) error]

	mu    sync.Mutex
	token uint64
	lost  func(error)
}

// Acquire implements [relay.Leaser].
func (l *Leaser) Acquire(ctx context.Context, workflow string, lost func(error)) (relay.Lease, error) {
	l.OnAcquire.panics("Leaser.Acquire")
	if l.OnAcquire.Hangs {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	time.Sleep(l.OnAcquire.Takes)
	if l.OnAcquire.Err != nil {
		return nil, l.OnAcquire.Err
	}
	l.Journal.Note("lease on %s taken", workflow)
	if l.LostAtOnce {
		lost(errors.New("ran out"))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lost = lost
	l.token++
	return &lease{l, l.token}, nil
}

// Lose reports the lease as lost to the session that took it last. A lease must have been taken.
func (l *Leaser) Lose(err error) {
	l.mu.Lock()
	lost := l.lost
	l.mu.Unlock()
	lost(err)
}

// Confirms has confirm be called, from now on, where a lease is to be confirmed. Before, each is held.
func (l *Leaser) Confirms(confirm func(ctx context.Context) error) { l.confirm.Store(&confirm) }

type lease struct {
	leaser *Leaser
	token  uint64
}

// Token implements [relay.Lease].
func (l *lease) Token() uint64 { return l.token }

// Confirm implements [relay.Lease].
func (l *lease) Confirm(ctx context.Context) error {
	if confirm := l.leaser.confirm.Load(); confirm != nil {
		return (*confirm)(ctx)
	}
	return nil
}

// Release implements [relay.Lease].
func (l *lease) Release(ctx context.Context) error {
	l.leaser.OnRelease.pass(ctx.Done())
	l.leaser.Journal.Note("lease released")
	l.leaser.OnRelease.panics("Lease.Release")
	return l.leaser.OnRelease.Err
}
