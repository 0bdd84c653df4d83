package tests

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/actors/relay"
	"github.com/lastcall-go/lastcall/proto/dap"
	"github.com/lastcall-go/lastcall/transport/client"
	"github.com/lastcall-go/lastcall/transport/codec"
	"github.com/lastcall-go/lastcall/transport/grant"
	"github.com/lastcall-go/lastcall/transport/scripted"
)

// short are limits for peers that use them up.
var short = actors.Options{StopTimeout: 2 * time.Second, CloseTimeout: 500 * time.Millisecond}

// bad is the workflow of a session that goes wrong.
const bad = "bad"

// beside makes misery beside others, which must notice nothing: they run one workflow after another,
// while it lasts and after it. Then the gateway drains, by which each client that still misbehaves has to be
// cancelled and cut in time, and none killed. misery may return what is to be checked after that.
func beside(t *testing.T, agent scripted.Misbehaviour, misery func(t *testing.T, g *gateway) (after func())) {
	t.Helper()
	a := newAgent(t, scripted.Options{
		Pace:  10 * time.Millisecond,
		Steps: goodSteps(),
		Misbehave: func(workflow string) scripted.Misbehaviour {
			if isGood(workflow) {
				return scripted.Misbehaviour{}
			}
			return agent
		},
	})
	g := newGateway(t, a, short, 2*time.Second)
	others := g.goodOnes()
	after := misery(t, g)
	others.finish()
	if took := time.Duration(g.drain().Took); took > limit/2 {
		t.Errorf("the drain took %v", took)
	}
	if after != nil {
		after()
	}
}

func TestAnAgentThatNeverAcknowledgesIsCancelled(t *testing.T) {
	t.Parallel()
	beside(t, scripted.Misbehaviour{NeverAcknowledge: true}, func(t *testing.T, g *gateway) func() {
		g.join(bad).begun().Close(1000, "")
		wantEnd(t, g.end(bad), actors.Cancelled)
		c := g.join("worse").begun()
		told := overLater(c)
		return func() {
			wantTold(t, c.workflow, <-told, 1001, "server shutdown")
			wantEnd(t, g.end("worse"), actors.Cancelled)
		}
	})
}

// overLater receives until the session is over.
func overLater(c *guest) <-chan *client.CloseError {
	told := make(chan *client.CloseError, 1)
	go func() { told <- c.over() }()
	return told
}

func TestAnAgentThatFloodsAClientThatReads(t *testing.T) {
	t.Parallel()
	beside(t, scripted.Misbehaviour{Flood: scripted.Flood{Messages: 1e6, Size: 16 << 10}}, func(t *testing.T, g *gateway) func() {
		c := g.join(bad)
		for range 200 {
			c.begun()
		}
		told := overLater(c)
		return func() {
			wantTold(t, c.workflow, <-told, 1001, "server shutdown")
			wantEnd(t, g.end(bad), actors.Drained)
		}
	})
}

func TestAnAgentThatBreaksOff(t *testing.T) {
	for _, end := range []struct {
		code   codes.Code
		close  int
		reason string
	}{
		{codes.Unavailable, 1001, "agent unavailable"},
		{codes.Internal, 1011, "agent error: INTERNAL"},
		{codes.Canceled, 1011, "agent error: CANCELLED"},
		{codes.InvalidArgument, 4400, "broken"},
	} {
		t.Run(end.code.String(), func(t *testing.T) {
			t.Parallel()
			breaksOff := scripted.Misbehaviour{BreakOff: status.New(end.code, "broken"), BreakOffAfter: 1}
			beside(t, breaksOff, func(t *testing.T, g *gateway) func() {
				wantTold(t, bad, g.join(bad).over(), end.close, end.reason)
				return nil
			})
		})
	}
}

func TestAnAgentThatStopsReading(t *testing.T) {
	t.Parallel()
	beside(t, scripted.Misbehaviour{StopReading: true}, func(t *testing.T, g *gateway) func() {
		c := g.join(bad).begun()
		told := overLater(c)
		sent := make(chan error, 1)
		go func() { sent <- c.sendUntilItFails() }()
		return func() {
			wantTold(t, c.workflow, <-told, 1001, "server shutdown")
			wantEnd(t, g.end(bad), actors.Cancelled)
			<-sent
		}
	})
}

func (c *guest) sendUntilItFails() error {
	answer := &dap.ActionResponse{RequestID: strings.Repeat("~", 100<<10)}
	event := &dap.ClientEvent{Response: &dap.ClientEvent_ActionResponse{ActionResponse: answer}}
	for {
		if err := c.Send(context.Background(), event); err != nil {
			return err
		}
	}
}

func TestAClientThatNeverReads(t *testing.T) {
	t.Parallel()
	beside(t, scripted.Misbehaviour{Flood: scripted.Flood{Messages: 1e6, Size: 16 << 10}}, func(t *testing.T, g *gateway) func() {
		g.peer().start(bad)
		g.agent.stalls(bad)
		return func() { wantEnd(t, g.end(bad), actors.Cancelled) }
	})
}

