package serveflags

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/lastcall-go/lastcall/actors"
)

// maxCloseTimeout is how long coder/websocket waits for the answer to a close frame.
const maxCloseTimeout = 5 * time.Second

// MaxDuration bounds flags: it keeps sums of durations far from overflow.
const MaxDuration = 1000 * time.Hour

// Fit makes what a session gets in a drain fit into --shutdown-timeout, with room for the HTTP
// server. Values that were set are kept or refused; defaults give way, in proportion.
func (f *Flags) Fit() (actors.Budget, error) {
	for _, flag := range []struct {
		name  string
		value time.Duration
		least time.Duration
	}{
		{"start-timeout", f.StartTimeout, time.Millisecond},
		{"shutdown-timeout", f.ShutdownTimeout, time.Millisecond},
		{"drain-delay", f.DrainDelay, 0},
		{"drain-grace", f.DrainGrace, 0},
		{"stop-timeout", valueOr(f.StopTimeout, actors.DefaultStopTimeout), time.Millisecond},
		{"close-timeout", valueOr(f.CloseTimeout, actors.DefaultCloseTimeout), time.Millisecond},
		{"batch-interval", f.BatchInterval, time.Millisecond},
		{"max-session-age", f.MaxSessionAge, 0},
		{"agent-keepalive", f.AgentKeepalive, 10 * time.Second},
	} {
		if flag.value < flag.least {
			return actors.Budget{}, fmt.Errorf("--%s %v: must be at least %v", flag.name, flag.value, flag.least)
		}
		if flag.value > MaxDuration {
			return actors.Budget{}, fmt.Errorf("--%s %v: must be at most %v", flag.name, flag.value, MaxDuration)
		}
	}
	for _, flag := range []struct {
		name  string
		value int
		least int
	}{
		{"batch-size", f.BatchSize, 0},
		{"max-sessions", f.MaxSessions, 0},
		{"agent-streams", f.AgentStreams, 1},
	} {
		if flag.value < flag.least {
			return actors.Budget{}, fmt.Errorf("--%s %d: must be at least %d", flag.name, flag.value, flag.least)
		}
	}
	if f.CloseTimeout != nil && *f.CloseTimeout > maxCloseTimeout {
		return actors.Budget{}, fmt.Errorf("--close-timeout %v: must be at most %v, a WebSocket waits no longer for the answer to its close frame", *f.CloseTimeout, maxCloseTimeout)
	}
	budget, err := actors.Budget{
		Total: f.ShutdownTimeout,
		Delay: f.DrainDelay,
		Grace: f.DrainGrace,
		Stop:  valueOr(f.StopTimeout, 0),
		Close: valueOr(f.CloseTimeout, 0),
	}.Fit()
	var tooShort *actors.BudgetError
	if errors.As(err, &tooShort) {
		err = tooLong(tooShort)
	}
	return budget, err
}

// tooLong names the flags of the parts that don't fit.
func tooLong(e *actors.BudgetError) error {
	flags := map[string]string{
		"delay": "--drain-delay", "grace": "--drain-grace", "stop timeout": "--stop-timeout", "close timeout": "--close-timeout",
	}
	var parts []string
	for name, value := range e.Parts {
		if flag, set := flags[name]; set {
			parts = append(parts, fmt.Sprintf("%s %v", flag, value))
		} else {
			parts = append(parts, fmt.Sprintf("%v for the HTTP server", value))
		}
	}
	return fmt.Errorf("%s = %v: --shutdown-timeout %v must be longer", strings.Join(parts, " + "), e.Sum(), e.Total)
}

func valueOr(value *time.Duration, byDefault time.Duration) time.Duration {
	if value == nil {
		return byDefault
	}
	return *value
}
