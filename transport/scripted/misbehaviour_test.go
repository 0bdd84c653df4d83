package scripted_test

import (
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/lastcall-go/lastcall/transport/scripted"
)

// bad is an idle agent that misbehaves in the workflow "bad".
func bad(how scripted.Misbehaviour) scripted.Options {
	return scripted.Options{Steps: idle(), Misbehave: func(workflowID string) scripted.Misbehaviour {
		if workflowID == "bad" {
			return how
		}
		return scripted.Misbehaviour{}
	}}
}

func TestMisbehaviourIsChosenByWorkflow(t *testing.T) {
	options := bad(scripted.Misbehaviour{BreakOff: status.New(codes.DataLoss, "oh")})
	onStage(t, options, func(t *testing.T, s *stage) {
		s.start("bad").ends(codes.DataLoss, "oh")
		good := s.start("good")
		good.stop(pingFailed)
		good.ends(codes.OK, "")
	})
}

func TestNeverAcknowledgeEndsOnlyWithTheStream(t *testing.T) {
	onStage(t, bad(scripted.Misbehaviour{NeverAcknowledge: true}), func(t *testing.T, s *stage) {
		stream := s.start("bad")
		stream.stop("over")
		stream.stop("over and out")
		stream.CloseSend()
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if n := len(observed[scripted.Received](s)); n != 2 {
			t.Errorf("%d messages were observed, want both stops", n)
		}
		if ended := observed[scripted.Ended](s); len(ended) != 0 {
			t.Errorf("the stream ended: %v", ended)
		}
		stream.cancel()
		synctest.Wait()
		wantEnded(t, s, codes.Canceled, true)
	})
}

func TestAcknowledgeAfterEndsLate(t *testing.T) {
	onStage(t, bad(scripted.Misbehaviour{AcknowledgeAfter: 7 * time.Second}), func(t *testing.T, s *stage) {
		began := time.Now()
		stream := s.start("bad")
		stream.stop(shutdown)
		stream.stop("over")
		stream.CloseSend()
		stream.ends(codes.Unavailable, "workflow execution interrupted: "+shutdown)
		if took := time.Since(began); took != 7*time.Second {
			t.Errorf("the acknowledgement took %v", took)
		}
	})
}

func TestSendAfterStopComesBeforeTheLastWords(t *testing.T) {
	onStage(t, bad(scripted.Misbehaviour{SendAfterStop: 2}), func(t *testing.T, s *stage) {
		stream := s.start("bad")
		stream.stop(shutdown)
		actions := stream.ends(codes.Unavailable, "workflow execution interrupted: "+shutdown)
		wantTold(t, actions, "RUNNING One more thing", "RUNNING One more thing", "INTERRUPTED Interrupted: "+shutdown)
	})
}

func TestAFloodWaitsForTheReaderOnly(t *testing.T) {
	const messages, size = 100, 64 << 10
	onStage(t, bad(scripted.Misbehaviour{Flood: scripted.Flood{Messages: messages, Size: size}}), func(t *testing.T, s *stage) {
		stream := s.start("bad")
		for range messages {
			if got := len(stream.next().GetNewCheckpoint().GetCheckpoint()); got != size {
				t.Fatalf("a checkpoint of %d bytes", got)
			}
		}
		stream.stop(pingFailed)
		wantTold(t, stream.ends(codes.OK, ""))
	})
}

func TestAStopEndsAFlood(t *testing.T) {
	const messages = 10_000
	onStage(t, bad(scripted.Misbehaviour{Flood: scripted.Flood{Messages: messages, Size: 64 << 10}}), func(t *testing.T, s *stage) {
		stream := s.start("bad")
		stream.stop(pingFailed)
		if actions := stream.ends(codes.OK, ""); len(actions) == messages {
			t.Error("the flood ran out")
		}
	})
}

func TestStopReadingSeesNoStopAndHoldsTheSenderUp(t *testing.T) {
	onStage(t, bad(scripted.Misbehaviour{StopReading: true}), func(t *testing.T, s *stage) {
		stream := s.start("bad")
		stream.stop(shutdown)
		large := startOf(string(make([]byte, 1<<20)))
		held := make(chan error, 1)
		go func() {
			for {
				if err := stream.Send(large); err != nil {
					held <- err
					return
				}
			}
		}()
		synctest.Wait() // the bubble comes to rest only if the sender does
		if n := len(observed[scripted.Received](s)); n != 0 {
			t.Errorf("%d messages were observed", n)
		}
		stream.cancel()
		<-held
		synctest.Wait()
		wantEnded(t, s, codes.Canceled, true)
	})
}

func TestBreakOffCountsTheStepsOfItsStream(t *testing.T) {
	options := bad(scripted.Misbehaviour{BreakOff: status.New(codes.Internal, ""), BreakOffAfter: 2})
	options.Steps = small()[:4]
	onStage(t, options, func(t *testing.T, s *stage) {
		wantTold(t, s.start("bad").ends(codes.Internal, ""), "list a", "RUNNING one")
		wantTold(t, s.start("bad").ends(codes.Internal, ""), "list b", "RUNNING two")
		wantTold(t, s.start("bad").ends(codes.OK, ""), "FINISHED Finished")
	})
}

func TestBreakOffComesAfterItsSteps(t *testing.T) {
	want := [][]string{
		{},
		{"list a"},
		{"list a", "RUNNING one"},
		{"list a", "RUNNING one", "list b"},
		{"list a", "RUNNING one", "list b", "RUNNING two"},
		{"list a", "RUNNING one", "list b", "RUNNING two", "list c"},
	}
	for after, words := range want {
		for _, code := range []codes.Code{codes.ResourceExhausted, codes.OK} {
			how := scripted.Misbehaviour{BreakOff: status.New(code, ""), BreakOffAfter: after}
			options := bad(how)
			options.Steps = small()
			onStage(t, options, func(t *testing.T, s *stage) {
				wantTold(t, s.start("bad").ends(code, ""), words...)
			})
		}
	}
}
