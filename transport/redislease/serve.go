package redislease

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/lastcall-go/lastcall/actors"
)

// Serve implements [actors.Service]: it renews all leases of the process until ctx is done. Then it
// waits for releases that are under way, 4 s at most, and closes the connections. A lease that
// is not released by then is left to run out.
func (s *Store) Serve(ctx context.Context) error {
	every := s.options.Renew / retries
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	last := time.Now()
	for {
		select {
		case <-ctx.Done():
			return s.close(ctx)
		case now := <-ticker.C:
			due := now.Sub(last) > s.options.Renew-every/2
			if !due {
				s.probe(ctx)
			}
			if s.urgent.Swap(false) || due {
				last = now
				s.round(ctx)
			}
		}
	}
}

// probe renews a few leases between two rounds. If the server has forgotten one, or had to be
// connected to again, a round is urgent.
func (s *Store) probe(ctx context.Context) {
	if !s.urgent.Load() {
		s.noted(ctx, s.ask(ctx, s.someHeld(probes)))
	}
}

// round renews once, for as long as Renew at most.
func (s *Store) round(ctx context.Context) {
	limited, cancel := context.WithTimeout(ctx, s.options.Renew)
	defer cancel()
	unfree := s.unfreed() // forgets what has run out, also while the server doesn't answer
	err := s.ask(limited, s.held())
	if err == nil {
		err = s.freeAll(limited, unfree)
	}
	if ctx.Err() == nil && err != nil {
		s.failures.Add(1)
	}
	s.noted(ctx, err)
}

// noted reports a failure once, and has it tried again soon.
func (s *Store) noted(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		s.urgent.Store(true)
	}
	if err != nil && !s.failing {
		s.warn(fmt.Errorf("leases can't be renewed: %w", err))
	}
	s.failing = err != nil
	s.health.note(err)
}

// ask renews leases, in batches. Without any it asks whether the server answers. The first error is
// returned that is more than one key's.
func (s *Store) ask(ctx context.Context, leases []*lease) (failure error) {
	if len(leases) == 0 {
		return s.ping(ctx)
	}
	for len(leases) > 0 {
		batch := leases[:min(batchSize, len(leases))]
		leases = leases[len(batch):]
		began := sending(ctx)
		err, answered := s.renewFree(ctx, batch)
		if failure == nil {
			failure = err
		}
		if !answered {
			missAll(leases, began, err) // they would wait for the same
			break
		}
	}
	return failure
}

func missAll(leases []*lease, sent time.Time, err error) {
	for _, l := range leases {
		l.missed(sent, err)
	}
}

// renewFree renews what no session asks about just now.
func (s *Store) renewFree(ctx context.Context, batch []*lease) (failure error, answered bool) {
	batch = slices.DeleteFunc(slices.Clone(batch), func(l *lease) bool { return !l.tryTurn() })
	if len(batch) == 0 {
		return nil, true
	}
	return s.renew(ctx, batch)
}

// renew renews leases whose turn the caller has, and ends it. It returns the first error that is
// more than one key's, and whether there was anything else.
func (s *Store) renew(ctx context.Context, batch []*lease) (failure error, answered bool) {
	before := make([]bool, len(batch))
	for i, l := range batch {
		before[i] = l.confirmed()
	}
	for i, a := range s.take(ctx, batch) {
		l := batch[i]
		l.endTurn()
		l.judge(a)
		switch {
		case a.err == nil, errors.Is(a.err, errHeld):
			answered = true
			if before[i] && (a.taken || a.err != nil) {
				s.urgent.Store(true) // the server has forgotten it
			}
		case isWrongType(a.err):
			answered = true
		case failure == nil:
			failure = a.err
		}
	}
	return failure, answered
}

// ping reads a key that isn't there.
func (s *Store) ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	err := s.client.Get(ctx, s.options.Prefix+"{none}").Err()
	if errors.Is(err, redis.Nil) {
		return nil
	}
	return s.secrets.redact(err)
}

// freeAll frees what was released while the server didn't answer.
func (s *Store) freeAll(ctx context.Context, unfree []*lease) error {
	for batch := range slices.Chunk(unfree, batchSize) {
		for i, a := range s.eval(ctx, freeScript, batch) {
			if a.err != nil && !isWrongType(a.err) {
				return a.err
			}
			s.freed(batch[i])
		}
	}
	return nil
}

func (s *Store) unfreed() []*lease {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	maps.DeleteFunc(s.unfree, func(_ *lease, end time.Time) bool { return now.After(end) })
	return slices.Collect(maps.Keys(s.unfree))
}

func (s *Store) freed(l *lease) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.unfree, l)
}

// held returns the leases in no order, so that no lease is always behind a batch that fails.
func (s *Store) held() []*lease {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.leases))
}

// someHeld returns n leases at most, others each time.
func (s *Store) someHeld(n int) []*lease {
	s.mu.Lock()
	defer s.mu.Unlock()
	some := make([]*lease, 0, n)
	for l := range s.leases {
		if len(some) == n {
			break
		}
		some = append(some, l)
	}
	return some
}

// close waits for goroutines that ask the server for a session: each is done in two calls' time.
// Out of time, the client is closed under them.
func (s *Store) close(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	idle := make(chan struct{})
	go func() {
		s.work.Wait()
		close(idle)
	}()
	var cut <-chan struct{}
	if limit := actors.OutOfTime(ctx); limit != ctx {
		cut = limit.Done()
	}
	select {
	case <-idle:
	case <-cut:
	}
	return s.client.Close()
}
