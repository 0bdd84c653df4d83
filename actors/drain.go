package actors

import (
	"context"
	"errors"
	"time"

	"github.com/anthdm/hollywood/actor"
)

// Drain is last call: it asks a supervisor, and through it every session and service, to finish by a
// deadline. It can be sent as a message, whose sender (if any) is sent the
// [*Report] or the error, or given to [Supervisor.Drain] or [Supervisor.Begin]. One drain of everything is all
// there is: a later one can only bring forward what an earlier one set.
type Drain struct {
	// Deadline is when the drain ends, whatever happened. Zero: [DefaultDrain] from now.
	Deadline time.Time

	// Delay is how long the supervisor goes on admitting after it has ceased to be ready, so that
	// load balancers notice before they are refused. A drain of a part has none.
	Delay time.Duration

	// Grace is how long running workflows may go on after the delay, to finish by themselves.
	// Sessions without a running workflow stop at once. It is cut where it would take the stop and
	// close timeouts their time before the deadline.
	Grace time.Duration

	// BatchSize is how many sessions are asked to stop at a time, every BatchInterval (0: [DefaultBatchInterval]),
	// so that thousands of clients don't come back in the same instant. 0: all at once. The interval
	// is shortened if the last batch would be asked too late for its stop and close timeouts.
	BatchSize     int
	BatchInterval time.Duration

	// Reason is that of the close frames. Empty: [DefaultReason].
	Reason string

	// Standby leaves the services running, so that [Supervisor.Resume] can admit again. A later drain
	// without it stops them too, by its own deadline.
	Standby bool

	// Only makes it a drain of a part: of the sessions selected now. Admission, readiness, and all
	// others go on. Nil: everything.
	Only *Selection
}

// Selection is a part of the sessions: those of which all that it says is true.
type Selection struct {
	IDs       []string      // nil: any
	OlderThan time.Duration // 0: of any age
	Agent     string        // [Info].AgentName. Empty: any
	Kind      string        // [Info].Kind. Empty: any
	Principal string        // that of [Supervisor.AdmitAs]. Empty: any
	Most      int           // this many at most, the oldest. 0: all
}

// Defaults of [Drain].
const (
	DefaultDrain         = 25 * time.Second
	DefaultBatchInterval = time.Second
)

// ErrFinal says that a supervisor can't resume, because what drains it doesn't leave its services.
var ErrFinal = errors.New("the drain is final: it stops the services too")

// Drain drains, and returns when that is over: by d's deadline or ctx's, whichever is first, plus
// 100 ms at most. If ctx is cancelled meanwhile, the deadline is now. The report is there whatever
// happened; the error is a [*KilledError] if a session or a service was killed. A drain of a part fails with
// [ErrDraining] while everything drains.
func (s *Supervisor) Drain(ctx context.Context, d Drain) (*Report, error) {
	if deadline, ok := ctx.Deadline(); ok {
		d.Deadline = Earlier(d.Deadline, deadline)
	}
	reports := make(chan *Report, 1)
	begun, err := s.begin(context.WithoutCancel(ctx), d, reports)
	if err != nil {
		return nil, err
	}
	cancelled := ctx.Done()
	for {
		select {
		case report := <-reports:
			return report, report.Err()
		case <-s.gone:
			select {
			case report := <-reports: // it was the last
				return report, report.Err()
			default:
				return nil, ErrClosed
			}
		case <-cancelled:
			cancelled = nil
			if errors.Is(ctx.Err(), context.Canceled) { // a deadline that has passed is known already
				s.engine.Send(s.pid, hurry{begun.ID})
			}
		}
	}
}

// Begin begins a drain, or brings forward the drain that has begun, and returns its status without
// waiting for it. It fails as [Supervisor.Drain] does.
func (s *Supervisor) Begin(ctx context.Context, d Drain) (DrainStatus, error) {
	return s.begin(ctx, d, nil)
}

func (s *Supervisor) begin(ctx context.Context, d Drain, reports chan<- *Report) (DrainStatus, error) {
	answer, err := ask[begun](ctx, s, func(reply chan<- begun) any {
		return drainCall{d, waiter{reports: reports}, reply}
	})
	if err == nil {
		err = answer.err
	}
	return answer.status, err
}

// Resume ends a standby: requests are admitted again. If the drain is under way, sessions that were
// asked to stop do so, and no others are asked. Without a drain it does nothing. It fails with [ErrFinal] in
// a drain without Standby.
func (s *Supervisor) Resume(ctx context.Context) error {
	answer, err := ask[error](ctx, s, func(reply chan<- error) any { return resume{reply} })
	if err == nil {
		err = answer
	}
	return err
}

type drainCall struct {
	Drain
	waiter
	reply chan<- begun
}

type begun struct {
	status DrainStatus
	err    error
}

// hurry makes a drain's deadline now.
type hurry struct{ drain string }

type resume struct{ reply chan<- error }

// waiter gets the report.
type waiter struct {
	reports chan<- *Report
	pid     *actor.PID
}

// hurry makes the deadline of a drain now: its caller waits no longer.
func (s *supervisor) hurry(id string) {
	if d := s.drainOf(id); d != nil {
		now := time.Now()
		s.decide(d, planEvent{kind: planShortened, plan: &plan{kind: d.kind, closeAt: now, graceUntil: now, deadline: now}})
	}
}

// resume admits again. A standby that is under way goes on as a drain of the sessions that were asked.
func (s *supervisor) resume() error {
	d := s.draining
	switch {
	case d == nil:
		return nil
	case d.kind == drainFinal:
		return ErrFinal
	}
	s.draining, s.admits = nil, true
	s.ready.Store(true)
	s.engine.BroadcastEvent(Resumed{At: time.Now()})
	if !d.isOver() {
		s.narrow(d)
	}
	s.drainOverdue()
	return nil
}

// narrow makes a drain of everything a drain of the sessions that were asked by now.
func (s *supervisor) narrow(d *drain) {
	d.atBegin = len(d.report.Sessions) + len(d.sessions) - d.untold
	d.report.Part = true
	s.decide(d, planEvent{kind: planNarrowed})
}

// selected are the sessions of a selection, oldest first.
func (s *supervisor) selected(of *Selection) []*child {
	named := make(map[string]bool, len(of.IDs))
	for _, id := range of.IDs {
		named[id] = true
	}
	var matching []*child
	for _, c := range s.oldestFirst() {
		if (of.IDs == nil || named[c.id]) && of.matches(c) {
			matching = append(matching, c)
		}
	}
	if of.Most > 0 && len(matching) > of.Most {
		matching = matching[:of.Most]
	}
	return matching
}
