package transport

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/actors/relay"
	"github.com/lastcall-go/lastcall/proto/dap"
	"github.com/lastcall-go/lastcall/transport/codec"
)

// maxUnsupported bounds the error answers that wait for the agent to take them.
const maxUnsupported = 16

var errRunEnded = errors.New("the run's response has ended")

// runClient is the client of a run without a client. The request's body stands for what a client
// would have said first, the response takes the checkpoints, a line each, and every other action
// that isn't run here is answered with an error. To the session it is a client like any other.
type runClient struct {
	w       http.ResponseWriter
	control *http.ResponseController
	gone    context.Context    // the request's: done when the caller has gone
	said    chan relay.Message // what the session receives next
	done    chan struct{}      // closed when the response has ended, or is cut
	end     sync.Once

	writing sync.Mutex // held while something is written
	begun   bool       // the response's status is on its way
	over    bool       // nothing more may be written

	cutting sync.Mutex
	cut     bool // the response has no proper end
	terms
	meter
}

// newRunClient makes the client of a run whose request's body had that size.
func newRunClient(w http.ResponseWriter, r *http.Request, size int, start relay.Message, agreed terms) *runClient {
	c := &runClient{
		terms:   agreed,
		w:       w,
		control: unlimited(w),
		gone:    r.Context(),
		said:    make(chan relay.Message, maxUnsupported),
		done:    make(chan struct{}),
	}
	c.said <- start
	c.pass(&c.received, size)
	return c
}

// Receive implements [relay.Client].
func (c *runClient) Receive() (relay.Message, error) {
	select {
	case event := <-c.said:
		return event, nil
	case <-c.gone.Done():
		return relay.Message{}, context.Cause(c.gone)
	case <-c.done:
		return relay.Message{}, errRunEnded
	}
}

// Send implements [relay.Client].
func (c *runClient) Send(message relay.Message) error {
	action := new(dap.Action)
	if err := message.Decode(action); err != nil {
		return &actors.CloseError{Code: actors.CloseInternal, Reason: "internal error", Err: err}
	}
	if action.GetNewCheckpoint() == nil {
		return c.decline(action)
	}
	line := codec.NewBuffer()
	defer line.Free()
	if err := c.encode(line, message); err != nil {
		return err
	}
	line.Bytes = append(line.Bytes, '\n')
	if err := c.write(line.Bytes); err != nil {
		return err
	}
	c.pass(&c.sent, len(line.Bytes))
	return nil
}

// decline answers for the client that isn't there: an agent left without an answer stalls.
func (c *runClient) decline(action *dap.Action) error {
	answer := &dap.ActionResponse{
		RequestID: action.GetRequestID(),
		ResponseType: &dap.ActionResponse_PlainTextResponse{PlainTextResponse: &dap.PlainTextResponse{
			Error: "not available: this workflow runs without a client",
		}},
	}
	message, err := relay.MessageOf(&dap.ClientEvent{Response: &dap.ClientEvent_ActionResponse{ActionResponse: answer}})
	if err != nil {
		return err
	}
	select {
	case c.said <- message:
		return nil
	case <-c.gone.Done():
		return context.Cause(c.gone)
	case <-c.done:
		return errRunEnded
	}
}

func (c *runClient) write(line []byte) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	if c.over {
		return errRunEnded
	}
	if !c.begun {
		c.begun = true
		c.w.Header().Set("Content-Type", "application/x-ndjson")
		c.w.Header().Set("X-Content-Type-Options", "nosniff")
		c.w.Header().Set("X-Accel-Buffering", "no") // nginx would keep lines back
		c.w.WriteHeader(http.StatusOK)
	}
	for len(line) > 0 {
		if err := c.allow(); err != nil {
			return err
		}
		n, err := c.w.Write(line[:min(len(line), fragmentLimit)])
		if err != nil {
			return err
		}
		line = line[n:]
	}
	return c.control.Flush()
}

// allow gives the next write its time, unless Abort has taken it. A long line is several writes: a
// client that reads slowly is not lost.
func (c *runClient) allow() error {
	c.cutting.Lock()
	defer c.cutting.Unlock()
	if c.cut {
		return errRunEnded
	}
	return c.control.SetWriteDeadline(time.Now().Add(writeLimit))
}

// Close implements [relay.Client]: the response ends, with a status of its own if nothing was
// written yet.
func (c *runClient) Close(end actors.CloseError) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	if !c.begun && !c.over {
		c.begun = true
		answerRun(c.w, end)
	}
	c.over = true
	c.end.Do(func() { close(c.done) })
	return nil
}

// Abort implements [relay.Client]. After Close it does nothing: what is left of the response is
// the HTTP server's to write.
func (c *runClient) Abort() {
	c.cutting.Lock()
	defer c.cutting.Unlock()
	c.end.Do(func() {
		c.cut = true
		_ = c.control.SetWriteDeadline(time.Now()) // a write under way fails
		close(c.done)
	})
}

// serve holds the request until the response has ended. It is the handler's goroutine, and sends
// the keepalives.
func (c *runClient) serve() {
	keepalive := time.NewTicker(pingInterval)
	defer keepalive.Stop()
	for ended := false; !ended; {
		select {
		case <-keepalive.C:
			_ = c.write([]byte{'\n'}) // a failure shows at the next read or write of the session's
		case <-c.done:
			ended = true
		}
	}
	c.writing.Lock()
	c.over = true
	c.writing.Unlock()
	c.cutting.Lock()
	defer c.cutting.Unlock()
	if c.cut {
		panic(http.ErrAbortHandler) // the reader must not take it for the end
	}
}

// answerRun answers with the status that corresponds to a close code.
func answerRun(w http.ResponseWriter, end actors.CloseError) {
	status := http.StatusInternalServerError
	switch end.Code {
	case actors.CloseNormal:
		status = http.StatusOK
	case actors.CloseGoingAway:
		status = http.StatusServiceUnavailable
		if end.Side == actors.SideAgent {
			status = http.StatusBadGateway
		}
	case actors.CloseInvalidData, actors.CloseInvalidInput:
		status = http.StatusBadRequest
	case actors.CloseUnauthorized:
		status = http.StatusUnauthorized
	case actors.ClosePolicy, actors.CloseForbidden:
		status = http.StatusForbidden
	case actors.CloseTryAgainLater:
		status = http.StatusConflict
	case actors.CloseTooBig:
		status = http.StatusBadGateway // the agent's message: the body was read before
		if end.Side == actors.SideClient {
			status = http.StatusRequestEntityTooLarge
		}
	case actors.CloseInternal:
		if end.Side == actors.SideAgent {
			status = http.StatusBadGateway
		}
	}
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	http.Error(w, end.Reason, status)
}
