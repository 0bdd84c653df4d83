package actors_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/anthdm/hollywood/actor"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/actors/relay"
	"github.com/lastcall-go/lastcall/proto/dap"
)

// house is a supervisor, and what was heard of it.
type house struct {
	*actors.Supervisor
	t      *testing.T
	began  time.Time
	mu     sync.Mutex
	events []any
}

// open starts a supervisor that is closed when the test ends. It must be called in a bubble.
func open(t *testing.T, options actors.Options) *house {
	t.Helper()
	supervisor, err := actors.NewSupervisor(options)
	if err != nil {
		t.Fatal(err)
	}
	h := &house{Supervisor: supervisor, t: t, began: time.Now()}
	stop := supervisor.Listen(func(event any) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.events = append(h.events, event)
	})
	t.Cleanup(func() {
		supervisor.Close()
		stop()
	})
	return h
}

// heard returns all events of one type so far.
func heard[E any](h *house) (all []E) {
	synctest.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, event := range h.events {
		if e, ok := event.(E); ok {
			all = append(all, e)
		}
	}
	return all
}

// joined is a session and its fake peers. Set them before it starts.
type joined struct {
	*journal
	house  *house
	id     string
	client *fakeClient
	agent  *fakeAgent
	leaser *fakeLeaser // nil: not leased
	tools  []relay.Tool
	check  func(*dap.StartWorkflowRequest) error // the session's Prepare
	labels relay.Session                         // its Context and names
	stream *fakeStream                           // after serve
}

// prepare makes the peers of a session that hasn't started.
func (h *house) prepare() *joined {
	client := newClient()
	client.began = h.began
	return &joined{journal: client.journal, house: h, client: client, agent: newAgent(client.journal)}
}

// leased lets the session's workflow be leased.
func (s *joined) leased() *fakeLeaser {
	s.leaser = &fakeLeaser{journal: s.journal}
	return s.leaser
}

// join admits and starts the session; its client has said nothing yet.
func (s *joined) join() *joined {
	s.house.t.Helper()
	ticket, err := s.house.Admit(context.Background())
	if err != nil {
		s.house.t.Fatal(err)
	}
	s.use(ticket)
	return s
}

func (s *joined) use(ticket *actors.Ticket) {
	s.house.t.Helper()
	var err error
	if s.id, err = relay.Start(ticket, s.parts()); err != nil {
		s.house.t.Fatal(err)
	}
}

func (s *joined) parts() relay.Session {
	parts := s.labels
	parts.Client, parts.Agent, parts.Remote = s.client, s.agent, "192.0.2.1:1234"
	parts.Tools, parts.Prepare = s.tools, s.check
	if s.leaser != nil {
		parts.Leaser = s.leaser
	}
	return parts
}

// start joins, and has the client say its startRequest.
func (s *joined) start() *joined {
	s.house.t.Helper()
	s.join()
	s.client.says <- startRequest("w1")
	synctest.Wait()
	return s
}

// serve brings the session to where messages flow both ways.
func (s *joined) serve() *joined {
	s.house.t.Helper()
	s.start()
	select {
	case s.stream = <-s.agent.opened:
	default:
		s.house.t.Fatal("no stream was opened")
	}
	synctest.Wait()
	return s
}

// stopped returns how the session ended. It must have ended, once.
func (s *joined) stopped() actors.SessionStopped {
	s.house.t.Helper()
	var all []actors.SessionStopped
	for _, e := range heard[actors.SessionStopped](s.house) {
		if e.ID == s.id {
			all = append(all, e)
		}
	}
	if len(all) != 1 {
		s.house.t.Fatalf("stopped %d times; %q", len(all), s.all())
	}
	return all[0]
}

func (s *joined) running() bool {
	for _, e := range heard[actors.SessionStopped](s.house) {
		if e.ID == s.id {
			return false
		}
	}
	return true
}

// endsAs checks the outcome and that the session left no actor behind.
func (s *joined) endsAs(want actors.Outcome) actors.SessionStopped {
	s.house.t.Helper()
	stopped := s.stopped()
	if stopped.Outcome != want {
		s.house.t.Errorf("outcome %s, want %s; %q", stopped.Outcome, want, s.all())
	}
	if s.pid() != nil {
		s.house.t.Error("the session's actor is still there")
	}
	return stopped
}

// pid is that of the session's actor; nil: it is gone.
func (s *joined) pid() *actor.PID {
	return s.house.Engine().Registry.GetPID(s.house.PID().ID+"/session", s.id)
}

// saw checks all that happened to the session's peers, line by line.
func (s *joined) saw(want ...string) {
	s.house.t.Helper()
	synctest.Wait()
	if got := s.all(); !slices.Equal(got, want) {
		s.house.t.Errorf("got:\n  %s\nwant:\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

// has checks single lines of what happened, where their order is nobody's promise.
func (s *joined) has(want ...string) {
	s.house.t.Helper()
	synctest.Wait()
	for _, line := range want {
		if n := s.count(line); n != 1 {
			s.house.t.Errorf("%q is there %d times in %q", line, n, s.all())
		}
	}
}

// hasNot checks that something did not happen.
func (s *joined) hasNot(unwanted ...string) {
	s.house.t.Helper()
	synctest.Wait()
	for _, what := range unwanted {
		if s.count(what) > 0 {
			s.house.t.Errorf("%q in %q", what, s.all())
		}
	}
}

// drain drains and returns the report and how long it took.
func (h *house) drain(d actors.Drain) (*actors.Report, time.Duration, error) {
	h.t.Helper()
	began := time.Now()
	report, err := h.Drain(context.Background(), d)
	if report == nil {
		h.t.Fatal("no report")
	}
	return report, time.Since(began), err
}

// drained drains, and wants that nobody had to be killed.
func (h *house) drained(d actors.Drain) *actors.Report {
	h.t.Helper()
	report, _, err := h.drain(d)
	if err != nil {
		h.t.Error(err)
	}
	return report
}

// send sends the supervisor a Drain as a message, and waits until all has come to rest.
func (h *house) send(d actors.Drain) {
	h.Engine().Send(h.PID(), d)
	synctest.Wait()
}

// admits reports what Admit says now; a ticket that it gives is given back.
func (h *house) admits() error {
	ticket, err := h.Admit(context.Background())
	if err == nil {
		ticket.Cancel()
	}
	return err
}

// in runs a test in a bubble of its own.
func in(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

// within is a drain with a deadline.
func within(d time.Duration) actors.Drain { return actors.Drain{Deadline: time.Now().Add(d)} }
