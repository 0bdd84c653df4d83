// Package leasetest checks that a lease store keeps the promises of a [relay.Leaser], whatever it
// keeps its leases in.
package leasetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/actors/relay"
)

// patience bounds what a healthy store answers at once.
const patience = 30 * time.Second

// Run checks a store through two doors to the same leases, which may be one and the same. No lease
// of theirs may run out within a minute, and each has a fencing token: Token() uint64.
func Run(t *testing.T, a, b relay.Leaser) {
	c := contract{a: a, b: b}
	t.Run("a workflow has one holder", c.oneHolder)
	t.Run("workflows don't touch each other", c.workflowsAreApart)
	t.Run("of many at once one gets it", c.oneOfMany)
	t.Run("a release frees only its own lease", c.releaseOnlyItsOwn)
	t.Run("a workflow's tokens grow", c.tokensGrow)
	t.Run("a release counts even if there is no time for it", c.releaseInNoTime)
	t.Run("after an error nothing is held", c.nothingAfterAnError)
	t.Run("never two holders", c.neverTwo)
}

type contract struct {
	a, b relay.Leaser
	used atomic.Int64
}

// workflow returns an ID that no other check uses.
func (c *contract) workflow(suffix string) string {
	return fmt.Sprintf("%d-%d-%s", time.Now().UnixNano(), c.used.Add(1), suffix)
}

func (c *contract) oneHolder(t *testing.T) {
	id := c.workflow("")
	for _, doors := range [][2]relay.Leaser{{c.a, c.a}, {c.a, c.b}, {c.b, c.a}} {
		lease := Acquire(t, doors[0], id)
		WantHeld(t, doors[1], id)
		WantHeld(t, doors[1], id)
		Release(t, lease)
	}
	Release(t, Acquire(t, c.b, id))
}

// workflowsAreApart also with IDs that a client chose to do harm.
func (c *contract) workflowsAreApart(t *testing.T) {
	long := strings.Repeat("x", 4<<20)
	id := c.workflow("")
	for _, other := range []string{"", "1", "11", "a b", "a\nb", "\x00\xff", "é", "{x}", "{x}y", "*", "sha256-", long, long + "x"} {
		lease := Acquire(t, c.a, id+other)
		WantHeld(t, c.b, id+other)
		defer Release(t, lease)
	}
}

func (c *contract) oneOfMany(t *testing.T) {
	id := c.workflow("")
	var won atomic.Int64
	var group sync.WaitGroup
	for i := range 50 {
		group.Go(func() {
			_, err := []relay.Leaser{c.a, c.b}[i%2].Acquire(t.Context(), id, notLost(t))
			if err == nil {
				won.Add(1)
			} else if !isHeld(err) {
				t.Errorf("Acquire: %v", err)
			}
		})
	}
	group.Wait()
	if won.Load() != 1 {
		t.Errorf("%d of 50 sessions got the lease", won.Load())
	}
}

func (c *contract) releaseOnlyItsOwn(t *testing.T) {
	id := c.workflow("")
	first := Acquire(t, c.a, id)
	Release(t, first)
	second := Acquire(t, c.b, id)
	Release(t, first)
	WantHeld(t, c.a, id)
	Release(t, second)
}

func (c *contract) tokensGrow(t *testing.T) {
	id := c.workflow("")
	last := uint64(0)
	for i := range 20 {
		lease := Acquire(t, []relay.Leaser{c.a, c.b}[i%2], id)
		token := lease.Token()
		if token <= last {
			t.Errorf("the token %d follows %d", token, last)
		}
		last = token
		Release(t, lease)
	}
}

func (c *contract) releaseInNoTime(t *testing.T) {
	id := c.workflow("")
	done, cancel := context.WithCancel(t.Context())
	cancel()
	_ = Acquire(t, c.a, id).Release(done) // may say that it hasn't seen the end of it
	Release(t, eventually(t, c.b, id))
}

