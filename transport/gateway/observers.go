package gateway

import (
	"log/slog"
	"slices"
	"sync"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/transport/metrics"
	"github.com/lastcall-go/lastcall/transport/redislease"
	"github.com/lastcall-go/lastcall/transport/tracing"
)

// Observers are what shows a supervisor to its operator. The zero value of a field is no such observer.
type Observers struct {
	Metrics *metrics.Metrics
	Traces  *tracing.Tracing // attached to one supervisor; it must be one of its services
	Log     *slog.Logger     // records of drains, of failures, and of sessions that ended by one

	// LogSessions has Log take a record of the begin and of the end of each session at level info. False:
	// at level debug, but for the ends of sessions that were refused, lost their authorization, failed, or
	// were cancelled or killed.
	LogSessions bool

	// Progress is called with each [actors.DrainStarted], [actors.DrainProgress] and [actors.DrainFinished]
	// of all sessions, in order with the records of Log. If it returns true it has shown the event, and
	// progress and end are no records; the begin is one in any case.
	Progress func(event any) (shown bool)

	// LeaseStore adds to the record of a drain's end what became of leases.
	LeaseStore func() redislease.Stats

	Others []func(event any)
}

// Attach passes the supervisor's events to each observer, on a goroutine of its own: an observer that
// is slow makes no other wait. It is called before the first session and the first service.
//
// detach returns when all events until now have been seen, or after a second; traces go on until their
// service stops.
func (o Observers) Attach(supervisor *actors.Supervisor) (detach func()) {
	hear := slices.Clone(o.Others)
	if o.Metrics != nil {
		hear = append(hear, o.Metrics.Observe)
	}
	if o.Log != nil {
		r := &records{log: o.Log, progress: o.Progress, sessions: o.LogSessions, leases: o.LeaseStore, badInput: make(map[actors.BadInput]int)}
		if r.progress == nil {
			r.progress = func(any) bool { return false }
		}
		hear = append(hear, r.observe)
	}
	if o.Traces != nil {
		o.Traces.Follow(supervisor)
	}
	var stops []func()
	for _, f := range hear {
		stops = append(stops, supervisor.Listen(f))
	}
	return sync.OnceFunc(func() {
		var all sync.WaitGroup
		for _, stop := range stops {
			all.Go(stop)
		}
		all.Wait()
	})
}
