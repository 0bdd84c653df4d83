package scripted_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"pgregory.net/rapid"

	"github.com/lastcall-go/lastcall/proto/dap"
	"github.com/lastcall-go/lastcall/transport/scripted"
)

func TestEachScenarioIsPlayedToItsEnd(t *testing.T) {
	playsToItsEnd(t, scripted.Options{}, len(scripted.DefaultScenario()))
	playsToItsEnd(t, scripted.Options{Steps: scripted.ToolScenario()}, len(scripted.ToolScenario()))
}

func playsToItsEnd(t *testing.T, options scripted.Options, steps int) {
	t.Helper()
	onStage(t, options, func(t *testing.T, s *stage) {
		actions := s.start("w").ends(codes.OK, "")
		if len(actions) != steps+1 {
			t.Fatalf("%d actions for %d steps and the end", len(actions), steps)
		}
		seen := map[string]bool{}
		for i, action := range actions {
			if id := action.GetRequestID(); id == "" || seen[id] {
				t.Errorf("action %d has no requestID of its own: %q", i, id)
			}
			seen[action.GetRequestID()] = true
			if checkpoint := action.GetNewCheckpoint(); checkpoint != nil {
				wantCheckpoint(t, action, i+1, steps)
			}
		}
	})
}

func wantCheckpoint(t *testing.T, action *dap.Action, number, steps int) {
	t.Helper()
	want, step := scripted.StatusRunning, number
	if number > steps {
		want, step = scripted.StatusFinished, steps
	}
	checkpoint, at := action.GetNewCheckpoint(), positionOf(t, action)
	if checkpoint.GetStatus() != want || checkpoint.GetGoal() != "tidy up" {
		t.Errorf("checkpoint after step %d: %v", number, checkpoint)
	}
	if at.WorkflowID != "w" || at.Step != step || at.Steps != steps || at.Message == "" {
		t.Errorf("checkpoint after step %d says %+v", number, at)
	}
}

func TestTheFirstMessageMustBeAProperStartRequest(t *testing.T) {
	first := map[string]func(*stream){
		"heartbeat":       (*stream).heartbeat,
		"stop":            func(s *stream) { s.stop(shutdown) },
		"an answer":       func(s *stream) { s.answer("1") },
		"nothing is sent": func(s *stream) { s.CloseSend() },
	}
	for name, say := range first {
		t.Run(name, func(t *testing.T) {
			onStage(t, scripted.Options{}, func(t *testing.T, s *stage) {
				opened := s.open()
				say(opened)
				opened.ends(codes.InvalidArgument, "start request expected")
				if len(s.events) != 0 {
					t.Errorf("a refused stream was observed: %v", s.events)
				}
			})
		})
	}
}

func TestAWorkflowIDIsBounded(t *testing.T) {
	onStage(t, scripted.Options{Steps: []scripted.Step{}}, func(t *testing.T, s *stage) {
		wantTold(t, s.start(strings.Repeat("w", 256)).ends(codes.OK, ""), "FINISHED Finished")
		s.start(strings.Repeat("w", 257)).ends(codes.InvalidArgument, "workflow ID over 256 bytes")
	})
}

func TestAnActionWaitsForItsOwnAnswer(t *testing.T) {
	onStage(t, scripted.Options{Steps: small()}, func(t *testing.T, s *stage) {
		stream := s.start("w")
		asked := stream.next()
		arrived := make(chan *dap.Action, 1)
		go func() { arrived <- stream.next() }()

		stream.heartbeat()
		stream.answer("another")
		stream.answer("")
		stream.send(startOf("w"))
		synctest.Wait()
		if n := len(observed[scripted.Received](s)); n != 4 || len(arrived) != 0 {
			t.Errorf("after %d messages that answer nothing the agent sent %d actions", n, len(arrived))
		}
		stream.answer(asked.GetRequestID())
		wantTold(t, []*dap.Action{<-arrived}, "RUNNING one")
		stream.ends(codes.OK, "")
	})
}

func TestAnAnswerWithoutARequestIDEndsNoWait(t *testing.T) {
	onStage(t, scripted.Options{Steps: idle()}, func(t *testing.T, s *stage) {
		stream := s.start("w")
		stream.answer("")
		synctest.Wait()
		if ended := observed[scripted.Ended](s); len(ended) != 0 {
			t.Errorf("the stream ended: %v", ended)
		}
		stream.stop(pingFailed)
		wantTold(t, stream.ends(codes.OK, ""))
	})
}

