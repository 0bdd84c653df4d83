package actors_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/actors/relay"
	"github.com/lastcall-go/lastcall/proto/dap"
)

// fakeTool runs the actions whose ID begins with "tool".
type fakeTool struct {
	*journal
	openErr error
	takes   time.Duration // what a call takes, if its context lasts as long
	err     error
	nothing bool // neither an answer nor an error
	panics  bool
	closes  time.Duration
	running int
	most    int // calls at a time
}

func (f *fakeTool) Open(_ context.Context, start *dap.StartWorkflowRequest) error {
	f.note("tool opened")
	start.McpTools = append(start.McpTools, &dap.McpTool{Name: "offered"})
	return f.openErr
}

func (f *fakeTool) Takes(a *dap.Action) bool { return strings.HasPrefix(a.GetRequestID(), "tool") }

func (f *fakeTool) Run(ctx context.Context, a *dap.Action) (*dap.ActionResponse, error) {
	f.mu.Lock()
	f.running++
	f.most = max(f.most, f.running)
	f.mu.Unlock()
	pass(f.takes, ctx.Done())
	f.mu.Lock()
	f.running--
	f.mu.Unlock()
	switch {
	case f.panics:
		panic("in Tool.Run")
	case ctx.Err() != nil:
		return nil, fmt.Errorf("call: %w", ctx.Err())
	case f.nothing:
		return nil, nil
	}
	return &dap.ActionResponse{}, f.err
}

func (f *fakeTool) Close(ctx context.Context) error {
	pass(f.closes, ctx.Done())
	f.note("tool closed")
	return ctx.Err()
}

func (s *joined) tool() *fakeTool {
	f := &fakeTool{journal: s.journal}
	s.tools = append(s.tools, f)
	return f
}

func TestAToolRunsTheActionsThatItTakes(t *testing.T) {
	in(t, func(t *testing.T) {
		s := open(t, actors.Options{}).prepare()
		s.leased()
		tool := s.tool()
		tool.takes = time.Second
		s.serve()
		s.stream.say(action("tool 1"))
		s.stream.say(action("question")) // is not held up by the call
		time.Sleep(time.Second)
		synctest.Wait()
		s.stream.say(io.EOF)
		s.saw(
			"0s lease on w1 taken",
			"0s tool opened",
			"0s agent got startRequest",
			"0s client got question",
			"1s agent got tool 1",
			"1s agent ended",
			"1s tool closed",
			"1s lease released",
			"1s client told 1000 ",
			"1s client cut",
		)
	})
}

func TestEachCallIsAnsweredExactlyOnce(t *testing.T) {
	for name, test := range map[string]struct {
		tool fakeTool
		want string
	}{
		"that fails":          {fakeTool{err: errors.New("no such file")}, "0s agent got tool no such file"},
		"that takes too long": {fakeTool{takes: time.Hour}, "1m0s agent got tool timed out"},
		"without an answer":   {fakeTool{nothing: true}, "0s agent got tool the tool gave no answer"},
		"that panics":         {fakeTool{panics: true}, "0s agent got tool internal error"},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T) {
				s := open(t, actors.Options{}).prepare()
				tool := s.tool()
				test.tool.journal = tool.journal
				*tool = test.tool
				s.serve()
				s.stream.say(action("tool"))
				time.Sleep(2 * time.Minute)
				if n := s.count("agent got tool"); n != 1 || s.at(test.want) < 0 {
					t.Errorf("%d answers, want once %q: %q", n, test.want, s.all())
				}
			})
		})
	}
}

func TestAPanicInAToolEndsItsSessionAlone(t *testing.T) {
	in(t, func(t *testing.T) {
		h := open(t, actors.Options{})
		other := h.prepare().serve()
		s := h.prepare()
		s.tool().panics = true
		s.serve()
		s.stream.say(action("tool"))
		synctest.Wait()
		s.saw(
			"0s tool opened",
			"0s agent got startRequest",
			"0s agent got tool internal error", // it is answered, and asked to stop
			"0s agent got stopWorkflow WORKHORSE_WEBSOCKET_PING_FAILED",
			"0s agent ended",
			"0s tool closed",
			"0s client told 1011 internal error",
			"0s client cut",
		)
		got := s.endsAs(actors.Failed)
		if got.Code != 1011 || !errors.As(got.Err, new(*actors.PanicError)) || !strings.Contains(got.Err.Error(), "tools_test.go") {
			t.Errorf("%+v", got)
		}
		other.stream.say(io.EOF)
		other.endsAs(actors.Completed)
	})
}

