package redislease_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
	"pgregory.net/rapid"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/transport/lease/leasetest"
	"github.com/lastcall-go/lastcall/transport/redislease"
)

// safeTTL is how long a lease is held without an answer, by the holder's clock.
const safeTTL = redislease.DefaultTTL * 99 / 100

// wantRunOut waits for lost, and wants it no later than the lease can be relied on, and no more than
// a tenth of the TTL earlier.
func wantRunOut(t *testing.T, begin time.Time, told <-chan error) {
	t.Helper()
	err := <-told
	took := time.Since(begin)
	if took > safeTTL || took < safeTTL-redislease.DefaultTTL/10 || !errors.Is(err, redislease.ErrRanOut) {
		t.Errorf("lost after %v with %v, want %v within %v", took, err, redislease.ErrRanOut, safeTTL)
	}
}

func TestALeaseIsKeptForHours(t *testing.T) {
	bubble(t, func(t *testing.T, server *miniredis.Miniredis) {
		store, _ := instance(t, server, redislease.Options{})
		run(t, store)
		lease := leasetest.Acquire(t, store, "w")
		for range 2 * 60 {
			time.Sleep(time.Minute)
			leasetest.WantHeld(t, store, "w")
		}
		leasetest.Release(t, lease)
	})
}

func TestAKilledInstanceFreesItsWorkflowsAfterTheTTL(t *testing.T) {
	bubble(t, func(t *testing.T, server *miniredis.Miniredis) {
		killed, cut := instance(t, server, redislease.Options{})
		other, _ := instance(t, server, redislease.Options{})
		run(t, killed)
		run(t, other)
		_, err := killed.Acquire(t.Context(), "w", func(error) {})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		cut.set(down)
		time.Sleep(redislease.DefaultTTL - redislease.DefaultTTL/3 - time.Second)
		leasetest.WantHeld(t, other, "w")
		time.Sleep(redislease.DefaultTTL/3 + time.Second)
		leasetest.Release(t, leasetest.Acquire(t, other, "w"))
	})
}

// Whatever became of the link, the lease is lost when its time is up by the holder's clock, counted
// from when the last renewal that was answered was sent.
func TestALeaseIsLostWhenItRunsOutAndNotBefore(t *testing.T) {
	for name, trouble := range map[string]state{"down": down, "deaf": deaf, "mute": mute} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, server *miniredis.Miniredis) {
				store, link := instance(t, server, redislease.Options{Failure: redislease.FailClosed})
				run(t, store)
				lost, told := signal()
				lease, err := store.Acquire(t.Context(), "w", lost)
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(60*time.Second + time.Millisecond)
				renewed := time.Now().Add(-time.Millisecond)
				link.set(trouble)
				wantRunOut(t, renewed, told)
				link.set(up)
				time.Sleep(time.Minute)
				if got := store.Stats(); len(told) > 0 || got.Lost != 1 || got.Held != 0 {
					t.Errorf("lost %d more times, stats %+v", len(told), got)
				}
				leasetest.Release(t, lease)
				if n := len(leaseKeys(server)); n != 0 {
					t.Errorf("%d keys are left", n)
				}
			})
		})
	}
}

func TestTimeCountsFromBeforeTheRenewalWasSent(t *testing.T) {
	bubble(t, func(t *testing.T, server *miniredis.Miniredis) {
		store, link := instance(t, server, redislease.Options{})
		leasetest.Release(t, leasetest.Acquire(t, store, "connect"))
		link.set(slow)
		begin := time.Now()
		lease := leasetest.Acquire(t, store, "w")
		if time.Since(begin) != slowness {
			t.Fatalf("Acquire took %v", time.Since(begin))
		}
		link.set(up)
		time.Sleep(time.Until(begin.Add(safeTTL - time.Nanosecond)))
		if !redislease.Valid(lease) {
			t.Error("not valid before its time is up")
		}
		time.Sleep(time.Nanosecond)
		if redislease.Valid(lease) {
			t.Error("valid after its time is up")
		}
		leasetest.Release(t, lease)
		run(t, store)
	})
}

