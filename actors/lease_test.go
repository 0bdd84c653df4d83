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
	"github.com/lastcall-go/lastcall/proto/dap"
)

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
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		s := h.Session()
		lease, tool := s.Lease(), withTool(s)
		tool.takes = time.Second
		s.Serve()
		s.Stream().Say(actorstest.Action("tool"))
		synctest.Wait() // it is run
		answer := make(chan error)
		lease.Confirms(silent(answer))
		s.Client.Say(actorstest.Heartbeat(7))
		s.Stream().Say(actorstest.Action("a"))
		time.Sleep(time.Second) // the tool's answer
		s.HasNot("heartbeat", "client got", "agent got tool")
		close(answer)
		s.Has("agent got heartbeat 7", "client got a", "agent got tool")
		s.Stream().End(io.EOF)
		s.EndsAs(actors.Completed)
	})
}

// Whichever goroutine finds out: nothing is relayed any more, either way, and the agent's last words
// are not delivered.
func TestALeaseThatIsNotConfirmedEndsTheSession(t *testing.T) {
	for name, happens := range map[string]func(*actorstest.Session){
		"a message of the client's": func(s *actorstest.Session) { s.Client.Say(actorstest.Heartbeat(7)) },
		"a message of the agent's":  func(s *actorstest.Session) { s.Stream().Say(actorstest.Action("a")) },
		"a tool's action":           func(s *actorstest.Session) { s.Stream().Say(actorstest.Action("tool")) },
		"a client's own stop":       func(s *actorstest.Session) { s.Client.Say(stopOf("WORKHORSE_WEBSOCKET_CLOSE_1000")) },
		"messages both ways, all at once": func(s *actorstest.Session) {
			for i := range int64(9) {
				s.Client.Say(actorstest.Heartbeat(i))
			}
			go s.Stream().Say(actorstest.Action("a"))
			go s.Stream().Say(actorstest.Action("tool"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
				s := h.Session()
				lease, tool := s.Lease(), withTool(s)
				s.Agent.LastWords = []string{"last words", "tool of last words"}
				s.Serve()
				lease.Confirms(ranOut)
				happens(s)
				s.Has("agent got stopWorkflow", "agent got stopWorkflow WORKHORSE_WEBSOCKET_PING_FAILED",
					"lease released", "client told 1013 workflow lease lost")
				s.HasNot("client got", "heartbeat", "agent got tool", "CLOSE_1000")
				if tool.most > 0 {
					t.Error("the tool was run")
				}
				if got := s.EndsAs(actors.Failed); !errors.Is(got.Err, errRanOut) {
					t.Errorf("error %v", got.Err)
				}
			})
		})
	}
}

// The store's word counts, whatever Confirm says.
func TestNothingIsRelayedOnceTheLeaseWasLost(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		s := h.Session()
		lease := s.Lease()
		tool := withTool(s)
		tool.takes = time.Second
		s.Agent.LastWords = []string{"last words"}
		s.Agent.OnStop.Takes = 500 * time.Millisecond
		s.Serve()
		s.Stream().Say(actorstest.Action("tool"))
		synctest.Wait() // it is run
		lease.Lose(errRanOut)
		s.Client.Say(actorstest.Heartbeat(7))
		s.Stream().Say(actorstest.Action("a"))
		time.Sleep(time.Minute)
		s.Has("client told 1013 workflow lease lost")
		s.HasNot("client got", "heartbeat", "agent got tool")
		s.EndsAs(actors.Failed)
	})
}

func TestAToolWhoseLeaseIsLostMeanwhileDoesNotAnswer(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		s := h.Session()
		lease, tool := s.Lease(), withTool(s)
		tool.takes = time.Second
		s.Serve()
		s.Stream().Say(actorstest.Action("tool"))
		synctest.Wait() // it is run
		lease.Confirms(ranOut)
		time.Sleep(time.Minute)
		s.Has("1s client told 1013 workflow lease lost")
		s.HasNot("agent got tool")
		s.EndsAs(actors.Failed)
	})
}

func TestAWorkflowIsNotStartedWithoutItsLease(t *testing.T) {
	for name, lose := range map[string]func(*actorstest.Leaser){
		"not confirmed":        func(l *actorstest.Leaser) { l.Confirms(ranOut) },
		"lost while it opened": func(l *actorstest.Leaser) { l.Lose(errRanOut) },
		"not answered in time": func(l *actorstest.Leaser) { l.Confirms(silent(nil)) },
		"lost after that, late": func(l *actorstest.Leaser) {
			l.Confirms(silent(nil))
			time.AfterFunc(5*time.Second, func() { l.Lose(errRanOut) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
				s := h.Session()
				lease := s.Lease()
				s.Agent.OnOpen.Takes = time.Second
				s.Start()
				s.Client.Say(actorstest.Heartbeat(7))
				lose(lease)
				time.Sleep(time.Minute)
				s.HasNot("agent got")
				if name == "not answered in time" {
					s.Has("30s client told 1001 agent unavailable")
					return
				}
				s.Has("lease released", "client told 1013 workflow lease lost")
				if got := s.EndsAs(actors.Failed); !errors.Is(got.Err, errRanOut) {
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
			actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
				with, without := h.Session(), h.Session()
				with.Lease()
				lease := without.Lease()
				with.Serve()
				without.Serve()
				lease.Confirms(ranOut)
				with.Client.End(test.end)
				without.Client.End(test.end)
				with.Has("agent got stopWorkflow " + test.held)
				without.Has("agent got stopWorkflow", "agent got stopWorkflow WORKHORSE_WEBSOCKET_PING_FAILED")
			})
		})
	}
}

