package actors_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/actors/actorstest"
	"github.com/lastcall-go/lastcall/actors/relay"
	"github.com/lastcall-go/lastcall/proto/dap"
)

// fakeTool runs the actions whose ID begins with "tool".
type fakeTool struct {
	*actorstest.Journal
	openErr error
	takes   time.Duration // what a call takes, if its context lasts as long
	err     error
	nothing bool // neither an answer nor an error
	panics  bool
	closes  time.Duration

	mu      sync.Mutex
	running int
	most    int // calls at a time
}

func (f *fakeTool) Open(_ context.Context, start *dap.StartWorkflowRequest) error {
	f.Note("tool opened")
	start.McpTools = append(start.McpTools, &dap.McpTool{Name: "offered"})
	return f.openErr
}

func (f *fakeTool) Takes(a *dap.Action) bool { return strings.HasPrefix(a.GetRequestID(), "tool") }

func (f *fakeTool) Run(ctx context.Context, a *dap.Action) (*dap.ActionResponse, error) {
	f.mu.Lock()
	f.running++
	f.most = max(f.most, f.running)
	f.mu.Unlock()
	pass(f.takes, ctx)
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
	pass(f.closes, ctx)
	f.Note("tool closed")
	return ctx.Err()
}

// pass lets time pass, unless ctx is done before.
func pass(d time.Duration, ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	<-ctx.Done()
}

func withTool(s *actorstest.Session) *fakeTool {
	f := &fakeTool{Journal: s.Journal}
	s.Tools = append(s.Tools, f)
	return f
}

func TestAToolRunsTheActionsThatItTakes(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		s := h.Session()
		s.Lease()
		tool := withTool(s)
		tool.takes = time.Second
		s.Serve()
		s.Stream().Say(actorstest.Action("tool 1"))
		s.Stream().Say(actorstest.Action("question")) // is not held up by the call
		time.Sleep(time.Second)
		synctest.Wait()
		s.Stream().End(io.EOF)
		s.Saw(
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
		tool *fakeTool
		want string
	}{
		"that fails":          {&fakeTool{err: errors.New("no such file")}, "0s agent got tool no such file"},
		"that takes too long": {&fakeTool{takes: time.Hour}, "1m0s agent got tool timed out"},
		"without an answer":   {&fakeTool{nothing: true}, "0s agent got tool the tool gave no answer"},
		"that panics":         {&fakeTool{panics: true}, "0s agent got tool internal error"},
	} {
		t.Run(name, func(t *testing.T) {
			actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
				s := h.Session()
				test.tool.Journal = s.Journal
				s.Tools = []relay.Tool{test.tool}
				s.Serve()
				s.Stream().Say(actorstest.Action("tool"))
				time.Sleep(2 * time.Minute)
				if n := s.Count("agent got tool"); n != 1 || s.Index(test.want) < 0 {
					t.Errorf("%d answers, want once %q: %q", n, test.want, s.Lines())
				}
			})
		})
	}
}

func TestAPanicInAToolEndsItsSessionAlone(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		other := h.Session().Serve()
		s := h.Session()
		withTool(s).panics = true
		s.Serve()
		s.Stream().Say(actorstest.Action("tool"))
		synctest.Wait()
		s.Saw(
			"0s tool opened",
			"0s agent got startRequest",
			"0s agent got tool internal error", // it is answered, and asked to stop
			"0s agent got stopWorkflow WORKHORSE_WEBSOCKET_PING_FAILED",
			"0s agent ended",
			"0s tool closed",
			"0s client told 1011 internal error",
			"0s client cut",
		)
		got := s.EndsAs(actors.Failed)
		if got.Code != 1011 || !errors.As(got.Err, new(*actors.PanicError)) || !strings.Contains(got.Err.Error(), "tools_test.go") {
			t.Errorf("%+v", got)
		}
		other.Stream().End(io.EOF)
		other.EndsAs(actors.Completed)
	})
}

