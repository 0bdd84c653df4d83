package client

import (
	"math/rand/v2"
	"time"
)

const (
	// maxRetryAfter bounds what a gateway can ask a client to wait.
	maxRetryAfter = time.Minute

	// maxElsewhere bounds the wait for a workflow that runs elsewhere (1013). After a crash that is
	// until its lease runs out: a moment that has nothing to do with how often it was tried.
	maxElsewhere = 2 * time.Second
)

// backoff returns how long to wait before the next attempt to connect: a random time below a ceiling
// that doubles with each attempt ("full jitter"), so that the clients of an instance that went away
// don't come back in the same instant.
type backoff struct {
	min, max time.Duration
	attempts int // since the last connection that was of use
}

// next counts an attempt and returns the wait before it: at least asked, which counts up to
// maxRetryAfter, and at most the ceiling more, which is no higher than most.
func (b *backoff) next(asked, most time.Duration) time.Duration {
	ceiling := min(b.ceiling(), most)
	b.attempts++
	return min(asked, maxRetryAfter) + rand.N(ceiling+1)
}

func (b *backoff) ceiling() time.Duration {
	ceiling := b.min
	for range b.attempts {
		if ceiling > b.max/2 {
			return b.max
		}
		ceiling *= 2
	}
	return ceiling
}

func (b *backoff) reset() { b.attempts = 0 }
