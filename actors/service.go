package actors

import (
	"context"

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

// service is the actor that runs a Service.
type service struct {
	Service
	supervisor *actor.PID

	serve  context.Context         // what Serve is called with
	finish context.CancelCauseFunc // tells Serve to finish
	expire context.CancelCauseFunc // tells it that there is no time left
	done   chan struct{}           // closed when Serve has returned
	told   bool
	end    Stopped
}

// served is the service's own message that Serve has returned.
type served struct{ err error }

func newService(id string, supervisor *actor.PID, run Service) *service {
	s := &service{Service: run, supervisor: supervisor, done: make(chan struct{})}
	limit, expire := context.WithCancelCause(context.Background())
	s.expire = expire
	s.serve, s.finish = context.WithCancelCause(context.WithValue(limit, outOfTime{}, limit))
	s.end = Stopped{ID: id, Outcome: Completed}
	return s
}

// Receive implements [actor.Receiver].
func (s *service) Receive(c *actor.Context) {
	switch m := c.Message().(type) {
	case actor.Started:
		go s.run(c.Engine(), c.PID())
	case Stop:
		s.stop(m)
	case served:
		s.served(m.err)
		c.Engine().Poison(c.PID())
	case actor.Stopped:
		s.stopped(c.Engine())
	}
}

func (s *service) stop(m Stop) {
	if m.Cause == CauseKill {
		s.end.Outcome = Killed
		s.expire(&m)
		return
	}
	s.told = true
	s.end.Outcome = Drained
	s.finish(&m)
}

// stopped is the last thing an actor does. If somebody else ended it, Serve is waited for elsewhere.
func (s *service) stopped(engine *actor.Engine) {
	s.expire(nil)
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
