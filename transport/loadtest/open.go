package loadtest

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Opened is how the opening of sessions went.
type Opened struct {
	Asked  int
	Open   int            // connected, and not ended before the agent had said anything
	Silent int            // of these, whose agent had said nothing by the end of Options.FirstAction
	Failed map[string]int // why the others are not open, in at most 16 kinds

	Took        time.Duration // until the last had connected
	Connect     Quantiles     // from the dial to the start request's being sent
	FirstAction Quantiles     // from the dial to the agent's first action
}

// Open opens n sessions, as many at a time as atATime, and waits for each one's first action. It
// returns ctx's error if that is done first; Opened then says how far it came.
func (f *Fleet) Open(ctx context.Context, n, atATime int) (Opened, error) {
	o := &opening{fleet: f, failed: make(failures)}
	began := time.Now()
	o.connectAll(ctx, n, atATime)
	opened := Opened{Asked: n, Took: time.Since(began), Connect: o.connect.quantiles()}
	o.awaitActions(ctx)
	var first recorder
	for _, s := range o.sessions {
		switch {
		case s.over() && s.silent:
			o.fail(s.how)
			continue
		case !s.hasSpoken():
			opened.Silent++
		default:
			first.record(s.first)
		}
		opened.Open++
		f.sessions = append(f.sessions, s)
	}
	opened.Failed, opened.FirstAction = o.failed, first.quantiles()
	return opened, context.Cause(ctx)
}

// opening is one call of Open.
type opening struct {
	fleet   *Fleet
	connect recorder

	mu       sync.Mutex
	sessions []*session // that have connected
	failed   failures
}

func (o *opening) connectAll(ctx context.Context, n, atATime int) {
	var left atomic.Int64
	left.Store(int64(n))
	var connecting sync.WaitGroup
	for range min(n, atATime) {
		connecting.Go(func() {
			for ctx.Err() == nil && left.Add(-1) >= 0 {
				o.connectOne(ctx)
			}
		})
	}
	connecting.Wait()
}

func (o *opening) connectOne(ctx context.Context) {
	begun := time.Now()
	conn, err := o.fleet.dial(ctx)
	if err != nil && ctx.Err() != nil {
		return // cancelled by the caller
	}
	if err != nil {
		o.fail(err)
		return
	}
	o.connect.record(time.Since(begun))
	s := newSession(o.fleet, conn, begun)
	s.hold()
	o.fleet.opened.Add(1)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.sessions = append(o.sessions, s)
}

func (o *opening) fail(err error) {
	o.fleet.failed.Add(1)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.failed.add(err)
}

// awaitActions waits until each session has heard from its agent, or ended.
func (o *opening) awaitActions(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, o.fleet.options.FirstAction)
	defer cancel()
	for _, s := range o.sessions {
		select {
		case <-s.heard:
		case <-s.ended:
		case <-ctx.Done():
			return
		}
	}
}

// hasSpoken reports whether the agent has, and with that whether s.first may be read.
func (s *session) hasSpoken() bool {
	select {
	case <-s.heard:
		return true
	default:
		return false
	}
}

// Try opens one session, waits for the agent's first action, and closes it with 1000. Its error is
// that of [client.Dial], or says how the session ended. An agent that says nothing is no error.
func Try(ctx context.Context, options Options) error {
	f, err := New(options)
	if err != nil {
		return err
	}
	defer f.Cut()
	conn, err := f.dial(ctx)
	if err != nil {
		return err
	}
	s := newSession(f, conn, time.Now())
	s.hold()
	f.sessions = []*session{s}
	(&opening{fleet: f, sessions: f.sessions}).awaitActions(ctx)
	if s.over() {
		return fmt.Errorf("open a session: %w", s.how)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	f.Leave()
	return nil
}
