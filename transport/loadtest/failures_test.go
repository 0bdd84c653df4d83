package loadtest

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

// The words of a failure may be the gateway's, and there may be a million.
func TestKindsOfFailureAreBounded(t *testing.T) {
	f := make(failures)
	for i := range 1000 {
		f.add(fmt.Errorf("new words %d", i))
	}
	f.add(errors.New("new words 3"))
	total := 0
	for _, n := range f {
		total += n
	}
	if len(f) != maxKinds || total != 1001 || f["new words 3"] != 2 {
		t.Errorf("%d kinds of %d failures, want %d of 1001", len(f), total, maxKinds)
	}
}

func TestQuantilesOfKnownTimes(t *testing.T) {
	var r recorder
	if got := r.quantiles(); got != (Quantiles{}) {
		t.Errorf("of nothing: %+v", got)
	}
	for i := range 1000 {
		r.record(time.Duration(i+1) * time.Millisecond)
	}
	r.record(0)
	r.record(100 * time.Hour)
	got := r.quantiles()
	want := Quantiles{1002, 500 * time.Millisecond, 900 * time.Millisecond, 990 * time.Millisecond, time.Hour}
	near := func(got, want time.Duration) bool { return (got - want).Abs() <= want/500 }
	if got.Count != want.Count || !near(got.P50, want.P50) || !near(got.P90, want.P90) || !near(got.P99, want.P99) || !near(got.Max, want.Max) {
		t.Errorf("got %+v, want about %+v", got, want)
	}
}
