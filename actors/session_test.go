package actors_test

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/actors/relay"
)

func TestASessionRunsFromStartRequestToTheAgentsEnd(t *testing.T) {
	in(t, func(t *testing.T) {
		s := open(t, actors.Options{}).prepare()
		s.leased()
		s.serve()
		s.stream.say(action("question"))
		synctest.Wait()
		s.client.says <- response("question")
		synctest.Wait()
		s.stream.say(action("result"))
		s.stream.say(io.EOF)
		s.saw(
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
		if got := s.endsAs(actors.Completed); got.Err != nil || got.Workflow != "w1" || got.Code != 1000 {
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
		"quota":              {&actors.Fault{Code: 1008, Reason: "usage quota exceeded"}, "1008 usage quota exceeded", actors.Refused, true},
		"fault":              {&actors.Fault{Code: 1011, Reason: "agent error: INTERNAL"}, "1011 agent error: INTERNAL", actors.Failed, true},
		"invalid input":      {&actors.Fault{Code: 4400, Reason: "no such goal"}, "4400 no such goal", actors.Refused, true},
		"long reason":        {&actors.Fault{Code: 4400, Reason: long}, "4400 " + long[:122], actors.Refused, true},
		"reason is no UTF-8": {&actors.Fault{Code: 4400, Reason: "bad \xff"}, "4400 bad \ufffd", actors.Refused, true},
		"something internal": {errors.New("dial 10.0.0.1: secret"), "1011 internal error", actors.Failed, true},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T) {
				s := open(t, actors.Options{}).prepare().serve()
				s.stream.say(c.end)
				s.saw("0s agent got startRequest", "0s agent ended", "0s client told "+c.told, "0s client cut")
				if got := s.endsAs(c.outcome); (got.Err != nil) != c.logged {
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
		"faulty":         {&actors.Fault{Code: 1007, Reason: "not JSON"}, "WORKHORSE_WEBSOCKET_PING_FAILED", "1007 not JSON", actors.Failed},
		"too big":        {&actors.Fault{Code: 1009}, "WORKHORSE_WEBSOCKET_PING_FAILED", "1009 ", actors.Failed},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T) {
				s := open(t, actors.Options{}).prepare()
				s.leased()
				s.agent.stopErr = io.EOF
				s.serve()
				s.client.says <- c.end
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
				s.saw(append(want, "0s client cut")...)
				s.endsAs(c.outcome)
			})
		})
	}
}

func TestAClientThatTakesNoWritesIsGone(t *testing.T) {
	in(t, func(t *testing.T) {
		s := open(t, actors.Options{}).prepare()
		s.client.failing = true
		s.serve()
		s.stream.say(action("lost"))
		s.has("agent got stopWorkflow WORKHORSE_WEBSOCKET_PING_FAILED", "agent ended")
		s.hasNot("client told", "agent cancelled")
		s.endsAs(actors.ClientGone)
	})
}

func TestTheCodeOfAClientThatClosedIsReported(t *testing.T) {
	in(t, func(t *testing.T) {
		s := open(t, actors.Options{}).prepare().serve()
		s.client.says <- &actors.ClosedError{Code: 4321, Reason: "bye"}
		if got := s.stopped(); got.Code != 4321 || got.Reason != "bye" || got.Err != nil || got.Remote != "192.0.2.1:1234" {
			t.Errorf("%+v", got)
		}
	})
}

func TestTheFirstMessageMustBeAStartRequest(t *testing.T) {
	in(t, func(t *testing.T) {
		s := open(t, actors.Options{}).prepare().join()
		s.client.says <- heartbeat(1)
		s.saw("0s client told 1008 start request expected", "0s client cut")
		s.endsAs(actors.Refused)
	})
}

func TestAClientThatStartsNothingIsRefusedAtTheStartTimeout(t *testing.T) {
	in(t, func(t *testing.T) {
		s := open(t, actors.Options{}).prepare().join()
		time.Sleep(time.Minute)
		s.saw("30s client told 1008 start request expected", "30s client cut")
		s.endsAs(actors.Refused)
	})
}

func TestAnAgentThatHangsInOpeningIsUnavailableAtTheStartTimeout(t *testing.T) {
	in(t, func(t *testing.T) {
		s := open(t, actors.Options{}).prepare()
		s.labels.Limits.StartTimeout = 7 * time.Second
		s.agent.opens = time.Hour
		s.leased()
		s.start()
		time.Sleep(time.Minute)
		s.saw(
			"0s lease on w1 taken",
			"7s opening cancelled",
			"7s lease released",
			"7s client told 1001 agent unavailable",
			"7s client cut",
		)
		s.endsAs(actors.Failed)
	})
}

