package redislease

import (
	"context"
	"net"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/lastcall-go/lastcall/actors/relay"
)

// Valid reports whether Confirm would return nil without asking the server.
func Valid(l relay.Lease) bool { return l.(*lease).holds() }

// NewOver is New with a network of the test's.
func NewOver(options Options, dial func(context.Context) (net.Conn, error)) (*Store, error) {
	options.URL = "redis://test"
	s, err := New(options)
	if err != nil {
		return nil, err
	}
	client, err := clientOptions(options.URL, nil, s.timeout)
	if err != nil {
		return nil, err
	}
	client.Dialer = func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) }
	_ = s.client.Close()
	return newStore(s.options, s.timeout, client), nil
}

// BatchSize is how many leases are asked about in one round trip.
const BatchSize = batchSize

// Ask renews all leases, as a round does.
func (s *Store) Ask(ctx context.Context) error { return s.ask(ctx, s.held()) }

// SetWall changes a lease to what it would be if the wall clock had been set forward, or back for a
// negative time, since it was taken.
func SetWall(l relay.Lease, by time.Duration) {
	held := l.(*lease)
	held.mu.Lock()
	defer held.mu.Unlock()
	held.until.wall = held.until.wall.Add(-by)
}

// Unfree is how many leases are released and not yet free.
func (s *Store) Unfree() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.unfree)
}

// OnCall calls f for each script that is sent, with the number of its keys.
func (s *Store) OnCall(f func(keys int)) { s.client.AddHook(hook(f)) }

type hook func(keys int)

func (h hook) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h hook) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (h hook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, calls []redis.Cmder) error {
		h(len(calls))
		return next(ctx, calls)
	}
}
