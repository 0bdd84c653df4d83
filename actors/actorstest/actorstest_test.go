package actorstest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/anthdm/hollywood/actor"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/actors/actorstest"
	"github.com/lastcall-go/lastcall/actors/relay"
	"github.com/lastcall-go/lastcall/proto/dap"
)

// failures is a test that keeps what it is failed with.
type failures struct {
	testing.TB
	told     []string
	cleanups []func()
}

func (f *failures) Helper()           {}
func (f *failures) Cleanup(c func())  { f.cleanups = append(f.cleanups, c) }
func (f *failures) Error(args ...any) { f.told = append(f.told, fmt.Sprint(args...)) }
func (f *failures) Errorf(format string, args ...any) {
	f.told = append(f.told, fmt.Sprintf(format, args...))
}

// Fatalf ends the test, here with a panic.
func (f *failures) Fatalf(format string, args ...any) {
	f.Errorf(format, args...)
	panic(f)
}

// failed returns what a test is failed with, also when it has ended.
func failed(t *testing.T, test func(s *actorstest.Supervisor)) []string {
	t.Helper()
	f := &failures{}
	synctest.Test(t, func(t *testing.T) {
		f.TB = t
		func() {
			defer func() {
				if v := recover(); v != nil && v != f {
					panic(v)
				}
			}()
			test(actorstest.New(f, actors.Options{}))
		}()
		for _, c := range slices.Backward(f.cleanups) {
			c()
		}
	})
	return f.told
}

// wantFailed wants a test to fail with this, once, and with nothing else.
func wantFailed(t *testing.T, want string, test func(s *actorstest.Supervisor)) {
	t.Helper()
	if told := failed(t, test); len(told) != 1 || !strings.Contains(told[0], want) {
		t.Errorf("the test failed with %q, want %q", told, want)
	}
}

// The parts of a session that break its promises, each around one that keeps them.
type (
	neverTells    struct{ *actorstest.Client }
	tellsTwice    struct{ *actorstest.Client }
	cutsNothing   struct{ *actorstest.Client }
	talksOn       struct{ *actorstest.Agent }
	talksOnStream struct{ relay.Stream }
	startsTwice   struct{ relay.Stream }
	repeats       struct{ relay.Agent }
	releases      struct {
		*actorstest.Leaser
		times int
	}
	releasesLease struct {
		relay.Lease
		times int
	}
)

func (neverTells) Close(actors.CloseError) error { return nil }

func (c tellsTwice) Close(end actors.CloseError) error {
	return errors.Join(c.Client.Close(end), c.Client.Close(end))
}

// Abort lets go of Receive, and says nothing of it.
func (c cutsNothing) Abort() { c.End(io.ErrClosedPipe) }

func (a talksOn) Open(ctx context.Context) (relay.Stream, error) {
	stream, err := a.Agent.Open(ctx)
	return talksOnStream{stream}, err
}

func (s talksOnStream) Send(message relay.Message) error {
	err := s.Stream.Send(message)
	event := new(dap.ClientEvent)
	if message.Decode(event) == nil && event.GetStopWorkflow() != nil {
		more, _ := relay.MessageOf(actorstest.Heartbeat(1))
		err = s.Stream.Send(more)
	}
	return err
}

func (a repeats) Open(ctx context.Context) (relay.Stream, error) {
	stream, err := a.Agent.Open(ctx)
	return startsTwice{stream}, err
}

func (s startsTwice) Send(event relay.Message) error {
	first, _ := relay.MessageOf(actorstest.Heartbeat(1))
	_ = s.Stream.Send(first)
	return s.Stream.Send(event)
}

func (l releases) Acquire(ctx context.Context, workflow string, lost func(error)) (relay.Lease, error) {
	lease, err := l.Leaser.Acquire(ctx, workflow, lost)
	return releasesLease{lease, l.times}, err
}

func (l releasesLease) Release(ctx context.Context) (err error) {
	for range l.times {
		err = l.Lease.Release(ctx)
	}
	return err
}