func TestAnOutageShorterThanTheTTLLosesNothing(t *testing.T) {
	for _, trouble := range []state{down, deaf, mute} {
		bubble(t, func(t *testing.T, server *miniredis.Miniredis) {
			warnings := 0
			store, link := instance(t, server, redislease.Options{OnWarning: func(error) { warnings++ }})
			run(t, store)
			lease := leasetest.Acquire(t, store, "w") // fails if it is lost
			for outage := range 10 {
				link.set(trouble)
				time.Sleep(15 * time.Second)
				link.set(up)
				time.Sleep(15 * time.Second)
				synctest.Wait()
				if warnings != outage+1 {
					t.Errorf("%d warnings after %d outages", warnings, outage+1)
				}
			}
			leasetest.Release(t, lease)
		})
	}
}

func TestAStoreThatDoesNotAnswer(t *testing.T) {
	for _, trouble := range []state{down, deaf, mute} {
		for _, failure := range []redislease.Failure{redislease.FailOpen, redislease.FailClosed} {
			bubble(t, func(t *testing.T, server *miniredis.Miniredis) {
				store, link := instance(t, server, redislease.Options{Failure: failure})
				other, _ := instance(t, server, redislease.Options{})
				run(t, store)
				run(t, other)
				leasetest.Release(t, leasetest.Acquire(t, store, "connect"))
				link.set(trouble)
				begin := time.Now()
				lease, err := store.Acquire(t.Context(), "w", func(err error) { t.Errorf("lost: %v", err) })
				if took := time.Since(begin); took > 2*time.Second {
					t.Errorf("Acquire took %v", took)
				}
				time.Sleep(3 * time.Second)
				link.set(up)
				time.Sleep(3 * time.Second) // far from the next renewal
				if failure == redislease.FailClosed {
					wantUnavailable(t, err)
					leasetest.Release(t, leasetest.Acquire(t, other, "w"))
				} else {
					leasetest.WantHeld(t, other, "w")
					leasetest.Release(t, lease)
				}
			})
		}
	}
}

func TestALeaseThatWasGrantedOpenIsLostToWhoHasItByThen(t *testing.T) {
	bubble(t, func(t *testing.T, server *miniredis.Miniredis) {
		open, link := instance(t, server, redislease.Options{})
		other, _ := instance(t, server, redislease.Options{})
		run(t, open)
		run(t, other)
		link.set(down)
		lost, told := signal()
		lease, err := open.Acquire(t.Context(), "w", lost)
		if err != nil {
			t.Fatal(err)
		}
		otherLease := leasetest.Acquire(t, other, "w")
		time.Sleep(time.Hour)
		if len(told) > 0 {
			t.Errorf("lost while nothing was known: %v", <-told)
		}
		link.set(up)
		time.Sleep(3 * time.Second)
		wantLost(t, told, redislease.ErrTaken)
		leasetest.Release(t, lease)
		leasetest.WantHeld(t, open, "w")
		leasetest.Release(t, otherLease)
	})
}

func TestCallsReturnWithTheirContext(t *testing.T) {
	bubble(t, func(t *testing.T, server *miniredis.Miniredis) {
		store, link := instance(t, server, redislease.Options{})
		run(t, store)
		lease := leasetest.Acquire(t, store, "held")
		for _, trouble := range []state{slow, deaf, mute} {
			link.set(trouble)
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Second, cancel)
			begin := time.Now()
			_, err := store.Acquire(ctx, "w", nil)
			if took := time.Since(begin); took != time.Second || !errors.Is(err, context.Canceled) {
				t.Errorf("Acquire after %v: %v", took, err)
			}
		}
		link.set(mute)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begin := time.Now()
		err := lease.Release(ctx)
		if took := time.Since(begin); took != time.Second || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Release after %v: %v", took, err)
		}
		link.set(up)
		time.Sleep(5 * time.Second) // what was cut short goes on, and renewals free the rest
		if keys := leaseKeys(server); len(keys) != 0 {
			t.Errorf("keys are left: %q", keys)
		}
		time.Sleep(time.Minute) // lost is not called for a lease that was never granted
	})
}