func TestASessionRunsALimitedNumberOfCallsAtATime(t *testing.T) {
	in(t, func(t *testing.T) {
		s := open(t, actors.Options{}).prepare()
		s.labels.Limits.ToolConcurrency = 3
		tool := s.tool()
		tool.takes = time.Second
		s.serve()
		go func() {
			for i := range 10 {
				s.stream.say(action(fmt.Sprint("tool ", i)))
			}
		}()
		time.Sleep(time.Minute)
		if n := s.count("agent got tool"); n != 10 || tool.most != 3 {
			t.Errorf("%d answers, %d calls at a time", n, tool.most)
		}
	})
}

// An agent left without an answer stalls, so the answer comes before stopWorkflow.
func TestADrainCutsACallAndAnswersIt(t *testing.T) {
	in(t, func(t *testing.T) {
		h := open(t, actors.Options{})
		s := h.prepare()
		s.tool().takes = time.Hour
		s.serve()
		s.stream.say(action("tool"))
		synctest.Wait()
		h.drained(actors.Drain{})
		s.saw(
			"0s tool opened",
			"0s agent got startRequest",
			"0s agent got tool cancelled: the session ends",
			"0s agent got stopWorkflow WORKHORSE_SERVER_SHUTDOWN",
			"0s agent ended",
			"0s tool closed",
			"0s client told 1001 server shutdown",
			"0s client cut",
		)
	})
}

// A tool that hangs costs the lease nothing of its time.
func TestAToolThatDoesNotCloseIsLeftBehindInTime(t *testing.T) {
	in(t, func(t *testing.T) {
		h := open(t, actors.Options{CloseTimeout: 4 * time.Second})
		s := h.prepare()
		s.leased().releases = 500 * time.Millisecond
		s.tool().closes = time.Hour
		s.serve()
		h.drained(actors.Drain{})
		s.saw(
			"0s lease on w1 taken",
			"0s tool opened",
			"0s agent got startRequest",
			"0s agent got stopWorkflow WORKHORSE_SERVER_SHUTDOWN",
			"0s agent ended",
			"1s tool closed",
			"1.5s lease released",
			"1.5s client told 1001 server shutdown",
			"1.5s client cut",
		)
	})
}

func TestAToolThatCannotBeOpenedIsToldAndDoneWithout(t *testing.T) {
	in(t, func(t *testing.T) {
		h := open(t, actors.Options{})
		s := h.prepare()
		s.tool().openErr = errors.New("no such server")
		s.serve()
		told := heard[relay.ToolUnavailable](h)
		if len(told) != 1 || told[0].Session != s.id || told[0].Err.Error() != "no such server" {
			t.Errorf("%+v", told)
		}
		s.stream.say(io.EOF)
		s.endsAs(actors.Completed)
		if s.count("tool closed") != 1 {
			t.Error("the tool was not closed")
		}
	})
}

func TestPrepareMayChangeOrRefuseTheStart(t *testing.T) {
	in(t, func(t *testing.T) {
		h := open(t, actors.Options{})
		changed, refused := h.prepare(), h.prepare()
		changed.leased()
		changed.check = func(start *dap.StartWorkflowRequest) error { start.WorkflowID = "w2"; return nil }
		changed.serve()
		changed.has("lease on w2 taken")
		refused.check = func(*dap.StartWorkflowRequest) error {
			return &actors.Fault{Code: actors.ClosePolicy, Reason: "workflow not allowed"}
		}
		refused.start()
		if got := refused.endsAs(actors.Refused); got.Code != 1008 || got.Reason != "workflow not allowed" || refused.count("agent") != 0 {
			t.Errorf("%+v %q", got, refused.all())
		}
	})
}