func TestPaceComesBeforeEachStepAndTheEnd(t *testing.T) {
	onStage(t, scripted.Options{Steps: small(), Pace: 2 * time.Second}, func(t *testing.T, s *stage) {
		began := time.Now()
		s.start("w").ends(codes.OK, "")
		if took := time.Since(began); took != 12*time.Second {
			t.Errorf("five steps and the end took %v", took)
		}
	})
}

func TestAStopCutsAPauseShort(t *testing.T) {
	onStage(t, scripted.Options{Steps: small(), Pace: time.Hour}, func(t *testing.T, s *stage) {
		began := time.Now()
		stream := s.start("w")
		stream.stop("WORKHORSE_WEBSOCKET_CLOSE_1000")
		wantTold(t, stream.ends(codes.OK, ""))
		if took := time.Since(began); took != 0 {
			t.Errorf("the stop took %v", took)
		}
	})
}

func TestTheReasonOfAStopDecidesWhatBecomesOfTheWorkflow(t *testing.T) {
	interrupted := "workflow execution interrupted: " + shutdown
	for reason, want := range map[string]struct {
		words  []string
		code   codes.Code
		status string
		resume int
	}{
		shutdown:                              {[]string{"INTERRUPTED Interrupted: " + shutdown}, codes.Unavailable, interrupted, 2},
		pingFailed:                            {nil, codes.OK, "", 2},
		"WORKHORSE_WEBSOCKET_PONG_TIMEOUT":    {nil, codes.OK, "", 0},
		"WORKHORSE_WEBSOCKET_CLOSE_1000":      {nil, codes.OK, "", 0},
		"":                                    {nil, codes.OK, "", 0},
		"workhorse_server_shutdown":           {nil, codes.OK, "", 0},
		"WORKHORSE_WEBSOCKET_PING_FAILED_NOT": {nil, codes.OK, "", 0},
	} {
		t.Run(reason, func(t *testing.T) {
			onStage(t, scripted.Options{Steps: small()}, func(t *testing.T, s *stage) {
				stream := s.start("w")
				stream.answer(stream.next().GetRequestID())
				stream.tells("RUNNING one", "list b")
				stream.stop(reason)
				wantTold(t, stream.ends(want.code, want.status), want.words...)

				s.start("w").ends(codes.OK, "")
				if got := observed[scripted.Started](s)[1].ResumedFrom; got != want.resume {
					t.Errorf("resumed after step %d, want %d", got, want.resume)
				}
			})
		})
	}
}

func TestAFinishedWorkflowOnlySendsItsLastCheckpointAgain(t *testing.T) {
	onStage(t, scripted.Options{Steps: small()}, func(t *testing.T, s *stage) {
		s.start("w").ends(codes.OK, "")
		wantTold(t, s.start("w").ends(codes.OK, ""), "FINISHED Finished")
	})
}

func TestAWorkflowWithoutAnIDGetsOne(t *testing.T) {
	onStage(t, scripted.Options{Steps: small()}, func(t *testing.T, s *stage) {
		s.start("").ends(codes.OK, "")
		actions := s.start("").ends(codes.OK, "")
		started := observed[scripted.Started](s)
		if started[0].WorkflowID == "" || started[0].WorkflowID == started[1].WorkflowID {
			t.Errorf("the IDs are %q and %q", started[0].WorkflowID, started[1].WorkflowID)
		}
		if got := positionOf(t, actions[len(actions)-1]).WorkflowID; got != started[1].WorkflowID {
			t.Errorf("the client was told %q", got)
		}
	})
}