func TestASessionRunsALimitedNumberOfCallsAtATime(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		s := h.Session()
		s.Limits.ToolConcurrency = 3
		tool := withTool(s)
		tool.takes = time.Second
		s.Serve()
		go func() {
			for i := range 10 {
				s.Stream().Say(actorstest.Action(fmt.Sprint("tool ", i)))
			}
		}()
		time.Sleep(time.Minute)
		if n := s.Count("agent got tool"); n != 10 || tool.most != 3 {
			t.Errorf("%d answers, %d calls at a time", n, tool.most)
		}
	})
}

// An agent left without an answer stalls, so the answer comes before stopWorkflow.
func TestADrainCutsACallAndAnswersIt(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		s := h.Session()
		withTool(s).takes = time.Hour
		s.Serve()
		s.Stream().Say(actorstest.Action("tool"))
		synctest.Wait()
		h.Drained(actors.Drain{})
		s.Saw(
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
	actorstest.Run(t, actors.Options{CloseTimeout: 4 * time.Second}, func(t *testing.T, h *actorstest.Supervisor) {
		s := h.Session()
		s.Lease().OnRelease.Takes = 500 * time.Millisecond
		withTool(s).closes = time.Hour
		s.Serve()
		h.Drained(actors.Drain{})
		s.Saw(
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
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		s := h.Session()
		withTool(s).openErr = errors.New("no such server")
		s.Serve()
		told := actorstest.Heard[relay.ToolUnavailable](h)
		if len(told) != 1 || told[0].Session != s.ID || told[0].Err.Error() != "no such server" {
			t.Errorf("%+v", told)
		}
		s.Stream().End(io.EOF)
		s.EndsAs(actors.Completed)
		if s.Count("tool closed") != 1 {
			t.Error("the tool was not closed")
		}
	})
}

func TestPrepareMayChangeOrRefuseTheStart(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		changed, refused := h.Session(), h.Session()
		changed.Lease()
		changed.Prepare = func(start *dap.StartWorkflowRequest) error { start.WorkflowID = "w2"; return nil }
		changed.Serve()
		changed.Has("lease on w2 taken")
		refused.Prepare = func(*dap.StartWorkflowRequest) error {
			return &actors.CloseError{Code: actors.CloseForbidden, Reason: "workflow not allowed"}
		}
		refused.Start()
		if got := refused.EndsAs(actors.Refused); got.Code != 3003 || got.Reason != "workflow not allowed" || refused.Count("agent") != 0 {
			t.Errorf("%+v %q", got, refused.Lines())
		}
	})
}

// By then another session may run the workflow.
func TestAnAgentHasASecondToStopOnceTheLeaseIsLost(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		s := h.Session()
		s.Agent.OnStop.Hangs = true
		leaser := s.Lease()
		s.Serve()
		leaser.Lose(errors.New("ran out"))
		time.Sleep(time.Minute)
		s.Has("1s agent cancelled")
		s.Has("1s client told 1013 workflow lease lost")
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
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		for _, limits := range []relay.Limits{{StartTimeout: -1}, {OpenTimeout: -1}, {ToolTimeout: -1}, {ToolConcurrency: -1}} {
			ticket, err := h.Admit(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			parts := h.Session().Parts()
			parts.Limits = limits
			if _, err := relay.Start(ticket, parts); err == nil {
				t.Errorf("%+v is taken", limits)
			}
			ticket.Cancel()
		}
	})
}

func TestALostLeaseStopsTheAgentAndTellsTheClient(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		s := h.Session()
		leaser := s.Lease()
		s.Serve()
		leaser.Lose(errors.New("somebody else has it"))
		synctest.Wait()
		s.Saw(
			"0s lease on w1 taken",
			"0s agent got startRequest",
			"0s agent got stopWorkflow WORKHORSE_WEBSOCKET_PING_FAILED",
			"0s agent ended",
			"0s lease released",
			"0s client told 1013 workflow lease lost",
			"0s client cut",
		)
		if got := s.EndsAs(actors.Failed); got.Err == nil {
			t.Error("the reason is not in the event")
		}
	})
}

