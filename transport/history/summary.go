package history

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"github.com/lastcall-go/lastcall/actors"
)

// Summary is what a report comes to. Stop times are of the sessions that have one.
type Summary struct {
	ID        string                 `json:"id,omitempty"`
	Part      bool                   `json:"part,omitempty"` // of some sessions; the others went on
	Reason    string                 `json:"reason"`
	Started   time.Time              `json:"started"`
	Took      actors.Seconds         `json:"took_seconds"`
	Sessions  int                    `json:"sessions"`
	Outcomes  []OutcomeSummary       `json:"outcomes"` // only those with sessions
	Slowest   []actors.SessionReport `json:"slowest"`
	StopTimes []StopTimeBucket       `json:"stop_times"`
	Untold    int                    `json:"untold"` // without a stop time
	Services  []actors.ServiceReport `json:"services"`
	Killed    struct {
		Sessions []string `json:"sessions"` // IDs
		Services []string `json:"services"` // names
	} `json:"killed"`
}

// OutcomeSummary is the sessions with one outcome. It has no percentiles where no session has a stop time.
type OutcomeSummary struct {
	Outcome actors.Outcome  `json:"outcome"`
	Count   int             `json:"count"`
	Share   float64         `json:"share"` // of all sessions
	P50     *actors.Seconds `json:"p50_seconds,omitempty"`
	P95     *actors.Seconds `json:"p95_seconds,omitempty"`
	Max     *actors.Seconds `json:"max_seconds,omitempty"`
}

// StopTimeBucket counts the sessions that took longer than the bucket before it says, and no longer
// than this.
type StopTimeBucket struct {
	UpTo  actors.Seconds `json:"up_to_seconds"`
	Count int            `json:"count"`
}

// OtherOutcome counts the sessions whose outcome this version doesn't know.
const OtherOutcome actors.Outcome = "other"

// Summarize sums a report up, with so many of the sessions that took longest to stop.
func Summarize(r *actors.Report, slowest int) *Summary {
	s := &Summary{ID: r.ID, Part: r.Part, Reason: r.Reason, Started: r.Started, Took: r.Took, Sessions: len(r.Sessions)}
	stopped := slices.DeleteFunc(slices.Clone(r.Sessions), func(s actors.SessionReport) bool { return s.Took == 0 })
	slices.SortStableFunc(stopped, func(a, b actors.SessionReport) int { return cmp.Compare(b.Took, a.Took) })
	s.Untold = len(r.Sessions) - len(stopped)
	s.Slowest = stopped[:min(slowest, len(stopped))]
	s.StopTimes = stopTimes(stopped)
	s.Outcomes = outcomes(r.Sessions, stopped)
	s.Services = append([]actors.ServiceReport{}, r.Services...)
	s.Killed.Sessions, s.Killed.Services = []string{}, []string{}
	if killed := (*actors.KilledError)(nil); errors.As(r.Err(), &killed) {
		s.Killed.Sessions = append(s.Killed.Sessions, killed.Sessions...)
		s.Killed.Services = append(s.Killed.Services, killed.Services...)
	}
	return s
}

// outcomes wants the sessions that have a stop time longest first.
func outcomes(sessions, stopped []actors.SessionReport) []OutcomeSummary {
	known := actors.Outcomes()
	kind := func(s actors.SessionReport) actors.Outcome {
		if slices.Contains(known, s.Outcome) {
			return s.Outcome
		}
		return OtherOutcome
	}
	counts, times := map[actors.Outcome]int{}, map[actors.Outcome][]actors.Seconds{}
	for _, s := range sessions {
		counts[kind(s)]++
	}
	for _, s := range stopped {
		times[kind(s)] = append(times[kind(s)], s.Took)
	}
	list := []OutcomeSummary{}
	for _, outcome := range append(known, OtherOutcome) {
		n, took := counts[outcome], times[outcome]
		if n == 0 {
			continue
		}
		o := OutcomeSummary{Outcome: outcome, Count: n, Share: float64(n) / float64(len(sessions))}
		if len(took) > 0 {
			o.P50, o.P95, o.Max = percentile(took, 50), percentile(took, 95), &took[0]
		}
		list = append(list, o)
	}
	return list
}

// percentile is the least value that p percent are no longer than (nearest rank). It wants them longest
// first, and at least one.
func percentile(longestFirst []actors.Seconds, p int) *actors.Seconds {
	n := len(longestFirst)
	rank := (n*p + 99) / 100
	return &longestFirst[n-rank]
}

// stopTimes returns the buckets from the first to the last with a session in it. longestFirst must be sorted so.
func stopTimes(longestFirst []actors.SessionReport) []StopTimeBucket {
	list := []StopTimeBucket{}
	if len(longestFirst) == 0 {
		return list
	}
	edges := stopTimeEdges(longestFirst[0].Took)
	for _, edge := range edges {
		list = append(list, StopTimeBucket{UpTo: edge})
	}
	for _, s := range longestFirst {
		i, _ := slices.BinarySearch(edges, s.Took)
		list[i].Count++
	}
	first, _ := slices.BinarySearch(edges, longestFirst[len(longestFirst)-1].Took)
	last, _ := slices.BinarySearch(edges, longestFirst[0].Took)
	return list[first : last+1]
}

// stopTimeEdges go up in steps of two to three, as far as a drain may take; the longest is within.
func stopTimeEdges(longest actors.Seconds) (edges []actors.Seconds) {
	for _, unit := range []time.Duration{time.Millisecond, 10 * time.Millisecond, 100 * time.Millisecond, time.Second} {
		edges = append(edges, actors.Seconds(unit), actors.Seconds(2*unit), actors.Seconds(5*unit))
	}
	for _, seconds := range []int{10, 20, 30, 60, 120, 300, 600, 1800, 3600} {
		edges = append(edges, actors.Seconds(seconds)*actors.Seconds(time.Second))
	}
	if longest > edges[len(edges)-1] {
		edges = append(edges, longest)
	}
	return edges
}
