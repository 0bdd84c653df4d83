// Package history keeps what became of a gateway's sessions over the last hour, and of its last drains. It holds 2 MiB at
// most, whatever happens.
//
// It watches: it listens to the supervisor's events, and asks for a snapshot every ten seconds. history.go has the
// samples and what is kept, summary.go what a drain's report comes to.
package history

import (
	"context"
	"runtime/metrics"
	"slices"
	"sync"
	"time"

	"github.com/lastcall-go/lastcall/actors"
)

const (
	// Every is the time between two samples, and Samples how many are kept: an hour.
	Every   = 10 * time.Second
	Samples = 360

	// Drains is how many drains that are over are kept.
	Drains = 20

	maxStops     = 1024 // stop times of one sample that its quantiles are made of
	maxSlowest   = 50   // sessions that a kept drain names
	maxKilled    = 200  // killed sessions that a kept drain names
	lookPatience = 2 * time.Second
)

// Sample is ten seconds of a gateway. What is counted was counted in these seconds.
type Sample struct {
	At       time.Time `json:"at"` // their end
	Opening  int       `json:"opening"`
	Serving  int       `json:"serving"`
	Stopping int       `json:"stopping"`
	Closing  int       `json:"closing"`

	Opened   int    `json:"opened"`
	Ended    int    `json:"ended"`
	Messages uint64 `json:"messages"` // both ways
	Bytes    uint64 `json:"bytes"`

	// The times that sessions took which stopped in these seconds, of those that were asked to. 0: none did.
	StopP50 actors.Seconds `json:"stop_p50_seconds"`
	StopP99 actors.Seconds `json:"stop_p99_seconds"`

	Memory uint64 `json:"memory_bytes"` // of the process, as far as Go's runtime knows
}

// View is what History shows.
type View struct {
	Every   actors.Seconds `json:"every_seconds"`
	Samples []Sample       `json:"samples"` // oldest first. One that could not be taken is missing
	Drains  []Over         `json:"drains"`  // that are over, oldest first
}

// Over is a drain that is over, without its sessions.
type Over struct {
	ID       string         `json:"id"`
	Part     bool           `json:"part,omitempty"`
	Reason   string         `json:"reason"`
	Started  time.Time      `json:"started"`
	Took     actors.Seconds `json:"took_seconds"`
	Sessions int            `json:"sessions"`
	Killed   int            `json:"killed"` // sessions
}

// History is the last hour. Its methods may be called by any goroutine.
type History struct {
	snapshot func(ctx context.Context) (actors.Snapshot, error)

	mu      sync.Mutex
	samples []Sample
	drains  []*kept
	now     Sample           // what has been counted since the last sample
	stops   []actors.Seconds // the same
	traffic actors.Traffic   // at the last sample
}

// kept is a drain that is over.
type kept struct {
	over    Over
	summary *Summary
}

// New returns a history without a past. snapshot is the supervisor's.
func New(snapshot func(ctx context.Context) (actors.Snapshot, error)) *History {
	return &History{snapshot: snapshot}
}

// Serve takes a sample every ten seconds until ctx is done. It implements [actors.Service], of the stage
// [actors.AfterSessions].
func (h *History) Serve(ctx context.Context) error {
	ticker := time.NewTicker(Every)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			h.sample(ctx)
		case <-ctx.Done():
			return nil
		}
	}
}

// sample leaves out one that the supervisor doesn't answer for: it has more to do.
func (h *History) sample(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lookPatience)
	defer cancel()
	view, err := h.snapshot(ctx)
	if err != nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.now
	s.At, s.Memory = time.Now(), memory()
	for i := range view.Sessions {
		switch view.Sessions[i].Phase {
		case actors.PhaseOpening:
			s.Opening++
		case actors.PhaseServing:
			s.Serving++
		case actors.PhaseStopping:
			s.Stopping++
		default:
			s.Closing++
		}
	}
	s.Messages = messages(view.Traffic) - messages(h.traffic)
	s.Bytes = view.Traffic.Received.Bytes + view.Traffic.Sent.Bytes - h.traffic.Received.Bytes - h.traffic.Sent.Bytes
	if n := len(h.stops); n > 0 {
		slices.Sort(h.stops)
		s.StopP50, s.StopP99 = h.stops[n/2], h.stops[n*99/100]
	}
	h.samples = append(h.samples, s)
	h.samples = h.samples[max(0, len(h.samples)-Samples):]
	h.now, h.stops, h.traffic = Sample{}, h.stops[:0], view.Traffic
}

func messages(t actors.Traffic) uint64 { return t.Received.Messages + t.Sent.Messages }

// memory is what the runtime has of the operating system.
func memory() uint64 {
	read := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(read)
	return read[0].Value.Uint64() - read[1].Value.Uint64()
}

// Observe counts an event of the supervisor's, and keeps a drain's report. It is for [actors.Supervisor.Listen].
func (h *History) Observe(event any) {
	switch e := event.(type) {
	case actors.SessionStarted:
		h.mu.Lock()
		h.now.Opened++
		h.mu.Unlock()
	case actors.SessionStopped:
		h.mu.Lock()
		h.now.Ended++
		if e.Took > 0 && len(h.stops) < maxStops {
			h.stops = append(h.stops, e.Took)
		}
		h.mu.Unlock()
	case actors.DrainFinished:
		if !e.Age && !e.Revoked {
			h.keep(e.Report)
		}
	}
}

func (h *History) keep(report *actors.Report) {
	summary := Summarize(report, maxSlowest) // not while others wait
	killed := len(summary.Killed.Sessions)
	summary.Slowest = slices.Clone(summary.Slowest) // else all others are held with them
	summary.Killed.Sessions = slices.Clone(summary.Killed.Sessions[:min(maxKilled, killed)])
	over := Over{report.ID, report.Part, report.Reason, report.Started, report.Took, len(report.Sessions), killed}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.drains = append(h.drains, &kept{over, summary})
	h.drains = slices.Clone(h.drains[max(0, len(h.drains)-Drains):])
}

// View returns the last hour, and the last drains.
func (h *History) View() View {
	h.mu.Lock()
	defer h.mu.Unlock()
	v := View{Every: actors.Seconds(Every), Samples: slices.Clone(h.samples), Drains: []Over{}}
	if v.Samples == nil {
		v.Samples = []Sample{}
	}
	for _, d := range h.drains {
		v.Drains = append(v.Drains, d.over)
	}
	return v
}

// Drain returns what became of a drain that is kept, or nil. It names 50 of its sessions, those that took longest to
// stop, and 200 killed ones at most. It must not be changed.
func (h *History) Drain(id string) *Summary {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, d := range h.drains {
		if d.over.ID == id {
			return d.summary
		}
	}
	return nil
}
