package transport_test

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/actors/relay"
	"github.com/lastcall-go/lastcall/proto/dap"
	"github.com/lastcall-go/lastcall/transport"
	"github.com/lastcall-go/lastcall/transport/client"
	"github.com/lastcall-go/lastcall/transport/codec"
	"github.com/lastcall-go/lastcall/transport/grant"
	"github.com/lastcall-go/lastcall/transport/scripted"
)

func TestTextAndBinaryComeInAndBinaryGoesOut(t *testing.T) {
	asks := scripted.Ask(&dap.Action{Action: &dap.Action_Mkdir{Mkdir: &dap.Mkdir{DirectoryPath: "d"}}})
	for _, incoming := range []websocket.MessageType{websocket.MessageText, websocket.MessageBinary} {
		inGateway(t, setting{agent: scripted.Options{Steps: []scripted.Step{asks}}}, func(t *testing.T, g *gateway) {
			ws := g.dial(nil)
			write := func(text string) {
				if err := ws.Write(context.Background(), incoming, []byte(text)); err != nil {
					t.Error(err)
				}
			}
			write(startW1)
			kind, action := g.act(ws)
			if kind != websocket.MessageBinary || action.GetMkdir().GetDirectoryPath() != "d" {
				t.Errorf("a %v came: %v", kind, action)
			}
			write(`{"actionResponse": {"requestID": "` + action.RequestID + `", "plainTextResponse": {}}}`)
			wantFrame(t, closeFrame(ws), 1000, "")
		})
	}
}

func TestEventsOfAnUnknownKindAreIgnored(t *testing.T) {
	inGateway(t, setting{agent: waits}, func(t *testing.T, g *gateway) {
		ws := g.dial(nil)
		g.send(ws, `{"greeting": {"of": "a newer client"}}`) // also as the first message
		g.send(ws, startW1)
		g.send(ws, `{"greeting": {}}`)
		g.send(ws, `{}`)
		g.send(ws, heartbeat)
		g.send(ws, `{"stopWorkflow": {"reason": "enough"}}`)
		wantFrame(t, closeFrame(ws), 1000, "")
		if got := observed[scripted.Received](g); len(got) != 2 || got[0].Event.GetHeartbeat() == nil {
			t.Errorf("the agent received %v", got)
		}
	})
}

// ofSize is an event that is so many bytes of protobuf. character is one byte of its text, as JSON.
func ofSize(bytes int, character string) string {
	text := strings.Repeat("x", bytes)
	event := &dap.ClientEvent{Response: &dap.ClientEvent_ActionResponse{ActionResponse: &dap.ActionResponse{
		ResponseType: &dap.ActionResponse_PlainTextResponse{PlainTextResponse: &dap.PlainTextResponse{Response: text}},
	}}}
	around := proto.Size(event) - len(text)
	return `{"actionResponse": {"plainTextResponse": {"response": "` + strings.Repeat(character, bytes-around) + `"}}}`
}

// As JSON such a message can be up to six times as long.
func TestAMessageOf4MiBIsCarried(t *testing.T) {
	for _, character := range []string{"~", `\n`, `\u0001`} {
		inGateway(t, setting{agent: waits}, func(t *testing.T, g *gateway) {
			ws := g.start()
			g.send(ws, ofSize(4<<20, character))
			g.send(ws, `{"stopWorkflow": {}}`)
			wantFrame(t, closeFrame(ws), 1000, "")
			if got := observed[scripted.Received](g); len(got) != 2 || proto.Size(got[0].Event) != 4<<20 {
				t.Errorf("%s: the agent received %d messages", character, len(got))
			}
		})
	}
}

