package transport_test

import (
	"bufio"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/actors/relay"
	"github.com/lastcall-go/lastcall/transport/scripted"
)

// raw opens a WebSocket to which a test writes frames of its own.
func (g *gateway) raw() (write func(frame string), read *bufio.Reader) {
	g.t.Helper()
	conn, err := g.clients.Dial(g.t.Context())
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { conn.Close() })
	write = func(frame string) {
		if _, err := io.WriteString(conn, frame); err != nil {
			g.t.Error(err)
		}
	}
	write(upgradeRequest)
	read = bufio.NewReader(conn)
	answer, err := http.ReadResponse(read, nil)
	if err != nil || answer.StatusCode != http.StatusSwitchingProtocols {
		g.t.Fatalf("%v %v", answer, err)
	}
	return write, read
}

const (
	mask       = "\x00\x00\x00\x00"
	badOpcode  = "\x83\x80" + mask
	close1000  = "\x88\x82" + mask + "\x03\xe8"
	longPing   = "\x89\xfe\x00\x7e" + mask
	close1006  = "\x88\x82" + mask + "\x03\xee"
	notMasked  = "\x81\x02{}"
	maxLengths = "\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff" + mask
)

// The library answers such a client by itself, with the reason. The session's end is reported so.
func TestABreachOfTheProtocolIsABadInputOfTheClients(t *testing.T) {
	for frame, reason := range map[string]string{
		badOpcode:  "received unknown opcode",
		longPing:   "received control frame payload with invalid length: 126",
		close1006:  "received invalid close payload: invalid status code",
		notMasked:  "received unmasked frame from client",
		maxLengths: "received negative payload length: -1",
	} {
		for _, started := range []bool{true, false} {
			inGateway(t, setting{agent: waits}, func(t *testing.T, g *gateway) {
				write, read := g.raw()
				if started {
					write(textFrame(startW1))
					observed[scripted.Started](g) // waits for that
				}
				write(frame)
				said, _ := io.ReadAll(read)
				end := <-g.stopped
				if end.Code != 1002 || end.Outcome != actors.Failed || !strings.HasPrefix(end.Reason, reason) || end.BadInput[relay.ProtocolError] != 1 {
					t.Errorf("%q: %+v", frame, end)
				}
				if !strings.HasSuffix(string(said), "\x03\xea"+end.Reason) {
					t.Errorf("%q: the client was told %q, the event says %q", frame, said, end.Reason)
				}
				if started {
					g.wantStop("WORKHORSE_WEBSOCKET_PING_FAILED")
				}
			})
		}
	}
}

// The library writes nothing more once it has read such a frame. That the agent's next message can't be
// written must not hide why.
func TestTheClientsEndIsToldAlsoWhileTheAgentTalks(t *testing.T) {
	floods := scripted.Options{Misbehave: func(string) scripted.Misbehaviour {
		return scripted.Misbehaviour{Flood: scripted.Flood{Messages: 1e6, Size: 100}}
	}}
	for range 10 {
		for frame, want := range map[string]struct {
			code    int
			outcome actors.Outcome
			stop    string
		}{
			close1000: {1000, actors.ClientGone, "WORKHORSE_WEBSOCKET_CLOSE_1000"},
			badOpcode: {1002, actors.Failed, "WORKHORSE_WEBSOCKET_PING_FAILED"},
		} {
			inGateway(t, setting{agent: floods}, func(t *testing.T, g *gateway) {
				write, read := g.raw()
				write(textFrame(startW1))
				if _, err := io.CopyN(io.Discard, read, 10_000); err != nil {
					t.Fatal(err)
				}
				write(frame)
				_, _ = io.Copy(io.Discard, read)
				end := <-g.stopped
				if end.Code != want.code || end.Outcome != want.outcome || want.code == 1000 && end.Err != nil {
					t.Errorf("%q: %+v", frame, end)
				}
				g.wantStop(want.stop)
			})
		}
	}
}