func TestAServedSessionHasNoTimeLimit(t *testing.T) {
	in(t, func(t *testing.T) {
		s := open(t, actors.Options{}).prepare().serve()
		time.Sleep(100 * time.Hour)
		s.saw("0s agent got startRequest")
		if !s.running() {
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
		"refuses":     {&actors.Fault{Code: 4400, Reason: "no"}, "4400 no", actors.Refused},
		"internal":    {errors.New("no route"), "1011 internal error", actors.Failed},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T) {
				s := open(t, actors.Options{}).prepare()
				s.agent.openErr = c.err
				s.leased()
				s.start()
				s.saw("0s lease on w1 taken", "0s lease released", "0s client told "+c.told, "0s client cut")
				if got := s.endsAs(c.outcome); !errors.Is(got.Err, c.err) {
					t.Errorf("error %v", got.Err)
				}
			})
		})
	}
}

func TestWhatTheClientSaysEarlyFollowsTheStartRequest(t *testing.T) {
	in(t, func(t *testing.T) {
		s := open(t, actors.Options{}).prepare()
		s.agent.opens = time.Second
		s.start()
		s.client.says <- heartbeat(1)
		s.client.says <- heartbeat(2)
		time.Sleep(2 * time.Second)
		s.saw("1s agent got startRequest", "1s agent got heartbeat 1", "1s agent got heartbeat 2")
	})
}

func TestNothingFollowsStopWorkflow(t *testing.T) {
	in(t, func(t *testing.T) {
		h := open(t, actors.Options{})
		s := h.prepare()
		s.agent.ignores = true
		s.serve()
		h.send(within(time.Minute))
		s.client.says <- heartbeat(1)
		s.client.says <- &actors.ClosedError{Code: 1000}
		time.Sleep(5 * time.Second)
		h.send(within(time.Minute))
		s.saw("0s agent got startRequest", "0s agent got stopWorkflow WORKHORSE_SERVER_SHUTDOWN")
	})
}

