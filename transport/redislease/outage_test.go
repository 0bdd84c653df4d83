package redislease_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/lastcall-go/lastcall/actors/relay"
	"github.com/lastcall-go/lastcall/transport/lease/leasetest"
	"github.com/lastcall-go/lastcall/transport/redislease"
)

// probed is the time after which a store has looked at the server once more.
const probed = 1100 * time.Millisecond

// acquire takes a lease that may be lost.
func acquire(t *testing.T, store relay.Leaser, workflow string) (relay.Lease, <-chan error) {
	t.Helper()
	lost, told := signal()
	lease, err := store.Acquire(t.Context(), workflow, lost)
	if err != nil {
		t.Fatal(err)
	}
	return lease, told
}

func wantKept(t *testing.T, told <-chan error) {
	t.Helper()
	if len(told) > 0 {
		t.Errorf("lost: %v", <-told)
	}
}

func TestOneKeyOfAnotherTypeEndsItsOwnSessionAlone(t *testing.T) {
	for _, failure := range []redislease.Failure{redislease.FailOpen, redislease.FailClosed} {
		bubble(t, func(t *testing.T, server *miniredis.Miniredis) {
			store, _ := instance(t, server, redislease.Options{Failure: failure})
			run(t, store)
			var kept []relay.Lease
			for i := range 50 {
				kept = append(kept, leasetest.Acquire(t, store, fmt.Sprint("kept", i)))
			}
			lease, told := acquire(t, store, "w")
			server.Del(redislease.DefaultPrefix + "w")
			if _, err := server.Push(redislease.DefaultPrefix+"w", "x"); err != nil {
				t.Fatal(err)
			}
			_, err := store.Acquire(t.Context(), "w", nil)
			wantUnavailable(t, err)
			time.Sleep(5 * time.Minute)
			if len(told) != 1 {
				t.Fatal("the lease that can't be taken back was not lost")
			}
			wantLost(t, told, redislease.ErrRanOut)
			if got := store.Stats(); got.Failures != 0 || !got.Reachable || got.Held != len(kept) || got.Unguarded != 0 {
				t.Errorf("stats %+v", got)
			}
			leasetest.Release(t, lease)
			for _, lease := range kept {
				leasetest.Release(t, lease)
			}
		})
	}
}

func TestWhileOpenAnOutageLosesOnlyWhatAnotherSessionHasOrHad(t *testing.T) {
	bubble(t, func(t *testing.T, server *miniredis.Miniredis) {
		store, link := instance(t, server, redislease.Options{})
		other, _ := instance(t, server, redislease.Options{})
		run(t, store)
		run(t, other)
		lease, told := acquire(t, store, "free")
		_, takenTold := acquire(t, store, "taken")
		_, leftTold := acquire(t, store, "left")
		link.set(down)
		time.Sleep(time.Hour)
		for _, told := range []<-chan error{told, takenTold, leftTold} {
			wantKept(t, told)
		}
		if got := store.Stats(); got.Held != 3 || got.Unguarded != 3 || got.Reachable || time.Since(got.Since) < 59*time.Minute {
			t.Errorf("stats %+v", got)
		}
		if !redislease.Valid(lease) {
			t.Error("during the outage the session can't go on")
		}
		leasetest.WantHeld(t, store, "free") // by this very process
		taken := leasetest.Acquire(t, other, "taken")
		leasetest.Release(t, leasetest.Acquire(t, other, "left"))
		link.set(up)
		time.Sleep(2 * probed)
		wantLost(t, takenTold, redislease.ErrTaken)
		wantLost(t, leftTold, redislease.ErrTaken) // it isn't the latest
		wantKept(t, told)
		leasetest.WantHeld(t, other, "free")
		if got := store.Stats(); got.Held != 1 || got.Unguarded != 0 || !got.Reachable {
			t.Errorf("stats %+v", got)
		}
		leasetest.Release(t, lease)
		leasetest.Release(t, taken)
	})
}

func TestWhileClosedAnOutageEndsSessionsOneByOne(t *testing.T) {
	bubble(t, func(t *testing.T, server *miniredis.Miniredis) {
		store, link := instance(t, server, redislease.Options{Failure: redislease.FailClosed})
		run(t, store)
		const sessions = 100
		ends := make(chan time.Time, sessions)
		for i := range sessions {
			_, err := store.Acquire(t.Context(), fmt.Sprint(i), func(error) { ends <- time.Now() })
			if err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Minute)
		link.set(down)
		time.Sleep(time.Minute)
		first, last := <-ends, time.Time{}
		distinct := make(map[time.Time]bool)
		for range sessions - 1 {
			last = <-ends
			distinct[last] = true
		}
		if span := last.Sub(first); span < time.Second || len(distinct) < sessions/2 {
			t.Errorf("%d sessions ended within %v, at %d times", sessions, span, len(distinct))
		}
	})
}

