package actors_test

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/actors/actorstest"
	"github.com/lastcall-go/lastcall/actors/relay"
)

func TestASessionRunsFromStartRequestToTheAgentsEnd(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		s := h.Session()
		s.Lease()
		s.Serve()
		s.Stream().Say(actorstest.Action("question"))
		synctest.Wait()
		s.Client.Say(actorstest.Answer("question"))
		synctest.Wait()
		s.Stream().Say(actorstest.Action("result"))
		s.Stream().End(io.EOF)
		s.Saw(
			"0s lease on w1 taken",
			"0s agent got startRequest",
			"0s client got question",
			"0s agent got question",
			"0s client got result",
			"0s agent ended",
			"0s lease released",
			"0s client told 1000 ",
			"0s client cut",
		)
		if got := s.EndsAs(actors.Completed); got.Err != nil || got.Workflow != "w1" || got.Code != 1000 {
			t.Errorf("%+v", got)
		}
	})
}

func TestHowTheAgentGoesIsToldToTheClient(t *testing.T) {
	long := strings.Repeat("ä", 100) // 200 bytes, of which 122 are whole runes that fit
	for name, c := range map[string]struct {
		end     error
		told    string
		outcome actors.Outcome
		logged  bool
	}{
		"in order":           {io.EOF, "1000 ", actors.Completed, false},
		"unavailable":        {relay.AgentUnavailable(errors.New("10.0.0.1: refused")), "1001 agent unavailable", actors.Failed, true},
		"quota":              {&actors.CloseError{Code: 1008, Reason: "usage quota exceeded"}, "1008 usage quota exceeded", actors.Refused, true},
		"close error":        {&actors.CloseError{Code: 1011, Reason: "agent error: INTERNAL"}, "1011 agent error: INTERNAL", actors.Failed, true},
		"invalid input":      {&actors.CloseError{Code: 4400, Reason: "no such goal"}, "4400 no such goal", actors.Refused, true},
		"long reason":        {&actors.CloseError{Code: 4400, Reason: long}, "4400 " + long[:122], actors.Refused, true},
		"reason is no UTF-8": {&actors.CloseError{Code: 4400, Reason: "bad \xff"}, "4400 bad \ufffd", actors.Refused, true},
		"something internal": {errors.New("dial 10.0.0.1: secret"), "1011 internal error", actors.Failed, true},
	} {
		t.Run(name, func(t *testing.T) {
			actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
				s := h.Session().Serve()
				s.Stream().End(c.end)
				s.Saw("0s agent got startRequest", "0s agent ended", "0s client told "+c.told, "0s client cut")
				if got := s.EndsAs(c.outcome); (got.Err != nil) != c.logged {
					t.Errorf("error %v", got.Err)
				}
			})
		})
	}
}

func TestHowTheClientGoesIsWhatTheAgentIsStoppedWith(t *testing.T) {
	for name, c := range map[string]struct {
		end     error
		stop    string
		told    string // "": its connection takes no close frame any more
		outcome actors.Outcome
	}{
		"closed 1000":    {&actors.ClosedError{Code: 1000}, "WORKHORSE_WEBSOCKET_CLOSE_1000", "", actors.ClientGone},
		"closed 1001":    {&actors.ClosedError{Code: 1001}, "WORKHORSE_WEBSOCKET_CLOSE_1001", "", actors.ClientGone},
		"closed no code": {&actors.ClosedError{Code: 1005}, "WORKHORSE_WEBSOCKET_CLOSE_1000", "", actors.ClientGone},
		"closed 4000":    {&actors.ClosedError{Code: 4000}, "WORKHORSE_WEBSOCKET_PING_FAILED", "", actors.ClientGone},
		"lost":           {io.ErrUnexpectedEOF, "WORKHORSE_WEBSOCKET_PING_FAILED", "", actors.ClientGone},
		"silent":         {relay.ErrSilent, "WORKHORSE_WEBSOCKET_PONG_TIMEOUT", "", actors.ClientGone},
		"invalid":        {&actors.CloseError{Code: 1007, Reason: "not JSON"}, "WORKHORSE_WEBSOCKET_PING_FAILED", "1007 not JSON", actors.Failed},
		"too big":        {&actors.CloseError{Code: 1009}, "WORKHORSE_WEBSOCKET_PING_FAILED", "1009 ", actors.Failed},
	} {
		t.Run(name, func(t *testing.T) {
			actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
				s := h.Session()
				s.Lease()
				s.Agent.OnStop.Err = io.EOF
				s.Serve()
				s.Client.End(c.end)
				want := []string{
					"0s lease on w1 taken",
					"0s agent got startRequest",
					"0s agent got stopWorkflow " + c.stop,
					"0s agent ended",
					"0s lease released",
				}
				if c.told != "" {
					want = append(want, "0s client told "+c.told)
				}
				s.Saw(append(want, "0s client cut")...)
				s.EndsAs(c.outcome)
			})
		})
	}
}

