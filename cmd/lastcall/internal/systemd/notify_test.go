package systemd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/systemd/systemdtest"
)

// patience is for what should come at once, on a machine that has other things to do.
const patience = 30 * time.Second

// manager is a service manager in a bubble, that keeps what it gets.
type manager struct {
	mu       sync.Mutex
	deaf     bool
	messages []systemdtest.Notice
}

func (m *manager) hear(text string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.deaf {
		return errors.New("deaf")
	}
	m.messages = append(m.messages, systemdtest.Notice{At: time.Now(), Text: text})
	return nil
}

func (m *manager) setDeaf(deaf bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.deaf = deaf
}

// heard is everything until now, and forgets it.
func (m *manager) heard() []systemdtest.Notice {
	m.mu.Lock()
	defer m.mu.Unlock()
	heard := m.messages
	m.messages = nil
	return heard
}

func wantHeard(t *testing.T, heard []systemdtest.Notice, want ...string) {
	t.Helper()
	var got []string
	for _, m := range heard {
		got = append(got, m.Text)
	}
	if !slices.Equal(got, want) {
		t.Errorf("heard %q, want %q", got, want)
	}
}

// notifying runs test beside a notifier that serves in a bubble.
func notifying(t *testing.T, test func(t *testing.T, n *Notifier, m *manager, sessions *atomic.Int64)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		m, sessions := &manager{}, &atomic.Int64{}
		n := newNotifier(func() int { return int(sessions.Load()) }, nil, slog.New(slog.DiscardHandler))
		n.send = m.hear
		defer serveUntil(t, n)()
		synctest.Wait()
		test(t, n, m, sessions)
	})
}

// serveUntil runs a notifier until stop is called.
func serveUntil(t *testing.T, n *Notifier) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- n.Serve(ctx) }()
	return func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

func TestReadyIsToldOnceAndWithTheStatus(t *testing.T) {
	notifying(t, func(t *testing.T, n *Notifier, m *manager, sessions *atomic.Int64) {
		time.Sleep(time.Minute)
		wantHeard(t, m.heard(), "STATUS=starting")
		n.Started()
		synctest.Wait()
		wantHeard(t, m.heard(), "READY=1\nSTATUS=serving 0 sessions")
		sessions.Store(1)
		n.Started()
		n.draining(1, time.Now().Add(time.Second), false)
		synctest.Wait()
		n.resumed()
		time.Sleep(time.Minute)
		heard := m.heard()
		if systemdtest.CountNotices(heard, "READY=1") > 0 {
			t.Errorf("READY was told again: %v", heard)
		}
		if last := heard[len(heard)-1]; last.Text != "STATUS=serving 1 session" {
			t.Errorf("the last was %q", last.Text)
		}
	})
}

