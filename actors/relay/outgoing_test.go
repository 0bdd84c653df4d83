package relay

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/lastcall-go/lastcall/proto/dap"
)

// slow is a stream that takes a message when it is let.
type slow struct {
	let chan struct{}
	got []string
}

func newSlow() *slow { return &slow{let: make(chan struct{}, 16)} }

func (s *slow) Send(message Message) error {
	<-s.let
	ev := new(dap.ClientEvent)
	if err := message.Decode(ev); err != nil {
		return err
	}
	switch {
	case ev.GetStartRequest() != nil:
		s.got = append(s.got, "start")
	case ev.GetStopWorkflow() != nil:
		s.got = append(s.got, "stop "+ev.GetStopWorkflow().GetReason())
	default:
		s.got = append(s.got, ev.GetActionResponse().GetRequestID())
	}
	return nil
}

func (s *slow) Receive() (Message, error) { return Message{}, errors.New("not asked for") }

// takes lets n messages pass, and checks all that the stream got so far.
func (s *slow) takes(t *testing.T, n int, want ...string) {
	t.Helper()
	for range n {
		s.let <- struct{}{}
	}
	synctest.Wait()
	if !slices.Equal(s.got, want) {
		t.Errorf("got %q, want %q", s.got, want)
	}
}

var theStart = messageOf(&dap.ClientEvent{Response: &dap.ClientEvent_StartRequest{StartRequest: &dap.StartWorkflowRequest{}}})

func messageOf(event *dap.ClientEvent) Message {
	message, err := MessageOf(event)
	if err != nil {
		panic(err)
	}
	return message
}

func said(id string) Message {
	return messageOf(&dap.ClientEvent{Response: &dap.ClientEvent_ActionResponse{ActionResponse: &dap.ActionResponse{RequestID: id}}})
}

func always() bool { return true }

func TestStartIsFirstAndStopIsLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, stream := newOutgoing(always), newSlow()
		go o.send(said("early"))
		synctest.Wait()
		go o.start(stream, theStart)
		stream.takes(t, 0)
		stream.takes(t, 1, "start")
		stream.takes(t, 1, "start", "early")
		go o.stop("why")
		stream.takes(t, 1, "start", "early", "stop why")
		o.send(said("late"))
		stream.takes(t, 1, "start", "early", "stop why")
	})
}

// The stop waits for the send before it, so that no two are on the stream at a time.
func TestStopWaitsForASend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, stream := newOutgoing(always), newSlow()
		stream.let <- struct{}{}
		o.start(stream, theStart)
		go o.send(said("slow"))
		synctest.Wait()
		go o.stop("why")
		stream.takes(t, 0, "start")
		stream.takes(t, 2, "start", "slow", "stop why")
	})
}

func TestAStopBeforeTheStartKeepsItFromBeingSent(t *testing.T) {
	for name, stop := range map[string]func(*outgoing){
		"stop": func(o *outgoing) {
			if o.stop("why") {
				t.Error("stopped what never began")
			}
		},
		"abandon": (*outgoing).abandon,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o, stream := newOutgoing(always), newSlow()
				waiting := make(chan struct{})
				go func() {
					o.send(said("waits for the opening"))
					close(waiting)
				}()
				synctest.Wait()
				stop(o)
				<-waiting
				if o.start(stream, theStart) {
					t.Error("started what was stopped")
				}
				stop(o) // a second one does no harm
				stream.takes(t, 1)
			})
		})
	}
}
