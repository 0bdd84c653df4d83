package actors

import (
	"context"
	"maps"
	"math"
	"slices"
	"time"
)

// Estimate is what a drain that begins now would take, from the stops of sessions so far.
type Estimate struct {
	Sessions int // that it would ask to stop
	Batches  int // in which it asks them
	Stops    int // of sessions so far, on which the times below are based. 0: nothing is known yet
	Unknown  int // sessions of a kind and an agent without stops so far: all stops together stand for theirs

	// The drain's timeline, each from its begin.
	Closes   time.Duration // admission ends, and the first batch is asked
	LastAsk  time.Duration // the last batch is asked
	GraceEnd time.Duration // running workflows are asked at the latest
	Kill     time.Duration // sessions that are left are killed
	Deadline time.Duration

	Stop Quantiles // of a session's stop, from the end of its grace on
	Took Quantiles // of the drain, until no session is left, as if each session used all of its grace
	Cut  int       // sessions that are likely to run into the stop timeout or the deadline
}

// Quantiles are two points of a distribution of times.
type Quantiles struct{ P50, P99 time.Duration }

// InTime reports whether the drain is likely to end, in 99 of 100 cases, without a kill. It is false where
// nothing is known yet.
func (e Estimate) InTime() bool { return e.Sessions == 0 || e.Stops > 0 && e.Took.P99 < e.Kill }

// Estimate says what a drain would take that begins now. It asks no session to stop. It knows how long sessions
// took to stop, by their kind and agent: in drains, and where a client left and its agent was stopped. The times
// are right to within a tenth where sessions go on to stop as they did. Services are not in it. It
// fails with [ErrDraining] while everything drains.
func (s *Supervisor) Estimate(ctx context.Context, d Drain) (Estimate, error) {
	answer, err := ask[walk](ctx, s, func(reply chan<- walk) any { return estimate{d, reply} })
	if err == nil {
		err = answer.err
	}
	if err != nil {
		return Estimate{}, err
	}
	return answer.estimate(), nil // not on the actor's time
}

type estimate struct {
	Drain
	reply chan<- walk
}

// walk is a drain's plan, walked to where all sessions were asked, and what is known of their stops.
type walk struct {
	err         error
	began       time.Time
	closes      time.Time
	plan        plan
	batches     []askedBatch
	stops       map[stopKey]stopTimes
	stop, close time.Duration // the timeouts
}

// askedBatch is how many sessions of which sort are asked to stop at one time.
type askedBatch struct {
	at       time.Time
	stop     Stop
	sessions map[stopKey]int
}

// walk takes a new drain's plan from its begin to its last batch, as time would.
func (s *supervisor) walk(d Drain) walk {
	if s.draining != nil && (d.Only != nil || !s.draining.isOver()) {
		return walk{err: ErrDraining}
	}
	p := s.planOf(d)
	var sessions []*child
	switch {
	case d.Only != nil:
		sessions = s.selected(d.Only)
	case d.BatchSize > 0:
		sessions = s.oldestFirst()
	default: // all at once: their order is no matter
		sessions = slices.Collect(maps.Values(s.sessions))
	}
	if d.Only != nil || !s.admits {
		p.phase = phaseTelling
	}
	drain := s.newDrain(p, sessions, waiter{})
	w := walk{began: drain.began, stop: p.stop, close: p.close, stops: make(map[stopKey]stopTimes, len(s.stops))}
	for key, times := range s.stops {
		w.stops[key] = *times
	}
	now := drain.began
	orders, wake := drain.next(planEvent{kind: planBegun}, now)
	for {
		if w.closes.IsZero() && drain.closed() {
			w.closes = now
		}
		for _, o := range orders {
			w.asks(s.sessions, o, now)
		}
		if drain.phase > phaseTelling {
			break
		}
		now = wake
		orders, wake = drain.next(planEvent{kind: planWoke}, now)
	}
	w.plan = drain.plan
	return w
}

