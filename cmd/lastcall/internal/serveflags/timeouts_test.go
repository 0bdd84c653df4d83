package serveflags

import (
	"math"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/lastcall-go/lastcall/actors"
)

// valid is what the flags' defaults parse to.
func valid() Flags {
	return Flags{
		AgentStreams:    100,
		AgentKeepalive:  6 * time.Minute,
		StartTimeout:    2 * time.Minute,
		ShutdownTimeout: 25 * time.Second,
		BatchInterval:   time.Second,
	}
}

func TestTimeoutsFit(t *testing.T) {
	tests := []struct {
		name string
		set  func(*Flags)
		want [2]time.Duration // to stop, to close
	}{
		{"defaults", func(*Flags) {}, [2]time.Duration{10 * time.Second, 5 * time.Second}},
		{"defaults that just fit", func(c *Flags) { c.ShutdownTimeout = 16 * time.Second }, [2]time.Duration{10 * time.Second, 5 * time.Second}},
		{"defaults give way in proportion", func(c *Flags) { c.ShutdownTimeout = 10 * time.Second }, [2]time.Duration{6 * time.Second, 3 * time.Second}},
		{"defaults give way to a grace", func(c *Flags) { c.DrainGrace = 21 * time.Second }, [2]time.Duration{2 * time.Second, time.Second}},
		{"defaults give way to a delay", func(c *Flags) { c.DrainDelay = 21 * time.Second }, [2]time.Duration{2 * time.Second, time.Second}},
		{"a default gives way to what is set", func(c *Flags) { c.StopTimeout = new(20 * time.Second) }, [2]time.Duration{20 * time.Second, 4 * time.Second}},
		{"the other one too", func(c *Flags) {
			c.ShutdownTimeout, c.CloseTimeout = 10*time.Second, new(4*time.Second)
		}, [2]time.Duration{5 * time.Second, 4 * time.Second}},
		{"what is set just fits", func(c *Flags) {
			c.StopTimeout, c.CloseTimeout = new(19*time.Second), new(5*time.Second)
		}, [2]time.Duration{19 * time.Second, 5 * time.Second}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := valid()
			test.set(&c)
			if got, err := c.Fit(); err != nil || [2]time.Duration{got.Stop, got.Close} != test.want {
				t.Errorf("got %+v, %v; want %v", got, err, test.want)
			}
		})
	}
}

func TestTimeoutsThatCannotFitAreRefused(t *testing.T) {
	tests := []struct {
		name string
		set  func(*Flags)
		want string
	}{
		{"a stop timeout", func(c *Flags) { c.StopTimeout = new(30 * time.Second) },
			"--stop-timeout 30s + 1s for the HTTP server = 31s: --shutdown-timeout 25s must be longer"},
		{"no room for HTTP", func(c *Flags) { c.StopTimeout, c.CloseTimeout = new(20*time.Second), new(5*time.Second) },
			"--stop-timeout 20s + --close-timeout 5s + 1s for the HTTP server = 26s: --shutdown-timeout 25s must be longer"},
		{"nothing left for defaults", func(c *Flags) { c.DrainDelay, c.DrainGrace = 4*time.Second, 20*time.Second },
			"--drain-delay 4s + --drain-grace 20s + 1s for the HTTP server = 25s: --shutdown-timeout 25s must be longer"},
		{"hardly anything left for defaults", func(c *Flags) { c.DrainGrace = 24*time.Second - time.Millisecond },
			"--drain-grace 23.999s + 1s for the HTTP server = 24.999s: --shutdown-timeout 25s must be longer"},
		{"a close timeout over the library's", func(c *Flags) { c.CloseTimeout = new(6 * time.Second) },
			"--close-timeout 6s: must be at most 5s, a WebSocket waits no longer for the answer to its close frame"},
		{"no shutdown timeout", func(c *Flags) { c.ShutdownTimeout = 0 }, "--shutdown-timeout 0s: must be at least 1ms"},
		{"no start timeout", func(c *Flags) { c.StartTimeout = 0 }, "--start-timeout 0s: must be at least 1ms"},
		{"no stop timeout", func(c *Flags) { c.StopTimeout = new(time.Duration) }, "--stop-timeout 0s: must be at least 1ms"},
		{"a negative grace", func(c *Flags) { c.DrainGrace = -time.Second }, "--drain-grace -1s: must be at least 0s"},
		{"a grace for ever", func(c *Flags) { c.DrainGrace = 1001 * time.Hour }, "--drain-grace 1001h0m0s: must be at most 1000h0m0s"},
		{"no time between batches", func(c *Flags) { c.BatchInterval = 0 }, "--batch-interval 0s: must be at least 1ms"},
		{"a hasty keepalive", func(c *Flags) { c.AgentKeepalive = time.Second }, "--agent-keepalive 1s: must be at least 10s"},
		{"negative batches", func(c *Flags) { c.BatchSize = -1 }, "--batch-size -1: must be at least 0"},
		{"negative sessions", func(c *Flags) { c.MaxSessions = -1 }, "--max-sessions -1: must be at least 0"},
		{"no streams", func(c *Flags) { c.AgentStreams = 0 }, "--agent-streams 0: must be at least 1"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := valid()
			test.set(&c)
			if got, err := c.Fit(); err == nil || err.Error() != test.want {
				t.Errorf("got %v, %v\nwant %s", got, err, test.want)
			}
		})
	}
}

