package actors_test

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/actors/relay"
	"github.com/lastcall-go/lastcall/proto/dap"
)

// doubtLeaser gives leases whose Confirm is the test's.
type doubtLeaser struct {
	*fakeLeaser
	confirm atomic.Pointer[func(context.Context) error] // nil: the lease is held
}

// doubt lets the session's workflow be leased by a lease whose Confirm the test decides.
func (s *joined) doubt() *doubtLeaser {
	l := &doubtLeaser{fakeLeaser: &fakeLeaser{journal: s.journal}}
	s.labels.Leaser = l
	return l
}

func (l *doubtLeaser) confirms(confirm func(context.Context) error) { l.confirm.Store(&confirm) }

func (l *doubtLeaser) Acquire(ctx context.Context, workflow string, lost func(error)) (relay.Lease, error) {
	_, err := l.fakeLeaser.Acquire(ctx, workflow, lost)
	return l, err
}

func (l *doubtLeaser) Confirm(ctx context.Context) error {
	if confirm := l.confirm.Load(); confirm != nil {
		return (*confirm)(ctx)
	}
	return nil
}

var errRanOut = errors.New("ran out")

func ranOut(context.Context) error { return errRanOut }

// silent is a store that doesn't answer before the test says so.
func silent(answer <-chan error) func(context.Context) error {
	return func(ctx context.Context) error {
		select {
		case err := <-answer:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func TestNothingIsRelayedBeforeTheLeaseIsConfirmed(t *testing.T) {
	in(t, func(t *testing.T) {
		s := open(t, actors.Options{}).prepare()
		lease, tool := s.doubt(), s.tool()
		tool.takes = time.Second
		s.serve()
		s.stream.say(action("tool"))
		synctest.Wait() // it is run
		answer := make(chan error)
		lease.confirms(silent(answer))
		s.client.says <- heartbeat(7)
		s.stream.say(action("a"))
		time.Sleep(time.Second) // the tool's answer
		s.hasNot("heartbeat", "client got", "agent got tool")
		close(answer)
		s.has("agent got heartbeat 7", "client got a", "agent got tool")
		s.stream.say(io.EOF)
		s.endsAs(actors.Completed)
	})
}

// Whichever goroutine finds out: nothing is relayed any more, either way, and the agent's last words
// are not delivered.
func TestALeaseThatIsNotConfirmedEndsTheSession(t *testing.T) {
	for name, happens := range map[string]func(*joined){
		"a message of the client's": func(s *joined) { s.client.says <- heartbeat(7) },
		"a message of the agent's":  func(s *joined) { s.stream.say(action("a")) },
		"a tool's action":           func(s *joined) { s.stream.say(action("tool")) },
		"a client's own stop":       func(s *joined) { s.client.says <- stopOf("WORKHORSE_WEBSOCKET_CLOSE_1000") },
		"messages both ways, all at once": func(s *joined) {
			for i := range int64(9) {
				s.client.says <- heartbeat(i)
			}
			go s.stream.say(action("a"))
			go s.stream.say(action("tool"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T) {
				s := open(t, actors.Options{}).prepare()
				lease, tool := s.doubt(), s.tool()
				s.agent.lastWords = []string{"last words", "tool of last words"}
				s.serve()
				lease.confirms(ranOut)
				happens(s)
				s.has("agent got stopWorkflow", "agent got stopWorkflow WORKHORSE_WEBSOCKET_PING_FAILED",
					"lease released", "client told 1013 workflow lease lost")
				s.hasNot("client got", "heartbeat", "agent got tool", "CLOSE_1000")
				if tool.most > 0 {
					t.Error("the tool was run")
				}
				if got := s.endsAs(actors.Failed); !errors.Is(got.Err, errRanOut) {
					t.Errorf("error %v", got.Err)
				}
			})
		})
	}
}

// The store's word counts, whatever Confirm says.
func TestNothingIsRelayedOnceTheLeaseWasLost(t *testing.T) {
	in(t, func(t *testing.T) {
		s := open(t, actors.Options{}).prepare()
		lease := s.doubt()
		tool := s.tool()
		tool.takes = time.Second
		s.agent.lastWords = []string{"last words"}
		s.agent.stopping = 500 * time.Millisecond
		s.serve()
		s.stream.say(action("tool"))
		synctest.Wait() // it is run
		lease.lost(errRanOut)
		s.client.says <- heartbeat(7)
		s.stream.say(action("a"))
		time.Sleep(time.Minute)
		s.has("client told 1013 workflow lease lost")
		s.hasNot("client got", "heartbeat", "agent got tool")
		s.endsAs(actors.Failed)
	})
}

func TestAToolWhoseLeaseIsLostMeanwhileDoesNotAnswer(t *testing.T) {
	in(t, func(t *testing.T) {
		s := open(t, actors.Options{}).prepare()
		lease, tool := s.doubt(), s.tool()
		tool.takes = time.Second
		s.serve()
		s.stream.say(action("tool"))
		synctest.Wait() // it is run
		lease.confirms(ranOut)
		time.Sleep(time.Minute)
		s.has("1s client told 1013 workflow lease lost")
		s.hasNot("agent got tool")
		s.endsAs(actors.Failed)
	})
}

func TestAWorkflowIsNotStartedWithoutItsLease(t *testing.T) {
	for name, lose := range map[string]func(*doubtLeaser){
		"not confirmed":        func(l *doubtLeaser) { l.confirms(ranOut) },
		"lost while it opened": func(l *doubtLeaser) { l.lost(errRanOut) },
		"not answered in time": func(l *doubtLeaser) { l.confirms(silent(nil)) },
		"lost after that, late": func(l *doubtLeaser) {
			l.confirms(silent(nil))
			time.AfterFunc(5*time.Second, func() { l.lost(errRanOut) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T) {
				s := open(t, actors.Options{}).prepare()
				lease := s.doubt()
				s.agent.opens = time.Second
				s.start()
				s.client.says <- heartbeat(7)
				lose(lease)
				time.Sleep(time.Minute)
				s.hasNot("agent got")
				if name == "not answered in time" {
					s.has("30s client told 1001 agent unavailable")
					return
				}
				s.has("lease released", "client told 1013 workflow lease lost")
				if got := s.endsAs(actors.Failed); !errors.Is(got.Err, errRanOut) {
					t.Errorf("error %v", got.Err)
				}
			})
		})
	}
}

// A stop that ends a workflow for good would end it for the session that has resumed it.
func TestASessionWithoutItsLeaseDoesNotEndTheWorkflowForGood(t *testing.T) {
	for name, test := range map[string]struct {
		end  error
		held string
	}{
		"the client closes":    {end: &actors.ClosedError{Code: 1000}, held: "WORKHORSE_WEBSOCKET_CLOSE_1000"},
		"the client goes":      {end: &actors.ClosedError{Code: 1001}, held: "WORKHORSE_WEBSOCKET_CLOSE_1001"},
		"the client is silent": {end: relay.ErrSilent, held: "WORKHORSE_WEBSOCKET_PONG_TIMEOUT"},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T) {
				h := open(t, actors.Options{})
				with, without := h.prepare(), h.prepare()
				with.doubt()
				lease := without.doubt()
				with.serve()
				without.serve()
				lease.confirms(ranOut)
				with.client.says <- test.end
				without.client.says <- test.end
				with.has("agent got stopWorkflow " + test.held)
				without.has("agent got stopWorkflow", "agent got stopWorkflow WORKHORSE_WEBSOCKET_PING_FAILED")
			})
		})
	}
}