func TestTheAgentsLastWordsReachTheClientBeforeTheCloseFrame(t *testing.T) {
	in(t, func(t *testing.T) {
		h := open(t, actors.Options{})
		s := h.prepare()
		s.leased()
		s.agent.stopping = 2 * time.Second
		s.agent.lastWords = []string{"checkpoint 7", "checkpoint 8"}
		s.client.reads = time.Second
		s.serve()
		h.drained(actors.Drain{})
		s.saw(
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
		s.endsAs(actors.Drained)
	})
}

func TestAnAgentThatNeverStopsIsCancelledAtTheStopTimeout(t *testing.T) {
	in(t, func(t *testing.T) {
		h := open(t, actors.Options{})
		s := h.prepare()
		s.leased()
		s.agent.ignores = true
		s.serve()
		h.drained(actors.Drain{})
		s.has("10s agent cancelled", "10s lease released", "10s client told 1001 server shutdown")
		s.endsAs(actors.Cancelled)
	})
}

func TestAnAgentThatNeverStopsIsCancelledAlsoWhenItsClientIsGone(t *testing.T) {
	in(t, func(t *testing.T) {
		s := open(t, actors.Options{StopTimeout: 3 * time.Second}).prepare()
		s.leased()
		s.agent.ignores = true
		s.serve()
		s.client.says <- relay.ErrSilent
		time.Sleep(time.Minute)
		s.has("3s agent cancelled", "3s lease released")
		s.hasNot("client told")
		s.endsAs(actors.Cancelled)
	})
}

// An agent that reads nothing keeps the client's pump in a send, and stopWorkflow behind it.
func TestAnAgentThatReadsNothingIsCancelledAtTheStopTimeout(t *testing.T) {
	in(t, func(t *testing.T) {
		h := open(t, actors.Options{})
		s := h.prepare().serve()
		s.agent.deaf = true
		s.client.says <- heartbeat(1)
		synctest.Wait()
		h.drained(actors.Drain{})
		s.has("10s agent cancelled", "10s client told 1001 server shutdown")
		s.hasNot("stopWorkflow", "stuck")
		s.endsAs(actors.Cancelled)
	})
}

func TestAClientThatNeverAnswersIsCutAtTheCloseTimeout(t *testing.T) {
	in(t, func(t *testing.T) {
		s := open(t, actors.Options{}).prepare()
		s.client.mute = true
		s.serve()
		s.stream.say(io.EOF)
		time.Sleep(time.Minute)
		s.saw("0s agent got startRequest", "0s agent ended", "0s client told 1000 ", "5s client cut")
		s.endsAs(actors.Completed)
	})
}

func TestALeaseHeldElsewhereRefusesTheSession(t *testing.T) {
	in(t, func(t *testing.T) {
		s := open(t, actors.Options{}).prepare()
		s.leased().acquireErr = relay.LeaseHeld(errors.New("by instance 7"))
		s.start()
		s.saw("0s client told 1013 workflow is running elsewhere", "0s client cut")
		s.endsAs(actors.Refused)
	})
}

func TestALeaseThatCannotBeAskedForFailsTheSession(t *testing.T) {
	in(t, func(t *testing.T) {
		s := open(t, actors.Options{}).prepare()
		down := errors.New("store is down")
		s.leased().acquireErr = down
		s.start()
		s.saw("0s client told 1011 internal error", "0s client cut")
		if got := s.endsAs(actors.Failed); !errors.Is(got.Err, down) {
			t.Errorf("error %v", got.Err)
		}
	})
}

func TestAWorkflowWithoutANameIsNotLeased(t *testing.T) {
	in(t, func(t *testing.T) {
		s := open(t, actors.Options{}).prepare()
		s.leased()
		s.join()
		s.client.says <- startRequest("")
		s.saw("0s agent got startRequest")
	})
}

func TestALeaseThatCannotBeReleasedDoesNotKeepTheClientFromBeingTold(t *testing.T) {
	down := errors.New("store is down")
	for name, c := range map[string]struct {
		set  func(*fakeLeaser)
		told string
	}{
		"fails": {func(l *fakeLeaser) { l.releaseErr = down }, "0s client told 1001 server shutdown"},
		"hangs": {func(l *fakeLeaser) { l.releases, l.releaseErr = time.Hour, down }, "1.25s client told 1001 server shutdown"},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T) {
				h := open(t, actors.Options{})
				s := h.prepare()
				c.set(s.leased())
				s.serve()
				h.drained(actors.Drain{})
				s.has(c.told, "lease released")
				if got := s.endsAs(actors.Drained); !errors.Is(got.Err, down) {
					t.Errorf("error %v", got.Err)
				}
			})
		})
	}
}

func TestALeaseIsReleasedWhenItsOpeningIsCancelled(t *testing.T) {
	in(t, func(t *testing.T) {
		h := open(t, actors.Options{})
		s := h.prepare()
		s.leased()
		s.agent.opens = time.Hour
		s.start()
		time.Sleep(time.Second)
		h.drained(actors.Drain{})
		s.saw(
			"0s lease on w1 taken",
			"1s opening cancelled",
			"1s lease released",
			"1s client told 1001 server shutdown",
			"1s client cut",
		)
		s.endsAs(actors.Drained)
	})
}

// A lease may come in the moment in which nobody wants it any more.
func TestALeaseThatIsTakenTooLateIsReleased(t *testing.T) {
	for name, end := range map[string]func(*joined){
		"drained":  func(s *joined) { s.house.send(actors.Drain{}) },
		"killed":   func(s *joined) { s.house.send(actors.Drain{Deadline: time.Now()}) },
		"poisoned": func(s *joined) { s.house.Engine().Poison(s.pid()) },
		"left":     func(s *joined) { s.client.says <- &actors.ClosedError{Code: 1000} },
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T) {
				s := open(t, actors.Options{}).prepare()
				s.leased().acquires = 3 * time.Second
				s.agent.opens = time.Second
				s.start()
				time.Sleep(time.Second)
				end(s)
				time.Sleep(time.Minute)
				s.has("3s lease on w1 taken", "3s opening cancelled", "3s lease released")
				s.hasNot("agent got")
				s.stopped()
			})
		})
	}
}

// The pump of a client that starts a workflow just then must not wait for a stream for ever.
func TestAPoisonedSessionOpensNoAgent(t *testing.T) {
	in(t, func(t *testing.T) {
		h := open(t, actors.Options{})
		s := h.prepare()
		slow := make(chan struct{})
		s.client.stubborn = slow
		s.join()
		h.Engine().Poison(s.pid())
		synctest.Wait()
		s.client.says <- startRequest("w1")
		s.client.says <- heartbeat(1)
		synctest.Wait()
		close(slow)
		s.saw("0s client cut")
		s.endsAs(actors.Killed)
	})
}

