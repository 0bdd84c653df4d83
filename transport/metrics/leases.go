package metrics

import (
	"context"
	"errors"
	"sync"

	"github.com/lastcall-go/lastcall/actors/relay"
)

// Leaser counts the leases that sessions take, hold, lose and release. Nil is nil.
func (m *Metrics) Leaser(next relay.Leaser) relay.Leaser {
	if next == nil {
		return nil
	}
	return &leaser{next, m}
}

type leaser struct {
	next    relay.Leaser
	metrics *Metrics
}

// Acquire implements [relay.Leaser].
func (l *leaser) Acquire(ctx context.Context, workflow string, lost func(error)) (relay.Lease, error) {
	counted := &lease{metrics: l.metrics}
	taken, err := l.next.Acquire(ctx, workflow, func(why error) {
		l.metrics.leasesLost.with().Inc()
		counted.end()
		lost(why)
	})
	l.metrics.leasesAcquired.with(acquisition(ctx, err)).Inc()
	if err != nil {
		return nil, err
	}
	counted.begin(taken)
	return counted, nil
}

// acquisition is the label of how the taking of a lease ended.
func acquisition(ctx context.Context, err error) string {
	switch {
	case err == nil:
		return acquired
	case errors.Is(err, relay.ErrLeaseHeld):
		return held
	case ctx.Err() != nil:
		return cancelled
	}
	return unavailable
}

// lease is held from begin to the first of its loss and its release. A loss may come before begin.
type lease struct {
	relay.Lease
	metrics *Metrics

	mu         sync.Mutex
	held, over bool
}

func (l *lease) begin(taken relay.Lease) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.Lease = taken
	if !l.over {
		l.held = true
		l.metrics.leasesHeld.with().Inc()
	}
}

func (l *lease) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held {
		l.metrics.leasesHeld.with().Dec()
	}
	l.held, l.over = false, true
}

// Release implements [relay.Lease].
func (l *lease) Release(ctx context.Context) error {
	released := false
	defer func() { // also after a panic
		l.end()
		if !released {
			l.metrics.releaseFailures.with().Inc()
		}
	}()
	err := l.Lease.Release(ctx)
	released = err == nil
	return err
}
