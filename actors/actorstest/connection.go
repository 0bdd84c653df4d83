package actorstest

import (
	"context"
	"testing/synctest"

	"github.com/lastcall-go/lastcall/actors"
)

// Connection is a connection of any protocol, whose function [Connection.Run] makes a session with
// [actors.Ticket.Run]. It notes in its journal, beside what its function notes there:
//
//	cut      Cut was called
type Connection struct {
	*Journal
	actors.Connection
	supervisor *Supervisor
	returned   chan struct{}
	err        error
}

// Connection returns a connection that isn't a session yet.
func (s *Supervisor) Connection(c actors.Connection) *Connection {
	return &Connection{Journal: s.Journal(), Connection: c, supervisor: s, returned: make(chan struct{})}
}

// Run admits the connection and runs f as its session, on a goroutine of its own. It returns the
// connection when everything in the bubble has come to rest.
func (c *Connection) Run(f func(ctx context.Context) error) *Connection {
	c.supervisor.t.Helper()
	ticket := c.supervisor.Ticket()
	described := c.Connection
	described.Cut = func() {
		c.Note("cut")
		if c.Cut != nil {
			c.Cut()
		}
	}
	go func() {
		defer close(c.returned)
		c.err = ticket.Run(described, f)
	}()
	synctest.Wait()
	return c
}

// Wait waits until Ticket.Run has returned, and returns its error.
func (c *Connection) Wait() error {
	<-c.returned
	return c.err
}
