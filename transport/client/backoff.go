package client

import (
	"math/rand/v2"
	"time"
)

// maxRetryAfter bounds what a gateway can ask a client to wait.
const maxRetryAfter = time.Minute

// backoff tells how long to wait before the next attempt to connect: a random time below a ceiling
// that doubles with each attempt ("full jitter"), so that the clients of an instance that went away
// don't come back in the same instant.
type backoff struct {
	min, max time.Duration
	attempts int // since the last connection that was of use
}

// next counts an attempt and returns the wait before it: at least asked, which counts up to
// maxRetryAfter, and at most the ceiling more.
func (b *backoff) next(asked time.Duration) time.Duration {
	ceiling := b.ceiling()
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
