package actorstest

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
)

// Supervisor is an [actors.Supervisor] under test: what happened to it, and the fakes that were made for
// it. Its methods may be called from any goroutine; those that wait until everything in the bubble has come
// to rest, by one goroutine at a time.
type Supervisor struct {
	*actors.Supervisor
	Began time.Time // when it was started

	t        testing.TB
	bubble   bool
	mu       sync.Mutex
	events   []any
	sessions []*Session
}

// Run calls test in a bubble of testing/synctest, with a supervisor of its own. When test returns, the
// supervisor is closed, which kills what is left, and the test fails if a promise was broken: see
// [Supervisor.Amiss]. A goroutine that is left in the bubble ends the test with a panic that shows it.
func Run(t *testing.T, options actors.Options, test func(t *testing.T, s *Supervisor)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, New(t, options)) })
}

// New starts a supervisor that is closed when the test ends, as in [Run]. In a bubble all of it can be
// used. Outside of one, for tests with real sockets, nothing may be called that waits until everything in
// the bubble has come to rest.
func New(t testing.TB, options actors.Options) *Supervisor {
	t.Helper()
	supervisor, err := actors.NewSupervisor(options)
	if err != nil {
		t.Fatal(err)
	}
	s := &Supervisor{Supervisor: supervisor, Began: time.Now(), t: t, bubble: inBubble()}
	stop := supervisor.Listen(s.hear)
	t.Cleanup(func() {
		t.Helper()
		supervisor.Close()
		s.settle()
		stop()
		for _, wrong := range s.Amiss() {
			t.Error(wrong)
		}
	})
	return s
}

// inBubble: synctest.Wait panics outside of a bubble.
func inBubble() (is bool) {
	defer func() { is = recover() == nil }()
	synctest.Wait()
	return
}

// rest waits until everything in the bubble has come to rest. Outside of one there is no such moment.
func (s *Supervisor) rest() {
	if s.bubble {
		synctest.Wait()
	}
}

// settle gives what was killed the time to come to its end.
func (s *Supervisor) settle() {
	step := 10 * time.Millisecond
	if s.bubble {
		step = time.Second
	}
	for range 100 {
		if s.rest(); len(s.Amiss()) == 0 {
			return
		}
		time.Sleep(step)
	}
}

func (s *Supervisor) hear(event any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, event)
}

// Heard waits until everything in the bubble has come to rest, and returns the events of one type so far,
// such as [actors.SessionStopped].
func Heard[E any](s *Supervisor) (all []E) {
	s.rest()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, event := range s.events {
		if e, ok := event.(E); ok {
			all = append(all, e)
		}
	}
	return all
}

// Journal returns a new journal, whose times count from the supervisor's start.
func (s *Supervisor) Journal() *Journal { return &Journal{t: s.t, began: s.Began} }

// Ticket admits a request. The test fails if it isn't admitted.
func (s *Supervisor) Ticket() *actors.Ticket {
	s.t.Helper()
	ticket, err := s.Admit(context.Background())
	if err != nil {
		s.t.Fatal(err)
	}
	return ticket
}

// Admits returns what Admit says now. A ticket is given back.
func (s *Supervisor) Admits() error {
	ticket, err := s.Admit(context.Background())
	if err == nil {
		ticket.Cancel()
	}
	return err
}

// AddService is Add for a service that must be taken.
func (s *Supervisor) AddService(name string, stage actors.Stage, run actors.Service) {
	s.t.Helper()
	if err := s.Add(name, stage, run); err != nil {
		s.t.Fatal(err)
	}
}

// Drained drains, and returns the report. The test fails if a session or a service had to be killed.
func (s *Supervisor) Drained(d actors.Drain) *actors.Report {
	s.t.Helper()
	report, _, err := s.TimedDrain(d)
	if err != nil {
		s.t.Error(err)
	}
	return report
}

// TimedDrain drains, and returns the report, the time that it took, and the error that names what was
// killed.
func (s *Supervisor) TimedDrain(d actors.Drain) (*actors.Report, time.Duration, error) {
	s.t.Helper()
	began := time.Now()
	report, err := s.Drain(context.Background(), d)
	if report == nil {
		s.t.Fatalf("the drain has no report: %v", err)
	}
	return report, time.Since(began), err
}

// Send sends the supervisor a drain as a message, and waits until everything in the bubble has come to
// rest.
func (s *Supervisor) Send(d actors.Drain) {
	s.Engine().Send(s.PID(), d)
	s.rest()
}

// Within returns a drain with a deadline at this time from now.
func Within(d time.Duration) actors.Drain { return actors.Drain{Deadline: time.Now().Add(d)} }

// View returns how everything stands.
func (s *Supervisor) View() actors.Snapshot {
	s.t.Helper()
	view, err := s.Snapshot(context.Background())
	if err != nil {
		s.t.Fatal(err)
	}
	return view
}

// Ended waits until everything in the bubble has come to rest, and returns how each session has ended, in
// order.
func (s *Supervisor) Ended() []actors.SessionStopped { return Heard[actors.SessionStopped](s) }

// Actors waits until everything in the bubble has come to rest, and returns the actors of sessions and
// services that are left.
func (s *Supervisor) Actors() []*actor.PID {
	var left []*actor.PID
	for _, e := range Heard[actor.ActorStartedEvent](s) {
		if strings.HasPrefix(e.PID.ID, s.PID().ID+"/") {
			left = append(left, e.PID)
		}
	}
	stopped := make(map[string]bool)
	for _, e := range Heard[actor.ActorStoppedEvent](s) {
		stopped[e.PID.ID] = true
	}
	return slices.DeleteFunc(left, func(pid *actor.PID) bool { return stopped[pid.ID] })
}
