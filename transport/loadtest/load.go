package loadtest

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// Load is what came of a load.
type Load struct {
	Sessions int           // that took part
	Took     time.Duration // as asked for, and shorter only if no session was left

	// RoundTrip is the time from a client's answer to the agent's next action. JSON on the client's
	// side is part of it.
	RoundTrip  Quantiles
	Unanswered int // round trips that were under way at the end, and are not in RoundTrip

	Received, Sent int64 // messages, of the clients

	Reopened int            // workflows that were completed (1000), and another one begun in their place
	Failed   map[string]int // why some could not be, in at most 16 kinds
}

// Load has busy of the open sessions, or all if that is more, answer all that their agents ask, at
// once and for this long. Each sends no more than it is asked: what is measured is how fast the
// gateway and the agent let so many sessions be, not how they stand up to a given rate. A session
// whose workflow completes is opened again; a session that ends otherwise counts among the ends.
//
// Load takes longer than asked for by the time to open a session, 30 s at most, or to send a message
// that the gateway doesn't take, a minute at most. If ctx is done it cuts the sessions that are
// about to send, and returns ctx's error with what was measured.
func (f *Fleet) Load(ctx context.Context, busy int, duration time.Duration) (Load, error) {
	l := &load{failed: make(failures)}
	var workers []*session
	for _, s := range f.alive() {
		if len(workers) == busy {
			break
		}
		if s.take() {
			workers = append(workers, s)
		}
	}
	began := time.Now()
	until, cancel := context.WithTimeout(ctx, duration)
	defer cancel()
	var working sync.WaitGroup
	for _, s := range workers {
		working.Go(func() { l.run(ctx, until, s) })
	}
	working.Wait()
	return Load{
		Sessions:   len(workers),
		Took:       min(time.Since(began), duration),
		RoundTrip:  l.roundTrips.quantiles(),
		Unanswered: int(l.unanswered.Load()),
		Received:   l.received.Load(),
		Sent:       l.sent.Load(),
		Reopened:   int(l.reopened.Load()),
		Failed:     l.failed,
	}, context.Cause(ctx)
}

// load is one call of Load.
type load struct {
	roundTrips                           recorder
	received, sent, reopened, unanswered atomic.Int64

	mu     sync.Mutex
	failed failures
}

// run keeps one session busy, and gives it back to be held.
func (l *load) run(ctx, until context.Context, s *session) {
	err := l.exchange(ctx, until, s)
	for err == nil || completed(err) && l.reopen(ctx, s) {
		err = l.exchange(ctx, until, s)
	}
	if !s.answered.IsZero() {
		l.unanswered.Add(1)
		s.answered = time.Time{}
	}
	if connectionEnded(err) {
		s.finish(err)
		return
	}
	s.hold()
}

// exchange answers what the agent has asked, and takes what it says next.
func (l *load) exchange(ctx, until context.Context, s *session) error {
	sent, err := s.answer(ctx)
	l.sent.Add(int64(sent))
	if err != nil {
		return err
	}
	if err := s.receive(until); err != nil {
		return err
	}
	l.received.Add(1)
	if !s.answered.IsZero() {
		l.roundTrips.record(time.Since(s.answered))
		s.fleet.roundTrips.Add(1)
		s.answered = time.Time{}
	}
	return nil
}

func (l *load) reopen(ctx context.Context, s *session) bool {
	err := s.reopen(ctx)
	if err == nil {
		l.reopened.Add(1)
		l.sent.Add(1) // the start request
		return true
	}
	if ctx.Err() == nil {
		s.fleet.failed.Add(1)
		l.mu.Lock()
		defer l.mu.Unlock()
		l.failed.add(err)
	}
	return false
}
