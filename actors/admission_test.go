package actors_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/actors/actorstest"
	"github.com/lastcall-go/lastcall/actors/relay"
)

func TestATicketIsGoodForTenSecondsAndOnce(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		used, void, cancelled := h.Ticket(), h.Ticket(), h.Ticket()
		cancelled.Cancel()
		time.Sleep(10*time.Second - 1)
		s := h.Session()
		s.Use(used)
		time.Sleep(2 * time.Nanosecond)
		synctest.Wait()
		for name, ticket := range map[string]*actors.Ticket{"used": used, "void": void, "cancelled": cancelled} {
			if _, err := relay.Start(ticket, h.Session().Parts()); err != actors.ErrTicketVoid {
				t.Errorf("%s: %v", name, err)
			}
		}
		used.Cancel()
		if serves(s); !s.Running() {
			t.Error("the cancelled ticket took its session along")
		}
	})
}

// serves checks that the session works.
func serves(s *actorstest.Session) {
	s.Client.Say(actorstest.StartRequest("w1"))
	s.Has("agent got startRequest")
}

func TestTicketsCountAsSessions(t *testing.T) {
	actorstest.Run(t, actors.Options{MaxSessions: 2}, func(t *testing.T, h *actorstest.Supervisor) {
		s := h.Session().Serve()
		ticket := h.Ticket()
		full := func(when string, want error) {
			t.Helper()
			if err := h.Admits(); err != want {
				t.Errorf("%s: %v", when, err)
			}
			synctest.Wait()
		}
		full("a session and a ticket", actors.ErrFull)
		ticket.Cancel()
		full("the ticket is cancelled", nil)
		h.Ticket()
		full("another ticket", actors.ErrFull)
		time.Sleep(actors.TicketLife)
		synctest.Wait()
		full("it has expired", nil)
		h.Session().Serve()
		full("two sessions", actors.ErrFull)
		s.Stream().End(io.EOF)
		synctest.Wait()
		full("one has ended", nil)
	})
}

func TestADrainingSupervisorAdmitsNobody(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		s := h.Session()
		s.Agent.OnStop.Hangs = true
		s.Serve()
		h.Send(actors.Drain{})
		if err := h.Admits(); err != actors.ErrDraining {
			t.Errorf("while draining: %v", err)
		}
		h.Drained(actors.Drain{})
		if err := h.Admits(); err != actors.ErrDraining {
			t.Errorf("after the drain: %v", err)
		}
	})
}

func TestATicketUsedDuringADrainGivesASessionThatIsDrained(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		ticket := h.Ticket()
		h.Send(actors.Drain{})
		time.Sleep(999 * time.Millisecond)
		s := h.Session()
		s.Use(ticket)
		report := h.Drained(actors.Drain{})
		s.Saw("999ms client told 1001 server shutdown", "999ms client cut")
		if s.EndsAs(actors.Drained); report.Totals[actors.Drained] != 1 {
			t.Errorf("%v", report.Totals)
		}
	})
}

func TestADrainWaitsASecondForATicket(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		ticket := h.Ticket()
		if _, took, err := h.TimedDrain(actors.Drain{}); took != time.Second || err != nil {
			t.Errorf("took %v, %v", took, err)
		}
		if _, err := relay.Start(ticket, h.Session().Parts()); err != actors.ErrTicketVoid {
			t.Errorf("used too late: %v", err)
		}
	})
}

func TestADrainDoesNotWaitForATicketThatIsGivenBack(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		ticket := h.Ticket()
		time.AfterFunc(300*time.Millisecond, ticket.Cancel)
		if _, took, _ := h.TimedDrain(actors.Drain{}); took != 300*time.Millisecond {
			t.Errorf("took %v", took)
		}
	})
}

func TestATicketIsVoidAtTheDeadline(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		ticket := h.Ticket()
		if _, took, err := h.TimedDrain(actorstest.Within(500 * time.Millisecond)); took > 600*time.Millisecond || err != nil {
			t.Errorf("took %v, %v", took, err)
		}
		if _, err := relay.Start(ticket, h.Session().Parts()); err != actors.ErrTicketVoid {
			t.Errorf("%v", err)
		}
	})
}

func TestAClosedSupervisorStartsNothing(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		ticket := h.Ticket()
		h.Close()
		if _, err := relay.Start(ticket, h.Session().Parts()); err != actors.ErrClosed {
			t.Errorf("start: %v", err)
		}
		if err := h.Add("late", actors.AfterSessions, actors.ServiceFunc(nil)); err != actors.ErrClosed {
			t.Errorf("add: %v", err)
		}
	})
}