// By then somebody else may run the workflow.
func TestAnAgentHasASecondToStopOnceTheLeaseIsLost(t *testing.T) {
	in(t, func(t *testing.T) {
		s := open(t, actors.Options{}).prepare()
		s.agent.ignores = true
		leaser := s.leased()
		s.serve()
		leaser.lost(errors.New("ran out"))
		time.Sleep(time.Minute)
		s.has("1s agent cancelled")
		s.has("1s client told 1013 workflow lease lost")
	})
}

func TestANegativeLimitIsRefused(t *testing.T) {
	for _, options := range []actors.Options{{StopTimeout: -1}, {MaxSessions: -1}} {
		if s, err := actors.NewSupervisor(options); err == nil {
			s.Close()
			t.Errorf("%+v is taken", options)
		}
	}
}

func TestANegativeLimitOfASessionIsRefused(t *testing.T) {
	in(t, func(t *testing.T) {
		h := open(t, actors.Options{})
		for _, limits := range []relay.Limits{{StartTimeout: -1}, {ToolTimeout: -1}, {ToolConcurrency: -1}} {
			ticket, err := h.Admit(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			parts := h.prepare().parts()
			parts.Limits = limits
			if _, err := relay.Start(ticket, parts); err == nil {
				t.Errorf("%+v is taken", limits)
			}
			ticket.Cancel()
		}
	})
}

func TestALostLeaseStopsTheAgentAndTellsTheClient(t *testing.T) {
	in(t, func(t *testing.T) {
		s := open(t, actors.Options{}).prepare()
		leaser := s.leased()
		s.serve()
		leaser.lost(errors.New("somebody else has it"))
		synctest.Wait()
		s.saw(
			"0s lease on w1 taken",
			"0s agent got startRequest",
			"0s agent got stopWorkflow WORKHORSE_WEBSOCKET_PING_FAILED",
			"0s agent ended",
			"0s lease released",
			"0s client told 1013 workflow lease lost",
			"0s client cut",
		)
		if got := s.endsAs(actors.Failed); got.Err == nil {
			t.Error("the reason is not in the event")
		}
	})
}

func TestBadInputIsDroppedAndCounted(t *testing.T) {
	in(t, func(t *testing.T) {
		s := open(t, actors.Options{}).prepare()
		s.serve()
		s.stream.say(action("a"))
		s.stream.say(action("a")) // its ID is in use
		s.client.says <- response("b")
		s.client.says <- response("a")
		s.client.says <- response("a") // has been answered
		synctest.Wait()
		s.stream.say(action("a")) // may be used again
		s.stream.say(io.EOF)
		got := s.endsAs(actors.Completed)
		if got.BadInput[relay.DuplicateRequest] != 1 || got.BadInput[relay.UnknownRequest] != 2 {
			t.Errorf("%v", got.BadInput)
		}
		if s.count("client got a") != 2 || s.count("agent got a") != 1 || s.count("agent got b") != 0 {
			t.Errorf("%q", s.all())
		}
	})
}

func TestAnAgentPastTheBoundsOfItsRequestsIsAtFault(t *testing.T) {
	for name, say := range map[string]func(*joined){
		"too many open": func(s *joined) {
			for i := range 1025 {
				s.stream.say(action(fmt.Sprint(i)))
			}
		},
		"too long an ID": func(s *joined) { s.stream.say(action(strings.Repeat("x", 257))) },
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T) {
				s := open(t, actors.Options{}).prepare()
				s.serve()
				go say(s)
				synctest.Wait()
				if got := s.endsAs(actors.Failed); got.Code != 1011 || !strings.HasPrefix(got.Reason, "agent error") {
					t.Errorf("%+v", got)
				}
			})
		})
	}
}

func TestASecondStartRequestIsRefused(t *testing.T) {
	in(t, func(t *testing.T) {
		s := open(t, actors.Options{}).prepare()
		s.serve()
		s.client.says <- startRequest("w1")
		synctest.Wait()
		if got := s.endsAs(actors.Refused); got.Code != 1008 || got.Reason != "start request sent twice" || got.BadInput[relay.NotAllowed] != 1 {
			t.Errorf("%+v", got)
		}
		s.has("agent got stopWorkflow WORKHORSE_WEBSOCKET_PING_FAILED")
	})
}