func TestTheStatusFollowsTheSessionsWithoutAFlood(t *testing.T) {
	notifying(t, func(t *testing.T, n *Notifier, m *manager, sessions *atomic.Int64) {
		n.Started()
		synctest.Wait()
		m.heard()
		for range 6000 {
			sessions.Add(1)
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(statusPulse)
		heard := m.heard()
		if len(heard) < 12 || len(heard) > 14 {
			t.Errorf("%d messages in a minute", len(heard))
		}
		if last := heard[len(heard)-1]; last.Text != "STATUS=serving 6000 sessions" {
			t.Errorf("the last was %q", last.Text)
		}
		time.Sleep(time.Hour)
		wantHeard(t, m.heard()) // nothing has changed
	})
}

// systemd hears of the drain at once and every second, and never kills before the process's own
// deadline, however short TimeoutStopSec= is.
func TestADrainIsToldAndExtendsTheTimeout(t *testing.T) {
	notifying(t, func(t *testing.T, n *Notifier, m *manager, _ *atomic.Int64) {
		n.Started()
		synctest.Wait()
		m.heard()
		began := time.Now()
		deadline := began.Add(21 * time.Second)
		n.draining(12, deadline, true)
		synctest.Wait()
		heard := m.heard()
		wantHeard(t, heard, "STOPPING=1\nSTATUS=draining: 12 sessions left, 21s to the deadline\nEXTEND_TIMEOUT_USEC=26000000")
		for tenths := range 209 {
			n.draining(12-(tenths+5)/20, deadline, true) // as often as there is progress
			time.Sleep(100 * time.Millisecond)
		}
		heard = append(heard, m.heard()...)
		for i, m := range heard {
			if i > 0 && m.At.Sub(heard[i-1].At) > time.Second {
				t.Errorf("nothing was told between %v and %v", heard[i-1].At.Sub(began), m.At.Sub(began))
			}
			if end := m.At.Add(m.Extends()); end.Sub(deadline) < 2*time.Second {
				t.Errorf("after %v systemd waits until %v after the deadline", m.At.Sub(began), end.Sub(deadline))
			}
		}
		if len(heard) < 20 || len(heard) > 23 || systemdtest.CountNotices(heard, "STOPPING=1") != 1 {
			t.Errorf("%d messages, %d of them STOPPING", len(heard), systemdtest.CountNotices(heard, "STOPPING=1"))
		}
		if last := heard[len(heard)-1]; !last.Has("STATUS=draining: 2 sessions left, 1s to the deadline") {
			t.Errorf("the last was %q", last.Text)
		}
	})
}

// A process that hangs past its deadline is systemd's to kill.
func TestNothingIsExtendedPastTheDeadline(t *testing.T) {
	notifying(t, func(t *testing.T, n *Notifier, m *manager, _ *atomic.Int64) {
		n.draining(1, time.Now().Add(3*time.Second), true)
		time.Sleep(3 * time.Second)
		m.heard()
		n.draining(1, time.Now(), true)
		time.Sleep(time.Minute)
		for _, m := range m.heard() {
			if m.Extends() > 0 {
				t.Errorf("it said %q", m.Text)
			}
		}
	})
}

func TestADeadlineThatIsBroughtForwardIsToldAtOnce(t *testing.T) {
	notifying(t, func(t *testing.T, n *Notifier, m *manager, _ *atomic.Int64) {
		n.draining(1, time.Now().Add(time.Minute), true)
		synctest.Wait()
		m.heard()
		n.draining(1, time.Now().Add(2*time.Second), true)
		synctest.Wait()
		wantHeard(t, m.heard(), "STATUS=draining: 1 session left, 2s to the deadline\nEXTEND_TIMEOUT_USEC=7000000")
	})
}

// A drain that the process survives is no end of it.
func TestAStandbyIsNoStop(t *testing.T) {
	notifying(t, func(t *testing.T, n *Notifier, m *manager, _ *atomic.Int64) {
		n.Started()
		synctest.Wait()
		m.heard()
		n.draining(2, time.Now().Add(9*time.Second), false)
		synctest.Wait()
		wantHeard(t, m.heard(), "STATUS=draining: 2 sessions left, 9s to the deadline")
		n.drained()
		time.Sleep(time.Hour)
		wantHeard(t, m.heard(), "STATUS=drained, refusing until resumed")
		n.resumed()
		time.Sleep(time.Hour)
		wantHeard(t, m.heard(), "STATUS=serving 0 sessions")
		n.draining(0, time.Now().Add(9*time.Second), true)
		synctest.Wait()
		if heard := m.heard(); systemdtest.CountNotices(heard, "STOPPING=1") != 1 {
			t.Errorf("then it ends, and says %v", heard)
		}
	})
}

// The end of a process is not taken back.
func TestNothingFollowsTheLastDrain(t *testing.T) {
	notifying(t, func(t *testing.T, n *Notifier, m *manager, _ *atomic.Int64) {
		n.Started()
		deadline := time.Now().Add(time.Minute)
		n.draining(2, deadline, true)
		synctest.Wait()
		m.heard()
		n.draining(2, deadline, false)
		n.drained()
		n.resumed()
		time.Sleep(3 * time.Second)
		heard := m.heard()
		for _, m := range heard {
			if !strings.Contains(m.Text, "STATUS=draining: 2") || m.Extends() == 0 {
				t.Errorf("it said %q", m.Text)
			}
		}
		if len(heard) < 2 {
			t.Errorf("it said no more than %v", heard)
		}
	})
}

// What was noted before the notifier stops is sent, so short as the drain was.
func TestTheLastNewsIsToldBeforeTheEnd(t *testing.T) {
	for range 20 { // it comes back to both the news and the end, and may see either first
		synctest.Test(t, func(t *testing.T) {
			m := &manager{}
			n := newNotifier(func() int { return 0 }, nil, slog.New(slog.DiscardHandler))
			n.send = func(text string) error {
				time.Sleep(time.Millisecond)
				return m.hear(text)
			}
			stop := serveUntil(t, n)
			synctest.Wait()
			n.draining(0, time.Now().Add(time.Minute), true)
			stop()
			if heard := m.heard(); systemdtest.CountNotices(heard, "STOPPING=1") != 1 {
				t.Errorf("it said %v", heard)
			}
		})
	}
}

// A service manager that can't be reached is named once, and gets what it missed when it can be.
func TestAFailureToNotifyIsLoggedOnceAndMadeUpFor(t *testing.T) {
	notifying(t, func(t *testing.T, n *Notifier, m *manager, sessions *atomic.Int64) {
		var log bytes.Buffer
		n.log = slog.New(slog.NewTextHandler(&log, nil))
		m.setDeaf(true)
		m.heard()
		n.Started()
		for range 10 {
			sessions.Add(1)
			time.Sleep(10 * time.Second)
		}
		m.setDeaf(false)
		time.Sleep(10 * time.Second)
		wantHeard(t, m.heard(), "READY=1\nSTATUS=serving 10 sessions")
		synctest.Wait()
		if n := strings.Count(log.String(), "systemd not notified"); n != 1 {
			t.Errorf("it was logged %d times:\n%s", n, &log)
		}
	})
}

// watched runs test beside a notifier with a watchdog of 30 s.
func watched(t *testing.T, alive func(context.Context) error, test func(n *Notifier, m *manager, log *bytes.Buffer)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		m := &manager{}
		n := newNotifier(func() int { return 0 }, alive, slog.New(slog.NewTextHandler(&log, nil)))
		n.send, n.watchdog = m.hear, 30*time.Second
		defer serveUntil(t, n)()
		test(n, m, &log)
	})
}

