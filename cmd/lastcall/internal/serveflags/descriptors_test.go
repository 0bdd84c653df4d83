package serveflags

import (
	"testing"
)

func TestSessionsInALimit(t *testing.T) {
	for _, streams := range []int{0, 1, 100} {
		for _, sessions := range []int{1, 30, 1000, 50_000} {
			limit := DescriptorsFor(sessions, streams)
			if SessionsIn(limit, streams) < sessions || SessionsIn(limit-1, streams) >= sessions {
				t.Errorf("%d streams: %d sessions need %d descriptors, into which %d fit", streams, sessions, limit, SessionsIn(limit, streams))
			}
		}
	}
	if n := SessionsIn(10, 100); n != 0 {
		t.Errorf("%d sessions in 10 descriptors", n)
	}
}
