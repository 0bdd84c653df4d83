package client

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
	"google.golang.org/protobuf/proto"

	"github.com/lastcall-go/lastcall/proto/dap"
	"github.com/lastcall-go/lastcall/transport/codec"
)

const (
	writeTimeout = time.Minute
	// A gateway that pings does so every 20 s.
	silenceTimeout = time.Minute
	// How long a failed write waits for the close frame that explains it.
	explainTimeout = time.Second
)

var errSilent = errors.New("the gateway stopped pinging")

// Conn is one connection to a gateway. Its methods may be called concurrently. It must be ended
// with Close or Cut, whatever its other methods returned.
//
// A connection reads by itself, so that pings and close frames are answered, but only one action
// ahead of what Receive has returned. If the gateway has pinged and then is silent for a minute,
// the connection is lost.
type Conn struct {
	ws      *websocket.Conn
	actions chan *dap.Action

	// life ends when the connection is to be cut; its cause is what Receive then returns.
	life context.Context
	cut  context.CancelCauseFunc

	closing atomic.Bool // Close was called

	silence *time.Timer // belongs to the reading goroutine; nil until the first ping

	done chan struct{} // closed when nothing reads any more; err is set before
	err  error
}

func newConn() *Conn {
	life, cut := context.WithCancelCause(context.Background())
	return &Conn{
		actions: make(chan *dap.Action),
		life:    life,
		cut:     cut,
		done:    make(chan struct{}),
	}
}

func (c *Conn) begin(ws *websocket.Conn) {
	c.ws = ws
	ws.SetReadLimit(-1) // codec.Buffer has the limit
	go c.read()
}

// Receive returns the agent's next action. When the connection has ended it returns how: a
// [*CloseError], or [net.ErrClosed] after Close or Cut. If ctx is done first Receive returns its
// error, and the connection stays as it is.
func (c *Conn) Receive(ctx context.Context) (*dap.Action, error) {
	select {
	case action := <-c.actions:
		return action, nil
	case <-c.done:
		return nil, c.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Send sends event in a text frame. It takes at most a minute. An event that can't be encoded or is
// over 4 MiB as protobuf is an error and leaves the connection as it is. Any other error means that the
// connection is over: it is what Receive returns, or ctx's error if that ended first, which cuts
// the connection.
func (c *Conn) Send(ctx context.Context, event *dap.ClientEvent) error {
	message, err := encode(event)
	if err != nil {
		return err
	}
	defer message.Free()
	return c.write(ctx, message)
}

func encode(event *dap.ClientEvent) (*codec.Buffer, error) {
	if proto.Size(event) > codec.MaxMessage {
		return nil, codec.ErrTooBig
	}
	message := codec.NewBuffer()
	var err error
	if message.Bytes, err = codec.Append(message.Bytes, event); err != nil {
		message.Free()
		return nil, err
	}
	return message, nil
}

func (c *Conn) write(ctx context.Context, message *codec.Buffer) error {
	bounded, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	err := c.ws.Write(bounded, websocket.MessageText, message.Bytes)
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		c.cut(lost(ctx.Err()))
		<-c.done
		return ctx.Err()
	}
	// The reason is often a close frame that is still to be read.
	explain := time.AfterFunc(explainTimeout, func() { c.cut(lost(err)) })
	defer explain.Stop()
	<-c.done
	return c.err
}

// Close sends a close frame, waits for the gateway's and ends the connection. The reason is cut to
// the 123 bytes that fit. It takes at most 10 s: 5 to write, 5 to wait. Actions that still come are
// dropped. Close does nothing to a connection that has ended.
func (c *Conn) Close(code int, reason string) {
	c.closing.Store(true)
	select {
	case <-c.done:
	default:
		// Whether the gateway answered is nothing that a caller could act on.
		_ = c.ws.Close(websocket.StatusCode(code), cut(reason, maxReason))
		c.Cut()
	}
}

// Cut ends the connection at once and without a close frame: the gateway sees a lost client. Only a
// close that has begun is waited for. Cut does nothing to a connection that has ended.
func (c *Conn) Cut() {
	c.cut(net.ErrClosed)
	<-c.done
}
