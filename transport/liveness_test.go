package transport_test

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/proto/dap"
	"github.com/lastcall-go/lastcall/transport"
	"github.com/lastcall-go/lastcall/transport/scripted"
)

// waits is an agent that does nothing until it is stopped.
var waits = scripted.Options{Steps: []scripted.Step{scripted.Wait()}}

func TestTheGatewayPingsEvery20Seconds(t *testing.T) {
	inGateway(t, setting{agent: waits}, func(t *testing.T, g *gateway) {
		began := time.Now()
		var pings []time.Duration
		ws := g.dial(&websocket.DialOptions{OnPingReceived: func(context.Context, []byte) bool {
			pings = append(pings, time.Since(began))
			return true
		}})
		g.send(ws, startW1)
		ctx := ws.CloseRead(context.Background())
		time.Sleep(time.Minute + time.Second)
		ws.CloseNow()
		<-ctx.Done()
		if len(pings) != 3 || pings[0] != 20*time.Second || pings[1] != 40*time.Second || pings[2] != 60*time.Second {
			t.Errorf("pings after %v", pings)
		}
	})
}

func TestAClientWithoutASignOfLifeFor30SecondsIsDead(t *testing.T) {
	inGateway(t, setting{agent: waits}, func(t *testing.T, g *gateway) {
		g.start() // and does not read: no ping is answered
		began := time.Now()
		end := <-g.stopped
		if took := time.Since(began); took != 30*time.Second {
			t.Errorf("it was given up after %v", took)
		}
		if end.Outcome != actors.ClientGone {
			t.Errorf("the session is %s: %v", end.Outcome, end.Err)
		}
		g.wantStop("WORKHORSE_WEBSOCKET_PONG_TIMEOUT")
	})
}

func TestAClientThatNeverSaysAnythingAtAllIsDeadToo(t *testing.T) {
	inGateway(t, setting{handler: func(h *transport.Handler) { h.Limits.StartTimeout = time.Hour }}, func(t *testing.T, g *gateway) {
		g.dial(nil)
		began := time.Now()
		<-g.stopped
		if took := time.Since(began); took != 30*time.Second {
			t.Errorf("it was given up after %v", took)
		}
	})
}

func TestAClientThatOnlyAnswersPingsLivesForHours(t *testing.T) {
	inGateway(t, setting{agent: waits}, func(t *testing.T, g *gateway) {
		ws := g.start()
		answering := ws.CloseRead(context.Background())
		time.Sleep(5 * time.Hour)
		if !g.alive() {
			t.Errorf("it ended: %+v", <-g.stopped)
		}
		ws.CloseNow()
		<-answering.Done()
	})
}

func TestAClientThatSendsButNeverReadsIsNotSilent(t *testing.T) {
	inGateway(t, setting{agent: waits}, func(t *testing.T, g *gateway) {
		ws := g.start()
		for range 3 * 60 * 4 {
			time.Sleep(15 * time.Second)
			g.send(ws, heartbeat)
		}
		if !g.alive() {
			t.Errorf("it ended: %+v", <-g.stopped)
		}
	})
}

func TestAClientThatNobodyReadsFromIsNotSilent(t *testing.T) {
	deaf := func(string) scripted.Misbehaviour { return scripted.Misbehaviour{StopReading: true} }
	inGateway(t, setting{agent: scripted.Options{Misbehave: deaf, Steps: waits.Steps}}, func(t *testing.T, g *gateway) {
		// The library's client gives up on a pong that it can't write for 5 s, so this one has none.
		ws := g.dial(&websocket.DialOptions{OnPingReceived: func(context.Context, []byte) bool { return false }})
		g.send(ws, startW1)
		end := make(chan websocket.CloseError)
		go func() { end <- closeFrame(ws) }()
		const messages = 100 // of 32 KiB: far more than fits between the client and the agent
		sent := 0
		go func() {
			message := []byte(ofSize(32<<10, "~"))
			for range messages {
				_ = ws.Write(context.Background(), websocket.MessageText, message)
				sent++
			}
		}()
		time.Sleep(10 * time.Minute)
		if !g.alive() || sent == messages {
			t.Errorf("of %d messages %d were taken; alive: %v", messages, sent, g.alive())
		}
		go g.supervisor.Drain(context.Background(), actors.Drain{})
		wantFrame(t, <-end, 1001, "server shutdown")
	})
}

