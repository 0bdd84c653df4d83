package actorstest

import (
	"errors"
	"sync"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/actors/relay"
	"github.com/lastcall-go/lastcall/proto/dap"
)

// What a message counts in [Client.Traffic], in bytes.
const (
	ReceivedBytes = 10  // from the client
	SentBytes     = 100 // to the client
)

// errCut is what the methods of a client return when its connection was cut.
var errCut = errors.New("connection cut")

// Client is a [relay.Client] in memory. Its zero value says nothing, takes every message at once and
// answers the close frame. Set its fields before the session starts.
// It notes in its journal:
//
//	client got ID           Send was called with the action of this requestID
//	client told CODE REASON Close was called
//	client cut              Abort was called first
type Client struct {
	Journal *Journal // nil: nothing is noted

	OnSend  Call // interrupted by Abort
	OnClose Call // interrupted by Abort. Hangs: the client never answers the close frame
	OnAbort Call // only Panics counts: Abort doesn't block

	// Stubborn, if not nil, is a connection that can't be cut: blocked methods return when it is
	// closed, and not before.
	Stubborn <-chan struct{}

	// Counts, if not nil, is what Traffic returns.
	Counts func() actors.Traffic

	// Bad is what BadInput returns.
	Bad map[actors.BadInput]int

	once  sync.Once
	says  chan func() (*dap.ClientEvent, error)
	cut   chan struct{}
	abort sync.Once

	mu      sync.Mutex
	lost    bool // the session knows that the client is gone
	traffic actors.Traffic
}

// maxSaid is how many messages of a client can wait to be received.
const maxSaid = 64

func (c *Client) init() {
	c.once.Do(func() {
		c.says = make(chan func() (*dap.ClientEvent, error), maxSaid)
		c.cut = make(chan struct{})
	})
}

// Say has the client say something. It doesn't wait until that is received, unless 64 messages are
// waiting already.
func (c *Client) Say(event *dap.ClientEvent) {
	c.say(func() (*dap.ClientEvent, error) { return event, nil })
}

// End has Receive return an error after what was said before: a [*actors.ClosedError] for a client that
// closes, a [*actors.CloseError], or any other for a lost connection.
func (c *Client) End(err error) {
	c.say(func() (*dap.ClientEvent, error) {
		if !errors.As(err, new(*actors.CloseError)) {
			c.lose()
		}
		return nil, err
	})
}

// Panic has Receive panic with "in Client.Receive" after what was said before.
func (c *Client) Panic() {
	c.say(func() (*dap.ClientEvent, error) { panic("in Client.Receive") })
}

func (c *Client) say(what func() (*dap.ClientEvent, error)) {
	c.init()
	c.says <- what
}

// Receive implements [relay.Client].
func (c *Client) Receive() (relay.Message, error) {
	c.init()
	select {
	case said := <-c.says:
		event, err := said()
		if err != nil {
			return relay.Message{}, err
		}
		c.count(&c.traffic.Received, ReceivedBytes)
		return relay.MessageOf(event)
	case <-c.gone():
		return relay.Message{}, errCut
	}
}

// Send implements [relay.Client].
func (c *Client) Send(message relay.Message) error {
	c.init()
	action := new(dap.Action)
	if err := message.Decode(action); err != nil {
		return err
	}
	c.OnSend.panics("Client.Send")
	err := c.OnSend.Err
	if !c.OnSend.pass(c.gone()) {
		err = errCut
	}
	if err != nil {
		if !errors.As(err, new(*actors.CloseError)) {
			c.lose()
		}
		return err
	}
	c.Journal.Note("client got %s", action.GetRequestID())
	c.count(&c.traffic.Sent, SentBytes)
	return nil
}

// Close implements [relay.Client].
func (c *Client) Close(end actors.CloseError) error {
	c.init()
	c.Journal.Note("client told %d %s", end.Code, end.Reason)
	c.OnClose.panics("Client.Close")
	if c.Stubborn != nil {
		<-c.Stubborn
		return errCut
	}
	if !c.OnClose.pass(c.cut) {
		return errCut
	}
	return c.OnClose.Err
}

// Abort implements [relay.Client].
func (c *Client) Abort() {
	c.init()
	c.abort.Do(func() {
		c.Journal.Note("client cut")
		close(c.cut)
	})
	c.OnAbort.panics("Client.Abort")
}

// BadInput returns Bad: how many messages were wrong, by kind.
func (c *Client) BadInput() map[actors.BadInput]int { return c.Bad }

// Traffic returns Counts, or without it the messages so far, of
// [ReceivedBytes] and [SentBytes] each.
func (c *Client) Traffic() actors.Traffic {
	if c.Counts != nil {
		return c.Counts()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.traffic
}

func (c *Client) count(flow *actors.Flow, bytes uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	flow.Messages++
	flow.Bytes += bytes
}

// gone is closed when blocked methods return.
func (c *Client) gone() <-chan struct{} {
	if c.Stubborn != nil {
		return c.Stubborn
	}
	return c.cut
}

func (c *Client) lose() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lost = true
}

func (c *Client) isLost() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lost
}