// However often a workflow is cut off, each stream carries on after the last checkpoint that any
// stream was sent, and asks again for what followed it.
func TestAWorkflowResumesAfterItsLastCheckpoint(t *testing.T) {
	cuts := map[string]func(s *stage, stream *stream){
		"shutdown":   func(_ *stage, stream *stream) { stream.stop(shutdown); stream.rest() },
		"ping":       func(_ *stage, stream *stream) { stream.stop(pingFailed); stream.rest() },
		"half-close": func(_ *stage, stream *stream) { stream.CloseSend(); stream.ends(codes.OK, "") },
		"cancel":     func(_ *stage, stream *stream) { stream.cancel(); stream.ends(codes.Canceled, "context canceled") },
		"restart":    func(s *stage, _ *stream) { s.close(); s.serve() },
	}
	for name, cut := range cuts {
		t.Run(name, func(t *testing.T) {
			onStage(t, scripted.Options{Steps: small()}, func(t *testing.T, s *stage) {
				stream := s.start("w")
				stream.tells("list a")
				cut(s, stream)
				synctest.Wait()

				stream = s.start("w")
				stream.answer(stream.next().GetRequestID())
				stream.tells("RUNNING one", "list b")
				cut(s, stream)
				synctest.Wait()

				wantTold(t, s.start("w").ends(codes.OK, ""), "list b", "RUNNING two", "list c", "FINISHED Finished")
			})
		})
	}
}

func TestAnySeriesOfInterruptionsLosesAndRepeatsNoCheckpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// A bubble's test has no deadline, and panics if rapid asks for it.
		rapid.Check(struct{ rapid.TB }{t}, func(t *rapid.T) {
			steps := rapid.SliceOfN(rapid.SampledFrom([]scripted.Step{list("x"), scripted.Checkpoint("y")}), 1, 8).Draw(t, "steps")
			s := &stage{t: t, agent: scripted.New(scripted.Options{Steps: steps})}
			s.serve()
			defer s.close()
			last := 0
			for range rapid.IntRange(0, 6).Draw(t, "interruptions") {
				last = interruptAfter(t, s, rapid.IntRange(0, 3).Draw(t, "actions"), last)
			}
			if actions := s.start("w").ends(codes.OK, ""); len(actions) != len(steps)-last+1 {
				t.Errorf("%d actions after checkpoint %d of %d steps", len(actions), last, len(steps))
			}
		})
	})
}

// interruptAfter starts the workflow, takes some actions, and stops it. It returns the last
// checkpoint, given the one before.
func interruptAfter(t *rapid.T, s *stage, actions, last int) int {
	stream := s.start("w")
	defer stream.cancel()
	for range actions {
		action, err := stream.Recv()
		if err != nil {
			break
		}
		stream.answer(action.GetRequestID())
		last = advance(t, action, last)
	}
	stream.stop(shutdown)
	remaining, _ := stream.rest()
	for _, action := range remaining {
		last = advance(t, action, last)
	}
	return last
}

func advance(t *rapid.T, action *dap.Action, last int) int {
	checkpoint := action.GetNewCheckpoint()
	if checkpoint == nil {
		return last
	}
	step := positionOf(t, action).Step
	repeats := checkpoint.GetStatus() != scripted.StatusRunning // the last words repeat the last checkpoint
	if step < last || step == last && !repeats {
		t.Errorf("checkpoint %d came after checkpoint %d", step, last)
	}
	return step
}

func TestTheLeastRecentlyUsedWorkflowIsForgotten(t *testing.T) {
	onStage(t, scripted.Options{Steps: []scripted.Step{scripted.Checkpoint("one")}, MaxWorkflows: 2}, func(t *testing.T, s *stage) {
		for _, id := range []string{"a", "b", "a", "c", "a", "b"} {
			s.start(id).ends(codes.OK, "")
		}
		want := []int{0, 0, 1, 0, 1, 0} // c took the place of b
		for i, started := range observed[scripted.Started](s) {
			if started.ResumedFrom != want[i] {
				t.Errorf("start %d, of %s, resumed from %d, want %d", i, started.WorkflowID, started.ResumedFrom, want[i])
			}
		}
	})
}

func TestACheckpointAndAStartAreUses(t *testing.T) {
	steps := []scripted.Step{scripted.Checkpoint("one"), list("a"), scripted.Checkpoint("two"), scripted.Wait()}
	uses := map[string]func(*stage, *stream){
		"checkpoint": func(_ *stage, first *stream) {
			first.answer(first.next().GetRequestID())
			first.tells("RUNNING two")
		},
		"start": func(s *stage, _ *stream) { s.start("a").tells("list a") },
	}
	for name, use := range uses {
		t.Run(name, func(t *testing.T) {
			onStage(t, scripted.Options{Steps: steps, MaxWorkflows: 2}, func(t *testing.T, s *stage) {
				first := s.start("a")
				first.tells("RUNNING one")
				s.start("b").tells("RUNNING one")
				use(s, first)
				s.start("c").tells("RUNNING one")
				wantResumed(t, s, "b", 0)
			})
		})
	}
}