func TestAClientThatNeverAnswersTheClose(t *testing.T) {
	t.Parallel()
	beside(t, scripted.Misbehaviour{}, func(t *testing.T, g *gateway) func() {
		c := g.peer().start(bad)
		c.begun()
		return func() {
			wantEnd(t, g.end(bad), actors.Drained)
			if code := c.closeCode(); code != 1001 {
				t.Errorf("the client was told %d", code)
			}
		}
	})
}

func TestAClientThatGoesWrong(t *testing.T) {
	half := append(header(final|opText, 100), `{"heartbeat": `...)
	noise := make([]byte, 10<<10)
	for i := range noise {
		noise[i] = byte(rand.Uint32())
	}
	for _, test := range []struct {
		name    string
		wrong   func(c *peer)
		code    int // 0: any, for a client that can't get a close frame
		outcome actors.Outcome
	}{
		{"is reset", func(c *peer) { c.reset() }, 0, actors.ClientGone},
		{"hangs up", func(c *peer) { c.hangUp() }, 1006, actors.ClientGone},
		{"hangs up after half a frame", func(c *peer) { c.write(half); c.hangUp() }, 1006, actors.ClientGone},
		{"hangs up after half a header", func(c *peer) { c.write(half[:1]); c.hangUp() }, 1006, actors.ClientGone},
		{"sends no JSON", func(c *peer) { c.writeFrame(opText, []byte("hello")) }, 1007, actors.Failed},
		{"sends no UTF-8", func(c *peer) { c.writeFrame(opText, []byte("{\"\xff\": 1}")) }, 1007, actors.Failed},
		{"sends nothing, in a frame", func(c *peer) { c.writeFrame(opText, nil) }, 1007, actors.Failed},
		{"sends 5 MiB", func(c *peer) {
			c.writeFrame(opText, []byte(`{"stopWorkflow": {"reason": "`+strings.Repeat("x", 5<<20)+`"}}`))
		}, 1009, actors.Failed},
		{"announces all the bytes that there can be", func(c *peer) { c.write(header(final|opText, 1<<63-1)); c.write(make([]byte, 25<<20)) }, 1009, actors.Failed},
		{"announces a negative length", func(c *peer) { c.write(slices.Repeat([]byte{0xff}, 14)) }, 1002, actors.Failed},
		{"sends noise", func(c *peer) { c.write(noise); c.hangUp() }, 0, ""},
		{"sets reserved bits", func(c *peer) { c.writeFrame(0x70|opText, []byte("{}")) }, 1002, actors.Failed},
		{"uses a reserved opcode", func(c *peer) { c.writeFrame(opReserved, []byte("{}")) }, 1002, actors.Failed},
		{"doesn't mask", func(c *peer) { c.write([]byte{final | opText, 2, '{', '}'}) }, 1002, actors.Failed},
		{"continues nothing", func(c *peer) { c.writeFrame(opContinuation, []byte("{}")) }, 1002, actors.Failed},
		{"begins anew in a message", func(c *peer) { c.write(header(opText, 0)); c.writeFrame(opText, []byte("{}")) }, 1002, actors.Failed},
		{"sends a long ping", func(c *peer) { c.writeFrame(opPing, make([]byte, 126)) }, 1002, actors.Failed},
		{"sends half a ping", func(c *peer) { c.write(header(opPing, 0)) }, 1002, actors.Failed},
		{"closes with a code that there isn't", func(c *peer) { c.writeClose(42) }, 1002, actors.Failed},
		{"closes with the code of a lost connection", func(c *peer) { c.writeClose(1006) }, 1002, actors.Failed},
		{"closes with half a code", func(c *peer) { c.writeFrame(opClose, []byte{3}) }, 1002, actors.Failed},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			beside(t, scripted.Misbehaviour{}, func(t *testing.T, g *gateway) func() {
				c := g.peer().start(bad)
				c.begun()
				test.wrong(c)
				got, reason := c.closeFrame()
				if test.code != 0 && got != test.code {
					t.Errorf("the client was told %d, want %d", got, test.code)
				}
				end := g.end(bad)
				if test.outcome != "" {
					wantEnd(t, end, test.outcome)
				}
				if got != 1006 && (end.Code != got || end.Reason != reason || reason == "") {
					t.Errorf("the client was told %d %q, the event says %d %q", got, reason, end.Code, end.Reason)
				}
				if test.code == 1002 && end.BadInput[relay.ProtocolError] != 1 {
					t.Errorf("bad input %v", end.BadInput)
				}
				return nil
			})
		})
	}
}

func TestAClientThatSendsHalfAFrameAndThenNothing(t *testing.T) {
	t.Parallel()
	beside(t, scripted.Misbehaviour{}, func(t *testing.T, g *gateway) func() {
		c := g.peer().start(bad)
		c.begun()
		c.write(append(header(final|opText, 100), `{"heartbeat": `...))
		return func() {
			wantEnd(t, g.end(bad), actors.Drained)
			if code := c.closeCode(); code != 1001 {
				t.Errorf("the client was told %d", code)
			}
		}
	})
}

