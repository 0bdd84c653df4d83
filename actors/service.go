package actors

import (
	"context"
	"time"
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

type addService struct {
	name  string
	stage Stage
	run   Service
	reply chan<- error
}

func (s *supervisor) addService(m addService) error {
	if s.draining != nil {
		return ErrDraining
	}
	c := &child{id: newID(), name: m.name, stage: m.stage, began: time.Now()}
	s.services = append(s.services, c)
	run := newTask(c.id, s.self, context.Background(), context.Background())
	run.spawned = m.run.Serve
	c.pid = s.spawn(run, "service", c.id)
	return nil
}
