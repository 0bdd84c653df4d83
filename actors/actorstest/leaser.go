package actorstest

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/lastcall-go/lastcall/actors/relay"
)

// Leaser is a [relay.Leaser] in memory that gives every lease at once, also one that is held: a store
// that keeps the leases apart is lease.Memory in package transport/lease. Its fields may be set before the
// session starts, and while everything in the bubble is at rest. It notes in its journal:
//
//	lease on WORKFLOW taken
//	lease released
type Leaser struct {
	Journal *Journal // nil: nothing is noted

	// OnAcquire is interrupted only where it Hangs: a lease that Takes long comes also when nothing waits
	// for it any more.
	OnAcquire Call
	OnConfirm Call // interrupted by its context
	OnRelease Call // cut short by its context

	// LostAtOnce has a lease be lost before Acquire has returned it.
	LostAtOnce bool

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

// Lose tells the session that took a lease last that the lease is lost. A lease must have been taken.
func (l *Leaser) Lose(err error) {
	l.mu.Lock()
	lost := l.lost
	l.mu.Unlock()
	lost(err)
}

type lease struct {
	leaser *Leaser
	token  uint64
}

// Token implements [relay.Lease].
func (l *lease) Token() uint64 { return l.token }

// Confirm implements [relay.Lease].
func (l *lease) Confirm(ctx context.Context) error {
	l.leaser.OnConfirm.panics("Lease.Confirm")
	if !l.leaser.OnConfirm.pass(ctx.Done()) {
		return ctx.Err()
	}
	return l.leaser.OnConfirm.Err
}

// Release implements [relay.Lease].
func (l *lease) Release(ctx context.Context) error {
	l.leaser.OnRelease.pass(ctx.Done())
	l.leaser.Journal.Note("lease released")
	l.leaser.OnRelease.panics("Lease.Release")
	return l.leaser.OnRelease.Err
}
