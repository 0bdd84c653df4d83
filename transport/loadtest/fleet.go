// Package loadtest puts load on a gateway and measures what its clients see of it: it is what
// "lastcall bench" runs.
//
// A [Fleet] is many clients in this process, each with a WebSocket of its own. Its phases are
// methods, so that the caller can measure the gateway between them:
//
//	fleet.Open(ctx, 1000, 32)            1000 sessions, 32 connecting at a time
//	                                     ... now they are idle: what does the gateway's memory say?
//	fleet.Load(ctx, 64, 10*time.Second)  64 of them exchange messages as fast as they are answered
//	                                     ... tell the gateway to drain
//	fleet.Wait(ctx)                      until the gateway has closed them all
//	fleet.TakeEnds()                     with what codes, and how many
//
// A session begins with a startRequest. The agent's actions are left unanswered but for [Fleet.Load],
// which is what keeps a session open and idle. An answer is plain text that says nothing: an agent
// that thinks about it is asked nonsense, and each session is a workflow that it runs.
//
// [Memory] asks a gateway what its process takes, and [NewAgent] is an agent that never has enough.
package loadtest

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lastcall-go/lastcall/proto/dap"
	"github.com/lastcall-go/lastcall/transport/client"
)

// Options says where a fleet's sessions are opened. Only URL is required.
type Options struct {
	// URL is where the gateway takes sessions: ws or wss, with host and path.
	URL string

	// Header goes with every upgrade request: authorization, user agent.
	Header http.Header

	// HTTPClient makes the upgrade requests. Nil means that of [client.Dial].
	HTTPClient *http.Client

	// AnswerSize is the length in bytes of the text that answers an action. Zero means 1 KiB.
	AnswerSize int

	// FirstAction is how long [Fleet.Open] waits for the agents once all clients have connected.
	// Zero means 30 s.
	FirstAction time.Duration
}

// Fleet is a number of clients of one gateway. Its methods may not be called concurrently, but for
// Progress. It must be ended with Cut, whatever its other methods returned.
type Fleet struct {
	options Options
	answer  string
	run     string // begins the workflows' names
	named   atomic.Int64

	life     context.Context // of what holds the sessions
	end      context.CancelFunc
	sessions []*session // that were opened, ended ones included

	opened, failed, ended, roundTrips atomic.Int64

	mu   sync.Mutex
	ends map[End]int
}

// New returns a fleet without clients.
func New(options Options) (*Fleet, error) {
	if err := client.CheckURL(options.URL); err != nil {
		return nil, err
	}
	options.FirstAction = cmp.Or(options.FirstAction, 30*time.Second)
	f := &Fleet{
		options: options,
		answer:  strings.Repeat("x", cmp.Or(options.AnswerSize, 1<<10)),
		run:     "bench-" + rand.Text(),
		ends:    make(map[End]int),
	}
	f.life, f.end = context.WithCancel(context.Background())
	return f, nil
}

// Progress is how far a fleet has come. Each number counts from the fleet's beginning.
type Progress struct {
	Opened     int64 // sessions that connected, reopened ones included
	Failed     int64 // sessions that didn't, or ended before the agent had said anything
	Ended      int64 // sessions that were open and ended
	RoundTrips int64
}

// Progress may be called at any time.
func (f *Fleet) Progress() Progress {
	return Progress{
		Opened:     f.opened.Load(),
		Failed:     f.failed.Load(),
		Ended:      f.ended.Load(),
		RoundTrips: f.roundTrips.Load(),
	}
}

// start is the first message of a new session.
func (f *Fleet) start() *dap.StartWorkflowRequest {
	return &dap.StartWorkflowRequest{
		ClientVersion: "bench",
		WorkflowID:    fmt.Sprintf("%s-%d", f.run, f.named.Add(1)),
		Goal:          "Load test: nothing is to be done.",
	}
}

// dial opens one connection and says start on it. It takes at most 30 s.
func (f *Fleet) dial(ctx context.Context) (*client.Conn, error) {
	return client.Dial(ctx, client.Config{
		URL:        f.options.URL,
		Header:     f.options.Header,
		HTTPClient: f.options.HTTPClient,
		Start:      f.start(),
	})
}

// Wait returns nil when the gateway has closed all sessions that are open, or ctx's error. It
// asks nothing to close.
func (f *Fleet) Wait(ctx context.Context) error {
	for _, s := range f.sessions {
		select {
		case <-s.ended:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// Len is how many sessions are open.
func (f *Fleet) Len() int { return len(f.alive()) }

func (f *Fleet) alive() []*session {
	var alive []*session
	for _, s := range f.sessions {
		if !s.over() {
			alive = append(alive, s)
		}
	}
	return alive
}

// Leave closes all sessions with 1000, beside each other, and forgets them. It takes at most 10 s.
func (f *Fleet) Leave() {
	var leaving sync.WaitGroup
	for _, s := range f.sessions {
		leaving.Go(func() {
			s.conn.Close(closeNormal, "")
			<-s.held
		})
	}
	leaving.Wait()
	f.sessions = nil
}

// Cut ends all sessions at once and without a close frame. It does nothing to a fleet without
// sessions, and leaves none of its goroutines. Afterwards the fleet is of no more use.
func (f *Fleet) Cut() {
	f.end()
	for _, s := range f.sessions {
		<-s.held
		s.conn.Cut()
	}
	f.sessions = nil
}
