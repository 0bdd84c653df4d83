package tests

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"testing"
	"time"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/transport/scripted"
)

// Clients that don't read hold up their agents; they don't fill the gateway. Agent and clients are
// in this process too, and what they keep counts as the gateway's.
func TestClientsThatDontReadCostNoMemory(t *testing.T) {
	const (
		clients  = 20
		size     = 30 << 10        // grpc-go takes 32 KiB for it; past that, in the agent, 1 MiB
		messages = 80 << 20 / size // for each
		allowed  = 20 << 20
	)
	agent := newAgent(t, scripted.Options{Steps: waiting, Misbehave: func(workflow string) scripted.Misbehaviour {
		return scripted.Misbehaviour{Flood: scripted.Flood{Messages: messages, Size: size}}
	}})
	g := newGateway(t, agent, actors.Options{StopTimeout: time.Second, CloseTimeout: time.Second})
	peers := make([]*peer, clients)
	workflows := make([]string, clients)
	for i := range peers {
		peers[i], workflows[i] = g.peer(), fmt.Sprint("w", i)
	}
	before := heap()

	for i, c := range peers {
		c.start(workflows[i])
	}
	agent.stalls(workflows...)
	held := heap()
	t.Logf("the heap grew from %.1f MiB to %.1f MiB", mebibytes(before), mebibytes(held))
	if held > before+allowed {
		t.Errorf("the heap grew from %.1f MiB to %.1f MiB", mebibytes(before), mebibytes(held))
	}
	for _, workflow := range workflows {
		if sent := agent.count(workflow, 0); sent > messages/2 {
			t.Errorf("%s: %d of %d messages were taken from its agent, and read by nobody", workflow, sent, messages)
		}
	}

	// Who reads on gets on.
	sent := agent.count(workflows[0], 0)
	for agent.count(workflows[0], 0) < sent+10 {
		if _, _, err := peers[0].readFrame(); err != nil {
			t.Fatal(err)
		}
	}

	report := g.drain()
	if took := time.Duration(report.Took); took > limit/2 {
		t.Errorf("the drain took %v", took)
	}
	// An agent that is held up doesn't hear its stop. The one whose client read may have.
	if cancelled := report.Totals[actors.Cancelled]; cancelled < clients-1 || cancelled+report.Totals[actors.Drained] != clients {
		t.Errorf("the report says %v", report.Totals)
	}
}

// A message of 4 MiB can be 24 MiB as JSON. A session holds one such message, however many there are.
func TestClientsThatDontReadHoldOneLargeMessageEach(t *testing.T) {
	const (
		clients  = 4
		messages = 10
		allowed  = clients * 64 << 20 // the agent's message in both processes, its JSON in a buffer that grew to it
	)
	agent := newAgent(t, scripted.Options{Steps: waiting, Misbehave: func(workflow string) scripted.Misbehaviour {
		return scripted.Misbehaviour{Flood: scripted.Flood{Messages: messages, Size: 4<<20 - 100, Controls: true}}
	}})
	g := newGateway(t, agent, actors.Options{StopTimeout: time.Second, CloseTimeout: time.Second})
	before := heap()
	workflows := make([]string, clients)
	for i := range workflows {
		workflows[i] = fmt.Sprint("w", i)
		g.peer().start(workflows[i])
	}
	agent.stalls(workflows...)
	held := heap()
	t.Logf("the heap grew from %.1f MiB to %.1f MiB", mebibytes(before), mebibytes(held))
	if held > before+allowed {
		t.Errorf("the heap grew from %.1f MiB to %.1f MiB", mebibytes(before), mebibytes(held))
	}
	for _, workflow := range workflows {
		if sent := agent.count(workflow, 0); sent > 2 {
			t.Errorf("%s: %d messages were taken from its agent, and read by nobody", workflow, sent)
		}
	}
	g.drain()
}

// heap returns how much of it is in use, garbage aside.
func heap() uint64 {
	runtime.GC() // what a sync.Pool holds is garbage only the second time
	debug.FreeOSMemory()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapInuse
}

func mebibytes(bytes uint64) float64 { return float64(bytes) / (1 << 20) }
