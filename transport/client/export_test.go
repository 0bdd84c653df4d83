package client

import "time"

// Delays returns the waits before the first n attempts when the gateway asks for asked.
func Delays(min, max, asked time.Duration, n int) []time.Duration {
	b := backoff{min: min, max: max}
	delays := make([]time.Duration, n)
	for i := range delays {
		delays[i] = b.next(asked, max)
	}
	return delays
}

var RetryAfter = retryAfter