// A drain doesn't wait for the store: its stop is one after which the workflow can be resumed.
func TestADrainKeepsItsTimesWhileTheStoreDoesNotAnswer(t *testing.T) {
	for name, busy := range map[string]struct {
		happens func(*joined)
		want    string
	}{
		"nothing is relayed":        {func(*joined) {}, "0s client told 1001 server shutdown"},
		"a message of the agent's":  {func(s *joined) { s.stream.say(action("a")) }, "3s client told 1001 server shutdown"},
		"a message of the client's": {func(s *joined) { s.client.says <- heartbeat(7) }, "3s client told 1001 server shutdown"},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T) {
				h := open(t, actors.Options{StopTimeout: 3 * time.Second})
				s := h.prepare()
				lease := s.doubt()
				s.serve()
				lease.confirms(silent(nil))
				busy.happens(s)
				h.drained(actors.Drain{})
				s.has(busy.want, "lease released")
				s.hasNot("client got", "heartbeat", "killed")
			})
		})
	}
}

func TestAKilledSessionDoesNotWaitForTheStore(t *testing.T) {
	in(t, func(t *testing.T) {
		h := open(t, actors.Options{})
		s := h.prepare()
		lease := s.doubt()
		s.serve()
		lease.confirms(silent(nil))
		s.client.says <- heartbeat(7)
		s.stream.say(action("a"))
		began := time.Now()
		h.Close()
		s.endsAs(actors.Killed)
		if took := time.Since(began); took > 0 {
			t.Errorf("it took %v", took)
		}
	})
}

// The client's message can't be sent any more: nothing waits for the store on its account.
func TestASessionWhoseAgentHasEndedDoesNotWaitForTheStore(t *testing.T) {
	in(t, func(t *testing.T) {
		s := open(t, actors.Options{}).prepare()
		lease := s.doubt()
		s.serve()
		lease.confirms(silent(nil))
		s.client.says <- heartbeat(7)
		synctest.Wait()
		s.stream.say(io.EOF)
		s.has("0s client told 1000 ")
		s.endsAs(actors.Completed)
	})
}

func TestAPanicWhileALeaseIsConfirmedEndsOneSession(t *testing.T) {
	for name, happens := range map[string]func(*joined){
		"for the client": func(s *joined) { s.client.says <- heartbeat(7) },
		"for the agent":  func(s *joined) { s.stream.say(action("a")) },
		"for a tool":     func(s *joined) { s.stream.say(action("tool")) },
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T) {
				h := open(t, actors.Options{})
				other, s := h.prepare().serve(), h.prepare()
				lease := s.doubt()
				s.tool()
				s.serve()
				lease.confirms(func(context.Context) error { panic("in Lease.Confirm") })
				happens(s)
				s.has("client told 1011 internal error", "lease released", "tool closed")
				if got := s.endsAs(actors.Failed); !errors.As(got.Err, new(*actors.PanicError)) {
					t.Errorf("error %v", got.Err)
				}
				other.stream.say(action("undisturbed"))
				other.has("client got undisturbed")
			})
		})
	}
}

func TestAnAgentsStreamIsOpenedWithTheFencingToken(t *testing.T) {
	in(t, func(t *testing.T) {
		h := open(t, actors.Options{})
		with, without := h.prepare(), h.prepare()
		with.leased()
		with.serve()
		without.serve()
		if with, without := relay.FencingToken(with.stream.ctx), relay.FencingToken(without.stream.ctx); with != 1 || without != 0 {
			t.Errorf("tokens %d with a lease and %d without", with, without)
		}
	})
}

func stopOf(reason string) *dap.ClientEvent {
	return &dap.ClientEvent{Response: &dap.ClientEvent_StopWorkflow{StopWorkflow: &dap.StopWorkflowRequest{Reason: reason}}}
}
