package actors_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/anthdm/hollywood/actor"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/actors/actorstest"
	"github.com/lastcall-go/lastcall/actors/relay"
)

// panicsInClose is a tool that panics when it is closed.
type panicsInClose struct{ *fakeTool }

func (p panicsInClose) Close(ctx context.Context) error {
	_ = p.fakeTool.Close(ctx)
	panic("in Tool.Close")
}

// panicsInBadInput is a client that panics when the session asks for its counts.
type panicsInBadInput struct{ *actorstest.Client }

func (panicsInBadInput) BadInput() map[actors.BadInput]int { panic("in Client.BadInput") }

// The report of a session that panics in a drain says what close frame the client got, and nothing that is
// not known.
func TestAPanicInADrainIsReportedAsItIs(t *testing.T) {
	for name, c := range map[string]struct {
		set     func(s *actorstest.Session)
		meet    func(s *actorstest.Session) // while the session closes. nil: nothing happens
		told    string
		outcome actors.Outcome
		code    int
		reason  string
	}{
		"in Client.Close": {
			set:  func(s *actorstest.Session) { s.Client.OnClose.Panics = true },
			told: "1001 server shutdown", outcome: actors.Failed,
		},
		"in Client.Receive while the client is told": {
			set:  func(s *actorstest.Session) { s.Client.OnClose.Hangs = true },
			meet: func(s *actorstest.Session) { s.Client.Panic() },
			told: "1001 server shutdown", outcome: actors.Failed,
		},
		"in Lease.Release": {
			set:  func(s *actorstest.Session) { s.Lease().OnRelease.Panics = true },
			told: "1011 internal error", outcome: actors.Failed, code: 1011, reason: "internal error",
		},
		"in Tool.Close": {
			set: func(s *actorstest.Session) {
				s.Lease()
				s.Tools = append(s.Tools, panicsInClose{&fakeTool{Journal: s.Journal}})
			},
			told: "1011 internal error", outcome: actors.Failed, code: 1011, reason: "internal error",
		},
		"in Client.Abort, once the client has answered": {
			set:  func(s *actorstest.Session) { s.Client.OnAbort.Panics = true },
			told: "1001 server shutdown", outcome: actors.Drained, code: 1001, reason: "server shutdown",
		},
	} {
		t.Run(name, func(t *testing.T) {
			actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
				s := h.Session()
				c.set(s)
				s.Serve()
				h.Send(actors.Drain{})
				if c.meet != nil {
					c.meet(s)
				}
				s.Has("client told " + c.told)
				if s.Leaser != nil {
					s.Has("lease released")
				}
				end := s.EndsAs(c.outcome)
				if end.Code != c.code || end.Reason != c.reason {
					t.Errorf("reported with %d %q, want %d %q", end.Code, end.Reason, c.code, c.reason)
				}
				if !errors.As(end.Err, new(*actors.PanicError)) {
					t.Errorf("error %v", end.Err)
				}
			})
		})
	}
}

// A client that has left gets no close frame, so that no close code of the panic is reported.
func TestAPanicAfterTheClientHasLeftIsReportedWithTheClientsCode(t *testing.T) {
	for name, cause := range map[string]func(s *actorstest.Session){
		"in Lease.Release": func(s *actorstest.Session) {
			s.Leaser.OnRelease.Panics = true
			s.Stream().End(errors.New("workflow execution interrupted"))
		},
		"in Stream.Receive": func(s *actorstest.Session) { s.Stream().Panic() },
	} {
		t.Run(name, func(t *testing.T) {
			actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
				s := h.Session()
				s.Lease()
				s.Agent.OnStop.Hangs = true
				s.Serve()
				s.Client.End(&actors.ClosedError{Code: 1000, Reason: "done"})
				synctest.Wait()
				cause(s)
				s.HasNot("client told")
				end := s.EndsAs(actors.Failed)
				if end.Code != 1000 || end.Reason != "done" || !errors.As(end.Err, new(*actors.PanicError)) {
					t.Errorf("%+v", end)
				}
			})
		})
	}
}

func TestAPanicInAKilledSessionLeavesItKilled(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		s := h.Session()
		s.Lease().OnRelease.Panics = true
		s.Agent.OnStop.Hangs, s.Client.OnClose.Hangs = true, true
		s.Serve()
		if _, _, err := h.TimedDrain(actorstest.Within(0)); err == nil {
			t.Error("no session was killed")
		}
		if end := s.EndsAs(actors.Killed); end.Code != 0 || !errors.As(end.Err, new(*actors.PanicError)) {
			t.Errorf("%+v", end)
		}
	})
}