// Whatever the flags: what a session gets fits the shutdown timeout with room for HTTP, and what
// was set is kept; or the error names the numbers.
func TestTimeoutsFitOrAreRefused(t *testing.T) {
	duration := rapid.OneOf(
		rapid.Custom(func(t *rapid.T) time.Duration {
			return time.Duration(rapid.Int64Range(0, 40_000).Draw(t, "ms")) * time.Millisecond
		}),
		rapid.Custom(func(t *rapid.T) time.Duration { return time.Duration(rapid.Int64().Draw(t, "ns")) }),
		rapid.SampledFrom([]time.Duration{0, 1, time.Millisecond, 24*time.Second - 1, 25 * time.Second, math.MaxInt64 / 2, math.MaxInt64}),
	)
	rapid.Check(t, func(t *rapid.T) {
		c := valid()
		c.ShutdownTimeout = duration.Draw(t, "shutdown")
		c.DrainDelay = duration.Draw(t, "delay")
		c.DrainGrace = duration.Draw(t, "grace")
		c.StopTimeout = rapid.Ptr(duration, true).Draw(t, "stop")
		c.CloseTimeout = rapid.Ptr(duration, true).Draw(t, "close")

		got, err := c.Fit()
		if err != nil {
			wantNumbers(t, &c, err.Error())
			return
		}
		if c.StopTimeout != nil && got.Stop != *c.StopTimeout || c.CloseTimeout != nil && got.Close != *c.CloseTimeout {
			t.Errorf("%v is not what was set", got)
		}
		if got.Stop <= 0 || got.Stop > actors.DefaultStopTimeout && c.StopTimeout == nil {
			t.Errorf("stop timeout %v", got.Stop)
		}
		if got.Close <= 0 || got.Close > actors.DefaultCloseTimeout {
			t.Errorf("close timeout %v", got.Close)
		}
		left := c.ShutdownTimeout
		for _, part := range []time.Duration{c.DrainDelay, c.DrainGrace, got.Stop, got.Close, min(time.Second, c.ShutdownTimeout/10)} {
			if part < 0 || part > left {
				t.Fatalf("%v doesn't fit with delay %v and grace %v into %v", got, c.DrainDelay, c.DrainGrace, c.ShutdownTimeout)
			}
			left -= part
		}
	})
}

// wantNumbers wants the flag that is wrong in itself, or all that don't fit together.
func wantNumbers(t *rapid.T, c *Flags, message string) {
	flags := map[string]time.Duration{
		"--shutdown-timeout": c.ShutdownTimeout,
		"--drain-delay":      c.DrainDelay,
		"--drain-grace":      c.DrainGrace,
		"--stop-timeout":     valueOr(c.StopTimeout, 0),
		"--close-timeout":    valueOr(c.CloseTimeout, 0),
	}
	together := strings.Contains(message, "must be longer")
	named := 0
	for flag, value := range flags {
		if strings.Contains(message, flag+" "+value.String()) {
			named++
		} else if together && value != 0 {
			t.Errorf("%q doesn't name %s %v", message, flag, value)
		}
	}
	if named == 0 {
		t.Errorf("%q names no flag with its value", message)
	}
}