func TestAReleaseThatTheServerMissedIsDoneLater(t *testing.T) {
	for _, trouble := range []state{down, deaf} {
		bubble(t, func(t *testing.T, server *miniredis.Miniredis) {
			store, link := instance(t, server, redislease.Options{})
			run(t, store)
			lease := leasetest.Acquire(t, store, "w")
			time.Sleep(time.Minute)
			link.set(trouble)
			if err := lease.Release(t.Context()); err == nil {
				t.Error("Release without a server says that the lease is free")
			}
			link.set(up)
			time.Sleep(3 * time.Second)
			if keys := leaseKeys(server); len(keys) != 0 {
				t.Errorf("keys are left: %q", keys)
			}
		})
	}
}

func TestAnOutageLeavesNothingInMemory(t *testing.T) {
	bubble(t, func(t *testing.T, server *miniredis.Miniredis) {
		store, link := instance(t, server, redislease.Options{})
		run(t, store)
		lease := leasetest.Acquire(t, store, "w")
		link.set(down)
		leasetest.Acquire(t, store, "open") // is never released
		_ = lease.Release(t.Context())
		time.Sleep(redislease.DefaultTTL - time.Second)
		if n := store.Unfree(); n != 1 {
			t.Errorf("%d releases are to be done later, want 1", n)
		}
		time.Sleep(3 * time.Second)
		if n := store.Unfree(); n != 0 {
			t.Errorf("%d releases are remembered for longer than their lease", n)
		}
	})
}

// A renewal that arrived after the release would take the lease again.
func TestAReleaseDoesNotOvertakeARenewal(t *testing.T) {
	bubble(t, func(t *testing.T, server *miniredis.Miniredis) {
		store, link := instance(t, server, redislease.Options{})
		run(t, store)
		lease := leasetest.Acquire(t, store, "w")
		link.set(late)
		time.Sleep(redislease.DefaultTTL/3 + slowness/2) // a renewal is on its way
		link.set(up)
		leasetest.Release(t, lease)
		time.Sleep(slowness)
		if keys := leaseKeys(server); len(keys) != 0 {
			t.Errorf("keys are left: %q", keys)
		}
	})
}

func TestLostIsNotCalledAfterRelease(t *testing.T) {
	bubble(t, func(t *testing.T, server *miniredis.Miniredis) {
		store, link := instance(t, server, redislease.Options{})
		run(t, store)
		lost, told := signal()
		lease, err := store.Acquire(t.Context(), "w", lost)
		if err != nil {
			t.Fatal(err)
		}
		if err := server.Set(redislease.DefaultPrefix+"w", "another"); err != nil {
			t.Fatal(err)
		}
		link.set(slow)
		time.Sleep(time.Second + slowness/2) // an answer is on its way that says so
		done, cancel := context.WithCancel(t.Context())
		cancel()
		_ = lease.Release(done)
		time.Sleep(time.Minute)
		if len(told) > 0 {
			t.Errorf("lost: %v", <-told)
		}
	})
}

func TestTheEndOfServeWaitsForReleases(t *testing.T) {
	bubble(t, func(t *testing.T, server *miniredis.Miniredis) {
		store, link := instance(t, server, redislease.Options{})
		stop := run(t, store)
		lease := leasetest.Acquire(t, store, "w")
		link.set(slow)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := lease.Release(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("Release: %v", err)
		}
		stop()
		if keys := leaseKeys(server); len(keys) != 0 {
			t.Errorf("keys are left: %q", keys)
		}
		_, err := store.Acquire(t.Context(), "w", nil)
		wantUnavailable(t, err)
		if err := lease.Release(t.Context()); err == nil {
			t.Error("Release of a store that is closed has no error")
		}
	})
}