func TestAClientThatNeverStarts(t *testing.T) {
	for name, first := range map[string]func(c *peer){
		"says nothing":               func(*peer) {},
		"says only half a word":      func(c *peer) { c.write(header(opText, 100)) },
		"begins with something else": func(c *peer) { c.writeFrame(opText, []byte(`{"heartbeat": {}}`)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			beside(t, scripted.Misbehaviour{}, func(t *testing.T, g *gateway) func() {
				c := g.peer()
				first(c)
				if code := c.closeCode(); code != 4400 {
					t.Errorf("the client was told %d", code)
				}
				wantEnd(t, g.end(""), actors.Refused)
				return nil
			})
		})
	}
}

func TestAPanicEndsOneSession(t *testing.T) {
	for _, test := range []struct {
		place trap
		code  int // that the client is told; 0: any
	}{
		{"client.Receive", 1011},
		{"client.Send", 1011},
		{"client.Close", 1006},
		{"client.Abort", 0}, // which the session's actor calls itself
		{"agent.Open", 1011},
		{"stream.Send", 1011},
		{"stream.Receive", 1011},
	} {
		t.Run(string(test.place), func(t *testing.T) {
			t.Parallel()
			beside(t, scripted.Misbehaviour{}, func(t *testing.T, g *gateway) func() {
				g.mux.HandleFunc("GET /trap", func(w http.ResponseWriter, r *http.Request) { serveTrapped(g, w, r, test.place) })
				config := g.config(bad)
				config.URL = "ws://" + g.address + "/trap"
				conn, err := client.Dial(context.Background(), config)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Cut()
				c := &guest{Conn: conn, g: g, workflow: bad}
				if slices.Contains([]trap{"client.Close", "client.Abort"}, test.place) {
					c.begun() // and now something that ends the session
					stop := &dap.ClientEvent{Response: &dap.ClientEvent_StopWorkflow{StopWorkflow: &dap.StopWorkflowRequest{}}}
					if err := conn.Send(context.Background(), stop); err != nil {
						t.Fatal(err)
					}
				}
				if got := c.over(); test.code != 0 && got.Code != test.code {
					t.Errorf("the client was told %v, want %d", got, test.code)
				}
				end := g.end(bad)
				var panicked *actors.PanicError
				if !errors.As(end.Err, &panicked) || panicked.Value != test.place || len(panicked.Stack) == 0 {
					t.Errorf("the session ended %s with %v", end.Outcome, end.Err)
				}
				return nil
			})
		})
	}
}

// trap is a place where a session panics.
type trap string

func (t trap) at(place trap) {
	if t == place {
		panic(place)
	}
}

// serveTrapped is a handler as an embedder may write one, with a trap in it.
func serveTrapped(g *gateway, w http.ResponseWriter, r *http.Request, where trap) {
	ticket, err := g.supervisor.Admit(r.Context())
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	defer ticket.Cancel()
	ws, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	life, cut := context.WithCancel(context.Background())
	parts := relay.Session{
		Client: &trappedClient{ws: ws, life: life, cut: cut, trap: where},
		Agent:  trappedAgent{g.pool.Agent(grant.Target{}, r.UserAgent()), where},
	}
	if _, err := relay.Start(ticket, parts); err != nil {
		_ = ws.CloseNow()
	}
}

type trappedClient struct {
	ws       *websocket.Conn
	life     context.Context
	cut      context.CancelFunc
	received int
	trap     trap
}

func (c *trappedClient) Receive() (relay.Message, error) {
	if c.received++; c.received > 1 { // the startRequest has come
		c.trap.at("client.Receive")
	}
	_, message, err := c.ws.Read(c.life)
	if err != nil {
		return relay.Message{}, err
	}
	event, _, err := codec.BuiltIn.Events.AppendWire(nil, message)
	return relay.Message{Bytes: event}, err
}

func (c *trappedClient) Send(action relay.Message) error {
	c.trap.at("client.Send")
	message, err := codec.BuiltIn.Actions.AppendJSON(nil, action.Bytes, nil)
	if err != nil {
		return err
	}
	return c.ws.Write(c.life, websocket.MessageBinary, message)
}

func (c *trappedClient) Close(end actors.CloseError) error {
	c.trap.at("client.Close")
	return c.ws.Close(websocket.StatusCode(end.Code), end.Reason)
}

func (c *trappedClient) Abort() {
	c.cut()
	c.trap.at("client.Abort")
}

type trappedAgent struct {
	relay.Agent
	trap trap
}

func (a trappedAgent) Open(ctx context.Context) (relay.Stream, error) {
	a.trap.at("agent.Open")
	stream, err := a.Agent.Open(ctx)
	return trappedStream{stream, a.trap}, err
}

type trappedStream struct {
	relay.Stream
	trap trap
}

func (s trappedStream) Send(event relay.Message) error {
	s.trap.at("stream.Send")
	return s.Stream.Send(event)
}

func (s trappedStream) Receive() (relay.Message, error) {
	s.trap.at("stream.Receive")
	return s.Stream.Receive()
}