// A drain doesn't wait for the store: its stop is one after which the workflow can be resumed.
func TestADrainKeepsItsTimesWhileTheStoreDoesNotAnswer(t *testing.T) {
	for name, busy := range map[string]struct {
		happens func(*actorstest.Session)
		want    string
	}{
		"nothing is relayed":        {func(*actorstest.Session) {}, "0s client told 1001 server shutdown"},
		"a message of the agent's":  {func(s *actorstest.Session) { s.Stream().Say(actorstest.Action("a")) }, "3s client told 1001 server shutdown"},
		"a message of the client's": {func(s *actorstest.Session) { s.Client.Say(actorstest.Heartbeat(7)) }, "3s client told 1001 server shutdown"},
	} {
		t.Run(name, func(t *testing.T) {
			actorstest.Run(t, actors.Options{StopTimeout: 3 * time.Second}, func(t *testing.T, h *actorstest.Supervisor) {
				s := h.Session()
				lease := s.Lease()
				s.Serve()
				lease.Confirms(silent(nil))
				busy.happens(s)
				synctest.Wait()
				h.Drained(actors.Drain{})
				s.Has(busy.want, "lease released")
				s.HasNot("client got", "heartbeat", "killed")
			})
		})
	}
}

func TestAKilledSessionDoesNotWaitForTheStore(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		s := h.Session()
		lease := s.Lease()
		s.Serve()
		lease.Confirms(silent(nil))
		s.Client.Say(actorstest.Heartbeat(7))
		s.Stream().Say(actorstest.Action("a"))
		synctest.Wait()
		began := time.Now()
		h.Close()
		s.EndsAs(actors.Killed)
		if took := time.Since(began); took > 0 {
			t.Errorf("it took %v", took)
		}
	})
}

// The client's message can't be sent any more: nothing waits for the store on its account.
func TestASessionWhoseAgentHasEndedDoesNotWaitForTheStore(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		s := h.Session()
		lease := s.Lease()
		s.Serve()
		lease.Confirms(silent(nil))
		s.Client.Say(actorstest.Heartbeat(7))
		synctest.Wait()
		s.Stream().End(io.EOF)
		s.Has("0s client told 1000 ")
		s.EndsAs(actors.Completed)
	})
}

func TestAPanicWhileALeaseIsConfirmedEndsOneSession(t *testing.T) {
	for name, happens := range map[string]func(*actorstest.Session){
		"for the client": func(s *actorstest.Session) { s.Client.Say(actorstest.Heartbeat(7)) },
		"for the agent":  func(s *actorstest.Session) { s.Stream().Say(actorstest.Action("a")) },
		"for a tool":     func(s *actorstest.Session) { s.Stream().Say(actorstest.Action("tool")) },
	} {
		t.Run(name, func(t *testing.T) {
			actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
				other, s := h.Session().Serve(), h.Session()
				lease := s.Lease()
				withTool(s)
				s.Serve()
				lease.Confirms(func(context.Context) error { panic("in Lease.Confirm") })
				happens(s)
				s.Has("client told 1011 internal error", "lease released", "tool closed")
				if got := s.EndsAs(actors.Failed); !errors.As(got.Err, new(*actors.PanicError)) {
					t.Errorf("error %v", got.Err)
				}
				other.Stream().Say(actorstest.Action("undisturbed"))
				other.Has("client got undisturbed")
			})
		})
	}
}

func TestAnAgentsStreamIsOpenedWithTheFencingToken(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		with, without := h.Session(), h.Session()
		with.Lease()
		with.Serve()
		without.Serve()
		if with, without := relay.FencingToken(with.Stream().Context()), relay.FencingToken(without.Stream().Context()); with != 1 || without != 0 {
			t.Errorf("tokens %d with a lease and %d without", with, without)
		}
	})
}

func stopOf(reason string) *dap.ClientEvent {
	return &dap.ClientEvent{Response: &dap.ClientEvent_StopWorkflow{StopWorkflow: &dap.StopWorkflowRequest{Reason: reason}}}
}
