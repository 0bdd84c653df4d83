package tests

import (
	"context"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"
)

// balancer is a TCP load balancer: it gives a new connection to the next instance that is ready. As
// real ones do, it learns of readiness by asking from time to time.
type balancer struct {
	listener net.Listener
	client   http.Client
	work     sync.WaitGroup

	mu        sync.Mutex
	instances []*process
	ready     map[*process]bool
	turn      int
	conns     map[net.Conn]struct{} // of both sides
	closed    bool
}

// checkEvery is the time between two questions whether an instance is ready.
const checkEvery = 20 * time.Millisecond

func newBalancer(t *testing.T, instances ...*process) *balancer {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &balancer{
		listener: listener,
		client:   http.Client{Transport: &http.Transport{DisableKeepAlives: true}},
		ready:    make(map[*process]bool),
		conns:    make(map[net.Conn]struct{}),
	}
	ctx, cancel := context.WithCancel(context.Background())
	b.work.Go(b.accept)
	b.work.Go(func() { b.check(ctx) })
	t.Cleanup(func() {
		cancel()
		b.close()
		b.work.Wait()
	})
	b.use(t, instances...)
	return b
}

// use replaces the instances for new connections, once all of them are known to be ready.
func (b *balancer) use(t *testing.T, instances ...*process) {
	t.Helper()
	b.mu.Lock()
	b.instances = slices.Clone(instances)
	b.mu.Unlock()
	eventually(t, "all instances are ready", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return !slices.ContainsFunc(instances, func(p *process) bool { return !b.ready[p] })
	})
}

func (b *balancer) url() string {
	return "ws://" + b.listener.Addr().String() + "/api/v4/ai/duo_workflows/ws"
}

func (b *balancer) check(ctx context.Context) {
	ticker := time.NewTicker(checkEvery)
	defer ticker.Stop()
	for {
		b.mu.Lock()
		instances := b.instances
		b.mu.Unlock()
		for _, p := range instances {
			ready := b.isReady(ctx, p)
			b.mu.Lock()
			b.ready[p] = ready
			b.mu.Unlock()
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

func (b *balancer) isReady(ctx context.Context, p *process) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.admin+"/readyz", nil)
	if err != nil {
		return false
	}
	response, err := b.client.Do(request)
	if err != nil {
		return false
	}
	response.Body.Close()
	return response.StatusCode == http.StatusOK
}

func (b *balancer) accept() {
	for {
		near, err := b.listener.Accept()
		if err != nil {
			return
		}
		b.work.Go(func() { b.serve(near.(*net.TCPConn)) })
	}
}

// serve joins a connection with one to an instance, until both sides have said all.
func (b *balancer) serve(near *net.TCPConn) {
	if !b.own(near) {
		return
	}
	defer b.disown(near)
	far := b.dial()
	if far == nil || !b.own(far) {
		return
	}
	defer b.disown(far)
	var back sync.WaitGroup
	back.Go(func() { pass(near, far) })
	pass(far, near)
	back.Wait()
}

// pass hands on an end as an end: closing both sides at one side's end loses what the other one
// has not read yet.
func pass(to, from *net.TCPConn) {
	if _, err := io.Copy(to, from); err != nil {
		to.Close()
		from.Close()
	}
	_ = to.CloseWrite()
}

// dial passes over instances that are gone before that was noticed.
func (b *balancer) dial() *net.TCPConn {
	for _, p := range b.candidates() {
		if conn, err := net.Dial("tcp", p.address()); err == nil {
			return conn.(*net.TCPConn)
		}
	}
	return nil
}

func (b *balancer) candidates() (ready []*process) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.turn++
	for i := range b.instances {
		if p := b.instances[(b.turn+i)%len(b.instances)]; b.ready[p] {
			ready = append(ready, p)
		}
	}
	return ready
}

// own takes a connection that close will close.
func (b *balancer) own(conn net.Conn) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		conn.Close()
		return false
	}
	b.conns[conn] = struct{}{}
	return true
}

func (b *balancer) disown(conn net.Conn) {
	conn.Close()
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.conns, conn)
}

func (b *balancer) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	b.listener.Close()
	for conn := range b.conns {
		conn.Close()
	}
}
