package actors_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/actors/relay"
)

// ticket is one that must be given.
func (h *house) ticket() *actors.Ticket {
	h.t.Helper()
	ticket, err := h.Admit(context.Background())
	if err != nil {
		h.t.Fatal(err)
	}
	return ticket
}

func TestATicketIsGoodForTenSecondsAndOnce(t *testing.T) {
	in(t, func(t *testing.T) {
		h := open(t, actors.Options{})
		used, void, cancelled := h.ticket(), h.ticket(), h.ticket()
		cancelled.Cancel()
		time.Sleep(10*time.Second - 1)
		s := h.prepare()
		s.use(used)
		time.Sleep(2 * time.Nanosecond)
		synctest.Wait()
		for name, ticket := range map[string]*actors.Ticket{"used": used, "void": void, "cancelled": cancelled} {
			if _, err := relay.Start(ticket, h.prepare().parts()); err != actors.ErrTicketVoid {
				t.Errorf("%s: %v", name, err)
			}
		}
		used.Cancel()
		if s.serves(); !s.running() {
			t.Error("the cancelled ticket took its session along")
		}
	})
}

// serves checks that the session works.
func (s *joined) serves() {
	s.house.t.Helper()
	s.client.says <- startRequest("w1")
	s.has("agent got startRequest")
}

func TestTicketsCountAsSessions(t *testing.T) {
	in(t, func(t *testing.T) {
		h := open(t, actors.Options{MaxSessions: 2})
		s := h.prepare().serve()
		ticket := h.ticket()
		full := func(when string, want error) {
			t.Helper()
			if err := h.admits(); err != want {
				t.Errorf("%s: %v", when, err)
			}
			synctest.Wait()
		}
		full("a session and a ticket", actors.ErrFull)
		ticket.Cancel()
		full("the ticket is cancelled", nil)
		h.ticket()
		full("another ticket", actors.ErrFull)
		time.Sleep(actors.TicketLife)
		synctest.Wait()
		full("it has expired", nil)
		h.prepare().serve()
		full("two sessions", actors.ErrFull)
		s.stream.say(io.EOF)
		synctest.Wait()
		full("one has ended", nil)
	})
}

func TestADrainingSupervisorAdmitsNobody(t *testing.T) {
	in(t, func(t *testing.T) {
		h := open(t, actors.Options{})
		s := h.prepare()
		s.agent.ignores = true
		s.serve()
		h.send(actors.Drain{})
		if err := h.admits(); err != actors.ErrDraining {
			t.Errorf("while draining: %v", err)
		}
		h.drained(actors.Drain{})
		if err := h.admits(); err != actors.ErrDraining {
			t.Errorf("after the drain: %v", err)
		}
	})
}

func TestATicketUsedDuringADrainGivesASessionThatIsDrained(t *testing.T) {
	in(t, func(t *testing.T) {
		h := open(t, actors.Options{})
		ticket := h.ticket()
		h.send(actors.Drain{})
		time.Sleep(999 * time.Millisecond)
		s := h.prepare()
		s.use(ticket)
		report := h.drained(actors.Drain{})
		s.saw("999ms client told 1001 server shutdown", "999ms client cut")
		if s.endsAs(actors.Drained); report.Totals[actors.Drained] != 1 {
			t.Errorf("%v", report.Totals)
		}
	})
}

func TestADrainWaitsASecondForATicket(t *testing.T) {
	in(t, func(t *testing.T) {
		h := open(t, actors.Options{})
		ticket := h.ticket()
		if _, took, err := h.drain(actors.Drain{}); took != time.Second || err != nil {
			t.Errorf("took %v, %v", took, err)
		}
		if _, err := relay.Start(ticket, h.prepare().parts()); err != actors.ErrTicketVoid {
			t.Errorf("used too late: %v", err)
		}
	})
}

func TestADrainDoesNotWaitForATicketThatIsGivenBack(t *testing.T) {
	in(t, func(t *testing.T) {
		h := open(t, actors.Options{})
		ticket := h.ticket()
		time.AfterFunc(300*time.Millisecond, ticket.Cancel)
		if _, took, _ := h.drain(actors.Drain{}); took != 300*time.Millisecond {
			t.Errorf("took %v", took)
		}
	})
}

func TestATicketIsVoidAtTheDeadline(t *testing.T) {
	in(t, func(t *testing.T) {
		h := open(t, actors.Options{})
		ticket := h.ticket()
		if _, took, err := h.drain(within(500 * time.Millisecond)); took > 600*time.Millisecond || err != nil {
			t.Errorf("took %v, %v", took, err)
		}
		if _, err := relay.Start(ticket, h.prepare().parts()); err != actors.ErrTicketVoid {
			t.Errorf("%v", err)
		}
	})
}

