package redislease_test

import (
	"errors"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/lastcall-go/lastcall/transport/lease/leasetest"
	"github.com/lastcall-go/lastcall/transport/redislease"
)

// awake runs a test outside of a bubble, where time has no monotonic clock.
func awake(t *testing.T, test func(t *testing.T, server *miniredis.Miniredis)) {
	server := miniredis.NewMiniRedis()
	server.ClockTTL(true)
	t.Cleanup(server.Close)
	test(t, server)
}

// A wall clock that was set forward looks like a machine that was suspended: the store is asked, once.
func TestAClockThatIsSetForwardLosesNoLease(t *testing.T) {
	awake(t, func(t *testing.T, server *miniredis.Miniredis) {
		store, _ := instance(t, server, redislease.Options{Failure: redislease.FailClosed})
		lease := leasetest.Acquire(t, store, "w")
		redislease.SetWall(lease, time.Hour)
		if redislease.Valid(lease) {
			t.Error("valid without the store being asked")
		}
		calls := 0
		store.OnCall(func(int) { calls++ })
		for range 10 {
			if err := lease.Confirm(t.Context()); err != nil {
				t.Errorf("Confirm: %v", err)
			}
		}
		if calls != 1 {
			t.Errorf("the store was asked %d times", calls)
		}
		leasetest.Release(t, lease)
		run(t, store)
	})
}

// A wall clock that was set back makes no lease live longer.
func TestAClockThatIsSetBackProlongsNoLease(t *testing.T) {
	awake(t, func(t *testing.T, server *miniredis.Miniredis) {
		store, _ := instance(t, server, redislease.Options{TTL: time.Second})
		lease := leasetest.Acquire(t, store, "w")
		redislease.SetWall(lease, -time.Hour)
		time.Sleep(time.Second)
		if redislease.Valid(lease) {
			t.Error("valid after its time was up")
		}
		leasetest.Release(t, lease)
		run(t, store)
	})
}

// Then the store can't be asked, and is away as at any other time.
func TestAClockThatIsSetForwardWhileTheStoreIsAway(t *testing.T) {
	for failure, want := range map[redislease.Failure]error{redislease.FailOpen: nil, redislease.FailClosed: redislease.ErrRanOut} {
		awake(t, func(t *testing.T, server *miniredis.Miniredis) {
			store, link := instance(t, server, redislease.Options{Failure: failure})
			lease, _ := acquire(t, store, "w")
			link.set(down)
			redislease.SetWall(lease, time.Hour)
			if err := lease.Confirm(t.Context()); !errors.Is(err, want) {
				t.Errorf("Confirm: %v, want %v", err, want)
			}
			link.set(up)
			leasetest.Release(t, lease)
			run(t, store)
		})
	}
}
