package transport_test

import (
	"slices"
	"strconv"
	"testing"

	"github.com/lastcall-go/lastcall/transport"
	"github.com/lastcall-go/lastcall/transport/agentpool"
	"github.com/lastcall-go/lastcall/transport/grant"
	"github.com/lastcall-go/lastcall/transport/lease"
	"github.com/lastcall-go/lastcall/transport/scripted"
)

// runs starts a workflow as many times, each time once the session before has ended, and returns
// the fencing tokens that the agent got.
func (g *gateway) runs(times int) (tokens [][]string) {
	g.t.Helper()
	for n := range times {
		ws := g.dial(nil)
		g.send(ws, startW1)
		started := observed[scripted.Started](g)
		if len(started) != n+1 {
			g.t.Fatalf("run %d: %d streams", n, len(started))
		}
		tokens = append(tokens, started[n].Metadata.Get(agentpool.FencingTokenMetadata))
		_ = ws.CloseNow()
		<-g.stopped
	}
	return tokens
}

// A grant can't have a say in it.
func TestTheAgentGetsAFencingTokenThatGrowsWithEachRun(t *testing.T) {
	granted := grant.Grant{Lock: true, Agent: grant.Target{Headers: map[string]string{"X-Lastcall-Fencing-Token": "18446744073709551615"}}}
	handler := func(h *transport.Handler) {
		granting(granted)(h)
		h.Leaser = &lease.Memory{}
	}
	inGateway(t, setting{agent: waits, handler: handler}, func(t *testing.T, g *gateway) {
		last := uint64(0)
		for _, tokens := range g.runs(3) {
			if len(tokens) != 1 {
				t.Fatalf("tokens %q", tokens)
			}
			token, err := strconv.ParseUint(tokens[0], 10, 64)
			if err != nil || token <= last {
				t.Errorf("token %q after %d", tokens[0], last)
			}
			last = token
		}
	})
}

func TestTheAgentGetsNoFencingTokenWithoutALease(t *testing.T) {
	inGateway(t, setting{agent: waits, handler: func(h *transport.Handler) { h.Leaser = &lease.Memory{} }}, func(t *testing.T, g *gateway) {
		if tokens := g.runs(2); !slices.EqualFunc(tokens, [][]string{nil, nil}, slices.Equal) {
			t.Errorf("tokens %q", tokens)
		}
	})
}