// asks counts the sessions that an order asks to stop.
func (w *walk) asks(sessions map[string]*child, o order, now time.Time) {
	batch := askedBatch{at: now, stop: o.stop, sessions: make(map[stopKey]int)}
	for _, id := range o.ids {
		if c := sessions[id]; c != nil && o.kind == tell {
			batch.sessions[c.stopKey()]++
		}
	}
	if len(batch.sessions) > 0 {
		w.batches = append(w.batches, batch)
	}
}

func (w *walk) estimate() Estimate {
	e := Estimate{
		Batches:  len(w.batches),
		Closes:   w.closes.Sub(w.began),
		LastAsk:  w.closes.Sub(w.began),
		GraceEnd: max(w.closes.Sub(w.began), Earlier(w.plan.graceUntil, w.plan.lastCall()).Sub(w.began)),
		Kill:     w.plan.killAt.Sub(w.began),
		Deadline: w.plan.deadline.Sub(w.began),
	}
	var all stopTimes
	for _, times := range w.stops {
		all.merge(times)
	}
	e.Stops = all.count()
	var asked []askedGroup
	shares := make(map[cutStops]*stopShares) // most batches have the same
	for _, batch := range w.batches {
		e.LastAsk = batch.at.Sub(w.began)
		for key, n := range batch.sessions {
			e.Sessions += n
			times, known := w.stops[key]
			if !known {
				e.Unknown += n
				times = all
			}
			begins, limit := w.span(key, batch)
			cut := cutStops{key, limit}
			if shares[cut] == nil {
				shares[cut] = times.within(limit)
			}
			asked = append(asked, askedGroup{begins.Sub(w.began), n, shares[cut]})
		}
	}
	if e.Stops == 0 || e.Sessions == 0 {
		return e
	}
	e.Stop = Quantiles{stopQuantile(asked, e, 0.5), stopQuantile(asked, e, 0.99)}
	e.Took = Quantiles{tookQuantile(asked, e, 0.5), tookQuantile(asked, e, 0.99)}
	var cut float64
	for _, g := range asked {
		cut += float64(g.n) * g.stops.cut
	}
	e.Cut = int(math.Round(cut))
	return e
}

// cutStops are the stops of one sort of session that are cut at a limit.
type cutStops struct {
	stopKey
	limit time.Duration
}

// span is when a session of a batch begins to stop, and how long it then has.
func (w *walk) span(key stopKey, batch askedBatch) (begins time.Time, limit time.Duration) {
	if key.handler {
		return batch.at, batch.stop.Deadline.Add(killGrace).Sub(batch.at)
	}
	begins = batch.at
	if batch.stop.GraceUntil.After(begins) {
		begins = batch.stop.GraceUntil
	}
	return begins, StopBy(begins, batch.stop.Deadline, w.stop, w.close).Sub(begins)
}

// askedGroup is n sessions that begin to stop at one time, and how long they are likely to take.
type askedGroup struct {
	begins time.Duration
	n      int
	stops  *stopShares
}

// stopQuantile is the time in which that share of all sessions stops.
func stopQuantile(asked []askedGroup, e Estimate, share float64) time.Duration {
	return soonest(e.Kill, func(t time.Duration) bool {
		var stopped float64
		for _, g := range asked {
			stopped += float64(g.n) * g.stops.by(t)
		}
		return stopped >= share*float64(e.Sessions)
	})
}

// tookQuantile is the time by which the last of all sessions has stopped, with that probability: the product
// of the probabilities that each of them has.
func tookQuantile(asked []askedGroup, e Estimate, probability float64) time.Duration {
	return soonest(e.Kill, func(t time.Duration) bool {
		var log float64
		for _, g := range asked {
			log += float64(g.n) * math.Log(g.stops.by(t-g.begins))
		}
		return log >= math.Log(probability)
	})
}

// soonest is the first time, to the millisecond, from which on it is so; limit if it is not so by then.
func soonest(limit time.Duration, so func(time.Duration) bool) time.Duration {
	low, high := time.Duration(0), limit
	for high-low > time.Millisecond {
		if middle := low + (high-low)/2; so(middle) {
			high = middle
		} else {
			low = middle
		}
	}
	return high
}

