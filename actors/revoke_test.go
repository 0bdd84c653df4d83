package actors_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/actors/actorstest"
)

// authorized is a session's authorization, and what withdraws it.
func authorized(s *actorstest.Session) (withdraw context.CancelFunc) {
	s.Authorized, withdraw = context.WithCancel(context.Background())
	return withdraw
}

// The others go on, and a client that comes back is a stranger.
func TestASessionEndsInOrderWhenItsAuthorizationIsWithdrawn(t *testing.T) {
	actorstest.Run(t, actors.Options{AgeGrace: time.Hour}, func(t *testing.T, h *actorstest.Supervisor) {
		s, other, third := h.Session(), h.Session(), h.Session().Serve()
		s.Lease()
		s.Agent.OnStop.Takes = 2 * time.Second
		s.Agent.LastWords = []string{"checkpoint 7"}
		withdraw := authorized(s)
		defer authorized(other)()
		s.Serve()
		other.Serve()
		time.Sleep(time.Minute)
		withdraw()
		time.Sleep(time.Minute)
		s.Saw(
			"0s lease on w1 taken",
			"0s agent got startRequest",
			"1m0s agent got stopWorkflow WORKHORSE_SERVER_SHUTDOWN",
			"1m2s client got checkpoint 7",
			"1m2s agent ended",
			"1m2s lease released",
			"1m2s client told 3000 authorization withdrawn",
			"1m2s client cut",
		)
		if end := s.EndsAs(actors.Drained); end.Code != actors.CloseUnauthorized {
			t.Errorf("%+v", end)
		}
		if !other.Running() || !third.Running() || h.Admits() != nil || len(h.View().Drains) != 0 {
			t.Error("it was not that session's matter alone")
		}
		if finished := actorstest.Heard[actors.DrainFinished](h); len(finished) != 1 || !finished[0].Revoked || !finished[0].Part {
			t.Errorf("%+v", finished)
		}
	})
}

// The request was let in a moment before.
func TestNoSessionBeginsWithAnAuthorizationThatIsWithdrawn(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		s := h.Session()
		withdraw := authorized(s)
		ticket := h.Ticket()
		withdraw()
		s.Use(ticket)
		if end := s.EndsAs(actors.Drained); end.Code != actors.CloseUnauthorized || s.Count("agent got") != 0 {
			t.Errorf("%+v, %q", end, s.Lines())
		}
	})
}

// What a drain lets go on for an hour ends now.
func TestAWithdrawnAuthorizationWaitsForNoDrain(t *testing.T) {
	for name, d := range map[string]actors.Drain{
		"in its grace":           {Grace: time.Hour},
		"in its delay":           {Delay: time.Hour},
		"before its batch comes": {BatchSize: 1, BatchInterval: time.Hour},
		"in a standby":           {Grace: time.Hour, Standby: true},
	} {
		t.Run(name, func(t *testing.T) {
			actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
				first, s := h.Session().Serve(), h.Session()
				time.Sleep(time.Second) // so that it is in the second batch
				withdraw := authorized(s)
				s.Serve()
				d.Deadline = h.Began.Add(3 * time.Hour)
				h.Send(d)
				time.Sleep(time.Minute)
				if !s.Running() {
					t.Fatal("it has ended before")
				}
				withdraw()
				if end := s.EndsAs(actors.Drained); end.Code != actors.CloseUnauthorized {
					t.Errorf("%+v", end)
				}
				h.Drained(actors.Drain{Deadline: time.Now().Add(time.Minute)})
				first.EndsAs(actors.Drained)
			})
		})
	}
}

// It was asked to stop by the drain; its agent has no more time than that leaves.
func TestASessionThatIsStoppingAlreadyIsToldOnce(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		s := h.Session()
		s.Agent.OnStop.Takes = 3 * time.Second
		withdraw := authorized(s)
		s.Serve()
		h.Send(actors.Drain{})
		time.Sleep(time.Second)
		withdraw()
		time.Sleep(time.Minute)
		if end := s.EndsAs(actors.Drained); end.Code != actors.CloseGoingAway || s.Count("stopWorkflow") != 1 {
			t.Errorf("%+v, %q", end, s.Lines())
		}
	})
}

func TestAConnectionIsToldThatItsAuthorizationIsWithdrawn(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		ctx, withdraw := context.WithCancel(context.Background())
		r := start(h, actors.Connection{Authorized: ctx}, untilTold)
		withdraw()
		if r.Wait(); r.Count(`told revoked "authorization withdrawn", gone by 15s`) != 1 {
			t.Errorf("%q", r.Lines())
		}
		// One that hears of nothing is killed, and nothing waits for it.
		ctx, withdraw = context.WithCancel(context.Background())
		end := make(chan struct{})
		deaf := start(h, actors.Connection{Authorized: ctx, Cut: func() { close(end) }}, func(*actorstest.Connection, context.Context) error {
			<-end
			return nil
		})
		withdraw()
		deaf.Wait()
		if ended := h.Ended(); len(ended) != 2 || ended[1].Outcome != actors.Killed {
			t.Errorf("%+v", ended)
		}
	})
}

// watched counts what waits for its end.
type watched struct {
	context.Context
	done    chan struct{}
	waiting atomic.Int32
}

func (w *watched) Done() <-chan struct{} { return w.done }

func (w *watched) AfterFunc(func()) (stop func() bool) {
	w.waiting.Add(1)
	return func() bool { w.waiting.Add(-1); return true }
}

// An authorization lives for months, and sessions come and go.
func TestNothingIsLeftOfASessionInItsAuthorization(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		w := &watched{Context: context.Background(), done: make(chan struct{})}
		s := h.Session()
		s.Authorized = w
		s.Serve()
		if n := w.waiting.Load(); n != 1 {
			t.Errorf("%d wait for it", n)
		}
		h.Drained(actors.Drain{})
		if n := w.waiting.Load(); n != 0 || s.Running() {
			t.Errorf("%d still wait for it", n)
		}
	})
}

func TestTheCloseCodeOfAStop(t *testing.T) {
	for cause, want := range map[actors.Cause]int{
		actors.CauseDrain: 1001, actors.CausePart: 1001, actors.CauseAge: 1001, actors.CauseRevoked: 3000,
	} {
		if got := (&actors.Stop{Cause: cause}).CloseCode(); got != want {
			t.Errorf("%s: %d", cause, got)
		}
	}
}

func TestSessionsAreSelectedByPrincipal(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		of := make(map[string]*actorstest.Session)
		for _, principal := range []string{"ada", "bob", ""} {
			ticket, err := h.AdmitAs(context.Background(), principal)
			if err != nil {
				t.Fatal(err)
			}
			of[principal] = h.Session().Use(ticket)
		}
		h.Send(actors.Drain{Only: &actors.Selection{Principal: "ada"}})
		if end := of["ada"].EndsAs(actors.Drained); end.Code != actors.CloseGoingAway {
			t.Errorf("%+v", end)
		}
		synctest.Wait()
		var left []string
		for _, s := range h.View().Sessions {
			left = append(left, s.Principal)
		}
		if len(left) != 2 || !of["bob"].Running() || !of[""].Running() || left[0]+left[1] != "bob" {
			t.Errorf("left are those of %q", left)
		}
	})
}
