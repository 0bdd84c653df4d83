package redislease_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/lastcall-go/lastcall/transport/redislease"
)

// These tests run in a bubble: a server in memory, and time that passes when all wait.

// state is what a link does to what is sent over it.
type state int

const (
	up   state = iota
	down       // connections are cut, and refused
	deaf       // what the store sends is lost
	mute       // what the server answers is lost
	slow       // what the server answers takes 1.5 s
	late       // what the store sends takes 1.5 s
)

const slowness = 1500 * time.Millisecond

// link is one instance's way to the server.
type link struct {
	server *miniredis.Miniredis

	mu    sync.Mutex
	state state
	conns []net.Conn
}

func (l *link) set(s state) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state = s
	if s == down {
		for _, c := range l.conns {
			_ = c.Close()
		}
		l.conns = nil
	}
}

func (l *link) is() state {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state
}

func (l *link) dial(context.Context) (net.Conn, error) {
	if l.is() == down {
		return nil, errors.New("connection refused")
	}
	c, err := l.server.Dial()
	if err != nil {
		return nil, err
	}
	c = newLinked(c, l)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns = append(l.conns, c)
	return c, nil
}

// linked is a connection over a link. The store closes it when it has waited in vain, so what was
// lost doesn't shift the answers. Like a socket it takes what is sent before that is read.
type linked struct {
	net.Conn
	link *link
	sent chan []byte
	done chan struct{}
	end  func()
}

func newLinked(conn net.Conn, l *link) *linked {
	c := &linked{Conn: conn, link: l, sent: make(chan []byte, 1000), done: make(chan struct{})}
	c.end = sync.OnceFunc(func() { close(c.done) })
	go c.pass()
	return c
}

func (c *linked) pass() {
	for {
		select {
		case b := <-c.sent:
			if _, err := c.Conn.Write(b); err != nil {
				return
			}
		case <-c.done:
			return
		}
	}
}

func (c *linked) Close() error {
	c.end()
	return c.Conn.Close()
}

func (c *linked) SetWriteDeadline(time.Time) error { return nil }

func (c *linked) Write(b []byte) (int, error) {
	switch c.link.is() {
	case deaf:
		return len(b), nil
	case late:
		time.Sleep(slowness)
	}
	select {
	case c.sent <- slices.Clone(b):
		return len(b), nil
	case <-c.done:
		return 0, net.ErrClosed
	}
}

func (c *linked) Read(b []byte) (int, error) {
	for {
		n, err := c.Conn.Read(b)
		switch {
		case err != nil:
			return n, err
		case c.link.is() == slow:
			time.Sleep(slowness)
			return n, nil
		case c.link.is() != mute:
			return n, nil
		}
	}
}

// bubble runs a test with a server whose clock is the bubble's.
func bubble(t *testing.T, test func(t *testing.T, server *miniredis.Miniredis)) {
	synctest.Test(t, func(t *testing.T) {
		server := miniredis.NewMiniRedis()
		server.ClockTTL(true)
		t.Cleanup(func() { // the last one: the stores have been stopped
			server.Close()
			time.Sleep(5 * time.Second) // see TestMain
		})
		test(t, server)
	})
}

// instance is a store with its own link. Serve closes it.
func instance(t testing.TB, server *miniredis.Miniredis, o redislease.Options) (*redislease.Store, *link) {
	t.Helper()
	l := &link{server: server}
	store, err := redislease.NewOver(o, l.dial)
	if err != nil {
		t.Fatal(err)
	}
	return store, l
}

// leaseKeys are the server's keys but for the last tokens, which it keeps.
func leaseKeys(server *miniredis.Miniredis) []string {
	return slices.DeleteFunc(server.Keys(), func(key string) bool { return strings.Contains(key, "{") })
}