func TestAMessageOver4MiBIsRefusedOnceTheAgentHasStopped(t *testing.T) {
	for name, message := range map[string]string{
		"a byte over":            ofSize(4<<20+1, "~"),
		"a MiB over":             ofSize(5<<20, "~"),
		"a byte over, escaped":   ofSize(4<<20+1, `\u0001`),
		"more than can be JSON":  strings.Repeat(" ", 6<<22+64<<10) + heartbeat,
		"numbers, 11 bytes each": `{"startRequest": {"flowConfig": {"a": [1` + strings.Repeat(",1", 1<<19) + `]}}}`,
		"too many values":        `{"startRequest": {"flowConfig": {"a": [1` + strings.Repeat(",1", 1<<21+1) + `]}}}`,
	} {
		late := func(string) scripted.Misbehaviour {
			return scripted.Misbehaviour{AcknowledgeAfter: 3 * time.Second, SendAfterStop: 2}
		}
		inGateway(t, setting{agent: scripted.Options{Steps: waits.Steps, Misbehave: late}}, func(t *testing.T, g *gateway) {
			ws := g.start()
			began := time.Now()
			go ws.Write(context.Background(), websocket.MessageText, []byte(message))
			for range 2 {
				if _, action := g.act(ws); action.GetNewCheckpoint() == nil {
					t.Errorf("%s: the agent's last words are %v", name, action)
				}
			}
			wantFrame(t, closeFrame(ws), 1009, "message over 4 MiB")
			if took := time.Since(began); took != 3*time.Second {
				t.Errorf("%s: the close frame came after %v", name, took)
			}
			if end := <-g.stopped; end.BadInput[relay.TooBig] != 1 {
				t.Errorf("%s: bad input %v", name, end.BadInput)
			}
			if len(observed[scripted.Ended](g)) != 1 {
				t.Error("the agent had not stopped")
			}
			g.wantStop("WORKHORSE_WEBSOCKET_PING_FAILED") // the workflow can be resumed
		})
	}
}

// large is a checkpoint that is so many bytes of protobuf when the scripted agent has given it its ID.
func large(bytes int, character string) *dap.Action {
	checkpoint := &dap.NewCheckpoint{Checkpoint: strings.Repeat(character, bytes)}
	action := &dap.Action{RequestID: rand.Text(), Action: &dap.Action_NewCheckpoint{NewCheckpoint: checkpoint}}
	checkpoint.Checkpoint = checkpoint.Checkpoint[proto.Size(action)-bytes:]
	return action
}

// As JSON an action can be six times as long as on the agent's wire, and is delivered; also to the
// client of package client, and where there is none.
func TestWhateverTheAgentMaySendIsDelivered(t *testing.T) {
	for _, character := range []string{"~", "\n", "\x01"} {
		sent := large(4<<20, character)
		agent := scripted.Options{Steps: []scripted.Step{scripted.Ask(sent)}}
		inGateway(t, setting{agent: agent}, func(t *testing.T, g *gateway) {
			conn, err := client.Dial(t.Context(), client.Config{
				URL: "ws://gateway/", HTTPClient: g.clients.httpClient(nil), Start: &dap.StartWorkflowRequest{WorkflowID: "w1"},
			})
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Cut()
			if got, err := conn.Receive(t.Context()); err != nil || !proto.Equal(got.GetNewCheckpoint(), sent.GetNewCheckpoint()) {
				t.Errorf("%q: %v", character, err)
			}
			response := g.execute(t.Context(), "w2", `{}`)
			line, err := bufio.NewReader(response.Body).ReadBytes('\n')
			got := new(dap.Action)
			if err := errors.Join(err, codec.Decode(line, got)); err != nil || !proto.Equal(got.GetNewCheckpoint(), sent.GetNewCheckpoint()) {
				t.Errorf("%q, without a client: %d bytes, %v", character, len(line), err)
			}
		})
	}
}

func TestAnActionOver4MiBEndsWith1009(t *testing.T) {
	agent := scripted.Options{Steps: []scripted.Step{scripted.Ask(large(4<<20+1, "~"))}}
	inGateway(t, setting{agent: agent}, func(t *testing.T, g *gateway) {
		ws := g.start()
		wantFrame(t, closeFrame(ws), 1009, "message over 4 MiB")
		if answer := g.execute(t.Context(), "w2", `{}`); answer.StatusCode != http.StatusBadGateway {
			t.Errorf("without a client: %s", answer.Status)
		}
	})
}

// startOfSize is a startRequest that is so many bytes as a message of protobuf.
func startOfSize(bytes int) string {
	start := &dap.StartWorkflowRequest{WorkflowID: "w1", Goal: strings.Repeat("x", bytes)}
	around := proto.Size(&dap.ClientEvent{Response: &dap.ClientEvent_StartRequest{StartRequest: start}}) - bytes
	return `{"workflowID": "w1", "goal": "` + strings.Repeat("x", bytes-around) + `"}`
}

// grower is a tool that adds to the startRequest.
type grower struct{ relay.Tool }

