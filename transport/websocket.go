package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/coder/websocket"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/actors/relay"
	"github.com/lastcall-go/lastcall/transport/codec"
)

// wsClient is a session's client over a WebSocket. Its connection is cut by closing the wire under
// it: coder/websocket's CloseNow doesn't cut a close handshake short.
type wsClient struct {
	ws    *websocket.Conn
	wire  *wire
	pings pinger
	over  chan struct{} // closed when Receive has failed; why is set before
	why   error
	bad   map[actors.BadInput]int // nil until there is some
	terms
	meter
}

// terms are what is known of the messages of a session.
type terms struct {
	contract *codec.Contract
	dropped  codec.Unknown // called with each field of an action that the contract doesn't have. Nil: it is not called
}

// accept upgrades a request, whose origin has been checked, to one of these subprotocols or to none. On an
// error the request has been answered; [errHidden] is for the log.
func accept(w http.ResponseWriter, r *http.Request, subprotocols []string, agreed terms) (*wsClient, error) {
	if r.ProtoMajor != 1 {
		http.Error(w, "a WebSocket needs HTTP/1.1 here", http.StatusHTTPVersionNotSupported)
		return nil, fmt.Errorf("upgrade a request of %s", r.Proto)
	}
	up := &upgrade{ResponseWriter: w}
	ws, err := websocket.Accept(up, r, &websocket.AcceptOptions{
		InsecureSkipVerify: true, // allowsOrigin has verified it
		Subprotocols:       subprotocols,
	})
	if err != nil {
		return nil, err
	}
	// The limit is kept by codec.Buffer: the library would send its close frame at once, before the
	// agent was stopped and the lease released.
	ws.SetReadLimit(-1)
	c := &wsClient{ws: ws, wire: up.wire, over: make(chan struct{}), terms: agreed}
	c.pings.start(ws)
	return c, nil
}

// Receive implements [relay.Client].
func (c *wsClient) Receive() (relay.Message, error) {
	for {
		event, err := c.receive()
		if err != nil {
			return relay.Message{}, c.ended(err)
		}
		if len(event.Bytes) > 0 {
			return relay.Message{Bytes: event.Bytes, Owner: event}, nil
		}
		event.Free()
		c.count(relay.UnknownEvent)
	}
}

// receive reads a message of the client's, and returns it as the agent takes it.
func (c *wsClient) receive() (*codec.Buffer, error) {
	_, message, err := c.ws.Reader(context.Background())
	if err != nil {
		return nil, err
	}
	text := codec.NewBuffer()
	defer text.Free()
	if err := text.Fill(message); err != nil {
		return nil, err
	}
	c.pass(&c.received, len(text.Bytes))
	event := codec.NewBuffer()
	var unknown bool
	if event.Bytes, unknown, err = c.contract.Events.AppendWire(event.Bytes, text.Bytes); err != nil {
		event.Free()
		return nil, err
	}
	if unknown {
		c.count(relay.UnknownField)
	}
	return event, nil
}

func (c *wsClient) count(kind actors.BadInput) {
	if c.bad == nil {
		c.bad = make(map[actors.BadInput]int)
	}
	c.bad[kind]++
}

// BadInput implements [relay.BadInputCounter].
func (c *wsClient) BadInput() map[actors.BadInput]int { return c.bad }

// ended says what a failed read means, first to a Send that has failed too. After a [*actors.CloseError]
// the connection is good for the close frame; after anything else it is done with.
func (c *wsClient) ended(err error) error {
	c.why = c.reason(err)
	close(c.over)
	if !errors.As(c.why, new(*actors.CloseError)) {
		c.Abort()
		_ = c.ws.CloseNow()
		c.pings.wait()
	}
	return c.why
}

