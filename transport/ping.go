package transport

import (
	"context"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// pinger sends a ping every [pingInterval]. Between two it is a timer and no goroutine. A ping's
// outcome doesn't matter: a client without a sign of life fails the read that goes on. A pong that
// is not read, because the agent takes no more messages, says nothing about the client.
type pinger struct {
	ws     *websocket.Conn
	life   context.Context // done once stopped
	cancel context.CancelFunc

	mu      sync.Mutex
	timer   *time.Timer
	stopped bool
	running sync.WaitGroup
}

func (p *pinger) start(ws *websocket.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ws = ws
	p.life, p.cancel = context.WithCancel(context.Background())
	p.timer = time.AfterFunc(pingInterval, p.fire)
}

// stop ends the pings. It is for a connection that is cut: stopping during a ping cuts it too.
func (p *pinger) stop() {
	p.mu.Lock()
	p.stopped = true
	p.timer.Stop()
	p.mu.Unlock()
	p.cancel()
}

// wait returns when no ping is under way. Only after stop will there be none.
func (p *pinger) wait() { p.running.Wait() }

func (p *pinger) fire() {
	if !p.next() {
		return
	}
	defer p.running.Done()
	ctx, cancel := context.WithTimeout(p.life, pingInterval/2)
	defer cancel()
	_ = p.ws.Ping(ctx)
}

func (p *pinger) next() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped {
		return false
	}
	p.running.Add(1)
	p.timer.Reset(pingInterval)
	return true
}