func TestABrokenPromiseOfASessionFailsItsTest(t *testing.T) {
	for want, breaks := range map[string]func(s *actorstest.Session, parts *relay.Session){
		"the client was not told":                        func(s *actorstest.Session, parts *relay.Session) { parts.Client = neverTells{s.Client} },
		"the client was told twice":                      func(s *actorstest.Session, parts *relay.Session) { parts.Client = tellsTwice{s.Client} },
		"the connection was not cut":                     func(s *actorstest.Session, parts *relay.Session) { parts.Client = cutsNothing{s.Client} },
		"a message to the agent followed stopWorkflow":   func(s *actorstest.Session, parts *relay.Session) { parts.Agent = talksOn{s.Agent} },
		"startRequest was not the first message":         func(s *actorstest.Session, parts *relay.Session) { parts.Agent = repeats{s.Agent} },
		"a lease was not released, or twice":             func(s *actorstest.Session, parts *relay.Session) { parts.Leaser = releases{s.Lease(), 0} },
		"a lease was not released, or twice:\n  0s leas": func(s *actorstest.Session, parts *relay.Session) { parts.Leaser = releases{s.Lease(), 2} },
	} {
		t.Run(want, func(t *testing.T) {
			wantFailed(t, want, func(supervisor *actorstest.Supervisor) {
				s := supervisor.Session()
				s.Decorate = func(parts *relay.Session) { breaks(s, parts) }
				s.Serve()
				supervisor.Drained(actors.Drain{})
			})
		})
	}
}

// A lease that is released after the client's close frame.
func TestALeaseThatIsReleasedTooLateFailsItsTest(t *testing.T) {
	wantFailed(t, "the client was told before the lease was released", func(supervisor *actorstest.Supervisor) {
		s := supervisor.Session()
		s.Lease()
		s.Decorate = func(parts *relay.Session) { parts.Leaser = releases{s.Leaser, 0} }
		s.Serve()
		supervisor.Drained(actors.Drain{})
		s.Note("lease released")
	})
}

// member is a session of an embedder's own.
type member struct {
	actors.Place
	silent bool // it doesn't acknowledge its end
	stays  bool // it doesn't end
}

func (m *member) Standing() actors.Standing { return actors.Standing{} }

func (m *member) Receive(c *actor.Context) {
	if _, told := c.Message().(actors.Stop); !told || m.stays {
		return
	}
	if !m.silent {
		c.Send(m.Supervisor, actors.Stopped{ID: m.ID, Outcome: actors.Drained})
	}
	c.Engine().Poison(c.PID())
}

func TestAMemberThatDoesNotEndAsItPromisesFailsItsTest(t *testing.T) {
	for want, m := range map[string]*member{
		"":                          {},
		"had to be killed: session": {silent: true},
		"is left":                   {stays: true},
	} {
		t.Run(want, func(t *testing.T) {
			told := failed(t, func(s *actorstest.Supervisor) {
				_, err := s.Ticket().Start(actors.Info{Kind: "own"}, func(p actors.Place) actors.Member {
					m.Place = p
					return m
				})
				if err != nil {
					t.Error(err)
				}
				s.Drained(actors.Drain{})
			})
			if (want == "") != (told == nil) || !strings.Contains(strings.Join(told, "\n"), want) {
				t.Errorf("the test failed with %q, want %q", told, want)
			}
		})
	}
}

// What a test asks for, and isn't so.
func TestWhatIsNotSoFailsItsTest(t *testing.T) {
	for want, test := range map[string]func(s *actorstest.Supervisor){
		"got:\n  0s agent got startRequest\nwant:\n  nothing": func(s *actorstest.Supervisor) { s.Session().Serve().Saw("nothing") },
		`"a" is in 0 lines`: func(s *actorstest.Supervisor) { s.Session().Has("a") },
		`"startRequest" is in ["0s agent got startRequest"]`: func(s *actorstest.Supervisor) { s.Session().Serve().HasNot("startRequest") },
		"the session has ended 0 times":                      func(s *actorstest.Supervisor) { s.Session().Serve().Stopped() },
		"the agent has opened no stream":                     func(s *actorstest.Supervisor) { s.Session().Join().Stream() },
		"the outcome is drained, want killed": func(s *actorstest.Supervisor) {
			session := s.Session().Serve()
			s.Drained(actors.Drain{})
			session.EndsAs(actors.Killed)
		},
		"had to be killed: session": func(s *actorstest.Supervisor) {
			session := s.Session()
			session.Agent.OnStop.Hangs, session.Client.OnClose.Hangs = true, true
			session.Serve()
			s.Drained(actorstest.Within(time.Second))
		},
	} {
		t.Run(want, func(t *testing.T) { wantFailed(t, want, test) })
	}
}