func (c *wsClient) reason(err error) error {
	var syntax *codec.SyntaxError
	var closed websocket.CloseError
	switch {
	case errors.Is(err, codec.ErrTooBig):
		return &actors.CloseError{Code: actors.CloseTooBig, Reason: err.Error(), Side: actors.SideClient}
	case errors.As(err, &syntax):
		return &actors.CloseError{Code: actors.CloseInvalidData, Reason: err.Error(), Side: actors.SideClient}
	case errors.As(err, &closed):
		return &actors.ClosedError{Code: int(closed.Code), Reason: closed.Reason}
	case errors.Is(err, os.ErrDeadlineExceeded):
		return relay.ErrSilent
	case c.breach(err):
		return &actors.CloseError{Code: actors.CloseProtocolError, Reason: breachReason(err), Err: err, Side: actors.SideClient}
	}
	return err
}

// breach reports whether a read failed because of what the client sent, and not because the connection
// did. The library has no type for that.
func (c *wsClient) breach(err error) bool {
	return !c.wire.failed.Load() && !errors.Is(err, net.ErrClosed) && !errors.Is(err, context.DeadlineExceeded)
}

// breachReason says what the client did. The library has sent those words to it, with 1002, before the
// read returned; where it hasn't, Close does.
func breachReason(err error) string {
	for ; err != nil; err = errors.Unwrap(err) {
		if text := err.Error(); strings.HasPrefix(text, "received ") {
			return text
		}
	}
	return "protocol error"
}

// Send implements [relay.Client].
func (c *wsClient) Send(action relay.Message) error {
	buffer := codec.NewBuffer()
	defer buffer.Free()
	if err := c.encode(buffer, action); err != nil {
		return err
	}
	if err := c.write(buffer.Bytes); err != nil {
		return c.explain(err)
	}
	c.pass(&c.sent, len(buffer.Bytes))
	return nil
}

// explain returns why a message could not be written. The library writes nothing more once it has read
// the client's close frame, or a breach of the protocol: then Receive is about to return which.
func (c *wsClient) explain(err error) error {
	if !errors.Is(err, net.ErrClosed) {
		return err
	}
	late := time.NewTimer(explainLimit)
	defer late.Stop()
	select {
	case <-c.over:
	case <-c.pings.life.Done(): // aborted
	case <-late.C: // Receive is not called: the agent takes no more
	}
	select {
	case <-c.over:
		return c.why
	default:
		return err
	}
}

// encode puts an action into a buffer, as JSON. That has no limit of its own: whatever the agent may
// send is delivered. An error is a [*actors.CloseError].
func (t terms) encode(buffer *codec.Buffer, action relay.Message) (err error) {
	if buffer.Bytes, err = t.contract.Actions.AppendJSON(buffer.Bytes, action.Bytes, t.dropped); err != nil {
		return &actors.CloseError{Code: actors.CloseInternal, Reason: "internal error", Err: err}
	}
	return nil
}

// write sends one message. A large one goes in several frames: between them the library can answer
// the client's pings, which it gives up on, and the connection with them, after 5 s.
func (c *wsClient) write(message []byte) error {
	ctx := context.Background() // the wire has the time limit
	if len(message) <= fragmentLimit {
		return c.ws.Write(ctx, websocket.MessageBinary, message)
	}
	w, err := c.ws.Writer(ctx, websocket.MessageBinary)
	if err != nil {
		return err
	}
	for len(message) > 0 {
		n := min(len(message), fragmentLimit)
		if _, err := w.Write(message[:n]); err != nil {
			return err
		}
		message = message[n:]
	}
	return w.Close()
}

// Close implements [relay.Client]. The library gives up after 5 s for the frame and 5 s for the
// answer; Abort does so at once.
func (c *wsClient) Close(end actors.CloseError) error {
	err := c.ws.Close(websocket.StatusCode(end.Code), end.Reason)
	c.Abort()
	c.pings.wait()
	return err
}

// Abort implements [relay.Client].
func (c *wsClient) Abort() {
	c.wire.cut()
	c.pings.stop()
}
