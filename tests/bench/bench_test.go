package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/lastcall-go/lastcall/proto/dap"
	"github.com/lastcall-go/lastcall/transport/codec"
)

// What is compared, in the same run. nginx, which looks at no message, is the reference where it is installed.
var (
	relays   = []string{"lastcall", "plain"}
	gateways = append(relays, nginxIfInstalled()...)
)

// scaled is a number of sessions, or a tenth of it with -short.
func scaled(sessions int) int {
	if testing.Short() {
		return sessions / 10
	}
	return sessions
}

// BenchmarkIdleSession opens sessions and leaves them alone: what one costs in memory and
// goroutines of the gateway.
func BenchmarkIdleSession(b *testing.B) {
	sessions := scaled(4000)
	for _, gateway := range gateways {
		b.Run(gateway, func(b *testing.B) {
			for b.Loop() {
				address := startBefore(b, gateway, "idle agent")
				openAndClose(b, address) // what the first session brings in is not a session's cost
				before := measure(b, address, "?settle")
				openSessions(b, address, sessions)
				after := settled(b, address, goroutinesOf(gateway, before, sessions))
				report(b, gateway, fmt.Sprintf("resident memory of an idle session, %d", sessions), "KiB/session", float64(after.Resident-before.Resident)/float64(sessions)/1024)
				b.ReportMetric(float64(after.Goroutines-before.Goroutines)/float64(sessions), "goroutines/session")
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

// goroutinesOf is how many goroutines a gateway has at least when so many sessions are open. nginx has none: a
// session that got its 101 is open there.
func goroutinesOf(gateway string, before usage, sessions int) int {
	if gateway == "nginx" {
		return 0
	}
	return before.Goroutines + 2*sessions
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
	const sessions, trips = 50, 200
	for _, size := range []struct{ name, agent string }{{"256B", "asking agent"}, {"64KiB", "verbose agent"}} {
		for _, gateway := range gateways {
			b.Run(gateway+"/"+size.name, func(b *testing.B) {
				for b.Loop() {
					clients, address := openBefore(b, gateway, size.agent, sessions)
					roundTrips(b, clients, trips/4) // warm
					before := measure(b, address, "")
					roundTrips(b, clients, trips)
					after := measure(b, address, "")
					report(b, gateway, "CPU of a round trip of "+size.name+", 50 busy", "gateway-µs/op", microseconds(before, after)/(sessions*trips))
				}
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

// BenchmarkConnect is what it costs of the gateway's CPU to open a session and to begin its workflow.
func BenchmarkConnect(b *testing.B) {
	sessions := scaled(8000)
	for _, gateway := range gateways {
		b.Run(gateway, func(b *testing.B) {
			for b.Loop() {
				address := startBefore(b, gateway, "idle agent")
				openAndClose(b, address)
				before := measure(b, address, "")
				openSessions(b, address, sessions)
				settled(b, address, goroutinesOf(gateway, before, sessions))
				after := measure(b, address, "")
				report(b, gateway, fmt.Sprintf("CPU to open a session, %d", sessions), "gateway-µs/session", microseconds(before, after)/float64(sessions))
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkAfterLargeMessage is the memory of sessions that each carried 4 MiB once, one after the other, and then
// idle, beside that of as many that carried nothing. The books of Go's runtime grow with the most memory that
// was ever in use, and never shrink: if all carry 4 MiB at the same moment, each is left with tens of KiB of them.
func BenchmarkAfterLargeMessage(b *testing.B) {
	const sessions = 200
	for _, gateway := range relays {
		b.Run(gateway, func(b *testing.B) {
			for b.Loop() {
				for _, carried := range []struct{ agent, figure string }{{"idle agent", "nothing"}, {"one large agent", "4 MiB"}} {
					address := startBefore(b, gateway, carried.agent)
					openAndClose(b, address)
					before := measure(b, address, "?settle")
					for range sessions {
						client := openSessions(b, address, 1)
						if carried.agent == "one large agent" {
							roundTrips(b, client, 1)
						}
					}
					after := settled(b, address, before.Goroutines+2*sessions)
					report(b, gateway, "resident memory of a session that carried "+carried.figure+", 200", "KiB/session", float64(after.Resident-before.Resident)/sessions/1024)
				}
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkDrain drains responsive sessions: how long it takes until the last has stopped, what that costs of
// the gateway's CPU, and whether each client got a close frame.
func BenchmarkDrain(b *testing.B) {
	sessions := scaled(8000)
	for _, gateway := range relays {
		b.Run(gateway, func(b *testing.B) {
			for b.Loop() {
				took, cost := drain(b, gateway, sessions)
				report(b, gateway, fmt.Sprintf("drain of %d responsive sessions", sessions), "ms", took)
				report(b, gateway, fmt.Sprintf("CPU to drain a session, %d", sessions), "gateway-µs/session", cost)
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkSlope opens and drains sixteen times as many sessions: what grows with their number should grow
// sixteenfold at most, a slope of 1.
func BenchmarkSlope(b *testing.B) {
	few, many := scaled(1000), scaled(16000)
	for b.Loop() {
		one, sixteen := scale(b, few), scale(b, many)
		for i, name := range []string{"resident memory", "drain", "scrape of the metrics"} {
			slope := sixteen[i] / one[i] * float64(few) / float64(many)
			b.ReportMetric(slope, strings.ReplaceAll(name, " ", "-")+"-slope")
			table.add(fmt.Sprintf("%s, slope from %d to %d sessions", name, few, many), "lastcall", slope)
		}
	}
	b.ReportMetric(0, "ns/op")
}

// scale is the memory of sessions in bytes, and what draining them and a scrape cost of the gateway's CPU in
// microseconds.
func scale(b *testing.B, sessions int) [3]float64 {
	const scrapes = 20
	address := startBefore(b, "lastcall", "idle agent")
	openAndClose(b, address)
	before := measure(b, address, "?settle")
	codes := readToTheEnd(openSessions(b, address, sessions))
	open := settled(b, address, before.Goroutines+2*sessions)
	start := measure(b, address, "")
	for range scrapes {
		scrape(b, address)
	}
	scraped := measure(b, address, "")
	post(b, address)
	drained := measure(b, address, "")
	for range sessions {
		<-codes
	}
	return [3]float64{float64(open.Resident - before.Resident), microseconds(scraped, drained), microseconds(start, scraped) / scrapes}
}

func scrape(b *testing.B, address string) {
	response, err := http.Get("http://" + address + "/metrics")
	if err == nil {
		_, err = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
	}
	if err != nil {
		b.Fatal(err)
	}
}

func drain(b *testing.B, gateway string, sessions int) (ms, cost float64) {
	address := startBefore(b, gateway, "idle agent")
	codes := readToTheEnd(openSessions(b, address, sessions))
	settled(b, address, 2*sessions)
	before := measure(b, address, "")
	seconds := post(b, address)
	after := measure(b, address, "")
	told := 0
	for range sessions {
		if <-codes == websocket.StatusGoingAway {
			told++
		}
	}
	b.ReportMetric(float64(told)/float64(sessions)*100, "%told")
	return seconds * 1000, microseconds(before, after) / float64(sessions)
}

// post drains the gateway, and returns how many seconds that took.
func post(b *testing.B, address string) (seconds float64) {
	response, err := http.Post("http://"+address+"/drain", "", nil)
	if err != nil {
		b.Fatal(err)
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(&seconds); err != nil {
		b.Fatal(err)
	}
	return seconds
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

// openBefore opens sessions through a gateway to an agent.
func openBefore(b *testing.B, gateway, agent string, sessions int) (clients []*websocket.Conn, address string) {
	address = startBefore(b, gateway, agent)
	return openSessions(b, address, sessions), address
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
