package actors

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
)

// The supervisor holds what all sessions depend on: a panic in it is reported, and survived.
func TestTheSupervisorSurvivesAPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := NewSupervisor(Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		told := make(chan *PanicError, 1)
		stop := s.Listen(func(event any) {
			if e, ok := event.(SupervisorPanicked); ok {
				told <- e.Err
			}
		})
		defer stop()
		if _, err := s.Admit(t.Context()); err != nil {
			t.Fatal(err)
		}
		closed := make(chan Overview)
		close(closed)
		s.engine.Send(s.pid, lookOver{closed})
		if err := <-told; fmt.Sprint(err.Value) != "send on closed channel" || !strings.Contains(err.Error(), "supervisor.go") {
			t.Errorf("%v", err)
		}
		report, err := s.Drain(context.Background(), Drain{})
		if err != nil || Seconds(drainTicketLife) != report.Took {
			t.Errorf("it has forgotten its ticket: %+v, %v", report, err)
		}
	})
}

func boolToInt(b bool) int {
	if b {
		return 1
	}
	return 0
}