func TestBadInputIsDroppedAndCounted(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		s := h.Session()
		s.Serve()
		s.Stream().Say(actorstest.Action("a"))
		s.Stream().Say(actorstest.Action("a")) // its ID is in use
		s.Client.Say(actorstest.Answer("b"))
		s.Client.Say(actorstest.Answer("a"))
		s.Client.Say(actorstest.Answer("a")) // has been answered
		synctest.Wait()
		s.Stream().Say(actorstest.Action("a")) // may be used again
		s.Stream().End(io.EOF)
		got := s.EndsAs(actors.Completed)
		if got.BadInput[relay.DuplicateRequest] != 1 || got.BadInput[relay.UnknownRequest] != 2 {
			t.Errorf("%v", got.BadInput)
		}
		if s.Count("client got a") != 2 || s.Count("agent got a") != 1 || s.Count("agent got b") != 0 {
			t.Errorf("%q", s.Lines())
		}
	})
}

// newer is an action of a contract that has more fields than this one.
func newer(id string, fields ...protowire.Number) *dap.Action {
	a := actorstest.Action(id)
	var unknown []byte
	for _, field := range fields {
		unknown = protowire.AppendBytes(protowire.AppendTag(unknown, field, protowire.BytesType), []byte("what to do"))
	}
	a.ProtoReflect().SetUnknown(unknown)
	return a
}

// A client could not answer it: its JSON would be a requestID and nothing else.
func TestAnActionNewerThanTheContractIsAnsweredWithAnError(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		s := h.Session()
		s.Serve()
		s.Stream().Say(newer("a", 98, 99, 98))
		s.Stream().Say(newer("b", 97))
		s.Stream().Say(newer("", 97)) // no call waits for an answer
		known := newer("c", 99)       // more of an action that is known
		known.Action = &dap.Action_Mkdir{Mkdir: &dap.Mkdir{}}
		s.Stream().Say(known)
		s.Stream().Say(actorstest.Action("d"))
		synctest.Wait()
		s.Stream().End(io.EOF)
		const text = "this gateway does not know the action: its contract has no field "
		s.Saw(
			"0s agent got startRequest",
			"0s agent got a "+text+"[98 99]",
			"0s agent got b "+text+"[97]",
			"0s client got c",
			"0s client got d",
			"0s agent ended",
			"0s client told 1000 ",
			"0s client cut",
		)
		if got := s.EndsAs(actors.Completed); got.BadInput[relay.UnknownAction] != 3 {
			t.Errorf("bad input %v", got.BadInput)
		}
		if told := actorstest.Heard[relay.ActionUnknown](h); len(told) != 1 || told[0].Session != s.ID || told[0].Workflow != "w1" || !slices.Equal(told[0].Fields, []int{98, 99}) {
			t.Errorf("told of %+v", told)
		}
	})
}

func TestAnAgentPastTheBoundsOfItsRequestsIsAtFault(t *testing.T) {
	for name, say := range map[string]func(*actorstest.Session){
		"too many open": func(s *actorstest.Session) {
			for i := range 1025 {
				s.Stream().Say(actorstest.Action(fmt.Sprint(i)))
			}
		},
		"too long an ID": func(s *actorstest.Session) { s.Stream().Say(actorstest.Action(strings.Repeat("x", 257))) },
	} {
		t.Run(name, func(t *testing.T) {
			actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
				s := h.Session()
				s.Serve()
				go say(s)
				synctest.Wait()
				if got := s.EndsAs(actors.Failed); got.Code != 1011 || !strings.HasPrefix(got.Reason, "agent error") {
					t.Errorf("%+v", got)
				}
			})
		})
	}
}

func TestASecondStartRequestIsRefused(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		s := h.Session()
		s.Serve()
		s.Client.Say(actorstest.StartRequest("w1"))
		synctest.Wait()
		if got := s.EndsAs(actors.Refused); got.Code != 4400 || got.Reason != "start request sent twice" || got.BadInput[relay.NotAllowed] != 1 {
			t.Errorf("%+v", got)
		}
		s.Has("agent got stopWorkflow WORKHORSE_WEBSOCKET_PING_FAILED")
	})
}
