package transport_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/lastcall-go/lastcall/actors/actorstest"
	"github.com/lastcall-go/lastcall/actors/relay"
	"github.com/lastcall-go/lastcall/transport/agentpool"
	"github.com/lastcall-go/lastcall/transport/grant"
	"github.com/lastcall-go/lastcall/transport/scripted"
)

func TestTheClientsRequestIDReachesTheAgent(t *testing.T) {
	for granted, want := range map[string]string{"": "r-1", "granted-1": "granted-1"} {
		setting := setting{agent: waits}
		if granted != "" {
			setting.handler = granting(grant.Grant{Agent: grant.Target{Headers: map[string]string{"X-Gitlab-Correlation-Id": granted}}})
		}
		inGateway(t, setting, func(t *testing.T, g *gateway) {
			ws := g.dial(&websocket.DialOptions{HTTPHeader: http.Header{"X-Request-Id": {"r-1"}}})
			g.send(ws, startW1)
			time.Sleep(time.Second)
			started := observed[scripted.Started](g)
			if len(started) != 1 {
				t.Fatalf("%d workflows", len(started))
			}
			if got := started[0].Metadata.Get("x-request-id"); !slices.Equal(got, []string{"r-1"}) {
				t.Errorf("x-request-id: %q", got)
			}
			if got := started[0].Metadata.Get("x-gitlab-correlation-id"); !slices.Equal(got, []string{want}) {
				t.Errorf("x-gitlab-correlation-id: %q, want %q", got, want)
			}
		})
	}
}

// The client of an agent that can never be reached must not be asked to come back.
func TestAGrantedAgentThatIsNoTargetIsAnInternalError(t *testing.T) {
	for _, address := range []string{"grpc://agent:1", "http://agent", "ipv4:agent:1"} {
		inGateway(t, setting{agent: waits, handler: granting(grant.Grant{Agent: grant.Target{Address: address}})}, func(t *testing.T, g *gateway) {
			ws := g.dial(nil)
			g.send(ws, startW1)
			wantFrame(t, closeFrame(ws), 1011, "internal error")
		})
	}
}

func TestTheAgentSeesTheClientsUserAgentAndThenTheGateways(t *testing.T) {
	long := strings.Repeat("~", 300)
	sent := []string{"VSCode/1", "", "VSCode/2", "VSCode/1", "vim\r\nx-evil: 1\x00é", long}
	setup := setting{agent: waits, pool: agentpool.Options{UserAgent: "lastcall/9"}}
	inGateway(t, setup, func(t *testing.T, g *gateway) {
		for _, userAgent := range sent {
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			stream, err := g.pool.Agent(grant.Target{}, userAgent).Open(ctx)
			if err != nil {
				t.Fatal(err)
			}
			start, err := relay.MessageOf(actorstest.StartRequest(""))
			if err != nil {
				t.Fatal(err)
			}
			if err := stream.Send(start); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		var got []string
		for _, e := range observed[scripted.Started](g) {
			userAgent, _, _ := strings.Cut(e.Metadata.Get("user-agent")[0], " grpc-go/")
			got = append(got, userAgent)
		}
		want := []string{"VSCode/1 lastcall/9", "lastcall/9", "VSCode/2 lastcall/9", "VSCode/1 lastcall/9", "vimx-evil: 1 lastcall/9", long[:256] + " lastcall/9"}
		if !slices.Equal(got, want) {
			t.Errorf("the agent saw %q", got)
		}
	})
}

func TestAnAgentThatCantBeReachedIsToldAndWorksOnceItIsThere(t *testing.T) {
	inGateway(t, setting{agent: waits}, func(t *testing.T, g *gateway) {
		g.agents.Down.Store(true)
		for range 3 {
			ws := g.dial(nil)
			g.send(ws, startW1)
			wantFrame(t, closeFrame(ws), 1001, "agent unavailable")
		}
		g.agents.Down.Store(false)
		time.Sleep(10 * time.Second) // the pool tries again every 5 s at least
		g.start().CloseNow()
	})
}
