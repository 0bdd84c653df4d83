// Package measure measures a gateway under load.
package measure

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/terminal"
	adminapi "github.com/lastcall-go/lastcall/transport/admin"
	"github.com/lastcall-go/lastcall/transport/loadtest"
)

// drainTimeout is for a drain whose own deadline isn't known: longer than most are given.
const drainTimeout = 10 * time.Minute

// pollInterval is between two looks at a drain.
const pollInterval = 100 * time.Millisecond

// pause is for the gateway to see off a session whose client has gone, and which still takes a
// place.
const pause = 250 * time.Millisecond

// notReached is why something was not measured, after an error before it.
const notReached = "it did not come to that"

// measure takes one phase after the other. What was measured before an error is in the result.
func (b *run) measure() error {
	for _, phase := range []func() error{b.tryOut, b.open, b.measureIdle, b.load, b.drain} {
		if err := phase(); err != nil {
			err = b.explain(err)
			b.noteEarlyEnds()
			return err
		}
	}
	return nil
}

// noteEarlyEnds counts the sessions that ended before the drain.
func (b *run) noteEarlyEnds() {
	b.result.EndedEarly = append(b.result.EndedEarly, closingsOf(b.fleet.TakeEnds())...)
}

// explain returns how the gateway of our own ended, where an error is no more than a symptom of that,
// once the clients have noticed.
func (b *run) explain(err error) error {
	if b.own == nil || errors.Is(b.broken(), context.Canceled) { // it was interrupted
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	select {
	case <-b.own.exited:
		_ = b.fleet.Wait(ctx) // sessions that are left are cut
	case <-ctx.Done():
	}
	return cmp.Or(b.broken(), err)
}

// tryOut opens a session that isn't counted: it shows at once what is wrong with the gateway, and what
// the first session brings in isn't what a session costs.
func (b *run) tryOut() (err error) {
	b.shown.during("trying "+b.options.URL, nil, func() {
		if err = loadtest.Try(b.ctx, b.options); err == nil {
			err = b.pause(pause)
		}
	})
	if err != nil || b.memory == nil {
		return err
	}
	if b.empty, err = b.settled(); err != nil && b.broken() == nil {
		b.result.Memory.NotMeasured, err = terminal.OneLine(err.Error()), nil
	}
	return err
}

func (b *run) pause(d time.Duration) error {
	select {
	case <-time.After(d):
	case <-b.ctx.Done():
	}
	return b.broken()
}

func (b *run) open() (err error) {
	var opened loadtest.Opened
	status := func() string {
		p := b.fleet.Progress()
		return fmt.Sprintf("%d open%s", p.Opened-p.Ended, failures(p.Failed))
	}
	b.shown.during(fmt.Sprintf("connecting %d sessions", b.flags.Sessions), status, func() {
		opened, err = b.fleet.Open(b.ctx, b.flags.Sessions, b.flags.Concurrency)
	})
	b.result.Sessions = &openFigures{
		Asked:       opened.Asked,
		Open:        opened.Open,
		Silent:      opened.Silent,
		Failed:      opened.Failed,
		Concurrency: b.flags.Concurrency,
		Seconds:     opened.Took.Seconds(),
		PerSecond:   float64(opened.Open) / opened.Took.Seconds(),
		Connect:     secondsOf(opened.Connect),
		FirstAction: secondsOf(opened.FirstAction),
	}
	return err
}

func failures(n int64) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(", %d failed", n)
}

func (b *run) measureIdle() (err error) {
	if b.memory == nil {
		b.result.Memory.NotMeasured = "give --admin"
	}
	if b.empty == 0 {
		return nil // and the result says why
	}
	var idle int64
	b.shown.during("measuring memory", nil, func() { idle, err = b.settled() })
	if err != nil {
		return fmt.Errorf("measure memory: %w", err)
	}
	b.result.Memory = Memory{Empty: b.empty, Idle: idle, PerSession: (idle - b.empty) / int64(max(1, b.result.Sessions.Open))}
	return nil
}

// settled is the gateway's memory without what it doesn't need any more. That is for a gateway of our
// own; a given gateway isn't made to collect its garbage.
func (b *run) settled() (int64, error) {
	if b.own != nil {
		if err := b.memory.Collect(b.ctx); err != nil {
			return 0, err
		}
	}
	return b.memory.Resident(b.ctx)
}

// broken is why there is no sense in going on, or nil.
func (b *run) broken() error { return context.Cause(b.ctx) }