func TestASessionNeedsBothEnds(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		ticket := h.Ticket()
		parts := h.Session().Parts()
		for _, parts := range []relay.Session{{Client: parts.Client}, {Agent: parts.Agent}} {
			if _, err := relay.Start(ticket, parts); err == nil {
				t.Error("started without one")
			}
		}
		s := h.Session()
		s.Use(ticket) // which is still good
		serves(s)
	})
}

func TestAdmitGivesUpWithItsContext(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		for range 50 { // either may win; but never both
			if ticket, err := h.Admit(ctx); (ticket == nil) == (err == nil) {
				t.Fatalf("%v, %v", ticket, err)
			}
		}
	})
}

// Clients arriving while the drain begins: each is refused, or is a session that ends with 1001.
func TestNoSessionSlipsBetweenAdmissionAndDrain(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		const clients = 300
		done := make(chan *actorstest.Session, clients)
		for i := range clients {
			s := h.Session()
			go func() {
				defer func() { done <- s }()
				ticket, err := h.Admit(context.Background())
				if err != nil {
					return
				}
				if i%3 == 0 {
					time.Sleep(time.Millisecond) // the upgrade
				}
				s.Client.Say(actorstest.StartRequest("w1"))
				if s.ID, err = relay.Start(ticket, s.Parts()); err != nil {
					t.Error(err)
				}
			}()
		}
		report := h.Drained(actors.Drain{})
		started := 0
		for range clients {
			s := <-done
			if s.ID == "" {
				s.Saw()
				continue
			}
			started++
			s.Has("client told 1001 server shutdown", "client cut")
			s.EndsAs(actors.Drained)
			startsAndStops(t, s)
		}
		if len(report.Sessions) != started {
			t.Errorf("%d sessions, %d in the report", started, len(report.Sessions))
		}
		t.Logf("%d of %d were admitted", started, clients)
	})
}

// startsAndStops: the agent got nothing at all, or startRequest and then stopWorkflow.
func startsAndStops(t *testing.T, s *actorstest.Session) {
	t.Helper()
	start, stop := s.Index("agent got startRequest"), s.Index("agent got stopWorkflow")
	if n := s.Count("agent got"); n == 0 || n == 2 && start >= 0 && start < stop {
		return
	}
	t.Errorf("%q", s.Lines())
}

// However a drain meets the opening of the agent, startRequest is first and stopWorkflow last.
func TestADrainRacingTheOpening(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		var all []*actorstest.Session
		for range 500 {
			s := h.Session()
			s.Lease()
			s.Join()
			all = append(all, s)
		}
		go func() {
			for _, s := range all {
				s.Client.Say(actorstest.StartRequest("w1"))
				s.Client.Say(actorstest.Heartbeat(1))
			}
		}()
		h.Drained(actors.Drain{})
		kinds := map[int]int{}
		for _, s := range all {
			s.EndsAs(actors.Drained)
			kinds[s.Count("agent got")]++
			if first := s.Index("agent got"); first >= 0 && s.Index("agent got startRequest") != first {
				t.Errorf("%q", s.Lines())
			}
			if s.Count("agent got") > 0 && s.Count("agent got stopWorkflow") != 1 {
				t.Errorf("%q", s.Lines())
			}
			if s.Count("taken") != s.Count("released") {
				t.Errorf("%q", s.Lines())
			}
		}
		t.Logf("messages that agents got: %v", kinds)
	})
}

func TestOnePrincipalCanHoldOnlySoMany(t *testing.T) {
	actorstest.Run(t, actors.Options{MaxSessionsPerPrincipal: 2}, func(t *testing.T, h *actorstest.Supervisor) {
		admit := func(principal string, want error) *actors.Ticket {
			t.Helper()
			ticket, err := h.AdmitAs(context.Background(), principal)
			if !errors.Is(err, want) {
				t.Fatalf("%q is admitted with %v, want %v", principal, err, want)
			}
			return ticket
		}
		s := h.Session()
		s.Use(admit("ada", nil))
		unused := admit("ada", nil)
		admit("bob", nil) // and this one is never used
		admit("ada", actors.ErrPrincipalFull)
		for range 5 {
			admit("", nil) // no principal
		}
		unused.Cancel()
		admit("ada", nil)
		admit("ada", actors.ErrPrincipalFull)
		s.Client.End(io.EOF) // the session ends
		synctest.Wait()
		admit("ada", nil)
		admit("bob", nil)
		admit("bob", actors.ErrPrincipalFull)
		time.Sleep(actors.TicketLife)
		synctest.Wait()
		admit("bob", nil)
		admit("bob", nil)
	})
}
