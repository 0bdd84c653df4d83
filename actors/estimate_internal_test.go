package actors

import (
	"fmt"
	"testing"
	"time"
)

func TestABucketStandsForItsTimesToFivePercent(t *testing.T) {
	for took := leastStop; took < 2*time.Hour; took += took / 50 {
		middle := bucketMiddle(stopBucket(took))
		if ratio := float64(middle) / float64(took); ratio < 0.95 || ratio > 1.05 {
			t.Errorf("%v is kept as %v", took, middle)
		}
	}
	for _, took := range []time.Duration{-1, 0, 1, 1 << 62} {
		if i := stopBucket(took); i < 0 || i >= stopBuckets {
			t.Errorf("%v is in bucket %d", took, i)
		}
	}
}

// The stops of last week say less than those of today.
func TestManyStopsForgetTheOldOnes(t *testing.T) {
	var times stopTimes
	for range recentStops {
		times.add(time.Second, true)
	}
	for range 4 * recentStops {
		times.add(time.Millisecond, false)
	}
	if n := times.count(); n > recentStops {
		t.Errorf("%d count", n)
	}
	if cut := times.within(time.Minute).cut; cut > 0.02 {
		t.Errorf("%v of them are cut", cut)
	}
}

func TestTheSortsOfStopsAreBounded(t *testing.T) {
	s := &supervisor{stops: make(map[stopKey]*stopTimes)}
	for i := range 1000 {
		c := &child{info: Info{AgentName: fmt.Sprint(i)}, told: time.Now()}
		s.noteStop(c, Stopped{Outcome: Drained})
	}
	n := 0
	for _, times := range s.stops {
		n += times.count()
	}
	if len(s.stops) > maxStopKeys+1 || n != 1000 {
		t.Errorf("%d sorts with %d stops", len(s.stops), n)
	}
}

func TestWhatTakesLongerThanItsLimitIsCut(t *testing.T) {
	var times stopTimes
	for _, took := range []time.Duration{time.Second, time.Second, time.Second, 10 * time.Second} {
		times.add(took, false)
	}
	s := times.within(5 * time.Second)
	for after, want := range map[time.Duration]float64{
		0: 0, 900 * time.Millisecond: 0, 1100 * time.Millisecond: 0.75, 4999 * time.Millisecond: 0.75, 5 * time.Second: 1,
	} {
		if got := s.by(after); got != want {
			t.Errorf("after %v: %v, want %v", after, got, want)
		}
	}
	if s.cut != 0.25 {
		t.Errorf("%v are cut", s.cut)
	}
}
