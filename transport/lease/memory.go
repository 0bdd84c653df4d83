// Package lease holds the lease store that needs nothing: [Memory], for a single process. Package
// redislease has the one for several instances. Both keep what package leasetest checks.
package lease

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/lastcall-go/lastcall/actors/relay"
)

// Memory is a [relay.Leaser] for the sessions of one process: it knows nothing of any other. A
// lease is held until it is released, and never lost. The zero value is ready, and no method blocks.
//
// A lease's token is larger than that of any lease before, over a restart of the process too, unless
// the clock was set back.
type Memory struct {
	mu   sync.Mutex
	held map[string]*memoryLease // by workflow
	last uint64                  // token
}

var errHeldHere = errors.New("another session of this process has the lease")

// Acquire implements [relay.Leaser]. It fails with [relay.LeaseHeld] while another session has the
// lease, and with ctx's error if ctx is done. lost is never called.
func (m *Memory) Acquire(ctx context.Context, workflow string, _ func(error)) (relay.Lease, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.held[workflow] != nil {
		return nil, relay.LeaseHeld(errHeldHere)
	}
	if m.held == nil {
		m.held = make(map[string]*memoryLease)
	}
	m.last = max(m.last+1, uint64(time.Now().UnixMicro()))
	l := &memoryLease{m, workflow, m.last}
	m.held[workflow] = l
	return l, nil
}

type memoryLease struct {
	store    *Memory
	workflow string
	token    uint64
}

// Token implements [relay.Lease].
func (l *memoryLease) Token() uint64 { return l.token }

// Confirm implements [relay.Lease]. The lease is always held.
func (l *memoryLease) Confirm(context.Context) error { return nil }

// Release implements [relay.Lease]. It can't fail.
func (l *memoryLease) Release(context.Context) error {
	l.store.mu.Lock()
	defer l.store.mu.Unlock()
	if l.store.held[l.workflow] == l { // a second release must not free the next holder's
		delete(l.store.held, l.workflow)
	}
	return nil
}