// stopKey is the sort of session that stop times are kept by.
type stopKey struct {
	kind, agent string
	handler     bool // of [Ticket.Run]: it has no stop timeout, and uses its grace as it likes
}

func (c *child) stopKey() stopKey {
	_, handler := c.member.(*connectionTask)
	return stopKey{c.info.Kind, c.info.AgentName, handler}
}

const (
	// maxStopKeys bounds the sorts that are told apart; further ones are kept together.
	maxStopKeys = 64

	// A bucket of stop times is an eighth of a doubling wide, from leastStop on: its middle is wrong by 5 %
	// at most. The last one reaches 2 h.
	leastStop      = 100 * time.Microsecond
	stopBuckets    = 8 * 27
	bucketsADouble = 8

	// recentStops is how many stops of a sort count in full. Then all counts are halved, so that a sort
	// that has changed is soon known by its new times.
	recentStops = 1 << 14
)

// stopTimes is how long sessions of one sort took to stop: 900 bytes, whatever their number.
type stopTimes struct {
	inOrder [stopBuckets]uint32 // by the logarithm of the time
	cut     uint32              // their stop timeout or their deadline ended them
}

func (t *stopTimes) add(took time.Duration, cut bool) {
	if t.count() >= recentStops {
		for i := range t.inOrder {
			t.inOrder[i] /= 2
		}
		t.cut /= 2
	}
	if cut {
		t.cut++
		return
	}
	t.inOrder[stopBucket(took)]++
}

func (t *stopTimes) merge(other stopTimes) {
	for i, n := range other.inOrder {
		t.inOrder[i] += n
	}
	t.cut += other.cut
}

func (t *stopTimes) count() int {
	n := int(t.cut)
	for _, in := range t.inOrder {
		n += int(in)
	}
	return n
}

func stopBucket(took time.Duration) int {
	return min(stopBuckets-1, int(bucketsADouble*math.Log2(max(1, float64(took)/float64(leastStop)))))
}

// bucketMiddle is the time that stands for a bucket.
func bucketMiddle(i int) time.Duration {
	return time.Duration(float64(leastStop) * math.Exp2((float64(i)+0.5)/bucketsADouble))
}

// stopShares is the distribution of the stops of one sort that are cut at a limit.
type stopShares struct {
	upTo  [stopBuckets]float64 // the share that has stopped by a bucket's middle
	cut   float64              // the share that has not by the limit
	limit time.Duration
}

// within is the distribution where a limit cuts what takes longer. Without a stop all is in time.
func (t *stopTimes) within(limit time.Duration) *stopShares {
	s := &stopShares{limit: limit}
	all := float64(max(1, t.count()))
	var stopped float64
	for i, n := range t.inOrder {
		if bucketMiddle(i) <= limit {
			stopped += float64(n)
		}
		s.upTo[i] = stopped / all
	}
	s.cut = 1 - stopped/all
	return s
}

// by is the share that has stopped, in order or cut, after a time.
func (s *stopShares) by(t time.Duration) float64 {
	switch {
	case t >= s.limit:
		return 1
	case t < bucketMiddle(0):
		return 0
	}
	i := stopBucket(t)
	if bucketMiddle(i) > t {
		i--
	}
	return s.upTo[i]
}

// noteStop keeps how long a session took to stop, if it was asked to, or its agent was. A kill that left it less
// than its stop timeout says nothing of that.
func (s *supervisor) noteStop(c *child, m Stopped) {
	began := m.StopBegan
	if began.IsZero() {
		began = c.told
	}
	took := time.Since(began)
	if began.IsZero() || m.Outcome == Killed && took < s.options.StopTimeout {
		return
	}
	key := c.stopKey()
	if s.stops[key] == nil && len(s.stops) >= maxStopKeys {
		key = stopKey{}
	}
	if s.stops[key] == nil {
		s.stops[key] = new(stopTimes)
	}
	s.stops[key].add(took, m.Outcome == Killed || m.Outcome == Cancelled)
}
