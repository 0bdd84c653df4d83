package redislease_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/actors/relay"
	"github.com/lastcall-go/lastcall/transport/lease/leasetest"
	"github.com/lastcall-go/lastcall/transport/redislease"
)

var (
	_ actors.Service = (*redislease.Store)(nil)
	_ relay.Leaser   = (*redislease.Store)(nil)
)

// generous bounds what takes no time on an idle machine.
const generous = 20 * time.Second

// serve starts a store on a server and stops it, in order, when the test ends.
func serve(t *testing.T, s server, o redislease.Options) *redislease.Store {
	t.Helper()
	o.URL = "redis://" + s.addr()
	store, err := redislease.New(o)
	if err != nil {
		t.Fatal(err)
	}
	run(t, store)
	return store
}

// run serves a store until the test ends, or until stop is called.
func run(t testing.TB, store *redislease.Store) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() {
		if err := store.Serve(ctx); err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	stop = sync.OnceFunc(func() {
		cancel()
		group.Wait()
	})
	t.Cleanup(stop)
	return stop
}

// signal is a lost callback that can be waited for.
func signal() (lost func(error), told <-chan error) {
	c := make(chan error, 2)
	return func(err error) { c <- err }, c
}

func wantLost(t *testing.T, told <-chan error, want error) {
	t.Helper()
	select {
	case err := <-told:
		if !errors.Is(err, want) {
			t.Errorf("lost: %v, want %v", err, want)
		}
	case <-time.After(generous):
		t.Fatalf("lost was not called")
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(generous); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in %v: %s", generous, what)
		}
	}
}

func TestTwoInstancesKeepTheContract(t *testing.T) {
	onEachServer(t, func(t *testing.T, s server) {
		o := redislease.Options{TTL: time.Hour, Failure: redislease.FailClosed}
		leasetest.Run(t, serve(t, s, o), serve(t, s, o))
	})
}

func TestRenewalKeepsALeaseForLongerThanItsTTL(t *testing.T) {
	onEachServer(t, func(t *testing.T, s server) {
		o := redislease.Options{TTL: 3 * time.Second}
		a, b := serve(t, s, o), serve(t, s, o)
		lease := leasetest.Acquire(t, a, "w")
		time.Sleep(4 * time.Second)
		leasetest.WantHeld(t, b, "w")
		leasetest.Release(t, lease)
		leasetest.Release(t, leasetest.Acquire(t, b, "w"))
	})
}

func TestAKilledHolderFreesItsWorkflowWhenTheLeaseRunsOut(t *testing.T) {
	onEachServer(t, func(t *testing.T, s server) {
		o := redislease.Options{TTL: 3 * time.Second, Failure: redislease.FailClosed}
		b := serve(t, s, o)
		o.URL = "redis://" + s.addr()
		killed, err := redislease.New(o) // it isn't served: nothing renews
		if err != nil {
			t.Fatal(err)
		}
		before := time.Now()
		lost, told := signal()
		if _, err := killed.Acquire(t.Context(), "w", lost); err != nil {
			t.Fatal(err)
		}
		var lease relay.Lease
		eventually(t, "the workflow is free", func() bool {
			lease, err = b.Acquire(t.Context(), "w", lost)
			return err == nil
		})
		if held := time.Since(before); held < o.TTL {
			t.Errorf("free after %v, TTL %v", held, o.TTL)
		}
		leasetest.Release(t, lease)
		wantLost(t, told, redislease.ErrRanOut)
		run(t, killed)
	})
}

func TestALeaseThatSomebodyElseHasIsLost(t *testing.T) {
	onEachServer(t, func(t *testing.T, s server) {
		store := serve(t, s, redislease.Options{TTL: 30 * time.Second, Renew: 100 * time.Millisecond})
		lost, told := signal()
		lease, err := store.Acquire(t.Context(), "w", lost)
		if err != nil {
			t.Fatal(err)
		}
		other := leasetest.Acquire(t, store, "other")
		root := admin(t, s)
		const key = redislease.DefaultPrefix + "w"
		if err := root.Set(t.Context(), key, "another", 0).Err(); err != nil {
			t.Fatal(err)
		}
		wantLost(t, told, redislease.ErrTaken)
		leasetest.Release(t, lease)
		if owner := root.Get(t.Context(), key).Val(); owner != "another" {
			t.Errorf("the release freed another session's lease: %q", owner)
		}
		leasetest.Release(t, other)
		if len(told) > 0 {
			t.Errorf("lost was called again: %v", <-told)
		}
	})
}

func TestAServerThatForgetsAKeyGetsItAgain(t *testing.T) {
	onEachServer(t, func(t *testing.T, s server) {
		store := serve(t, s, redislease.Options{TTL: 30 * time.Second, Renew: 100 * time.Millisecond})
		lease := leasetest.Acquire(t, store, "w")
		s.stop(t)
		s.start(t)
		root := admin(t, s)
		eventually(t, "the key is there again", func() bool {
			return root.Exists(t.Context(), redislease.DefaultPrefix+"w").Val() == 1
		})
		leasetest.WantHeld(t, store, "w")
		leasetest.Release(t, lease)
		if n := root.Exists(t.Context(), redislease.DefaultPrefix+"w").Val(); n != 0 {
			t.Error("the key is left")
		}
	})
}