func (grower) Open(_ context.Context, start *dap.StartWorkflowRequest) error {
	start.Goal += "!"
	return nil
}
func (grower) Takes(*dap.Action) bool      { return false }
func (grower) Close(context.Context) error { return nil }

// What the client sent was no more than the limit. What the gateway adds makes it more.
func TestAStartRequestThatGrowsOver4MiBEndsWith1009(t *testing.T) {
	for name, c := range map[string]struct {
		handler func(*transport.Handler)
		reason  string
		status  int // of a run without a client
	}{
		"nothing is added": {func(*transport.Handler) {}, "", http.StatusOK},
		"capabilities": {granting(grant.Grant{Capabilities: []string{"advanced_search"}}),
			"start request over 4 MiB", http.StatusRequestEntityTooLarge},
		"by a tool": {func(h *transport.Handler) {
			h.Tools = func(*grant.Grant, *http.Request) []relay.Tool { return []relay.Tool{grower{}} }
		}, "message over 4 MiB", http.StatusBadGateway},
	} {
		t.Run(name, func(t *testing.T) {
			ends := func(string) scripted.Misbehaviour {
				return scripted.Misbehaviour{BreakOff: status.New(codes.OK, "")}
			}
			inGateway(t, setting{agent: scripted.Options{Misbehave: ends}, handler: c.handler}, func(t *testing.T, g *gateway) {
				ws := g.dial(nil)
				start := startOfSize(4 << 20)
				g.send(ws, `{"startRequest": `+start+`}`)
				if code := websocket.StatusCode(1009); c.reason != "" {
					wantFrame(t, closeFrame(ws), code, c.reason)
				} else {
					wantFrame(t, closeFrame(ws), 1000, "")
				}
				if answer := g.execute(t.Context(), "w1", start); answer.StatusCode != c.status {
					t.Errorf("without a client: %s", answer.Status)
				}
				if n := len(observed[scripted.Started](g)); (n == 0) != (c.reason != "") {
					t.Errorf("the agent got %d startRequests", n)
				}
			})
		})
	}
}

func TestAMessageThatIsNoClientEventEndsWith1007(t *testing.T) {
	inGateway(t, setting{agent: waits}, func(t *testing.T, g *gateway) {
		ws := g.start()
		g.send(ws, `{"heartbeat": {"timestamp": "noon"}}`)
		frame := closeFrame(ws)
		if frame.Code != 1007 || !strings.HasPrefix(frame.Reason, "not a ClientEvent: ") || !strings.Contains(frame.Reason, "heartbeat.timestamp") {
			t.Errorf("the client was told %d %q", frame.Code, frame.Reason)
		}
	})
}

func TestBytesThatCameWithTheUpgradeRequestAreNotLost(t *testing.T) {
	inGateway(t, setting{agent: waits}, func(t *testing.T, g *gateway) {
		conn, err := g.clients.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		// More than the gateway's own buffer holds, in one write with the request.
		start := `{"startRequest": {"workflowID": "w1", "goal": "` + strings.Repeat("~", 2000) + `"}}`
		if _, err := io.WriteString(conn, upgradeRequest+textFrame(start)+textFrame(heartbeat)); err != nil {
			t.Fatal(err)
		}
		answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || answer.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("%v %v", answer, err)
		}
		time.Sleep(time.Second)
		started, received := observed[scripted.Started](g), observed[scripted.Received](g)
		if len(started) != 1 || len(started[0].Request.GetGoal()) != 2000 || len(received) != 1 {
			t.Errorf("the agent saw %d starts and then %d messages", len(started), len(received))
		}
	})
}

const upgradeRequest = "GET / HTTP/1.1\r\nHost: gateway\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"

// textFrame is a client's frame. Its mask of zeros leaves the text as it is.
func textFrame(text string) string {
	frame := []byte{0x81, 0xfe}
	frame = binary.BigEndian.AppendUint16(frame, uint16(len(text)))
	return string(append(frame, 0, 0, 0, 0)) + text
}

