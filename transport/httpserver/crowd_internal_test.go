package httpserver

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// packed is a crowd of these connections, whose descriptors are all to stay free.
func packed(t *testing.T, most int, conns ...net.Conn) *crowd {
	t.Helper()
	c := newCrowd(2*most, slog.New(slog.DiscardHandler), nil)
	c.floor = -1 // which is what a pipe has
	for _, conn := range conns {
		c.enter(t.Context(), conn)
	}
	return c
}

// As long as too many descriptors are taken that should stay free, no connection is accepted.
func TestNewcomersWaitWhereTooManyAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second := net.Pipe()
		c := packed(t, 2, first, second)
		accepted := make(chan struct{})
		go func() {
			c.await(make(chan struct{}))
			close(accepted)
		}()
		time.Sleep(time.Hour)
		select {
		case <-accepted:
			t.Fatal("a third was accepted")
		default:
		}
		c.track(first, http.StateIdle) // which is no end
		c.track(first, http.StateClosed)
		<-accepted
		second.Close()
	})
}

// A server that is asked to stop accepts what waits, to answer it.
func TestNewcomersDontWaitForTheEnd(t *testing.T) {
	conn, other := net.Pipe()
	defer other.Close()
	c := packed(t, 1, conn)
	over := make(chan struct{})
	close(over)
	c.await(over)
}

// What is no socket has no descriptor, and is never of a crowd.
func TestAConnectionWithoutADescriptor(t *testing.T) {
	conn, other := net.Pipe()
	defer conn.Close()
	defer other.Close()
	if n := descriptorOf(conn); n != -1 {
		t.Errorf("descriptor %d", n)
	}
	c := newCrowd(1<<20, slog.New(slog.DiscardHandler), nil)
	if ctx := c.enter(context.Background(), conn); ctx != context.Background() {
		t.Error("it is of the crowd")
	}
}