// Each method of each fake panics with its name, and its session survives that or fails.
func TestEachMethodCanPanic(t *testing.T) {
	type parts = func(s *actorstest.Session) *actorstest.Call
	for method, script := range map[string]parts{
		"Client.Send":    func(s *actorstest.Session) *actorstest.Call { return &s.Client.OnSend },
		"Client.Close":   func(s *actorstest.Session) *actorstest.Call { return &s.Client.OnClose },
		"Client.Abort":   func(s *actorstest.Session) *actorstest.Call { return &s.Client.OnAbort },
		"Agent.Open":     func(s *actorstest.Session) *actorstest.Call { return &s.Agent.OnOpen },
		"Stream.Send":    func(s *actorstest.Session) *actorstest.Call { return &s.Agent.OnSend },
		"Leaser.Acquire": func(s *actorstest.Session) *actorstest.Call { return &s.Leaser.OnAcquire },
		"Lease.Release":  func(s *actorstest.Session) *actorstest.Call { return &s.Leaser.OnRelease },
		"Client.Receive": nil,
		"Stream.Receive": nil,
	} {
		t.Run(method, func(t *testing.T) {
			actorstest.Run(t, actors.Options{}, func(t *testing.T, supervisor *actorstest.Supervisor) {
				s := supervisor.Session()
				s.Lease()
				if script != nil {
					script(s).Panics = true
				}
				s.Start()
				for _, stream := range s.Agent.Streams() {
					if method == "Stream.Receive" {
						stream.Panic()
					}
					stream.Say(actorstest.Action("a"))
				}
				if method == "Client.Receive" {
					s.Client.Panic()
				}
				synctest.Wait()
				supervisor.Drained(actors.Drain{})
				var err *actors.PanicError
				if got := s.Stopped(); !errors.As(got.Err, &err) || err.Value != "in "+method {
					t.Errorf("%+v", got)
				}
			})
		})
	}
}

// A service that isn't asked to stop, and one that is out of time.
func TestAServiceDoesAsItIsScripted(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, s *actorstest.Supervisor) {
		j, broken := s.Journal(), errors.New("broken")
		s.AddService("hangs", actors.AfterSessions, &actorstest.Service{Journal: j, Name: "hangs", OnStop: actorstest.Call{Hangs: true}})
		s.AddService("breaks", actors.AfterSessions, &actorstest.Service{Journal: j, Name: "breaks", OnStop: actorstest.Call{Takes: time.Second, Err: broken}})
		s.AddService("panics", actors.AfterSessions, &actorstest.Service{Journal: j, Name: "panics", OnStop: actorstest.Call{Panics: true}})
		_, _, _ = s.TimedDrain(actorstest.Within(5 * time.Second))
		j.Has("0s panics told", "0s breaks told", "1s breaks stopped", "1s hangs told", "hangs stopped")
		var errs []string
		for _, e := range actorstest.Heard[actors.ServiceStopped](s) {
			errs = append(errs, fmt.Sprint(e.Name, ": ", e.Err))
		}
		if got := strings.Join(errs, "; "); !strings.Contains(got, "breaks: broken") || !strings.Contains(got, "panics: panic: in Service.Serve") {
			t.Error(got)
		}
	})
}

// Outside of a bubble a supervisor is closed and looked over too.
func TestOutsideOfABubbleTheEndIsCheckedToo(t *testing.T) {
	f := &failures{TB: t}
	s := actorstest.New(f, actors.Options{}).Session()
	s.Decorate = func(parts *relay.Session) { parts.Leaser = releases{s.Lease(), 0} }
	s.Join()
	s.Client.Say(actorstest.StartRequest("w1"))
	for end := time.Now().Add(10 * time.Second); s.Count("startRequest") == 0 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	for _, c := range slices.Backward(f.cleanups) {
		c()
	}
	if len(f.told) != 1 || !strings.Contains(f.told[0], "a lease was not released") {
		t.Errorf("the test failed with %q", f.told)
	}
}

// The tests that the package comment shows are those of example_test.go.
func TestThePackageCommentShowsRealTests(t *testing.T) {
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	real, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	shown := 0
	for block := range strings.SplitSeq(string(doc), "\n//\n") {
		if !strings.HasPrefix(block, "//\tfunc Test") {
			continue
		}
		shown++
		if code := strings.ReplaceAll(block, "//\t", ""); !strings.Contains(string(real), "\n"+code+"\n") {
			t.Errorf("not in example_test.go:\n%s", code)
		}
	}
	if shown != 2 {
		t.Errorf("%d tests are shown", shown)
	}
}

func TestALeaseIsHeldUnlessATestSaysOtherwise(t *testing.T) {
	leaser, lost := &actorstest.Leaser{}, errors.New("lost")
	for token := uint64(1); token < 3; token++ {
		lease, err := leaser.Acquire(t.Context(), "w1", func(error) {})
		if err != nil || lease.Token() != token {
			t.Errorf("token %d, %v", lease.Token(), err)
		}
		if err := lease.Confirm(t.Context()); (err == nil) != (token == 1) {
			t.Errorf("lease %d is confirmed with %v", token, err)
		}
		leaser.Confirms(func(context.Context) error { return lost })
		if err := lease.Confirm(t.Context()); err != lost {
			t.Errorf("lease %d is confirmed with %v", token, err)
		}
	}
}