// The counts of a client are asked for last. A panic there must not cost the acknowledgement, in a
// session that its lifecycle ends as in one whose actor was poisoned.
func TestAPanicInTheCountsOfAClientKeepsNoSessionFromStopping(t *testing.T) {
	for name, c := range map[string]struct {
		end     func(h *actorstest.Supervisor, s *actorstest.Session)
		outcome actors.Outcome
	}{
		"ended":    {func(_ *actorstest.Supervisor, s *actorstest.Session) { s.Stream().End(io.EOF) }, actors.Completed},
		"poisoned": {func(h *actorstest.Supervisor, s *actorstest.Session) { h.Engine().Poison(s.PID()) }, actors.Killed},
	} {
		t.Run(name, func(t *testing.T) {
			actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
				s := h.Session()
				s.Decorate = func(parts *relay.Session) { parts.Client = panicsInBadInput{s.Client} }
				s.Serve()
				c.end(h, s)
				if end := s.EndsAs(c.outcome); !errors.As(end.Err, new(*actors.PanicError)) {
					t.Errorf("error %v", end.Err)
				}
			})
		})
	}
}

// A poisoned session reports what went wrong while it let go of its tools.
func TestAPoisonedSessionReportsAPanicOfATool(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		s := h.Session()
		s.Lease()
		s.Tools = append(s.Tools, panicsInClose{&fakeTool{Journal: s.Journal}})
		s.Serve()
		h.Engine().Poison(s.PID())
		s.Has("lease released")
		if end := s.EndsAs(actors.Killed); !errors.As(end.Err, new(*actors.PanicError)) {
			t.Errorf("error %v", end.Err)
		}
	})
}

func TestAConnectionOrServiceThatPanicsInADrainHasFailed(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		h.AddService("daemon", actors.WithSessions, actors.ServiceFunc(func(ctx context.Context) error {
			<-ctx.Done()
			panic("in Service.Serve")
		}))
		r := start(h, actors.Connection{}, func(_ *actorstest.Connection, ctx context.Context) error {
			<-ctx.Done()
			panic("in a handler")
		})
		report := h.Drained(actors.Drain{})
		if report.Totals[actors.Failed] != 1 || report.Services[0].Outcome != actors.Failed || time.Duration(report.Took) > 0 {
			t.Errorf("%+v", report)
		}
		if err := r.Wait(); !errors.As(err, new(*actors.PanicError)) {
			t.Errorf("Run returns %v", err)
		}
		if end := h.Ended()[0]; end.Code != 0 || end.Reason != "" || !errors.As(end.Err, new(*actors.PanicError)) {
			t.Errorf("%+v", end)
		}
		if stopped := actorstest.Heard[actors.ServiceStopped](h); !errors.As(stopped[0].Err, new(*actors.PanicError)) {
			t.Errorf("%+v", stopped)
		}
	})
}

// What is reported as the close code is what the client got, or sent.
func TestACodeThatTheClientWasNotToldIsNotReported(t *testing.T) {
	for name, c := range map[string]struct {
		leaves error
		code   int
	}{
		"leaves with a code": {&actors.ClosedError{Code: 1000}, 1000},
		"is lost":            {errors.New("connection reset"), 0},
	} {
		t.Run(name, func(t *testing.T) {
			actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
				s := h.Session()
				s.Agent.OnStop.Takes = time.Second
				s.Serve()
				h.Send(actors.Drain{})
				s.Client.End(c.leaves)
				time.Sleep(2 * time.Second)
				s.HasNot("client told")
				if end := s.EndsAs(actors.Drained); end.Code != c.code || end.Reason != "" {
					t.Errorf("reported with %d %q, want %d", end.Code, end.Reason, c.code)
				}
			})
		})
	}
}

// standless is a session of an embedder's own that can't say how it stands.
type standless struct{ actors.Place }

func (standless) Standing() actors.Standing { panic("in Standing") }

func (m standless) Receive(c *actor.Context) {
	switch c.Message().(type) {
	case actors.Stop:
		c.Engine().Poison(c.PID())
	case actor.Stopped:
		c.Send(m.Supervisor, actors.Stopped{ID: m.ID, Outcome: actors.Drained})
	}
}

func TestASessionThatCanNotSayHowItStandsIsReportedAllTheSame(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		id, err := h.Ticket().Start(actors.Info{}, func(p actors.Place) actors.Member { return standless{p} })
		if err != nil {
			t.Fatal(err)
		}
		if view := h.View(); len(view.Sessions) != 1 || view.Sessions[0].ID != id {
			t.Errorf("%+v", view)
		}
		report := h.Drained(actors.Drain{})
		if len(report.Sessions) != 1 || report.Sessions[0].ID != id || report.Totals[actors.Drained] != 1 {
			t.Errorf("%+v", report)
		}
	})
}

// The ticket is used up all the same: there is room again, and a drain doesn't wait for it.
func TestAPanicWhereAMemberIsMadeIsTheErrorOfStart(t *testing.T) {
	actorstest.Run(t, actors.Options{MaxSessions: 1}, func(t *testing.T, h *actorstest.Supervisor) {
		_, err := h.Ticket().Start(actors.Info{}, func(actors.Place) actors.Member { panic("in making it") })
		var panicked *actors.PanicError
		if !errors.As(err, &panicked) || panicked.Value != "in making it" {
			t.Errorf("%v", err)
		}
		if err := h.Admits(); err != nil {
			t.Error(err)
		}
		if report, took, err := h.TimedDrain(actors.Drain{}); err != nil || took != 0 || len(report.Sessions) != 0 {
			t.Errorf("%+v, %v after %v", report, err, took)
		}
	})
}