func TestAServerThatForgetsIsSeenAtOnce(t *testing.T) {
	for name, forget := range map[string]func(*miniredis.Miniredis, *link){
		"flushed": func(server *miniredis.Miniredis, _ *link) { server.FlushAll() },
		"restarted": func(server *miniredis.Miniredis, l *link) {
			l.set(down)
			server.FlushAll()
			l.set(up)
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, server *miniredis.Miniredis) {
				store, link := instance(t, server, redislease.Options{})
				other, _ := instance(t, server, redislease.Options{})
				run(t, store)
				run(t, other)
				var leases []relay.Lease
				for i := range 50 {
					leases = append(leases, leasetest.Acquire(t, store, fmt.Sprint(i)))
				}
				time.Sleep(71 * time.Second)
				forget(server, link)
				time.Sleep(probed)
				for i, lease := range leases {
					leasetest.WantHeld(t, other, fmt.Sprint(i))
					leasetest.Release(t, lease)
				}
			})
		})
	}
}

func TestTokensGrowWhateverTheServerForgets(t *testing.T) {
	bubble(t, func(t *testing.T, server *miniredis.Miniredis) {
		a, link := instance(t, server, redislease.Options{})
		b, _ := instance(t, server, redislease.Options{})
		run(t, a)
		run(t, b)
		var last uint64
		next := func(store relay.Leaser) {
			t.Helper()
			lease, _ := acquire(t, store, "w")
			token := lease.Token()
			if token <= last {
				t.Errorf("token %d after %d", token, last)
			}
			last = token
			time.Sleep(time.Minute)
			if now := lease.Token(); now != token {
				t.Errorf("the token changed from %d to %d", token, now)
			}
			_ = lease.Release(t.Context())
			time.Sleep(time.Millisecond)
		}
		next(a)
		next(b)
		server.FlushAll()
		next(a)
		link.set(down)
		next(a) // without the store
		link.set(up)
		next(b)
		lease, _ := acquire(t, a, "w")
		last = lease.Token()
		leasetest.Release(t, lease)
		server.SetTime(time.Now().Add(-time.Hour)) // its clock goes back
		next(b)
	})
}

// A store that isn't served renews nothing, as in a process that is suspended.
func TestASuspendedSessionKnowsWhetherItMayGoOn(t *testing.T) {
	for name, test := range map[string]struct {
		failure redislease.Failure
		asleep  time.Duration
		link    state
		taken   bool
		valid   bool
		confirm error
	}{
		"short":               {asleep: 29 * time.Second, valid: true},
		"long":                {asleep: time.Hour},
		"taken":               {asleep: time.Hour, taken: true, confirm: redislease.ErrRanOut},
		"no answer":           {asleep: time.Hour, link: down},
		"closed":              {failure: redislease.FailClosed, asleep: 26 * time.Second, valid: true},
		"closed, long":        {failure: redislease.FailClosed, asleep: time.Hour, confirm: redislease.ErrRanOut},
		"closed, taken":       {failure: redislease.FailClosed, asleep: time.Hour, taken: true, confirm: redislease.ErrRanOut},
		"closed, no answer":   {failure: redislease.FailClosed, asleep: time.Hour, link: down, confirm: redislease.ErrRanOut},
		"open, another's key": {asleep: 31 * time.Second, taken: true, confirm: redislease.ErrRanOut},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, server *miniredis.Miniredis) {
				store, link := instance(t, server, redislease.Options{Failure: test.failure})
				defer func() { run(t, store)() }() // it closes the store
				lease, told := acquire(t, store, "w")
				time.Sleep(test.asleep)
				link.set(test.link)
				if test.taken {
					if err := server.Set(redislease.DefaultPrefix+"w", "another"); err != nil {
						t.Fatal(err)
					}
				}
				if valid := redislease.Valid(lease); valid != test.valid {
					t.Errorf("valid: %v", valid)
				}
				if err := lease.Confirm(t.Context()); !errors.Is(err, test.confirm) {
					t.Errorf("Confirm: %v, want %v", err, test.confirm)
				}
				if valid := redislease.Valid(lease); valid != (test.confirm == nil) {
					t.Errorf("valid after Confirm: %v", valid)
				}
				if (len(told) > 0) != (test.confirm != nil) {
					t.Errorf("lost was called %d times", len(told))
				}
			})
		})
	}
}

