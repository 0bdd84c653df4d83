package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/lastcall-go/lastcall/proto/dap"
	"github.com/lastcall-go/lastcall/transport/codec"
)

// gateways are what is compared, in the same run.
var gateways = []string{"lastcall", "plain"}

// BenchmarkIdleSession opens sessions and leaves them alone: what one costs in memory and
// goroutines of the gateway.
func BenchmarkIdleSession(b *testing.B) {
	const sessions = 1000
	for _, gateway := range gateways {
		b.Run(gateway, func(b *testing.B) {
			for b.Loop() {
				address := start(b, gateway, start(b, "idle agent", ""))
				openAndClose(b, address) // what the first session brings in is not a session's cost
				before := measure(b, address, "?settle")
				openSessions(b, address, sessions)
				after := settled(b, address, before.Goroutines+2*sessions)
				b.ReportMetric(float64(after.Resident-before.Resident)/sessions/1024, "KiB/session")
				b.ReportMetric(float64(after.Goroutines-before.Goroutines)/sessions, "goroutines/session")
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

// settled waits until every session is open, which is some time after its client has said start.
func settled(b *testing.B, address string, goroutines int) usage {
	for deadline := time.Now().Add(30 * time.Second); ; {
		before, after := measure(b, address, "?settle"), measure(b, address, "?settle")
		if after.Goroutines >= goroutines && after.Goroutines == before.Goroutines {
			return after
		}
		if time.Now().After(deadline) {
			b.Fatalf("%d goroutines, want at least %d", after.Goroutines, goroutines)
		}
	}
}

// BenchmarkRoundTrip is an action to the client and its response back to the agent: what that
// costs of the gateway's CPU when many sessions are at it. The actions have about 256 bytes, or 64 KiB.
func BenchmarkRoundTrip(b *testing.B) {
	const sessions = 64
	for size, agent := range map[string]string{"256B": "asking agent", "64KiB": "verbose agent"} {
		for _, gateway := range gateways {
			b.Run(gateway+"/"+size, func(b *testing.B) {
				address := start(b, gateway, start(b, agent, ""))
				clients := openSessions(b, address, sessions)
				roundTrips(b, clients, 50) // warm
				n := max(b.N/sessions, 1)
				before := measure(b, address, "")
				b.ResetTimer()
				roundTrips(b, clients, n)
				b.StopTimer()
				after := measure(b, address, "")
				b.ReportMetric(float64((after.CPU-before.CPU).Microseconds())/float64(n*sessions), "gateway-µs/op")
			})
		}
	}
}

// BenchmarkConnect is what it costs of the gateway's CPU to open a session and to begin its workflow.
func BenchmarkConnect(b *testing.B) {
	const sessions = 2000
	for _, gateway := range gateways {
		b.Run(gateway, func(b *testing.B) {
			for b.Loop() {
				address := start(b, gateway, start(b, "idle agent", ""))
				openAndClose(b, address)
				before := measure(b, address, "")
				openSessions(b, address, sessions)
				settled(b, address, 2*sessions)
				after := measure(b, address, "")
				b.ReportMetric(float64((after.CPU-before.CPU).Microseconds())/sessions, "gateway-µs/session")
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkAfterLargeMessage is the memory of sessions that each carried 4 MiB once, and then idle.
func BenchmarkAfterLargeMessage(b *testing.B) {
	const sessions = 50
	for _, gateway := range gateways {
		b.Run(gateway, func(b *testing.B) {
			for b.Loop() {
				address := start(b, gateway, start(b, "one large agent", ""))
				openAndClose(b, address)
				before := measure(b, address, "?settle")
				roundTrips(b, openSessions(b, address, sessions), 1)
				after := settled(b, address, before.Goroutines+2*sessions)
				b.ReportMetric(float64(after.Resident-before.Resident)/sessions/1024, "KiB/session")
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkDrain drains responsive sessions: how long it takes until the last has stopped, and
// whether each client was told.
func BenchmarkDrain(b *testing.B) {
	for _, gateway := range gateways {
		for _, sessions := range []int{500, 5000} {
			b.Run(fmt.Sprintf("%s/%d", gateway, sessions), func(b *testing.B) {
				for b.Loop() {
					drain(b, gateway, sessions)
				}
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

func drain(b *testing.B, gateway string, sessions int) {
	address := start(b, gateway, start(b, "idle agent", ""))
	codes := readToTheEnd(openSessions(b, address, sessions))
	settled(b, address, 2*sessions)
	before := measure(b, address, "")
	response, err := http.Post("http://"+address+"/drain", "", nil)
	if err != nil {
		b.Fatal(err)
	}
	defer response.Body.Close()
	var seconds float64
	if err := json.NewDecoder(response.Body).Decode(&seconds); err != nil {
		b.Fatal(err)
	}
	after := measure(b, address, "")
	told := 0
	for range sessions {
		if <-codes == websocket.StatusGoingAway {
			told++
		}
	}
	b.ReportMetric(seconds*1000, "ms")
	b.ReportMetric(float64((after.CPU-before.CPU).Microseconds())/float64(sessions), "gateway-µs/session")
	b.ReportMetric(float64(told)/float64(sessions)*100, "%told")
}

// readToTheEnd reads on each client until it is closed; the code of each comes on the channel.
func readToTheEnd(clients []*websocket.Conn) <-chan websocket.StatusCode {
	codes := make(chan websocket.StatusCode, len(clients))
	for _, c := range clients {
		go func() {
			var err error
			for err == nil {
				_, _, err = c.Read(context.Background())
			}
			codes <- websocket.CloseStatus(err)
		}()
	}
	return codes
}

func openAndClose(b *testing.B, address string) {
	for _, c := range openSessions(b, address, 1) {
		_ = c.Close(websocket.StatusNormalClosure, "")
	}
}

// openSessions opens sessions whose workflows have started.
func openSessions(b *testing.B, address string, n int) []*websocket.Conn {
	b.Helper()
	clients := make([]*websocket.Conn, n)
	gate := make(chan struct{}, 16)
	var opening sync.WaitGroup
	for i := range clients {
		gate <- struct{}{}
		opening.Go(func() {
			defer func() { <-gate }()
			ws, _, err := websocket.Dial(context.Background(), "ws://"+address+"/ws", nil)
			if err != nil {
				b.Error(err)
				return
			}
			ws.SetReadLimit(codec.MaxJSON)
			clients[i] = ws
			say(b, ws, &dap.ClientEvent{Response: &dap.ClientEvent_StartRequest{StartRequest: &dap.StartWorkflowRequest{
				WorkflowID: fmt.Sprintf("bench-%d", i), Goal: "measure",
			}}})
		})
	}
	opening.Wait()
	if b.Failed() {
		b.FailNow()
	}
	b.Cleanup(func() {
		for _, c := range clients {
			_ = c.CloseNow()
		}
	})
	return clients
}

// roundTrips answers n actions on each client, all clients beside each other.
func roundTrips(b *testing.B, clients []*websocket.Conn, n int) {
	var running sync.WaitGroup
	for _, c := range clients {
		running.Go(func() {
			for range n {
				_, data, err := c.Read(context.Background())
				var action dap.Action
				if err == nil {
					err = codec.Decode(data, &action)
				}
				if err != nil {
					b.Error(err)
					return
				}
				say(b, c, &dap.ClientEvent{Response: &dap.ClientEvent_ActionResponse{ActionResponse: &dap.ActionResponse{
					RequestID:    action.RequestID,
					ResponseType: &dap.ActionResponse_PlainTextResponse{PlainTextResponse: &dap.PlainTextResponse{Response: "package main"}},
				}}})
			}
		})
	}
	running.Wait()
}

func say(b *testing.B, ws *websocket.Conn, event *dap.ClientEvent) {
	data, err := codec.Append(nil, event)
	if err == nil {
		err = ws.Write(context.Background(), websocket.MessageText, data)
	}
	if err != nil {
		b.Error(err)
	}
}
