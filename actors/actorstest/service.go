package actorstest

import (
	"context"
	"time"

	"github.com/lastcall-go/lastcall/actors"
)

// Service is an [actors.Service] that runs until its stop. The zero value then stops at once.
// Add it with [Supervisor.AddService]. It notes in its journal:
//
//	NAME told
//	NAME stopped
type Service struct {
	Journal *Journal // nil: nothing is noted
	Name    string

	// OnStop is what the service does at its stop. Takes is not interrupted. Hangs: it goes
	// on until it is out of time.
	OnStop Call

	// Told, if not nil, is called before.
	Told func()
}

// Serve implements [actors.Service].
func (s *Service) Serve(ctx context.Context) error {
	<-ctx.Done()
	s.Journal.Note("%s told", s.Name)
	if s.Told != nil {
		s.Told()
	}
	s.OnStop.panics("Service.Serve")
	time.Sleep(s.OnStop.Takes)
	if s.OnStop.Hangs {
		<-actors.OutOfTime(ctx).Done()
	}
	s.Journal.Note("%s stopped", s.Name)
	return s.OnStop.Err
}
