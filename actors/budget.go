package actors

import (
	"cmp"
	"fmt"
	"strings"
	"time"
)

// This file is all arithmetic on the time of a drain. It knows no clock.
//
//	begin          delay          grace            stop     close      killGrace  reserve
//	|--------------|--------------|----------------|--------|----------|----------|---------|
//	               closes         …up to lastCall           inOrderBy  killed     services  deadline
//
// Where no services stop after the sessions, the reserve is what it takes to kill so many sessions; of
// fewer than 500 it is nothing.
//
// Delay and grace give way: neither reaches past lastCall, from which the stop and close timeouts
// just fit. A drain that is too short even for those closes admission and stops all sessions at once.

const (
	// killGrace is what killed children have to acknowledge before they are given up. With it the
	// drain is over well within 100 ms of its deadline.
	killGrace = 50 * time.Millisecond

	// maxReserve is what sessions leave of the time to the services after them, at most; of a
	// short time it is a tenth.
	maxReserve = time.Second

	// leastTimeout is the least that a stop or close timeout by default shrinks to.
	leastTimeout = time.Millisecond
)

// Budget is what the parts of a drain may take. See [Budget.Fit].
type Budget struct {
	Total time.Duration // from the drain's begin to its deadline
	Delay time.Duration // see [Drain].Delay
	Grace time.Duration // see [Drain].Grace
	Stop  time.Duration // see [Options].StopTimeout. 0: the default, or less
	Close time.Duration // see [Options].CloseTimeout. 0: the default, or less
}

// Fit returns the budget with a stop and a close timeout that fit into its total, together with the
// delay, the grace, and the [Budget.Reserve] of the services. Timeouts that are set are kept; those
// that are 0 become the defaults, or less in proportion. It fails with a [*BudgetError] where the
// total is too short. No part may be negative.
func (b Budget) Fit() (Budget, error) {
	left := b.Total - b.Reserve() - b.Delay - b.Grace - b.Stop - b.Close
	var wanted, least time.Duration
	if b.Stop == 0 {
		wanted, least = wanted+DefaultStopTimeout, least+leastTimeout
	}
	if b.Close == 0 {
		wanted, least = wanted+DefaultCloseTimeout, least+leastTimeout
	}
	if left < least {
		return Budget{}, &BudgetError{b}
	}
	share := func(set, byDefault time.Duration) time.Duration {
		if set != 0 || wanted <= left {
			return cmp.Or(set, byDefault)
		}
		return time.Duration(float64(left) * float64(byDefault) / float64(wanted))
	}
	b.Stop, b.Close = share(b.Stop, DefaultStopTimeout), share(b.Close, DefaultCloseTimeout)
	return b, nil
}

// Reserve is what the sessions leave of the total to the services that stop after them.
func (b Budget) Reserve() time.Duration { return reserve(b.Total) }

// WithGrace returns the budget with another grace. A longer one makes the total longer by as much, so
// that the timeouts still have their time; a shorter one leaves it as it is.
func (b Budget) WithGrace(grace time.Duration) Budget {
	b.Total += max(0, grace-b.Grace)
	b.Grace = grace
	return b
}

// BudgetError says that the parts of a budget don't fit into its total.
type BudgetError struct{ Budget }

// Parts calls yield with each part that takes any of the total: its name and what it takes.
func (e *BudgetError) Parts(yield func(name string, value time.Duration) bool) {
	for _, part := range []struct {
		name  string
		value time.Duration
	}{{"delay", e.Delay}, {"grace", e.Grace}, {"stop timeout", e.Stop}, {"close timeout", e.Close}, {"reserve", e.Reserve()}} {
		if part.value > 0 && !yield(part.name, part.value) {
			return
		}
	}
}

func (e *BudgetError) Error() string {
	var parts []string
	var sum time.Duration
	for name, value := range e.Parts {
		parts = append(parts, fmt.Sprintf("%s %v", name, value))
		sum += value
	}
	return fmt.Sprintf("%s = %v: a drain of %v must be longer", strings.Join(parts, " + "), sum, e.Total)
}

// Sum is what all parts take together.
func (e *BudgetError) Sum() (sum time.Duration) {
	for _, value := range e.Parts {
		sum += value
	}
	return sum
}

// ageTotal is the least time from begin to deadline in which a session has the grace and both timeouts.
func ageTotal(grace, stop, close time.Duration) time.Duration {
	return grace + stop + close + killGrace
}

func reserve(left time.Duration) time.Duration { return max(0, min(maxReserve, left/10)) }

// killAt is when the sessions that are left are killed: at the deadline, less the reserve where services
// stop after them, and else less what it takes to kill so many.
func killAt(now, deadline time.Time, services bool, sessions int) time.Time {
	left := deadline.Sub(now)
	if services {
		return deadline.Add(-reserve(left))
	}
	return deadline.Add(-min(killing(sessions), reserve(left)))
}

// killing is what it takes to kill so many sessions on a slow machine. Few take no time worth telling.
func killing(sessions int) time.Duration { return time.Duration(sessions/500) * 10 * time.Millisecond }

// inOrderBy is when sessions are to be gone that are killed at that time: a moment before it, so that
// a session whose client is cut at its close timeout is not killed in the same instant.
func inOrderBy(killed time.Time) time.Time { return killed.Add(-killGrace) }

// lastCall is when the last session must be asked to stop, so that its stop and close timeouts end by
// inOrderBy.
func lastCall(killed time.Time, stop, close time.Duration) time.Time {
	return inOrderBy(killed).Add(-stop - close)
}

// batchWait is the time to the next batch: the interval, or less if the last batch would be asked to stop
// after lastCall.
func batchWait(interval, untilLastCall time.Duration, untold, size int) time.Duration {
	batches := (untold + size - 1) / size
	return max(0, min(interval, untilLastCall/time.Duration(batches)))
}

// nextServiceAt is when the next service after the sessions is asked to stop though the one
// before it still runs: they share what is left of the time, or of the last [maxReserve] of it.
func nextServiceAt(now, deadline time.Time, untold int) time.Time {
	shared := min(maxReserve, deadline.Sub(now))
	return deadline.Add(-shared * time.Duration(untold) / time.Duration(untold+1))
}

// StopBy is when an agent that was asked to stop at began is cancelled: after its stop timeout, or so
// that the client has its close timeout before the deadline; but the agent has at least half of the
// time that there is. A zero deadline never comes.
func StopBy(began, deadline time.Time, stop, close time.Duration) time.Time {
	due := began.Add(stop)
	if deadline.IsZero() {
		return due
	}
	forClient := min(close, deadline.Sub(began)/2)
	return Earlier(due, deadline.Add(-forClient))
}

// Earlier returns the first of two moments; a zero one never comes.
func Earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