func TestAReleasedLeaseIsNotValid(t *testing.T) {
	bubble(t, func(t *testing.T, server *miniredis.Miniredis) {
		store, _ := instance(t, server, redislease.Options{})
		run(t, store)
		lease, _ := acquire(t, store, "w")
		leasetest.Release(t, lease)
		if redislease.Valid(lease) || lease.Confirm(t.Context()) == nil || len(leaseKeys(server)) > 0 {
			t.Error("a lease that was released is valid")
		}
	})
}

func TestConfirmReturnsWithItsContext(t *testing.T) {
	bubble(t, func(t *testing.T, server *miniredis.Miniredis) {
		store, link := instance(t, server, redislease.Options{})
		defer func() { run(t, store)() }() // it closes the store
		lease, told := acquire(t, store, "w")
		time.Sleep(time.Hour)
		link.set(mute)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		begin := time.Now()
		if err := lease.Confirm(ctx); !errors.Is(err, context.Canceled) || time.Since(begin) != time.Second {
			t.Errorf("Confirm after %v: %v", time.Since(begin), err)
		}
		wantKept(t, told)
		link.set(up)
	})
}

// A process that wakes up has several messages a session.
func TestConfirmationsOfOneLeaseAskTheServerOnce(t *testing.T) {
	bubble(t, func(t *testing.T, server *miniredis.Miniredis) {
		store, _ := instance(t, server, redislease.Options{})
		defer func() { run(t, store)() }() // it closes the store
		lease, _ := acquire(t, store, "w")
		time.Sleep(time.Hour)
		var asked atomic.Int64
		store.OnCall(func(keys int) { asked.Add(int64(keys)) })
		var asking sync.WaitGroup
		for range 5 {
			asking.Go(func() {
				if err := lease.Confirm(t.Context()); err != nil {
					t.Errorf("Confirm: %v", err)
				}
			})
		}
		asking.Wait()
		if n := asked.Load(); n != 1 {
			t.Errorf("the server was asked %d times", n)
		}
		leasetest.Release(t, lease)
	})
}

func TestStatsTellSinceWhenTheStoreIsReachable(t *testing.T) {
	bubble(t, func(t *testing.T, server *miniredis.Miniredis) {
		var warnings []string
		store, link := instance(t, server, redislease.Options{OnWarning: func(err error) { warnings = append(warnings, err.Error()) }})
		if got := store.Stats(); got.Reachable || got.Reached || !got.Since.IsZero() {
			t.Errorf("before the first look: %+v", got)
		}
		run(t, store)
		for _, want := range []bool{true, false, true} { // without any lease
			if link.set(up); !want {
				link.set(down)
			}
			change := time.Now()
			time.Sleep(time.Minute)
			if got := store.Stats(); got.Reachable != want || !got.Reached || got.Since.Sub(change) > 2*probed {
				t.Errorf("%v after the change to %v: %+v", time.Since(change), want, got)
			}
		}
		if len(warnings) != 1 {
			t.Errorf("warnings: %q", warnings)
		}
	})
}

// A round that is suspended has no time left when the process wakes. That its questions have no answer
// is no outage of the store, in which an open session would go on: neither for the leases of the batch
// that is asked for, nor for those behind it.
func TestARoundThatSleptIsNoOutage(t *testing.T) {
	bubble(t, func(t *testing.T, server *miniredis.Miniredis) {
		slept, _ := instance(t, server, redislease.Options{})
		other, _ := instance(t, server, redislease.Options{})
		first, told := acquire(t, slept, "w")
		leases := []relay.Lease{first}
		for i := range redislease.BatchSize {
			leases = append(leases, leasetest.Acquire(t, slept, fmt.Sprint("w", i)))
		}
		round, cancel := context.WithTimeout(t.Context(), redislease.DefaultTTL/3)
		defer cancel()
		time.Sleep(2 * redislease.DefaultTTL)
		taken := leasetest.Acquire(t, other, "w")
		if err := slept.Ask(round); err == nil {
			t.Error("the round has failed without an error")
		}
		valid := 0
		for _, lease := range leases {
			if redislease.Valid(lease) {
				valid++
			}
		}
		if valid > 0 {
			t.Errorf("%d of %d leases are valid without the store being asked", valid, len(leases))
		}
		if err := first.Confirm(t.Context()); !errors.Is(err, redislease.ErrRanOut) {
			t.Errorf("Confirm: %v", err)
		}
		wantLost(t, told, redislease.ErrTaken)
		leasetest.Release(t, taken)
		run(t, slept)
		run(t, other)
	})
}