func TestAWriteThatTakesOver60SecondsIsDead(t *testing.T) {
	floods := func(string) scripted.Misbehaviour {
		return scripted.Misbehaviour{Flood: scripted.Flood{Messages: 100, Size: 32 << 10}}
	}
	inGateway(t, setting{agent: scripted.Options{Misbehave: floods}}, func(t *testing.T, g *gateway) {
		ws := g.start() // and does not read
		began := time.Now()
		for range 5 {
			time.Sleep(10 * time.Second)
			g.send(ws, heartbeat)
		}
		if !g.alive() {
			t.Fatalf("it ended: %+v", <-g.stopped)
		}
		end := <-g.stopped
		if took := time.Since(began); took < 59*time.Second || took > 61*time.Second {
			t.Errorf("it was given up after %v", took)
		}
		if end.Outcome != actors.ClientGone {
			t.Errorf("the session is %s: %v", end.Outcome, end.Err)
		}
		g.wantStop("WORKHORSE_WEBSOCKET_PING_FAILED")
	})
}

func TestAPingIsAnsweredWhileALargeMessageIsOnItsWayToASlowReader(t *testing.T) {
	large := &dap.Action{Action: &dap.Action_NewCheckpoint{NewCheckpoint: &dap.NewCheckpoint{Checkpoint: strings.Repeat("~", 4<<20-500)}}}
	inGateway(t, setting{agent: scripted.Options{Steps: []scripted.Step{scripted.Ask(large)}}}, func(t *testing.T, g *gateway) {
		ws := g.dial(&websocket.DialOptions{HTTPClient: g.clients.httpClient(slowly(32 << 10))})
		g.send(ws, startW1)
		time.Sleep(10 * time.Second) // of the two minutes that the message takes
		pinged := make(chan error, 1)
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			pinged <- ws.Ping(ctx)
		}()
		_, message, err := ws.Read(context.Background())
		if err != nil || len(message) < 4<<20-500 {
			t.Errorf("the message came with %d bytes: %v", len(message), err)
		}
		if err := <-pinged; err != nil {
			t.Errorf("the ping: %v", err)
		}
		ws.Close(1000, "")
		g.wantStop("WORKHORSE_WEBSOCKET_CLOSE_1000")
	})
}

// slowly lets a client read so many bytes a second.
func slowly(rate int) func(net.Conn) net.Conn {
	return func(conn net.Conn) net.Conn { return slow{conn, rate} }
}

type slow struct {
	net.Conn
	rate int
}

func (c slow) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	time.Sleep(time.Duration(n) * time.Second / time.Duration(c.rate))
	return n, err
}

func TestTheCloseTimeoutCutsAClientThatDoesNotAnswerTheCloseFrame(t *testing.T) {
	limits := actors.Options{CloseTimeout: time.Second}
	inGateway(t, setting{limits: limits, agent: waits}, func(t *testing.T, g *gateway) {
		g.start() // and does not read
		began := time.Now()
		report, err := g.supervisor.Drain(context.Background(), actors.Drain{})
		if err != nil || report.Totals[actors.Drained] != 1 {
			t.Errorf("%v %v", report.Totals, err)
		}
		if took := time.Since(began); took != time.Second {
			t.Errorf("the drain took %v", took)
		}
	})
}

func TestTheDeadlineCutsACloseHandshakeAtOnce(t *testing.T) {
	inGateway(t, setting{agent: waits}, func(t *testing.T, g *gateway) {
		g.start() // and does not read
		began := time.Now()
		// Two seconds into the handshake, which would take five.
		_, err := g.supervisor.Drain(context.Background(), actors.Drain{Deadline: began.Add(2 * time.Second)})
		if g.killed = err; err == nil {
			t.Error("nobody was killed")
		}
		if took := time.Since(began); took > 2*time.Second+100*time.Millisecond {
			t.Errorf("the drain took %v", took)
		}
	})
}