func TestTheWatchdogIsFedAsLongAsTheProcessLives(t *testing.T) {
	var dead atomic.Bool
	alive := func(context.Context) error {
		if dead.Load() {
			return errors.New("no answer")
		}
		return nil
	}
	watched(t, alive, func(n *Notifier, m *manager, log *bytes.Buffer) {
		const ping = "WATCHDOG=1"
		n.Started()
		time.Sleep(time.Minute - time.Millisecond)
		if pings := systemdtest.CountNotices(m.heard(), ping); pings != 6 {
			t.Errorf("%d signs of life in a minute, want one every 10s", pings)
		}
		dead.Store(true)
		time.Sleep(time.Minute)
		if pings := systemdtest.CountNotices(m.heard(), ping); pings != 0 {
			t.Errorf("%d signs of life of a dead process", pings)
		}
		synctest.Wait()
		if n := strings.Count(log.String(), "no answer"); n != 1 {
			t.Errorf("it was logged %d times:\n%s", n, log)
		}
		dead.Store(false)
		n.draining(3, time.Now().Add(time.Hour), true)
		time.Sleep(time.Minute)
		if pings := systemdtest.CountNotices(m.heard(), ping); pings != 6 {
			t.Errorf("%d signs of life in a minute of a drain", pings)
		}
	})
}

// A check that hangs is no life, and doesn't keep the rest from being sent.
func TestACheckThatHangsFeedsNoWatchdog(t *testing.T) {
	hang := func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	}
	watched(t, hang, func(n *Notifier, m *manager, _ *bytes.Buffer) {
		n.Started()
		n.draining(3, time.Now().Add(time.Minute), true)
		time.Sleep(time.Minute)
		heard := m.heard()
		if pings := systemdtest.CountNotices(heard, "WATCHDOG=1"); pings != 0 {
			t.Errorf("%d signs of life", pings)
		}
		if len(heard) < 60 {
			t.Errorf("%d messages in a minute of a drain", len(heard))
		}
	})
}

