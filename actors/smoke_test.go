package actors_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lastcall-go/lastcall/actors"
)

func TestDrainStopsTheAgentThenTellsTheClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sup, err := actors.NewSupervisor(actors.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer sup.Close()
		ticket, err := sup.Admit(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		client, agent := newFakeClient(), newFakeAgent()
		close(client.answer)
		if _, err := ticket.Start(actors.Session{Client: client, Agent: agent}); err != nil {
			t.Fatal(err)
		}
		client.events <- startRequest("w1")
		stream := <-agent.opened
		<-stream.got
		go func() {
			stop := <-stream.got
			if got := stop.GetStopWorkflow().GetReason(); got != "WORKHORSE_SERVER_SHUTDOWN" {
				t.Errorf("stopped for %q", got)
			}
			time.Sleep(time.Second)
			stream.ending <- errors.New("unavailable")
		}()
		report, err := sup.Drain(context.Background(), actors.Drain{})
		if err != nil {
			t.Fatal(err)
		}
		if len(report.Sessions) != 1 || report.Sessions[0].Outcome != actors.Drained || report.Sessions[0].Workflow != "w1" {
			t.Errorf("%+v", report)
		}
		if frame := <-client.closed; frame.code != 1001 || frame.reason != "server shutdown" {
			t.Errorf("%+v", frame)
		}
		if time.Duration(report.Took) != time.Second {
			t.Errorf("took %v", report.Took)
		}
	})
}
