package redislease

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/lastcall-go/lastcall/actors"
)

// Serve implements [actors.Service]: it renews all leases of the process until ctx is done. Then it
// waits for releases that are under way, 4 s at most, and closes the connections. A lease that
// nobody has released by then is left to run out.
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
			if s.urgent.Swap(false) || now.Sub(last) > s.options.Renew-every/2 {
				last = now
				s.round(ctx)
			}
		}
	}
}

// round renews once, for as long as Renew at most. One that fails is told once and soon tried again.
func (s *Store) round(ctx context.Context) {
	limited, cancel := context.WithTimeout(ctx, s.options.Renew)
	defer cancel()
	unfree := s.unfreed() // forgets what has run out, also while the server doesn't answer
	err := s.renewAll(limited)
	if err == nil {
		err = s.freeAll(limited, unfree)
	}
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		s.failures.Add(1)
		s.urgent.Store(true)
	}
	if err != nil && !s.failing {
		s.warn(fmt.Errorf("leases can't be renewed: %w", err))
	}
	s.failing = err != nil
}

// renewAll renews in batches. The first one that fails ends it: the others would wait for the same.
func (s *Store) renewAll(ctx context.Context) error {
	for batch := range slices.Chunk(s.held(), batchSize) {
		if err := s.renew(ctx, batch); err != nil {
			return err
		}
	}
	return nil
}

// renew leaves out what a session asks about just now.
func (s *Store) renew(ctx context.Context, batch []*lease) error {
	batch = slices.DeleteFunc(batch, func(l *lease) bool { return !l.tryTurn() })
	if len(batch) == 0 {
		return nil
	}
	foreign, err := s.take(ctx, batch)
	for _, l := range batch {
		l.endTurn()
	}
	for _, l := range foreign {
		l.taken()
	}
	return err
}

// freeAll frees what was released while the server didn't answer.
func (s *Store) freeAll(ctx context.Context, unfree []*lease) error {
	for batch := range slices.Chunk(unfree, batchSize) {
		if _, err := s.eval(ctx, freeScript, batch); err != nil {
			return err
		}
		s.freed(batch)
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

func (s *Store) freed(batch []*lease) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range batch {
		delete(s.unfree, l)
	}
}

// held returns the leases in no order, so that no lease is always behind a batch that fails.
func (s *Store) held() []*lease {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.leases))
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