func TestAClientThatTakesNoWritesIsGone(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		s := h.Session()
		s.Client.OnSend.Err = errors.New("write: broken pipe")
		s.Serve()
		s.Stream().Say(actorstest.Action("lost"))
		s.Has("agent got stopWorkflow WORKHORSE_WEBSOCKET_PING_FAILED", "agent ended")
		s.HasNot("client told", "agent cancelled")
		s.EndsAs(actors.ClientGone)
	})
}

func TestTheCodeOfAClientThatClosedIsReported(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		s := h.Session().Serve()
		s.Client.End(&actors.ClosedError{Code: 4321, Reason: "bye"})
		if got := s.Stopped(); got.Code != 4321 || got.Reason != "bye" || got.Err != nil || got.Remote != "192.0.2.1:1234" {
			t.Errorf("%+v", got)
		}
	})
}

func TestTheFirstMessageMustBeAStartRequest(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		s := h.Session().Join()
		s.Client.Say(actorstest.Heartbeat(1))
		s.Saw("0s client told 4400 start request expected", "0s client cut")
		s.EndsAs(actors.Refused)
	})
}

func TestAClientThatStartsNothingIsRefusedAtTheStartTimeout(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		s := h.Session().Join()
		time.Sleep(time.Hour)
		s.Saw("2m0s client told 4400 start request expected", "2m0s client cut")
		s.EndsAs(actors.Refused)
	})
}

// A client that has taken its time takes none of the agent's.
func TestAnAgentThatHangsInOpeningIsUnavailable30SecondsAfterTheStartRequest(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		s := h.Session()
		s.Agent.OnOpen.Takes = time.Hour
		s.Join()
		time.Sleep(119 * time.Second)
		s.Client.Say(actorstest.StartRequest("w1"))
		time.Sleep(time.Hour)
		s.Saw("2m29s opening cancelled", "2m29s client told 1001 agent unavailable", "2m29s client cut")
		s.EndsAs(actors.Failed)
	})
}

func TestAnAgentThatOpensInTimeIsServedForGood(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		s := h.Session()
		s.Agent.OnOpen.Takes = 29 * time.Second
		s.Start()
		time.Sleep(time.Hour)
		s.Saw("29s agent got startRequest")
		if !s.Running() {
			t.Error("it has ended")
		}
	})
}

func TestAnAgentThatHangsInOpeningIsUnavailableAtTheOpenTimeout(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		s := h.Session()
		s.Limits.OpenTimeout = 7 * time.Second
		s.Agent.OnOpen.Takes = time.Hour
		s.Lease()
		s.Start()
		time.Sleep(time.Minute)
		s.Saw(
			"0s lease on w1 taken",
			"7s opening cancelled",
			"7s lease released",
			"7s client told 1001 agent unavailable",
			"7s client cut",
		)
		s.EndsAs(actors.Failed)
	})
}

func TestAServedSessionHasNoTimeLimit(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		s := h.Session().Serve()
		time.Sleep(100 * time.Hour)
		s.Saw("0s agent got startRequest")
		if !s.Running() {
			t.Error("it has ended")
		}
	})
}

func TestAnAgentThatCannotBeOpened(t *testing.T) {
	for name, c := range map[string]struct {
		err     error
		told    string
		outcome actors.Outcome
	}{
		"unavailable": {relay.AgentUnavailable(errors.New("refused")), "1001 agent unavailable", actors.Failed},
		"refuses":     {&actors.CloseError{Code: 4400, Reason: "no"}, "4400 no", actors.Refused},
		"internal":    {errors.New("no route"), "1011 internal error", actors.Failed},
	} {
		t.Run(name, func(t *testing.T) {
			actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
				s := h.Session()
				s.Agent.OnOpen.Err = c.err
				s.Lease()
				s.Start()
				s.Saw("0s lease on w1 taken", "0s lease released", "0s client told "+c.told, "0s client cut")
				if got := s.EndsAs(c.outcome); !errors.Is(got.Err, c.err) {
					t.Errorf("error %v", got.Err)
				}
			})
		})
	}
}