// wantResumed starts the workflow again.
func wantResumed(t *testing.T, s *stage, workflowID string, from int) {
	t.Helper()
	stream := s.start(workflowID)
	defer stream.cancel()
	synctest.Wait()
	started := observed[scripted.Started](s)
	if got := started[len(started)-1]; got.WorkflowID != workflowID || got.ResumedFrom != from {
		t.Errorf("%s resumed after step %d, want %s after %d", got.WorkflowID, got.ResumedFrom, workflowID, from)
	}
}

func TestAStoppedWorkflowLeavesNothingToForget(t *testing.T) {
	onStage(t, scripted.Options{Steps: []scripted.Step{scripted.Checkpoint("one"), scripted.Wait()}, MaxWorkflows: 1}, func(t *testing.T, s *stage) {
		for range 3 {
			stream := s.start("w")
			stream.tells("RUNNING one")
			stream.stop("over")
			stream.ends(codes.OK, "")
		}
		stream := s.start("w")
		stream.tells("RUNNING one")
		stream.stop(pingFailed)
		stream.ends(codes.OK, "")
		wantResumed(t, s, "w", 1)
	})
}

func TestAnObserverSeesOneWorkflowInTwoPlaces(t *testing.T) {
	onStage(t, scripted.Options{Steps: idle()}, func(t *testing.T, s *stage) {
		first, second := s.start("w"), s.start("w")
		synctest.Wait()
		started := observed[scripted.Started](s)
		if len(started) != 2 || len(observed[scripted.Ended](s)) != 0 || started[0].Stream == started[1].Stream {
			t.Errorf("observed %v", s.events)
		}
		first.stop(pingFailed)
		second.stop(pingFailed)
		first.ends(codes.OK, "")
		second.ends(codes.OK, "")
	})
}

func TestAnObserverSeesAllOfAStreamBeforeTheClientSeesItsEnd(t *testing.T) {
	onStage(t, scripted.Options{Steps: idle()}, func(t *testing.T, s *stage) {
		ctx := metadata.AppendToOutgoingContext(context.Background(), "x-request-id", "7")
		raw, err := s.client.ExecuteWorkflow(ctx)
		if err != nil {
			t.Fatal(err)
		}
		stream := &stream{raw, t, func() {}}
		stream.send(startOf("w"))
		stream.heartbeat()
		stream.stop(shutdown)
		stream.ends(codes.Unavailable, "workflow execution interrupted: "+shutdown)

		started := s.events[0].(scripted.Started)
		if started.Request.GetGoal() != "tidy up" || started.Metadata.Get("x-request-id")[0] != "7" {
			t.Errorf("started: %+v", started)
		}
		if beat := s.events[1].(scripted.Received); beat.Event.GetHeartbeat() == nil {
			t.Errorf("no heartbeat: %+v", beat)
		}
		if stop := s.events[2].(scripted.Received); stop.Event.GetStopWorkflow().GetReason() != shutdown {
			t.Errorf("no stop: %+v", stop)
		}
		wantEnded(t, s, codes.Unavailable, false)
	})
}

func TestAnObserverTellsACancelledStreamFromAnAcknowledgedOne(t *testing.T) {
	onStage(t, scripted.Options{Steps: idle()}, func(t *testing.T, s *stage) {
		stream := s.start("w")
		synctest.Wait()
		stream.cancel()
		synctest.Wait()
		wantEnded(t, s, codes.Canceled, true)
	})
}

func wantEnded(t *testing.T, s *stage, code codes.Code, cancelled bool) {
	t.Helper()
	ended := observed[scripted.Ended](s)
	if len(ended) != 1 || ended[0].Status.Code() != code || ended[0].Cancelled != cancelled {
		t.Errorf("ended: %+v, want one with %v, cancelled %v", ended, code, cancelled)
	}
}

func TestTheOtherCallsAreUnimplemented(t *testing.T) {
	onStage(t, scripted.Options{}, func(t *testing.T, s *stage) {
		_, err := s.client.ListTools(t.Context(), &dap.ListToolsRequest{})
		if status.Code(err) != codes.Unimplemented {
			t.Errorf("ListTools: %v", err)
		}
	})
}
