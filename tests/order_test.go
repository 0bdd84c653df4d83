package tests

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/proto/dap"
	"github.com/lastcall-go/lastcall/transport/client"
	"github.com/lastcall-go/lastcall/transport/scripted"
)

// waiting begins and then waits for its stop.
var waiting = []scripted.Step{scripted.Checkpoint("begun"), scripted.Wait()}

// A drained session: stopWorkflow, the agent's last words, the end of its stream, the close frame.
func TestADrainDeliversTheAgentsLastWordsBeforeTheCloseFrame(t *testing.T) {
	const sessions, lastWords = 20, 10
	agent := newAgent(t, scripted.Options{Steps: waiting, Misbehave: func(string) scripted.Misbehaviour {
		return scripted.Misbehaviour{AcknowledgeAfter: 50 * time.Millisecond, SendAfterStop: lastWords}
	}})
	g := newGateway(t, agent, actors.Options{})
	guests := make([]*guest, sessions)
	ends := make([]*client.CloseError, sessions)
	var reading sync.WaitGroup
	for i := range guests {
		guests[i] = g.join(fmt.Sprint("w", i)).begun()
		reading.Go(func() { ends[i] = guests[i].over() })
	}
	report := g.drain()
	reading.Wait()
	if report.Totals[actors.Drained] != sessions || len(report.Sessions) != sessions {
		t.Errorf("the report says %v", report.Totals)
	}
	for i, c := range guests {
		wantTold(t, c.workflow, ends[i], 1001, "server shutdown")
		wantWords(t, c, lastWords)
		if stops := agent.stops(c.workflow); len(stops) != 1 || stops[0] != "WORKHORSE_SERVER_SHUTDOWN" {
			t.Errorf("%s was stopped with %q", c.workflow, stops)
		}
		ended, at := agent.ended(c.workflow)
		if ended.Cancelled || ended.Status.Code() != codes.Unavailable {
			t.Errorf("%s ended with %v, cancelled: %v", c.workflow, ended.Status, ended.Cancelled)
		}
		if c.closed.Before(at) {
			t.Errorf("%s was closed %v before its agent had ended", c.workflow, at.Sub(c.closed))
		}
	}
}

// wantWords: after the first checkpoint come the ones after the stop, and then the last one.
func wantWords(t *testing.T, c *guest, words int) {
	if len(c.actions) != 1+words+1 {
		t.Errorf("%s received %d actions, want %d", c.workflow, len(c.actions), 1+words+1)
		return
	}
	for _, action := range c.actions[1 : 1+words] {
		var text struct{ Message string }
		if err := json.Unmarshal([]byte(action.GetNewCheckpoint().GetCheckpoint()), &text); err != nil || text.Message != "One more thing" {
			t.Errorf("%s received %v", c.workflow, action)
		}
	}
	if got := c.actions[1+words].GetNewCheckpoint().GetStatus(); got != scripted.StatusInterrupted {
		t.Errorf("%s: the last words are %s", c.workflow, got)
	}
}

// Whatever makes a client go, its agent is stopped once, in order, and with the reason by which it
// knows whether to keep the workflow. A client that falls silent is in transport's tests, where 30 s
// pass at once.
func TestTheAgentIsToldHowTheClientWent(t *testing.T) {
	for _, test := range []struct {
		name, reason string
		outcome      actors.Outcome
		leave        func(c *peer)
	}{
		{"closes with 1000", "WORKHORSE_WEBSOCKET_CLOSE_1000", actors.ClientGone, func(c *peer) { c.writeClose(1000) }},
		{"closes with 1001", "WORKHORSE_WEBSOCKET_CLOSE_1001", actors.ClientGone, func(c *peer) { c.writeClose(1001) }},
		{"closes without a code", "WORKHORSE_WEBSOCKET_CLOSE_1000", actors.ClientGone, func(c *peer) { c.writeFrame(opClose, nil) }},
		{"closes in trouble", "WORKHORSE_WEBSOCKET_PING_FAILED", actors.ClientGone, func(c *peer) { c.writeClose(4000) }},
		{"hangs up without a close frame", "WORKHORSE_WEBSOCKET_PING_FAILED", actors.ClientGone, func(c *peer) { c.hangUp() }},
		{"is reset", "WORKHORSE_WEBSOCKET_PING_FAILED", actors.ClientGone, func(c *peer) { c.reset() }},
		{"talks nonsense", "WORKHORSE_WEBSOCKET_PING_FAILED", actors.Failed, func(c *peer) { c.writeFrame(opText, []byte("nonsense")) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			agent := newAgent(t, scripted.Options{Steps: waiting})
			g := newGateway(t, agent, actors.Options{CloseTimeout: 100 * time.Millisecond})
			c := g.peer().start("w")
			c.begun()
			test.leave(c)
			wantEnd(t, g.end("w"), test.outcome)
			if stops := agent.stops("w"); len(stops) != 1 || stops[0] != test.reason {
				t.Errorf("the agent was stopped with %q, want once %q", stops, test.reason)
			}
			if ended, _ := agent.ended("w"); ended.Cancelled || ended.Status.Code() != codes.OK {
				t.Errorf("the stream ended with %v, cancelled: %v", ended.Status, ended.Cancelled)
			}
			g.drain()
		})
	}
}

func TestAStopOfTheClientsOwnIsRelayedWithItsReason(t *testing.T) {
	agent := newAgent(t, scripted.Options{Steps: waiting})
	g := newGateway(t, agent, actors.Options{})
	c := g.join("w").begun()
	stop := &dap.ClientEvent{Response: &dap.ClientEvent_StopWorkflow{StopWorkflow: &dap.StopWorkflowRequest{Reason: "enough"}}}
	if err := c.Send(context.Background(), stop); err != nil {
		t.Fatal(err)
	}
	wantTold(t, "the client", c.over(), 1000, "")
	if stops := agent.stops("w"); len(stops) != 1 || stops[0] != "enough" {
		t.Errorf("the agent was stopped with %q", stops)
	}
	wantEnd(t, g.end("w"), actors.Completed)
	g.drain()
}
