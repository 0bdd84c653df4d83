package metrics_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/actors/actorstest"
	"github.com/lastcall-go/lastcall/actors/relay"
	"github.com/lastcall-go/lastcall/transport/grant"
	"github.com/lastcall-go/lastcall/transport/lease"
	"github.com/lastcall-go/lastcall/transport/lease/leasetest"
)

func TestWhereThereIsNothingNothingIsDecorated(t *testing.T) {
	m := open(t, quiet())
	if m.Authorizer(nil) != nil || m.Leaser(nil) != nil || m.Tools(nil) != nil {
		t.Error("a decorator of nothing is something")
	}
}

func TestAnAuthorizerIsHeardAsItSpeaks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := open(t, quiet())
		granted, refused := &grant.Grant{Principal: "ada"}, &grant.RefusedError{Status: 403}
		gone, leave := context.WithCancel(t.Context())
		leave()
		for _, c := range []struct {
			ctx     context.Context
			granted *grant.Grant
			err     error
		}{{t.Context(), granted, nil}, {gone, granted, nil}, {t.Context(), nil, refused}, {gone, nil, refused}, {gone, nil, context.Canceled}, {t.Context(), nil, context.DeadlineExceeded}} {
			decides := authorizer(func(*http.Request) (*grant.Grant, error) {
				time.Sleep(3 * time.Second)
				return c.granted, c.err
			})
			request := httptest.NewRequest("GET", "/", nil).WithContext(c.ctx)
			if g, err := m.Authorizer(decides).Authorize(request); g != c.granted || err != c.err {
				t.Errorf("%v %v, want %v %v", g, err, c.granted, c.err)
			}
		}
		panics(t, "lost", func() {
			_, _ = m.Authorizer(authorizer(func(*http.Request) (*grant.Grant, error) { panic("lost") })).Authorize(httptest.NewRequest("GET", "/", nil))
		})
		const of = "lastcall_authorization_duration_seconds"
		scraped(t, m).is(t, figures{
			of + `_count{result="allowed"}`:     2,
			of + `_sum{result="allowed"}`:       6,
			of + `_count{result="denied"}`:      2,
			of + `_sum{result="denied"}`:        6,
			of + `_count{result="cancelled"}`:   1,
			of + `_sum{result="cancelled"}`:     3,
			of + `_count{result="unavailable"}`: 2, // with the panic, in no time
			of + `_sum{result="unavailable"}`:   3,
		}, of)
	})
}

// panics wants f to panic with this value.
func panics(t *testing.T, value any, f func()) {
	t.Helper()
	defer func() {
		if v := recover(); v != value {
			t.Errorf("it panicked with %v, want %v", v, value)
		}
	}()
	f()
}

func TestAToolsAnswerItsErrorAndItsPanicPassUnchanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := open(t, quiet())
		timed := m.Tools([]relay.Tool{tool{}})[0]
		if answer, err := timed.Run(t.Context(), runHTTP("answers")); err != nil || answer.GetHttpResponse().GetError() == "" {
			t.Errorf("%v %v", answer, err)
		}
		if answer, err := timed.Run(t.Context(), runHTTP("fails")); answer != nil || err == nil || err.Error() != "no" {
			t.Errorf("%v %v", answer, err)
		}
		panics(t, "in Tool.Run", func() { _, _ = timed.Run(t.Context(), runHTTP("panics")) })
		if !timed.Takes(runHTTP("")) || timed.Takes(mkdir()) {
			t.Error("the tool takes something else now")
		}
	})
}

// The log's stack of a tool's panic begins where it panicked.
func TestAToolsPanicEndsItsSessionWithItsOwnStack(t *testing.T) {
	in(t, actors.Options{}, nil, func(t *testing.T, h *house) {
		ends := make(chan actors.SessionStopped, 1)
		stop := h.Listen(func(event any) {
			if e, ok := event.(actors.SessionStopped); ok {
				ends <- e
			}
		})
		h.serve(h.tooled).agentSays(runMCP("panics"))
		end := <-ends
		var cause *actors.PanicError
		if !errors.As(end.Err, &cause) || cause.Value != "in Tool.Run" || !strings.Contains(string(cause.Stack), "metrics_test.tool.Run") {
			t.Errorf("%+v", end)
		}
		h.now().is(t, figures{`lastcall_panics_total{where="tool"}`: 1}, "lastcall_panics")
		stop()
	})
}

