// Package client is the other end of a gateway's WebSocket: it runs one workflow to its end over as
// many connections as that takes.
//
// [Run] is all that most programs need. It connects, starts the workflow, has each of the agent's
// actions answered, and when the connection ends for a reason that passes (the gateway shuts down,
// the network breaks) it connects again and starts the same workflow again, which the agent resumes
// from its last checkpoint. [Dial] opens a single connection, for programs that want to decide
// themselves.
//
// How a connection ended decides what Run does:
//
//	close code 1000                             done: Run returns nil
//	1001, 1012, 1013, or lost (1006)            connects again
//	no connection, or HTTP 429, 502, 503, 504        connects again, not before Retry-After
//	any other code: 4400, 3003, 1007, 1008, …   Run returns a *CloseError
//	any other HTTP status                       Run returns a *RefusedError
//
// Clients share nothing: a process may run thousands of them. An idle one costs two goroutines.
package client

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/lastcall-go/lastcall/proto/dap"
)

// Config says what to run and where. Only URL is required.
type Config struct {
	// URL is where the gateway takes sessions: ws or wss, with host and path.
	URL string

	// Header goes with every upgrade request: authorization, user agent.
	Header http.Header

	// HTTPClient makes the upgrade requests. Nil means a client that follows no redirects and keeps
	// nothing from one request to the next. What another one keeps is for its owner to close.
	HTTPClient *http.Client

	// Start is sent first on every connection. [Run] works on a copy, and gives it a random
	// workflowID if it has none, so that the workflow can be resumed. [Dial] sends it as it is, and
	// nothing if it is nil.
	Start *dap.StartWorkflowRequest

	// Handle answers an action; newCheckpoint needs no answer and isn't given to it. It is called
	// for one action at a time, in the order in which they came. Its context is done when the
	// connection or the run ends: it must return soon after, for Run waits for it. The answer gets
	// the action's requestID. A nil answer isn't sent, which stalls the workflow. Without a Handle
	// every action is answered with an error.
	Handle func(ctx context.Context, action *dap.Action) *dap.ActionResponse

	// Observe, if set, is called with what happens. It is never called concurrently; while it runs the
	// client reads at most one message further.
	Observe func(Event)

	// MinBackoff and MaxBackoff bound the wait before the first and before every later attempt to
	// connect again; the wait itself is random between zero and the bound. Zero means 100 ms and
	// 10 s. For a workflow that runs elsewhere (1013) the bound is 2 s at most.
	MinBackoff, MaxBackoff time.Duration

	// Heartbeat is the time between two heartbeats to the agent. Zero means 60 s.
	Heartbeat time.Duration
}

// Event is what [Run] reports: [Connected], [Received], [Closed] or [Reconnecting].
type Event interface{ event() }

// Connected says that a connection is open and the start request sent.
type Connected struct {
	WorkflowID string
}

// Received says that an action came, newCheckpoint included. The observer must not change it.
type Received struct {
	Action *dap.Action
}

// Closed says how a connection ended. A Code of 1006 means that it was lost.
type Closed struct {
	Code   int
	Reason string
}

// Reconnecting says that Run will try to connect again after Delay, and why. Attempt counts from 1
// and begins anew after a connection that brought an action.
type Reconnecting struct {
	Attempt int
	Delay   time.Duration
	Cause   error
}

func (Connected) event()    {}
func (Received) event()     {}
func (Closed) event()       {}
func (Reconnecting) event() {}

// complete checks the configuration and fills in what [Run] needs.
func (c Config) complete() (Config, error) {
	c.MinBackoff = cmp.Or(c.MinBackoff, 100*time.Millisecond)
	c.MaxBackoff = cmp.Or(c.MaxBackoff, max(10*time.Second, c.MinBackoff))
	c.Heartbeat = cmp.Or(c.Heartbeat, time.Minute)
	if c.MinBackoff < 0 || c.MaxBackoff < c.MinBackoff {
		return c, fmt.Errorf("backoff from %v to %v is not possible", c.MinBackoff, c.MaxBackoff)
	}
	if c.Heartbeat < 0 {
		return c, fmt.Errorf("a heartbeat every %v is not possible", c.Heartbeat)
	}
	if err := CheckURL(c.URL); err != nil {
		return c, err
	}
	if c.Observe == nil {
		c.Observe = func(Event) {}
	}
	return c, c.completeStart()
}

func (c *Config) completeStart() error {
	start := &dap.StartWorkflowRequest{}
	proto.Merge(start, c.Start)
	if start.WorkflowID == "" {
		start.WorkflowID = rand.Text()
	}
	c.Start = start
	// What can't be encoded now never can: it must not look like a connection that failed.
	message, err := encode(startEvent(start))
	if err != nil {
		return fmt.Errorf("start request: %w", err)
	}
	message.Free()
	return nil
}

// CheckURL says what is wrong with a gateway's URL, if anything: it must be ws:// or wss://, and name a
// host. Secrets in it are not repeated.
func CheckURL(text string) error {
	u, err := url.Parse(text)
	if err != nil {
		return fmt.Errorf("gateway's URL: %w", err)
	}
	if u.Scheme != "ws" && u.Scheme != "wss" {
		return fmt.Errorf("gateway's URL %q: the scheme must be ws or wss", u.Redacted())
	}
	if u.Host == "" {
		return errors.New("gateway's URL names no host")
	}
	return nil
}

func startEvent(start *dap.StartWorkflowRequest) *dap.ClientEvent {
	return &dap.ClientEvent{Response: &dap.ClientEvent_StartRequest{StartRequest: start}}
}

func answerEvent(answer *dap.ActionResponse) *dap.ClientEvent {
	return &dap.ClientEvent{Response: &dap.ClientEvent_ActionResponse{ActionResponse: answer}}
}

// Heartbeats carry Unix milliseconds, as the platform's own clients send them.
func heartbeatEvent(now time.Time) *dap.ClientEvent {
	beat := &dap.HeartbeatRequest{Timestamp: now.UnixMilli()}
	return &dap.ClientEvent{Response: &dap.ClientEvent_Heartbeat{Heartbeat: beat}}
}