func TestAClosedSupervisorStartsNothing(t *testing.T) {
	in(t, func(t *testing.T) {
		h := open(t, actors.Options{})
		ticket := h.ticket()
		h.Close()
		if _, err := relay.Start(ticket, h.prepare().parts()); err != actors.ErrClosed {
			t.Errorf("start: %v", err)
		}
		if err := h.Add("late", actors.AfterSessions, actors.ServiceFunc(nil)); err != actors.ErrClosed {
			t.Errorf("add: %v", err)
		}
	})
}

func TestASessionNeedsBothEnds(t *testing.T) {
	in(t, func(t *testing.T) {
		h := open(t, actors.Options{})
		ticket := h.ticket()
		parts := h.prepare().parts()
		for _, parts := range []relay.Session{{Client: parts.Client}, {Agent: parts.Agent}} {
			if _, err := relay.Start(ticket, parts); err == nil {
				t.Error("started without one")
			}
		}
		s := h.prepare()
		s.use(ticket) // which is still good
		s.serves()
	})
}

func TestAdmitGivesUpWithItsContext(t *testing.T) {
	in(t, func(t *testing.T) {
		h := open(t, actors.Options{})
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
	in(t, func(t *testing.T) {
		h := open(t, actors.Options{})
		const clients = 300
		done := make(chan *joined, clients)
		for i := range clients {
			s := h.prepare()
			go func() {
				defer func() { done <- s }()
				ticket, err := h.Admit(context.Background())
				if err != nil {
					return
				}
				if i%3 == 0 {
					time.Sleep(time.Millisecond) // the upgrade
				}
				s.client.says <- startRequest("w1")
				if s.id, err = relay.Start(ticket, s.parts()); err != nil {
					t.Error(err)
				}
			}()
		}
		report := h.drained(actors.Drain{})
		started := 0
		for range clients {
			s := <-done
			if s.id == "" {
				s.saw()
				continue
			}
			started++
			s.has("client told 1001 server shutdown", "client cut")
			s.endsAs(actors.Drained)
			s.startsAndStops()
		}
		if len(report.Sessions) != started {
			t.Errorf("%d sessions, %d in the report", started, len(report.Sessions))
		}
		t.Logf("%d of %d were admitted", started, clients)
	})
}

// startsAndStops: the agent got nothing at all, or startRequest and then stopWorkflow.
func (s *joined) startsAndStops() {
	s.house.t.Helper()
	start, stop := s.at("agent got startRequest"), s.at("agent got stopWorkflow")
	if n := s.count("agent got"); n == 0 || n == 2 && start >= 0 && start < stop {
		return
	}
	s.house.t.Errorf("%q", s.all())
}

// However a drain meets the opening of the agent, startRequest is first and stopWorkflow last.
func TestADrainRacingTheOpening(t *testing.T) {
	in(t, func(t *testing.T) {
		h := open(t, actors.Options{})
		var all []*joined
		for range 500 {
			s := h.prepare()
			s.leased()
			s.join()
			all = append(all, s)
		}
		go func() {
			for _, s := range all {
				s.client.says <- startRequest("w1")
				s.client.says <- heartbeat(1)
			}
		}()
		h.drained(actors.Drain{})
		kinds := map[int]int{}
		for _, s := range all {
			s.endsAs(actors.Drained)
			kinds[s.count("agent got")]++
			if first := s.at("agent got"); first >= 0 && s.at("agent got startRequest") != first {
				t.Errorf("%q", s.all())
			}
			if s.count("agent got") > 0 && s.count("agent got stopWorkflow") != 1 {
				t.Errorf("%q", s.all())
			}
			if s.count("taken") != s.count("released") {
				t.Errorf("%q", s.all())
			}
		}
		t.Logf("messages that agents got: %v", kinds)
	})
}

func TestOnePrincipalCanHoldOnlySoMany(t *testing.T) {
	in(t, func(t *testing.T) {
		h := open(t, actors.Options{MaxSessionsPerPrincipal: 2})
		admit := func(principal string, want error) *actors.Ticket {
			t.Helper()
			ticket, err := h.AdmitAs(context.Background(), principal)
			if !errors.Is(err, want) {
				t.Fatalf("%q is admitted with %v, want %v", principal, err, want)
			}
			return ticket
		}
		s := h.prepare()
		s.use(admit("ada", nil))
		unused := admit("ada", nil)
		admit("bob", nil) // and this one is never used
		admit("ada", actors.ErrPrincipalFull)
		for range 5 {
			admit("", nil) // nobody in particular
		}
		unused.Cancel()
		admit("ada", nil)
		admit("ada", actors.ErrPrincipalFull)
		s.client.says <- io.EOF // the session ends
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
