package loadtest

import (
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Quantiles say how a measured time is distributed, to three digits. They are zero where nothing
// was measured.
type Quantiles struct {
	Count              int64
	P50, P90, P99, Max time.Duration
}

const (
	leastRecorded  = time.Microsecond
	mostRecorded   = time.Hour
	recordedDigits = 3
)

// recorder collects times, from any goroutine. Its zero value is empty.
type recorder struct {
	mu        sync.Mutex
	histogram *hdrhistogram.Histogram // of microseconds
}

func (r *recorder) record(d time.Duration) {
	d = min(max(d, leastRecorded), mostRecorded)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.histogram == nil {
		r.histogram = hdrhistogram.New(leastRecorded.Microseconds(), mostRecorded.Microseconds(), recordedDigits)
	}
	_ = r.histogram.RecordValue(d.Microseconds()) // it is in range
}

func (r *recorder) quantiles() Quantiles {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.histogram == nil {
		return Quantiles{}
	}
	at := func(percent float64) time.Duration {
		return time.Duration(r.histogram.ValueAtPercentile(percent)) * time.Microsecond
	}
	return Quantiles{Count: r.histogram.TotalCount(), P50: at(50), P90: at(90), P99: at(99), Max: at(100)}
}