func TestALeaseRunsOutWhenTheServerStopsForGood(t *testing.T) {
	onEachServer(t, func(t *testing.T, s server) {
		store := serve(t, s, redislease.Options{TTL: 3 * time.Second, Failure: redislease.FailClosed})
		lost, told := signal()
		lease, err := store.Acquire(t.Context(), "w", lost)
		if err != nil {
			t.Fatal(err)
		}
		s.stop(t)
		wantLost(t, told, redislease.ErrRanOut)
		if err := lease.Release(t.Context()); err == nil {
			t.Error("Release without a server says that the lease is free")
		}
	})
}

func TestAServerThatStopsAndStartsWhileOpen(t *testing.T) {
	onEachServer(t, func(t *testing.T, s server) {
		var warnings atomic.Int64
		o := redislease.Options{
			TTL: 30 * time.Second, Renew: time.Second, Failure: redislease.FailOpen,
			OnWarning: func(error) { warnings.Add(1) },
		}
		a, b := serve(t, s, o), serve(t, s, o)
		before := leasetest.Acquire(t, a, "before")
		s.stop(t)
		during := leasetest.Acquire(t, a, "during")
		if got := a.Stats(); got.Held != 2 || got.Unguarded != 1 || got.Unavailable != 1 || warnings.Load() == 0 {
			t.Errorf("stats %+v, %d warnings", got, warnings.Load())
		}
		s.start(t)
		eventually(t, "the lease is taken", func() bool { return a.Stats().Unguarded == 0 })
		leasetest.WantHeld(t, b, "during")
		leasetest.WantHeld(t, b, "before")
		leasetest.Release(t, during)
		leasetest.Release(t, before)
	})
}

func TestAServerThatStopsAndStartsWhileClosed(t *testing.T) {
	onEachServer(t, func(t *testing.T, s server) {
		o := redislease.Options{TTL: 30 * time.Second, Renew: time.Second, Failure: redislease.FailClosed}
		a, b := serve(t, s, o), serve(t, s, o)
		before := leasetest.Acquire(t, a, "before")
		s.stop(t)
		_, err := b.Acquire(t.Context(), "during", nil)
		wantUnavailable(t, err)
		if got := b.Stats(); got.Held != 0 || got.Unavailable != 1 {
			t.Errorf("stats %+v", got)
		}
		s.start(t)
		root := admin(t, s)
		eventually(t, "the lease is taken again", func() bool {
			return root.Exists(t.Context(), redislease.DefaultPrefix+"before").Val() == 1
		})
		leasetest.WantHeld(t, b, "before")
		leasetest.Release(t, leasetest.Acquire(t, b, "during"))
		leasetest.Release(t, before)
	})
}

func wantUnavailable(t *testing.T, err error) {
	t.Helper()
	var closeErr *actors.CloseError
	if !errors.As(err, &closeErr) || closeErr.Code != actors.CloseTryAgainLater || !strings.Contains(closeErr.Reason, "unavailable") {
		t.Errorf("Acquire without a server: %v, want close code 1013", err)
	}
}

// A server that accepts connections and never answers.
func TestNoCallWaitsForADeafServer(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	store, err := redislease.New(redislease.Options{URL: "redis://" + l.Addr().String(), TTL: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	stop := run(t, store)
	begin := time.Now()
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	if _, err := store.Acquire(ctx, "w", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("Acquire: %v", err)
	}
	if took := time.Since(begin); took > time.Second {
		t.Errorf("Acquire returned %v after its context", took)
	}
	lease := leasetest.Acquire(t, store, "w")
	ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	begin = time.Now()
	if err := lease.Release(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Release: %v", err)
	}
	if took := time.Since(begin); took > time.Second {
		t.Errorf("Release took %v", took)
	}
	stop()
	if _, err := store.Acquire(t.Context(), "w", nil); err == nil {
		t.Error("Acquire of a store that is closed")
	}
}

func TestFiveThousandLeasesAreRenewedInAFewRoundTrips(t *testing.T) {
	onEachServer(t, func(t *testing.T, s server) {
		leases := 5000
		if m, ok := s.(*mini); ok {
			leases = 1000     // it takes a millisecond for each
			m.ClockTTL(false) // and looks at all keys for each command
		}
		store := serve(t, s, redislease.Options{TTL: time.Minute, Renew: 3 * time.Second})
		var group sync.WaitGroup
		for i := range 50 {
			group.Go(func() {
				for j := range leases / 50 {
					if _, err := store.Acquire(t.Context(), fmt.Sprint(i, "-", j), func(error) {}); err != nil {
						t.Error(err)
					}
				}
			})
		}
		group.Wait()
		var calls, keys atomic.Int64
		var begin, end atomic.Value
		store.OnCall(func(n int) {
			begin.CompareAndSwap(nil, time.Now())
			calls.Add(1)
			if keys.Add(int64(n)) == int64(leases) {
				end.Store(time.Now())
			}
		})
		eventually(t, "all are renewed", func() bool { return keys.Load() >= int64(leases) })
		if n := calls.Load(); n > int64(leases)/100 { // a round that was under way, or was cut short, adds some
			t.Errorf("%d round trips renewed %d leases", n, keys.Load())
		}
		if got := store.Stats(); got.Held != leases || got.Unguarded+int(got.Lost) > 0 {
			t.Errorf("stats %+v", got)
		}
		if last, ok := end.Load().(time.Time); ok {
			t.Logf("%d round trips, %v", calls.Load(), last.Sub(begin.Load().(time.Time)))
		}
	})
}