func TestAKilledSessionReleasesItsLease(t *testing.T) {
	in(t, func(t *testing.T) {
		h := open(t, actors.Options{})
		s := h.prepare()
		s.leased()
		s.agent.ignores, s.client.mute = true, true
		s.serve()
		if _, _, err := h.drain(within(0)); err == nil {
			t.Error("nobody was killed")
		}
		s.has("lease released", "agent cancelled", "client cut")
		s.endsAs(actors.Killed)
	})
}

// A poisoned session is told by nobody what to do any more; what it owns must go all the same.
func TestAPoisonedSessionLetsGoOfEverything(t *testing.T) {
	for name, bring := range map[string]func(s *joined){
		"opening": func(s *joined) {
			s.agent.opens = time.Hour
			s.start()
			s.client.says <- heartbeat(1)
		},
		"serving": func(s *joined) { s.serve() },
		"stopping": func(s *joined) {
			s.agent.ignores = true
			s.serve()
			s.client.says <- relay.ErrSilent
		},
		"closing": func(s *joined) {
			s.client.mute = true
			s.serve().stream.say(io.EOF)
		},
		"with an Abort that panics": func(s *joined) {
			s.client.panicIn = "Abort"
			s.serve()
		},
		"with a Release that panics": func(s *joined) {
			s.leaser.panics = true
			s.serve()
		},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T) {
				h := open(t, actors.Options{})
				s := h.prepare()
				s.leased()
				bring(s)
				synctest.Wait()
				h.Engine().Poison(s.pid())
				s.has("lease on w1 taken", "lease released", "client cut")
				s.endsAs(actors.Killed)
				if other := h.prepare().serve(); !other.running() {
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
		cause   func(s *joined)
	}{
		"reading from the client": {"Client.Receive", "1011 internal error", actors.Failed, func(s *joined) {
			s.serve()
			s.client.says <- boom{}
		}},
		"reading the first message": {"Client.Receive", "1011 internal error", actors.Failed, func(s *joined) {
			s.join()
			s.client.says <- boom{}
		}},
		"reading from the agent": {"Stream.Receive", "1011 internal error", actors.Failed, func(s *joined) {
			s.serve().stream.say(boom{})
		}},
		"writing to the client": {"Client.Send", "1011 internal error", actors.Failed, func(s *joined) {
			s.client.panicIn = "Send"
			s.serve().stream.say(action("a"))
		}},
		"opening the agent": {"Agent.Open", "1011 internal error", actors.Failed, func(s *joined) {
			s.agent.openPanic = true
			s.join()
			s.client.says <- startRequest("w1")
			s.client.says <- heartbeat(1)
		}},
		"releasing the lease": {"Lease.Release", "1011 internal error", actors.Failed, func(s *joined) {
			s.leased().panics = true
			s.serve().stream.say(io.EOF)
		}},
		"telling the client": {"Client.Close", "1000 ", actors.Completed, func(s *joined) {
			s.client.panicIn = "Close"
			s.serve().stream.say(io.EOF)
		}},
		"cutting the client, in Receive": {"Client.Abort", "1000 ", actors.Completed, func(s *joined) {
			s.client.panicIn = "Abort"
			s.serve().stream.say(io.EOF)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T) {
				h := open(t, actors.Options{})
				other, s := h.prepare().serve(), h.prepare()
				c.cause(s)
				s.has("client told "+c.told, "client cut")
				s.hasNot("stopWorkflow")

				stopped := s.endsAs(c.outcome)
				var err *actors.PanicError
				if !errors.As(stopped.Err, &err) || err.Value != "in "+c.in || !strings.Contains(string(err.Stack), "fake_test.go") {
					t.Errorf("error %v", stopped.Err)
				}
				other.stream.say(action("undisturbed"))
				other.saw("0s agent got startRequest", "0s client got undisturbed")
				h.drained(actors.Drain{})
				other.endsAs(actors.Drained)
			})
		})
	}
}

// What panics while a session is killed must not cost the lease.
func TestAPanickingAbortKeepsNothingFromBeingReleased(t *testing.T) {
	in(t, func(t *testing.T) {
		h := open(t, actors.Options{})
		s := h.prepare()
		s.leased()
		s.agent.ignores, s.client.mute, s.client.panicIn = true, true, "Abort"
		s.serve()
		h.Close()
		s.has("lease released", "agent cancelled")
		s.endsAs(actors.Killed)
	})
}