func TestServeOutOfTimeWaitsForNothing(t *testing.T) {
	bubble(t, func(t *testing.T, server *miniredis.Miniredis) {
		store, link := instance(t, server, redislease.Options{})
		supervisor, err := actors.NewSupervisor(actors.Options{})
		if err != nil {
			t.Fatal(err)
		}
		var served time.Time
		serve := func(ctx context.Context) error {
			defer func() { served = time.Now() }()
			return store.Serve(ctx)
		}
		if err := supervisor.Add("lease store", actors.AfterSessions, actors.ServiceFunc(serve)); err != nil {
			t.Fatal(err)
		}
		lease := leasetest.Acquire(t, store, "w")
		link.set(deaf)
		done, cancel := context.WithCancel(t.Context())
		cancel()
		_ = lease.Release(done) // goes on for 2 s
		deadline := time.Now().Add(time.Second)
		_, _ = supervisor.Drain(t.Context(), actors.Drain{Deadline: deadline})
		supervisor.Close()
		if late := served.Sub(deadline); served.IsZero() || late > 100*time.Millisecond {
			t.Errorf("Serve returned %v after the deadline", late)
		}
	})
}

// model is what an observer of all sessions sees.
type model struct {
	mu      sync.Mutex
	holders map[string]int
	two     bool
	late    bool // lost was called after Release had returned
}

func (m *model) count(workflow string, n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.holders[workflow] += n
	m.two = m.two || m.holders[workflow] > 1
}

// session acquires, holds, and releases, and stops when its lease is lost.
func (m *model) session(store *redislease.Store, workflow string, patience, hold time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	lost := make(chan error, 1)
	var once sync.Once
	var released atomic.Bool
	lease, err := store.Acquire(ctx, workflow, func(err error) {
		m.wasLost(released.Load())
		once.Do(func() { m.count(workflow, -1) })
		lost <- err
	})
	if err != nil {
		return
	}
	m.count(workflow, 1)
	select {
	case <-lost:
	case <-time.After(hold):
	}
	once.Do(func() { m.count(workflow, -1) })
	_ = lease.Release(ctx)
	released.Store(true)
}

func (m *model) wasLost(late bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.late = m.late || late
}

// step is something that happens: to the link of an instance, if there is a change, or a session
// that begins there. Then nothing does for a while.
type step struct {
	Instance int
	Change   bool
	Link     state
	Workflow int
	Patience time.Duration
	Hold     time.Duration
	Pause    time.Duration
}

func steps() *rapid.Generator[[]step] {
	upTo := func(seconds int) *rapid.Generator[time.Duration] {
		return rapid.Map(rapid.IntRange(0, seconds*1000), func(ms int) time.Duration {
			return time.Duration(ms) * time.Millisecond
		})
	}
	return rapid.SliceOfN(rapid.Custom(func(r *rapid.T) step {
		return step{
			Instance: rapid.IntRange(0, 1).Draw(r, "instance"),
			Change:   rapid.IntRange(0, 2).Draw(r, "change") == 0,
			Link:     state(rapid.IntRange(int(up), int(late)).Draw(r, "link")),
			Workflow: rapid.IntRange(0, 1).Draw(r, "workflow"),
			Patience: upTo(5).Draw(r, "patience"),
			Hold:     upTo(60).Draw(r, "hold"),
			Pause:    upTo(20).Draw(r, "pause"),
		}
	}), 1, 40)
}

// Two instances whose links fail in any way and order, and a server that keeps what it got.
func TestNeverTwoHoldersWhateverTheNetworkDoes(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		plan := steps().Draw(r, "steps")
		m := &model{holders: make(map[string]int)}
		bubble(t, func(t *testing.T, server *miniredis.Miniredis) { m.play(t, server, plan) })
		if m.two {
			r.Fatal("two sessions held one workflow")
		}
		if m.late {
			r.Fatal("lost was called after Release had returned")
		}
	})
}

func (m *model) play(t *testing.T, server *miniredis.Miniredis, plan []step) {
	var stores [2]*redislease.Store
	var links [2]*link
	for i := range stores {
		stores[i], links[i] = instance(t, server, redislease.Options{Failure: redislease.FailClosed})
		run(t, stores[i])
	}
	var sessions sync.WaitGroup
	for _, s := range plan {
		if s.Change {
			links[s.Instance].set(s.Link)
		} else {
			sessions.Go(func() {
				m.session(stores[s.Instance], fmt.Sprint("w", s.Workflow), s.Patience, s.Hold)
			})
		}
		time.Sleep(s.Pause)
	}
	sessions.Wait()
	links[0].set(up)
	links[1].set(up)
}