func TestWhatTheClientSaysEarlyFollowsTheStartRequest(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		s := h.Session()
		s.Agent.OnOpen.Takes = time.Second
		s.Start()
		s.Client.Say(actorstest.Heartbeat(1))
		s.Client.Say(actorstest.Heartbeat(2))
		time.Sleep(2 * time.Second)
		s.Saw("1s agent got startRequest", "1s agent got heartbeat 1", "1s agent got heartbeat 2")
	})
}

func TestNothingFollowsStopWorkflow(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		s := h.Session()
		s.Agent.OnStop.Hangs = true
		s.Serve()
		h.Send(actorstest.Within(time.Minute))
		s.Client.Say(actorstest.Heartbeat(1))
		s.Client.End(&actors.ClosedError{Code: 1000})
		time.Sleep(5 * time.Second)
		h.Send(actorstest.Within(time.Minute))
		s.Saw("0s agent got startRequest", "0s agent got stopWorkflow WORKHORSE_SERVER_SHUTDOWN")
	})
}

func TestTheAgentsLastWordsReachTheClientBeforeTheCloseFrame(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		s := h.Session()
		s.Lease()
		s.Agent.OnStop.Takes = 2 * time.Second
		s.Agent.LastWords = []string{"checkpoint 7", "checkpoint 8"}
		s.Client.OnSend.Takes = time.Second
		s.Serve()
		h.Drained(actors.Drain{})
		s.Saw(
			"0s lease on w1 taken",
			"0s agent got startRequest",
			"0s agent got stopWorkflow WORKHORSE_SERVER_SHUTDOWN",
			"3s client got checkpoint 7",
			"4s client got checkpoint 8",
			"4s agent ended",
			"4s lease released",
			"4s client told 1001 server shutdown",
			"4s client cut",
		)
		s.EndsAs(actors.Drained)
	})
}

func TestAnAgentThatNeverStopsIsCancelledAtTheStopTimeout(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		s := h.Session()
		s.Lease()
		s.Agent.OnStop.Hangs = true
		s.Serve()
		h.Drained(actors.Drain{})
		s.Has("10s agent cancelled", "10s lease released", "10s client told 1001 server shutdown")
		s.EndsAs(actors.Cancelled)
	})
}

func TestAnAgentThatNeverStopsIsCancelledAlsoWhenItsClientIsGone(t *testing.T) {
	actorstest.Run(t, actors.Options{StopTimeout: 3 * time.Second}, func(t *testing.T, h *actorstest.Supervisor) {
		s := h.Session()
		s.Lease()
		s.Agent.OnStop.Hangs = true
		s.Serve()
		s.Client.End(relay.ErrSilent)
		time.Sleep(time.Minute)
		s.Has("3s agent cancelled", "3s lease released")
		s.HasNot("client told")
		s.EndsAs(actors.Cancelled)
	})
}

// An agent that reads nothing keeps the client's pump in a send, and stopWorkflow behind it.
func TestAnAgentThatReadsNothingIsCancelledAtTheStopTimeout(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		s := h.Session().Serve()
		s.Agent.OnSend.Hangs = true
		s.Client.Say(actorstest.Heartbeat(1))
		synctest.Wait()
		h.Drained(actors.Drain{})
		s.Has("10s agent cancelled", "10s client told 1001 server shutdown")
		s.HasNot("stopWorkflow", "stuck")
		s.EndsAs(actors.Cancelled)
	})
}

func TestAClientThatNeverAnswersIsCutAtTheCloseTimeout(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		s := h.Session()
		s.Client.OnClose.Hangs = true
		s.Serve()
		s.Stream().End(io.EOF)
		time.Sleep(time.Minute)
		s.Saw("0s agent got startRequest", "0s agent ended", "0s client told 1000 ", "5s client cut")
		s.EndsAs(actors.Completed)
	})
}

func TestALeaseHeldElsewhereRefusesTheSession(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		s := h.Session()
		s.Lease().OnAcquire.Err = relay.LeaseHeld(errors.New("by instance 7"))
		s.Start()
		s.Saw("0s client told 1013 workflow is running elsewhere", "0s client cut")
		s.EndsAs(actors.Refused)
	})
}

