package agentpool

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
)

// fullAfter is how long no stream gets open on a connection that is up, before the connection counts
// as full. gRPC makes a stream wait that is over the server's limit, and reports that limit to no
// caller.
const fullAfter = 500 * time.Millisecond

// place is a stream's place on a connection. It is taken before the stream is open.
type place struct {
	conn  *pooled
	state placeState

	timer  *time.Timer // of the next look, while the stream is being opened
	up     bool        // the connection, at the last look
	opened int         // pooled.opened at the last look
}

type placeState int

const (
	placeWaiting placeState = iota // its stream is being opened
	placeOpen                      // its stream is open
	placeFull                      // there was none after all
	placeLeft                      // its stream has ended
)

// openStream opens a stream on a connection to an agent, with begin. Where the stream waits because
// the server takes no more on that connection, it is opened on another one. The place is held until
// ctx is done.
func openStream[S any](ctx context.Context, p *Pool, to route, begin func(context.Context, grpc.ClientConnInterface) (S, error)) (S, error) {
	for {
		at, err := p.take(to)
		if err != nil {
			var none S
			return none, err
		}
		life, end := context.WithCancel(ctx)
		context.AfterFunc(life, func() { p.giveBack(at) })
		p.watch(at, end)
		stream, err := begin(life, at.conn)
		if full := p.settle(at, err == nil); full {
			continue
		}
		if err != nil {
			end()
		}
		return stream, err
	}
}

// watch looks again and again whether a stream that is being opened waits for others to end, and
// calls end if it does.
func (p *Pool) watch(at *place, end context.CancelFunc) {
	p.mu.Lock()
	defer p.mu.Unlock()
	at.timer = time.AfterFunc(fullAfter, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if at.state != placeWaiting {
			return
		}
		if at.stuck() {
			at.state = placeFull
			at.conn.limit = min(at.conn.limit, at.conn.open)
			end()
			return
		}
		at.timer.Reset(fullAfter)
	})
}

// stuck reports whether the connection was up since the last look, with streams on it, and no stream
// got open. A connection without any stream is not full: another one would be no better.
func (at *place) stuck() bool {
	wasUp, before := at.up, at.opened
	at.up, at.opened = at.conn.GetState() == connectivity.Ready, at.conn.opened
	return wasUp && at.up && at.opened == before && at.conn.open > 0
}

// settle ends the watch over a stream that was opened, or failed to. It reports whether the connection
// was full.
func (p *Pool) settle(at *place, open bool) (full bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	at.timer.Stop()
	if at.state == placeWaiting && open {
		at.state = placeOpen
		at.conn.open++
		at.conn.opened++
	}
	return at.state == placeFull
}