// A check that hangs once is asked again before the watchdog loses its patience.
func TestACheckThatHangsOnceIsAskedAgain(t *testing.T) {
	var asked atomic.Int64
	once := func(ctx context.Context) error {
		if asked.Add(1) > 1 {
			return nil
		}
		<-ctx.Done()
		return ctx.Err()
	}
	watched(t, once, func(_ *Notifier, m *manager, _ *bytes.Buffer) {
		time.Sleep(20 * time.Second)
		if pings := systemdtest.CountNotices(m.heard(), "WATCHDOG=1"); pings == 0 {
			t.Error("no sign of life in 20 of 30s")
		}
	})
}

// A slow check leaves the watchdog no gap that is longer than it waits.
func TestASlowCheckFeedsTheWatchdogInTime(t *testing.T) {
	slow := func(context.Context) error {
		time.Sleep(9 * time.Second)
		return nil
	}
	watched(t, slow, func(_ *Notifier, m *manager, _ *bytes.Buffer) {
		last := time.Now()
		time.Sleep(5 * time.Minute)
		for _, m := range m.heard() {
			if gap := m.At.Sub(last); m.Has("WATCHDOG=1") && gap > 20*time.Second {
				t.Errorf("%v without a sign of life", gap)
			} else if m.Has("WATCHDOG=1") {
				last = m.At
			}
		}
		if gap := time.Since(last); gap > 20*time.Second {
			t.Errorf("%v without a sign of life", gap)
		}
	})
}

func TestNotificationsArriveOnASocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	for _, name := range []string{path, "@" + path} {
		t.Run(fmt.Sprintf("%.1s", name), func(t *testing.T) {
			conn := systemdtest.NotifySocket(t, name)
			t.Setenv("NOTIFY_SOCKET", name)
			t.Setenv("WATCHDOG_USEC", "3600000000")
			n := newNotifier(func() int { return 2 }, func(context.Context) error { return nil }, slog.New(slog.DiscardHandler))
			n.Started()
			defer serveUntil(t, n)()
			got := []string{systemdtest.NextNotice(t, conn).Text, systemdtest.NextNotice(t, conn).Text}
			slices.Sort(got)
			if want := []string{"READY=1\nSTATUS=serving 2 sessions", "WATCHDOG=1"}; !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

func TestTheWatchdogOfAnotherProcessIsNotOurs(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "@nobody")
	t.Setenv("WATCHDOG_USEC", "1000000")
	t.Setenv("WATCHDOG_PID", "1")
	if n := newNotifier(nil, nil, slog.New(slog.DiscardHandler)); n.watchdog != 0 {
		t.Errorf("watchdog of %v", n.watchdog)
	}
}

// Neither a service manager that has gone nor one that doesn't read holds anything up.
func TestAServiceManagerThatDoesNotReadHoldsNothingUp(t *testing.T) {
	name := filepath.Join(t.TempDir(), "notify")
	systemdtest.NotifySocket(t, name) // and does not read
	for _, socket := range []string{name, name + ".gone"} {
		t.Setenv("NOTIFY_SOCKET", socket)
		n := newNotifier(func() int { return 0 }, nil, slog.New(slog.DiscardHandler))
		for n.say("STATUS=full") {
		}
		stop := serveUntil(t, n)
		n.Started()
		n.draining(1, time.Now().Add(time.Minute), true)
		began := time.Now()
		stop()
		if took := time.Since(began); took > patience/2 {
			t.Errorf("it took %v to stop", took)
		}
	}
}

func TestWithoutAServiceManagerNothingIsDone(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	t.Setenv("WATCHDOG_USEC", "1000")
	n := newNotifier(nil, nil, nil)
	stop := serveUntil(t, n)
	n.Started()
	n.draining(1, time.Now(), true)
	n.drained()
	n.resumed()
	stop()
}
