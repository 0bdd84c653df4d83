package actors

import (
	"context"
	"sync"
	"time"

	"github.com/anthdm/hollywood/actor"
)

// The events below go out on the engine's event stream. Logs, metrics and pages listen there, with
// [Supervisor.Listen] or hollywood's Subscribe; the supervisor and the sessions know none of them.

// SessionStarted says that a session has taken over an upgraded connection.
type SessionStarted struct {
	ID string
	Info
	At time.Time
}

// SessionPhase says that a session has come to another phase. For the first and the last there are
// [SessionStarted] and [SessionStopped].
type SessionPhase struct {
	ID        string
	Workflow  string
	AgentName string
	Phase     Phase
	Left      PhaseSpan // the one before
	At        time.Time
	Context   context.Context // carries [Session].Context's values, and never ends
}

// PhaseSpan is how long a session was in a phase.
type PhaseSpan struct {
	Phase  Phase
	Lasted time.Duration
}

// SessionStopped says that nothing is left of a session.
type SessionStopped struct {
	SessionReport
	Info
	Left      PhaseSpan // the last phase
	Code      int       // the close code that was sent to the client, or came from it; 0 if the connection was lost or cut
	Reason    string    // the close frame's reason
	Err       error     // what went wrong, for the log alone; a [*PanicError] carries its stack
	Traffic   Traffic
	ToolCalls int

	// BadInput counts what was wrong with the messages, by kind. Nil: nothing.
	BadInput map[BadInput]int
}

// ServiceStopped says that a service's Serve has returned. Where Outcome is neither [Drained] nor
// [Killed], it ended by itself.
type ServiceStopped struct {
	ServiceReport
	Err error
}

// DrainStarted says that a drain was asked for. Where it is of everything, admission ends now, or
// after the drain's delay.
type DrainStarted struct {
	DrainStatus
	Services int // that it stops
}

// DrainProgress says how far a drain is. It goes out a tenth of a second after something has
// changed, and every second where nothing does.
type DrainProgress struct{ DrainStatus }

// DrainFinished says that a drain is over.
type DrainFinished struct {
	DrainStatus
	Report *Report
}

// Resumed says that requests are admitted again after a standby.
type Resumed struct{ At time.Time }

// SupervisorPanicked says that the supervisor survived a panic: a defect in lastcall, or in what an
// embedder gave it.
type SupervisorPanicked struct {
	Err *PanicError
}

// EventsMissed says that a listener of [Supervisor.Listen] was too far behind, and how many events it
// has missed. It is for that listener alone, and comes where they would have come.
type EventsMissed struct{ Count int }

// BadInput is a kind of input that is wrong. Each is counted.
type BadInput string

// flush travels the event stream behind all earlier events.
type flush struct{ seen chan struct{} }

// flushTimeout bounds the wait for a listener that doesn't return.
const flushTimeout = time.Second

// maxBehind is how many events wait for a listener: more than a drain of 80,000 sessions has.
const maxBehind = 1 << 18

func listen(engine *actor.Engine, f func(event any), limit int) (stop func()) {
	l := &listener{engine: engine, f: f, limit: limit}
	last := flush{make(chan struct{})}
	pid := engine.SpawnFunc(func(c *actor.Context) {
		switch m := c.Message().(type) {
		case actor.Initialized, actor.Started, actor.Stopped:
		case flush:
			if m == last {
				close(last.seen)
			}
		default:
			l.put(m)
		}
	}, "listener", actor.WithInboxSize(inboxSize))
	engine.Subscribe(pid)
	return sync.OnceFunc(func() {
		late := time.NewTimer(flushTimeout)
		defer late.Stop()
		engine.BroadcastEvent(last)
		select {
		case <-last.seen:
			l.end(late.C)
		case <-late.C:
			l.abandon()
		}
		engine.Unsubscribe(pid)
		engine.Poison(pid)
	})
}

// listener hands events to a function, on a goroutine that there is as long as there are events. A
// function that doesn't return costs the events that find no room any more.
type listener struct {
	engine *actor.Engine
	f      func(event any)
	limit  int

	mu     sync.Mutex
	events []any
	missed int           // events after these
	ran    chan struct{} // closed when the goroutine has ended. nil: there is none
	over   bool
}

func (l *listener) put(event any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return
	}
	if len(l.events) >= l.limit {
		l.missed++
		return
	}
	if l.missed > 0 {
		l.events = append(l.events, EventsMissed{l.missed})
		l.missed = 0
	}
	l.events = append(l.events, event)
	if l.ran == nil {
		l.ran = make(chan struct{})
		go l.run()
	}
}

func (l *listener) run() {
	for {
		event, more := l.next()
		if !more {
			return
		}
		hear(l.engine, l.f, event)
	}
}

// next returns the next event. Where there is none the goroutine has to end.
func (l *listener) next() (event any, more bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case len(l.events) > 0:
		event, l.events[0] = l.events[0], nil
		l.events = l.events[1:]
	case l.missed > 0:
		event, l.missed = EventsMissed{l.missed}, 0
	default:
		close(l.ran)
		l.ran, l.events = nil, nil
		return nil, false
	}
	return event, true
}

// end takes no more events, and waits until the function has seen all before. When it is late
// the rest is dropped, and the goroutine ends when the function returns.
func (l *listener) end(late <-chan time.Time) {
	l.mu.Lock()
	ran := l.ran
	l.over = true
	l.mu.Unlock()
	if ran == nil {
		return
	}
	select {
	case <-ran:
	case <-late:
		l.abandon()
	}
}

func (l *listener) abandon() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over = true
	l.events, l.missed = nil, 0
}

// hear calls f, and keeps its panic from the process. A panic at the event of a panic is not sent again.
func hear(engine *actor.Engine, f func(event any), event any) {
	defer func() {
		v := recover()
		if _, again := event.(SupervisorPanicked); v != nil && !again {
			engine.BroadcastEvent(SupervisorPanicked{NewPanicError(v)})
		}
	}()
	f(event)
}