func TestALeaseThatCannotBeAskedForFailsTheSession(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		s := h.Session()
		down := errors.New("store is down")
		s.Lease().OnAcquire.Err = down
		s.Start()
		s.Saw("0s client told 1011 internal error", "0s client cut")
		if got := s.EndsAs(actors.Failed); !errors.Is(got.Err, down) {
			t.Errorf("error %v", got.Err)
		}
	})
}

func TestAWorkflowWithoutANameIsNotLeased(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		s := h.Session()
		s.Lease()
		s.Join()
		s.Client.Say(actorstest.StartRequest(""))
		s.Saw("0s agent got startRequest")
	})
}

func TestALeaseThatCannotBeReleasedDoesNotKeepTheClientFromBeingTold(t *testing.T) {
	down := errors.New("store is down")
	for name, c := range map[string]struct {
		set  func(*actorstest.Leaser)
		told string
	}{
		"fails": {func(l *actorstest.Leaser) { l.OnRelease.Err = down }, "0s client told 1001 server shutdown"},
		"hangs": {func(l *actorstest.Leaser) { l.OnRelease.Takes, l.OnRelease.Err = time.Hour, down }, "1.25s client told 1001 server shutdown"},
	} {
		t.Run(name, func(t *testing.T) {
			actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
				s := h.Session()
				c.set(s.Lease())
				s.Serve()
				h.Drained(actors.Drain{})
				s.Has(c.told, "lease released")
				if got := s.EndsAs(actors.Drained); !errors.Is(got.Err, down) {
					t.Errorf("error %v", got.Err)
				}
			})
		})
	}
}

func TestALeaseIsReleasedWhenItsOpeningIsCancelled(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		s := h.Session()
		s.Lease()
		s.Agent.OnOpen.Takes = time.Hour
		s.Start()
		time.Sleep(time.Second)
		h.Drained(actors.Drain{})
		s.Saw(
			"0s lease on w1 taken",
			"1s opening cancelled",
			"1s lease released",
			"1s client told 1001 server shutdown",
			"1s client cut",
		)
		s.EndsAs(actors.Drained)
	})
}

// A lease may arrive in the moment in which it is not wanted any more.
func TestALeaseThatIsTakenTooLateIsReleased(t *testing.T) {
	for name, end := range map[string]func(*actorstest.Supervisor, *actorstest.Session){
		"drained":  func(h *actorstest.Supervisor, _ *actorstest.Session) { h.Send(actors.Drain{}) },
		"killed":   func(h *actorstest.Supervisor, _ *actorstest.Session) { h.Send(actors.Drain{Deadline: time.Now()}) },
		"poisoned": func(h *actorstest.Supervisor, s *actorstest.Session) { h.Engine().Poison(s.PID()) },
		"left":     func(_ *actorstest.Supervisor, s *actorstest.Session) { s.Client.End(&actors.ClosedError{Code: 1000}) },
	} {
		t.Run(name, func(t *testing.T) {
			actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
				s := h.Session()
				s.Lease().OnAcquire.Takes = 3 * time.Second
				s.Agent.OnOpen.Takes = time.Second
				s.Start()
				time.Sleep(time.Second)
				end(h, s)
				time.Sleep(time.Minute)
				s.Has("3s lease on w1 taken", "3s opening cancelled", "3s lease released")
				s.HasNot("agent got")
				s.Stopped()
			})
		})
	}
}

// The pump of a client that starts a workflow just then must not wait for a stream for ever.
func TestAPoisonedSessionOpensNoAgent(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		s := h.Session()
		slow := make(chan struct{})
		s.Client.Stubborn = slow
		s.Join()
		h.Engine().Poison(s.PID())
		synctest.Wait()
		s.Client.Say(actorstest.StartRequest("w1"))
		s.Client.Say(actorstest.Heartbeat(1))
		synctest.Wait()
		close(slow)
		s.Saw("0s client cut")
		s.EndsAs(actors.Killed)
	})
}

func TestAKilledSessionReleasesItsLease(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		s := h.Session()
		s.Lease()
		s.Agent.OnStop.Hangs, s.Client.OnClose.Hangs = true, true
		s.Serve()
		if _, _, err := h.TimedDrain(actorstest.Within(0)); err == nil {
			t.Error("nobody was killed")
		}
		s.Has("lease released", "agent cancelled", "client cut")
		s.EndsAs(actors.Killed)
	})
}