func TestTheClientIsToldHowTheAgentEnded(t *testing.T) {
	for _, c := range []struct {
		agent   codes.Code
		message string
		code    websocket.StatusCode
		reason  string
		outcome actors.Outcome
	}{
		{codes.OK, "", 1000, "", actors.Completed},
		{codes.Canceled, "secret", 1011, "agent error: CANCELLED", actors.Failed},
		{codes.Unknown, "secret", 1011, "agent error: UNKNOWN", actors.Failed},
		{codes.InvalidArgument, "no such flow", 4400, "no such flow", actors.Refused},
		{codes.DeadlineExceeded, "secret", 1011, "agent error: DEADLINE_EXCEEDED", actors.Failed},
		{codes.NotFound, "secret", 1011, "agent error: NOT_FOUND", actors.Failed},
		{codes.AlreadyExists, "secret", 1011, "agent error: ALREADY_EXISTS", actors.Failed},
		{codes.PermissionDenied, "secret", 1011, "agent error: PERMISSION_DENIED", actors.Failed},
		{codes.ResourceExhausted, "grpc: received message larger than max (5 vs. 4)", 1009, "message over 4 MiB", actors.Failed},
		{codes.ResourceExhausted, "SERVER: Received message larger than max (5 vs. 4)", 1009, "message over 4 MiB", actors.Failed},
		{codes.ResourceExhausted, "secret", 1011, "agent error: RESOURCE_EXHAUSTED", actors.Failed},
		{codes.ResourceExhausted, "USAGE_QUOTA_EXCEEDED: secret", 1008, "usage quota exceeded", actors.Refused},
		{codes.PermissionDenied, "secret: USAGE_QUOTA_NOT_ENTITLED", 1008, "USAGE_QUOTA_NOT_ENTITLED", actors.Refused},
		{codes.PermissionDenied, "USAGE_BILLING_FORBIDDEN secret", 1008, "USAGE_BILLING_FORBIDDEN", actors.Refused},
		{codes.PermissionDenied, "USAGE_QUOTA_EXCEEDED", 1011, "agent error: PERMISSION_DENIED", actors.Failed},
		{codes.Unauthenticated, "USAGE_BILLING_FORBIDDEN", 1011, "agent error: UNAUTHENTICATED", actors.Failed},
		{codes.FailedPrecondition, "secret", 1011, "agent error: FAILED_PRECONDITION", actors.Failed},
		{codes.Aborted, "secret", 1011, "agent error: ABORTED", actors.Failed},
		{codes.OutOfRange, "secret", 1011, "agent error: OUT_OF_RANGE", actors.Failed},
		{codes.Unimplemented, "secret", 1011, "agent error: UNIMPLEMENTED", actors.Failed},
		{codes.Internal, "secret", 1011, "agent error: INTERNAL", actors.Failed},
		{codes.Unavailable, "secret", 1001, "agent unavailable", actors.Failed},
		{codes.DataLoss, "secret", 1011, "agent error: DATA_LOSS", actors.Failed},
		{codes.Unauthenticated, "secret", 1011, "agent error: UNAUTHENTICATED", actors.Failed},
		{codes.Code(4242), "secret", 1011, "agent error: 4242", actors.Failed},
		{codes.Internal, "USAGE_QUOTA_EXCEEDED", 1011, "agent error: INTERNAL", actors.Failed},
		// 123 bytes are what a close frame carries; the 123rd would be the first half of an ü.
		{codes.InvalidArgument, strings.Repeat("~", 122) + "üx", 4400, strings.Repeat("~", 122), actors.Refused},
		{codes.InvalidArgument, strings.Repeat("~", 121) + "üx", 4400, strings.Repeat("~", 121) + "ü", actors.Refused},
	} {
		breaksOff := func(string) scripted.Misbehaviour {
			return scripted.Misbehaviour{BreakOff: status.New(c.agent, c.message), BreakOffAfter: 1}
		}
		agent := scripted.Options{Steps: []scripted.Step{scripted.Checkpoint("last words")}, Misbehave: breaksOff}
		inGateway(t, setting{agent: agent}, func(t *testing.T, g *gateway) {
			ws := g.dial(nil)
			g.send(ws, startW1)
			if _, action := g.act(ws); !strings.Contains(action.GetNewCheckpoint().GetCheckpoint(), "last words") {
				t.Errorf("%v: before its end came %v", c.agent, action)
			}
			wantFrame(t, closeFrame(ws), c.code, c.reason)
			if end := <-g.stopped; end.Outcome != c.outcome {
				t.Errorf("%v %q: the session is %s", c.agent, c.message, end.Outcome)
			}
		})
	}
}
