package actors

import (
	"context"
	"errors"

	"github.com/anthdm/hollywood/actor"
)

// Service is an in-process daemon that is drained with the sessions or after them.
type Service interface {
	// Serve runs until it is done or ctx is. Once ctx is done it has the time until the drain's
	// deadline to finish in order: see [OutOfTime]. An error before ctx is done is a failure;
	// [ServiceStopped] tells of it.
	Serve(ctx context.Context) error
}

// ServiceFunc is a Service of one function.
type ServiceFunc func(ctx context.Context) error

// Serve calls f.
func (f ServiceFunc) Serve(ctx context.Context) error { return f(ctx) }

// Stage says when a drain stops a service.
type Stage uint8

const (
	// WithSessions services are told together with the sessions: they are a peer of theirs, or hold
	// sessions themselves. One that belongs here and isn't makes sessions wait for something that
	// nobody has told to stop.
	WithSessions Stage = iota

	// AfterSessions services are told when every session has stopped, one after the other, the one
	// registered last first: sessions need them to finish.
	AfterSessions
)

func (s Stage) String() string {
	return [...]string{"with sessions", "after sessions"}[s]
}

type outOfTime struct{}

// OutOfTime returns a context that is done when a service that was told to stop has no time left.
// ctx is the one that Serve was called with, or comes from it: pass the result to
// http.Server.Shutdown and its like. For any other ctx it returns ctx itself.
func OutOfTime(ctx context.Context) context.Context {
	if limit, ok := ctx.Value(outOfTime{}).(context.Context); ok {
		return limit
	}
	return ctx
}

// service is the actor that runs a Service.
type service struct {
	Service
	supervisor *actor.PID

	serve  context.Context    // what Serve is called with
	finish context.CancelFunc // tells Serve to finish
	expire context.CancelFunc // tells it that there is no time left
	done   chan struct{}      // closed when Serve has returned
	told   bool
	end    Stopped
}

// served is the service's own message that Serve has returned.
type served struct{ err error }

func newService(id, name string, supervisor *actor.PID, run Service) *service {
	s := &service{Service: run, supervisor: supervisor, done: make(chan struct{})}
	limit, expire := context.WithCancel(context.Background())
	s.expire = expire
	s.serve, s.finish = context.WithCancel(context.WithValue(limit, outOfTime{}, limit))
	s.end = Stopped{ID: name, Outcome: Completed, service: id}
	return s
}

// Receive implements [actor.Receiver].
func (s *service) Receive(c *actor.Context) {
	switch m := c.Message().(type) {
	case actor.Started:
		go s.run(c.Engine(), c.PID())
	case Drain:
		s.told = true
		s.end.Outcome = Drained
		s.finish()
	case kill:
		s.end.Outcome = Killed
		s.expire()
	case served:
		s.served(m.err)
		c.Engine().Poison(c.PID())
	case actor.Stopped:
		s.stopped(c.Engine())
	}
}

// stopped is the last thing an actor does. If somebody else ended it, Serve is waited for elsewhere.
func (s *service) stopped(engine *actor.Engine) {
	s.expire()
	select {
	case <-s.done:
		engine.Send(s.supervisor, s.end)
	default:
		s.end.Outcome = Killed
		go func() {
			<-s.done
			engine.Send(s.supervisor, s.end)
		}()
	}
}

// run calls Serve. Its return, or its panic, is the last that happens on this goroutine.
func (s *service) run(engine *actor.Engine, self *actor.PID) {
	var err error
	defer func() {
		if v := recover(); v != nil {
			err = newPanicError(v)
		}
		close(s.done)
		engine.Send(self, served{err})
	}()
	err = s.Serve(s.serve)
}

// served: once it was told to stop, a service may well return its context's error.
func (s *service) served(err error) {
	if err == nil || s.told && s.serve.Err() != nil && isContextError(err) {
		return
	}
	s.end.Err = err
	if s.end.Outcome != Killed {
		s.end.Outcome = Failed
	}
}

// isContextError tells whether err only says that a context was done.
func isContextError(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}
