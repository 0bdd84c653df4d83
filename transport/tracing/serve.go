package tracing

import (
	"context"
	"time"

	"github.com/lastcall-go/lastcall/actors"
)

// flushLimit is how long a drain waits for a receiver that takes nothing.
const flushLimit = 3 * time.Second

// Follow makes spans of what happens under a supervisor, until Serve has returned. It is called once,
// before the first session.
func (t *Tracing) Follow(supervisor *actors.Supervisor) {
	stop := supervisor.Listen(t.observe)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.unfollow = stop
}

// Serve implements [actors.Service]. It belongs to the stage AfterSessions, and is added before all
// others, so that it is stopped when all that makes spans has stopped. Once ctx is done it waits for
// the events that are on their way, ends the span of the drain that stops it, and exports what is
// left: until nothing was taken for 3 s, and for half of the time to the drain's deadline, so that a
// receiver that is not there delays nothing. Nothing of the Tracing is left after it; what happens
// then makes no spans.
func (t *Tracing) Serve(ctx context.Context) error {
	<-ctx.Done()
	t.following()() // sees all that happened before
	flush, cancel := context.WithCancel(actors.OutOfTime(ctx))
	defer cancel()
	if deadline := t.concludeDrains(); !deadline.IsZero() {
		late := time.AfterFunc(time.Until(deadline)/2, cancel)
		defer late.Stop()
	}
	stall := time.AfterFunc(flushLimit, cancel)
	defer stall.Stop()
	t.exporter.stall.Store(stall)
	_ = t.processor.Shutdown(flush) // the exporter has reported what went wrong
	t.exporter.cut()
	<-t.exporter.closed // soon: exports that are cut return
	return nil
}

func (t *Tracing) following() (stop func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.unfollow
}

// concludeDrains ends the span of the drain that stops the services, whose own end comes too late to
// be seen. Its sessions have stopped by now. It returns the drain's deadline, or zero where none is
// under way.
func (t *Tracing) concludeDrains() (deadline time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id, d := range t.drains {
		if !d.part && (deadline.IsZero() || d.deadline.Before(deadline)) {
			deadline = d.deadline
		}
		t.conclude(id, d, d.totals, func(ended) bool { return !d.part })
	}
	return deadline
}

// observe takes an event of the supervisor's.
func (t *Tracing) observe(event any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch e := event.(type) {
	case actors.SessionStarted:
		t.sessionStarted(e)
	case actors.SessionPhase:
		t.sessionPhase(e)
	case actors.SessionStopped:
		t.sessionStopped(e)
	case actors.DrainStarted:
		t.drainStarted(e)
	case actors.DrainProgress:
		t.drainProgress(e)
	case actors.DrainFinished:
		t.drainFinished(e)
	}
}
