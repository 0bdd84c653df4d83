package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/lastcall-go/lastcall/actors"
)

// timeouts are what a session gets in a drain.
type timeouts struct {
	stop, close time.Duration
}

// maxCloseTimeout is how long coder/websocket waits for the answer to a close frame.
const maxCloseTimeout = 5 * time.Second

// maxDuration keeps sums of durations far from overflow.
const maxDuration = 1000 * time.Hour

// fit makes what a session gets in a drain fit into --shutdown-timeout, with room for the HTTP
// server. Values that were set are kept or refused; defaults give way, in proportion.
func (c *serveCmd) fit() (timeouts, error) {
	for _, flag := range []struct {
		name  string
		value time.Duration
		least time.Duration
	}{
		{"shutdown-timeout", c.ShutdownTimeout, time.Millisecond},
		{"drain-delay", c.DrainDelay, 0},
		{"drain-grace", c.DrainGrace, 0},
		{"stop-timeout", valueOr(c.StopTimeout, actors.DefaultStopTimeout), time.Millisecond},
		{"close-timeout", valueOr(c.CloseTimeout, actors.DefaultCloseTimeout), time.Millisecond},
		{"wave-interval", c.WaveInterval, time.Millisecond},
		{"max-session-age", c.MaxSessionAge, 0},
		{"agent-keepalive", c.AgentKeepalive, 10 * time.Second},
	} {
		if flag.value < flag.least {
			return timeouts{}, fmt.Errorf("--%s %v: must be at least %v", flag.name, flag.value, flag.least)
		}
		if flag.value > maxDuration {
			return timeouts{}, fmt.Errorf("--%s %v: must be at most %v", flag.name, flag.value, maxDuration)
		}
	}
	for _, flag := range []struct {
		name  string
		value int
		least int
	}{
		{"wave-size", c.WaveSize, 0},
		{"max-sessions", c.MaxSessions, 0},
		{"agent-streams", c.AgentStreams, 1},
	} {
		if flag.value < flag.least {
			return timeouts{}, fmt.Errorf("--%s %d: must be at least %d", flag.name, flag.value, flag.least)
		}
	}
	if c.CloseTimeout != nil && *c.CloseTimeout > maxCloseTimeout {
		return timeouts{}, fmt.Errorf("--close-timeout %v: must be at most %v, a WebSocket waits no longer for the answer to its close frame", *c.CloseTimeout, maxCloseTimeout)
	}
	return fitTimeouts(c.ShutdownTimeout, c.DrainDelay, c.DrainGrace, c.StopTimeout, c.CloseTimeout)
}

// fitTimeouts is fit's arithmetic. nil is a default, which may shrink.
func fitTimeouts(shutdown, delay, grace time.Duration, stop, close *time.Duration) (timeouts, error) {
	room := min(time.Second, shutdown/10)
	left := shutdown - room - delay - grace - valueOr(stop, 0) - valueOr(close, 0)
	var wanted, least time.Duration
	if stop == nil {
		wanted += actors.DefaultStopTimeout
		least += time.Millisecond
	}
	if close == nil {
		wanted += actors.DefaultCloseTimeout
		least += time.Millisecond
	}
	if left < least {
		return timeouts{}, tooLong(shutdown, delay, grace, stop, close, room)
	}
	share := func(value *time.Duration, byDefault time.Duration) time.Duration {
		if value != nil || wanted <= left {
			return valueOr(value, byDefault)
		}
		return time.Duration(float64(left) * float64(byDefault) / float64(wanted))
	}
	return timeouts{share(stop, actors.DefaultStopTimeout), share(close, actors.DefaultCloseTimeout)}, nil
}

// tooLong names the numbers.
func tooLong(shutdown, delay, grace time.Duration, stop, close *time.Duration, room time.Duration) error {
	var parts []string
	sum := room
	add := func(name string, value time.Duration) {
		if value > 0 {
			parts = append(parts, fmt.Sprintf("--%s %v", name, value))
			sum += value
		}
	}
	add("drain-delay", delay)
	add("drain-grace", grace)
	add("stop-timeout", valueOr(stop, 0))
	add("close-timeout", valueOr(close, 0))
	parts = append(parts, fmt.Sprintf("%v for the HTTP server", room))
	return fmt.Errorf("%s = %v: --shutdown-timeout %v must be longer", strings.Join(parts, " + "), sum, shutdown)
}

func valueOr(value *time.Duration, byDefault time.Duration) time.Duration {
	if value == nil {
		return byDefault
	}
	return *value
}