func (b *run) load() (err error) {
	if b.flags.Busy == 0 || b.fleet.Len() == 0 {
		return nil
	}
	var load loadtest.Load
	began := time.Now()
	status := func() string {
		left := max(0, b.flags.Duration-time.Since(began)).Round(100 * time.Millisecond)
		return fmt.Sprintf("%d round trips, %v left", b.fleet.Progress().RoundTrips, left)
	}
	busy := min(b.flags.Busy, b.fleet.Len())
	b.shown.during(fmt.Sprintf("%d sessions busy for %v", busy, b.flags.Duration), status, func() {
		load, err = b.fleet.Load(b.ctx, busy, b.flags.Duration)
	})
	seconds := load.Took.Seconds()
	b.result.Load = &loadFigures{
		Sessions:         load.Sessions,
		Seconds:          seconds,
		RoundTrips:       load.RoundTrip.Count,
		RoundTripsPerSec: float64(load.RoundTrip.Count) / seconds,
		MessagesPerSec:   float64(load.Received+load.Sent) / seconds,
		RoundTrip:        secondsOf(load.RoundTrip),
		Unanswered:       load.Unanswered,
		Reopened:         load.Reopened,
		FailedToReopen:   load.Failed,
	}
	if err == nil && b.empty > 0 {
		b.result.Memory.AfterLoad, err = b.memory.Resident(b.ctx)
	}
	return err
}

func (b *run) drain() error {
	b.noteEarlyEnds()
	sessions := b.fleet.Len()
	if b.own == nil && !b.flags.Drain {
		b.result.Drain = Drain{NotMeasured: "give --drain and --admin"}
		b.shown.during(fmt.Sprintf("closing %d sessions", sessions), nil, b.fleet.Leave)
		return nil
	}
	drain := b.drainGiven
	if b.own != nil {
		drain = b.drainOwn
	}
	before := b.fleet.Progress().Ended
	status := func() string { return fmt.Sprintf("%d closed", b.fleet.Progress().Ended-before) }
	var err error
	b.shown.during(fmt.Sprintf("draining %d sessions", sessions), status, func() { err = drain() })
	b.result.Drain.Closed = closingsOf(b.fleet.TakeEnds())
	if err != nil {
		b.result.Drain.NotMeasured = terminal.OneLine(err.Error())
		return fmt.Errorf("drain: %w", err)
	}
	b.result.Drain.NotMeasured = ""
	return nil
}

// drainOwn has a gateway of our own end.
func (b *run) drainOwn() error {
	began := time.Now()
	if err := b.own.terminate(); err != nil {
		return err
	}
	if err := b.awaitClients(began); err != nil {
		return err
	}
	if err := b.own.wait(); err != nil {
		return err
	}
	report, err := b.own.report()
	if err != nil {
		return err
	}
	b.result.Drain.tell(report.Took, report.Totals)
	return nil
}

// drainGiven drains the given gateway, and has it admit sessions again, also after an error.
func (b *run) drainGiven() (err error) {
	began := time.Now()
	begun, err := b.admin.Drain(b.ctx, adminapi.DrainOptions{})
	if err != nil {
		return err
	}
	defer func() { // though interrupted
		_, e := b.admin.Resume(context.WithoutCancel(b.ctx))
		err = errors.Join(err, e)
	}()
	if err := b.awaitClients(began); err != nil {
		return err
	}
	over, err := b.awaitDrain(begun.ID)
	if err != nil {
		return err
	}
	b.result.Drain.tell(over.Took, over.Totals)
	return nil
}

// awaitDrain waits until the drain of this ID is over.
func (b *run) awaitDrain(id string) (adminapi.Drain, error) {
	ctx, cancel := context.WithTimeout(b.ctx, drainTimeout)
	defer cancel()
	for {
		state, err := b.admin.State(ctx)
		if err != nil {
			return adminapi.Drain{}, err
		}
		i := slices.IndexFunc(state.Drains, func(d adminapi.Drain) bool { return d.ID == id })
		if i < 0 {
			return adminapi.Drain{}, errors.New("the gateway doesn't know the drain any more that it has begun")
		}
		if state.Drains[i].Over {
			return state.Drains[i], nil
		}
		select {
		case <-time.After(pollInterval):
		case <-ctx.Done():
			return adminapi.Drain{}, context.Cause(ctx)
		}
	}
}

func (b *run) awaitClients(began time.Time) error {
	ctx, cancel := context.WithTimeout(b.ctx, drainTimeout)
	defer cancel()
	err := b.fleet.Wait(ctx)
	b.result.Drain.Seconds = time.Since(began).Seconds()
	if err != nil && b.ctx.Err() == nil {
		return fmt.Errorf("%d sessions were not closed within %v", b.fleet.Len(), drainTimeout)
	}
	return err
}