// A tool that panics outside of Run does so in its session.
func TestAPanicInAToolsCloseIsTheSessions(t *testing.T) {
	in(t, actors.Options{}, nil, func(t *testing.T, h *house) {
		h.serve(func(s *relay.Session) {
			s.Tools = h.Tools([]relay.Tool{tool{closes: func() { panic("in Tool.Close") }}})
		}).completes()
		h.now().is(t, figures{`lastcall_panics_total{where="session"}`: 1}, "lastcall_panics")
	})
}

func TestACountedLeaserKeepsTheContract(t *testing.T) {
	m := open(t, quiet())
	store := m.Leaser(&lease.Memory{})
	leasetest.Run(t, store, store)
	scraped(t, m).has(t, figures{"lastcall_leases_lost_total": 0, "lastcall_lease_release_failures_total": 0})
}

func TestALeaseIsHeldUntilItIsReleasedOrLost(t *testing.T) {
	m := open(t, quiet())
	take := func(l *actorstest.Leaser) relay.Lease {
		t.Helper()
		taken, err := m.Leaser(l).Acquire(t.Context(), "w1", func(error) {})
		if err != nil {
			t.Fatal(err)
		}
		return taken
	}
	heldAndLost := func(held, lost, unreleased float64) {
		t.Helper()
		scraped(t, m).has(t, figures{"lastcall_leases_held": held, "lastcall_leases_lost_total": lost, "lastcall_lease_release_failures_total": unreleased})
	}
	ctx, down := t.Context(), errors.New("store down")
	kept, losing := take(&actorstest.Leaser{}), &actorstest.Leaser{}
	lostLater := take(losing)
	heldAndLost(2, 0, 0)
	losing.Lose(nil)
	heldAndLost(1, 1, 0)
	if err := lostLater.Release(ctx); err != nil {
		t.Error(err)
	}
	heldAndLost(1, 1, 0)
	lostBefore := take(&actorstest.Leaser{LostAtOnce: true})
	heldAndLost(1, 2, 0)
	_ = lostBefore.Release(ctx)
	_ = kept.Release(ctx)
	heldAndLost(0, 2, 0)
	if err := take(&actorstest.Leaser{OnRelease: actorstest.Call{Err: down}}).Release(ctx); err != down {
		t.Error(err)
	}
	heldAndLost(0, 2, 1)
	panics(t, "in Lease.Release", func() { _ = take(&actorstest.Leaser{OnRelease: actorstest.Call{Panics: true}}).Release(ctx) })
	heldAndLost(0, 2, 2)
}

func TestALostLeaseIsToldOnAndCountedOnceBesideItsRelease(t *testing.T) {
	m := open(t, quiet())
	var racing sync.WaitGroup
	ranOut, told := errors.New("ran out"), make(chan error, 100)
	for range cap(told) {
		store := &actorstest.Leaser{}
		taken, err := m.Leaser(store).Acquire(t.Context(), "w1", func(why error) { told <- why })
		if err != nil {
			t.Fatal(err)
		}
		racing.Go(func() { store.Lose(ranOut) })
		racing.Go(func() { _ = taken.Release(t.Context()) })
	}
	racing.Wait()
	scraped(t, m).has(t, figures{"lastcall_leases_held": 0, "lastcall_leases_lost_total": 100})
	if len(told) != 100 || <-told != ranOut {
		t.Errorf("%d sessions were told", len(told))
	}
}

func TestALeaseThatNobodyWaitsForIsNeitherHeldNorUnavailable(t *testing.T) {
	m := open(t, quiet())
	gone, leave := context.WithCancel(t.Context())
	leave()
	if _, err := m.Leaser(&actorstest.Leaser{OnAcquire: actorstest.Call{Err: context.Canceled}}).Acquire(gone, "w1", nil); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	scraped(t, m).is(t, figures{`lastcall_lease_acquisitions_total{result="cancelled"}`: 1, "lastcall_lease_store_reachable": 1}, "lastcall_lease")
}