// A poisoned session gets no messages any more; what it owns must go all the same.
func TestAPoisonedSessionLetsGoOfEverything(t *testing.T) {
	for name, bring := range map[string]func(s *actorstest.Session){
		"opening": func(s *actorstest.Session) {
			s.Agent.OnOpen.Takes = time.Hour
			s.Start()
			s.Client.Say(actorstest.Heartbeat(1))
		},
		"serving": func(s *actorstest.Session) { s.Serve() },
		"stopping": func(s *actorstest.Session) {
			s.Agent.OnStop.Hangs = true
			s.Serve()
			s.Client.End(relay.ErrSilent)
		},
		"closing": func(s *actorstest.Session) {
			s.Client.OnClose.Hangs = true
			s.Serve().Stream().End(io.EOF)
		},
		"with an Abort that panics": func(s *actorstest.Session) {
			s.Client.OnAbort.Panics = true
			s.Serve()
		},
		"with a Release that panics": func(s *actorstest.Session) {
			s.Leaser.OnRelease.Panics = true
			s.Serve()
		},
	} {
		t.Run(name, func(t *testing.T) {
			actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
				s := h.Session()
				s.Lease()
				bring(s)
				synctest.Wait()
				h.Engine().Poison(s.PID())
				s.Has("lease on w1 taken", "lease released", "client cut")
				s.EndsAs(actors.Killed)
				if other := h.Session().Serve(); !other.Running() {
					t.Error("no other session can be started")
				}
			})
		})
	}
}

func TestAPanicEndsItsSessionAndNoOther(t *testing.T) {
	for name, c := range map[string]struct {
		in      string
		told    string
		outcome actors.Outcome
		cause   func(s *actorstest.Session)
	}{
		"reading from the client": {"Client.Receive", "1011 internal error", actors.Failed, func(s *actorstest.Session) {
			s.Serve()
			s.Client.Panic()
		}},
		"reading the first message": {"Client.Receive", "1011 internal error", actors.Failed, func(s *actorstest.Session) {
			s.Join()
			s.Client.Panic()
		}},
		"reading from the agent": {"Stream.Receive", "1011 internal error", actors.Failed, func(s *actorstest.Session) {
			s.Serve().Stream().Panic()
		}},
		"writing to the client": {"Client.Send", "1011 internal error", actors.Failed, func(s *actorstest.Session) {
			s.Client.OnSend.Panics = true
			s.Serve().Stream().Say(actorstest.Action("a"))
		}},
		"opening the agent": {"Agent.Open", "1011 internal error", actors.Failed, func(s *actorstest.Session) {
			s.Agent.OnOpen.Panics = true
			s.Join()
			s.Client.Say(actorstest.StartRequest("w1"))
			s.Client.Say(actorstest.Heartbeat(1))
		}},
		"releasing the lease": {"Lease.Release", "1011 internal error", actors.Failed, func(s *actorstest.Session) {
			s.Lease().OnRelease.Panics = true
			s.Serve().Stream().End(io.EOF)
		}},
		"telling the client": {"Client.Close", "1000 ", actors.Failed, func(s *actorstest.Session) {
			s.Client.OnClose.Panics = true
			s.Serve().Stream().End(io.EOF)
		}},
		"cutting the client, in Receive": {"Client.Abort", "1000 ", actors.Completed, func(s *actorstest.Session) {
			s.Client.OnAbort.Panics = true
			s.Serve().Stream().End(io.EOF)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
				other, s := h.Session().Serve(), h.Session()
				c.cause(s)
				s.Has("client told "+c.told, "client cut")
				s.HasNot("stopWorkflow")

				stopped := s.EndsAs(c.outcome)
				var err *actors.PanicError
				if !errors.As(stopped.Err, &err) || err.Value != "in "+c.in || !strings.Contains(string(err.Stack), "actorstest/") {
					t.Errorf("error %v", stopped.Err)
				}
				other.Stream().Say(actorstest.Action("undisturbed"))
				other.Saw("0s agent got startRequest", "0s client got undisturbed")
				h.Drained(actors.Drain{})
				other.EndsAs(actors.Drained)
			})
		})
	}
}

// What panics while a session is killed must not cost the lease.
func TestAPanickingAbortKeepsNothingFromBeingReleased(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		s := h.Session()
		s.Lease()
		s.Agent.OnStop.Hangs, s.Client.OnClose.Hangs, s.Client.OnAbort.Panics = true, true, true
		s.Serve()
		h.Close()
		s.Has("lease released", "agent cancelled")
		s.EndsAs(actors.Killed)
	})
}