// nothingAfterAnError: a session that was cancelled while it acquired.
func (c *contract) nothingAfterAnError(t *testing.T) {
	done, cancel := context.WithCancel(t.Context())
	cancel()
	id := c.workflow("")
	if _, err := c.a.Acquire(done, id, notLost(t)); !errors.Is(err, context.Canceled) {
		t.Errorf("Acquire with a context that is done: %v", err)
	}
	for i := range 50 {
		soon, cancel := context.WithTimeout(t.Context(), time.Duration(i)*20*time.Microsecond)
		lease, err := c.a.Acquire(soon, id, notLost(t))
		cancel()
		if err == nil {
			Release(t, lease)
		}
		Release(t, eventually(t, c.b, id))
	}
}

// neverTwo lets sessions come and go as rapid says, and watches.
func (c *contract) neverTwo(t *testing.T) {
	type step struct{ Session, Workflow, Hold, Patience int }
	steps := rapid.SliceOfN(rapid.Custom(func(r *rapid.T) step {
		return step{
			Session:  rapid.IntRange(0, 4).Draw(r, "session"),
			Workflow: rapid.IntRange(0, 1).Draw(r, "workflow"),
			Hold:     rapid.IntRange(0, 300).Draw(r, "hold"),
			Patience: rapid.IntRange(0, 2000).Draw(r, "patience"),
		}
	}), 1, 40)
	rapid.Check(t, func(r *rapid.T) {
		id := c.workflow("")
		var holders [2]atomic.Int64
		var two atomic.Bool
		var sessions [5][]step
		for _, s := range steps.Draw(r, "steps") {
			sessions[s.Session] = append(sessions[s.Session], s)
		}
		var group sync.WaitGroup
		for i, steps := range sessions {
			group.Go(func() {
				for _, s := range steps {
					ctx, cancel := context.WithTimeout(t.Context(), time.Duration(s.Patience)*time.Microsecond)
					lease, err := []relay.Leaser{c.a, c.b}[i%2].Acquire(ctx, fmt.Sprint(id, s.Workflow), notLost(t))
					cancel()
					if err != nil {
						continue
					}
					if holders[s.Workflow].Add(1) > 1 {
						two.Store(true)
					}
					time.Sleep(time.Duration(s.Hold) * time.Microsecond)
					holders[s.Workflow].Add(-1)
					_ = lease.Release(t.Context())
				}
			})
		}
		group.Wait()
		if two.Load() {
			r.Fatal("two sessions held one workflow")
		}
	})
}

// Acquire takes a lease that is free. The test fails if it is ever lost.
func Acquire(t testing.TB, store relay.Leaser, workflow string) relay.Lease {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	lease, err := store.Acquire(ctx, workflow, notLost(t))
	if err != nil {
		t.Fatalf("Acquire: %v", err)
	}
	return lease
}

// Release gives a lease free, and fails the test if the store says that it couldn't.
func Release(t testing.TB, lease relay.Lease) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
	defer cancel()
	if err := lease.Release(ctx); err != nil {
		t.Errorf("Release: %v", err)
	}
}

// WantHeld fails the test unless another session has the lease.
func WantHeld(t testing.TB, store relay.Leaser, workflow string) {
	t.Helper()
	_, err := store.Acquire(t.Context(), workflow, notLost(t))
	if !isHeld(err) {
		t.Errorf("Acquire of a lease that another session has: %v, want close code 1013", err)
	}
}

func isHeld(err error) bool {
	var closeErr *actors.CloseError
	return errors.As(err, &closeErr) && closeErr.Code == actors.CloseTryAgainLater && closeErr.Reason == relay.LeaseHeld(nil).Reason
}

// eventually acquires what is free soon.
func eventually(t testing.TB, store relay.Leaser, workflow string) relay.Lease {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		lease, err := store.Acquire(t.Context(), workflow, notLost(t))
		if err == nil {
			return lease
		}
		if time.Now().After(deadline) {
			t.Fatalf("the lease isn't free: %v", err)
		}
		time.Sleep(time.Millisecond)
	}
}

func notLost(t testing.TB) func(error) {
	return func(err error) { t.Errorf("a lease was lost: %v", err) }
}
