package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/coder/websocket"

	"github.com/lastcall-go/lastcall/proto/dap"
	"github.com/lastcall-go/lastcall/transport/codec"
)

// read hands on actions until the connection ends.
func (c *Conn) read() {
	defer close(c.done)
	for c.err == nil {
		action, err := c.next()
		if err != nil {
			c.err = c.outcome(err)
			continue
		}
		select {
		case c.actions <- action:
		case <-c.life.Done():
		}
	}
	if c.silence != nil {
		c.silence.Stop()
	}
	_ = c.ws.CloseNow() // a read that fails leaves the socket open
}

// next reads one action.
func (c *Conn) next() (*dap.Action, error) {
	_, message, err := c.ws.Reader(c.life)
	if err != nil {
		return nil, err
	}
	buffer := codec.NewBuffer()
	defer buffer.Free()
	err = buffer.Fill(message)
	action := &dap.Action{}
	if err == nil {
		err = codec.Decode(buffer.Bytes, action)
	}
	switch {
	case errors.Is(err, codec.ErrTooBig):
		return nil, c.reject(codeTooBig, err.Error(), err)
	case errors.As(err, new(*codec.SyntaxError)):
		return nil, c.reject(codeInvalidPayload, "message is no Action", err)
	case err != nil:
		return nil, err
	}
	return action, nil
}

// reject closes the connection over a message that the gateway should not have sent.
func (c *Conn) reject(code int, reason string, cause error) error {
	_ = c.ws.Close(websocket.StatusCode(code), reason)
	return &CloseError{Code: code, Reason: reason, cause: fmt.Errorf("read an action: %w", cause)}
}

// outcome says why reading ended: by our own doing first, because the websocket package's error is
// then no more than a symptom.
func (c *Conn) outcome(err error) error {
	if cause := context.Cause(c.life); cause != nil {
		return cause
	}
	if c.closing.Load() {
		return net.ErrClosed
	}
	var rejected *CloseError
	if errors.As(err, &rejected) {
		return rejected
	}
	var frame websocket.CloseError
	if errors.As(err, &frame) {
		return &CloseError{Code: int(frame.Code), Reason: frame.Reason}
	}
	return lost(err)
}

// pinged is called for each ping, on the reading goroutine. Some proxies and gateways never ping:
// only one that did is expected to go on, since without pings a dead network shows on an idle
// connection only after TCP's own quarter of an hour.
func (c *Conn) pinged(context.Context, []byte) bool {
	if c.silence == nil {
		c.silence = time.AfterFunc(silenceTimeout, func() { c.cut(lost(errSilent)) })
	} else {
		c.silence.Reset(silenceTimeout)
	}
	return true
}
