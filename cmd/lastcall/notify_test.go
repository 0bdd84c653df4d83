package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// manager is a service manager in a bubble, that keeps what it is told.
type manager struct {
	mu       sync.Mutex
	deaf     bool
	messages []notice
}

type notice struct {
	at   time.Time
	text string
}

func (m *manager) hear(text string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.deaf {
		return errors.New("deaf")
	}
	m.messages = append(m.messages, notice{time.Now(), text})
	return nil
}

func (m *manager) setDeaf(deaf bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.deaf = deaf
}

// heard is everything until now, and forgets it.
func (m *manager) heard() []notice {
	m.mu.Lock()
	defer m.mu.Unlock()
	heard := m.messages
	m.messages = nil
	return heard
}

func (m notice) has(line string) bool {
	return slices.Contains(strings.Split(m.text, "\n"), line)
}

// extends is by how much systemd is asked to wait longer. 0: it isn't.
func (m notice) extends() time.Duration {
	for line := range strings.SplitSeq(m.text, "\n") {
		if usec, found := strings.CutPrefix(line, "EXTEND_TIMEOUT_USEC="); found {
			n, err := strconv.Atoi(usec)
			if err != nil {
				panic(err)
			}
			return time.Duration(n) * time.Microsecond
		}
	}
	return 0
}

func countNotices(heard []notice, line string) (n int) {
	for _, m := range heard {
		if m.has(line) {
			n++
		}
	}
	return n
}

func wantHeard(t *testing.T, heard []notice, want ...string) {
	t.Helper()
	var got []string
	for _, m := range heard {
		got = append(got, m.text)
	}
	if !slices.Equal(got, want) {
		t.Errorf("heard %q, want %q", got, want)
	}
}

// notifying runs test beside a notifier that serves in a bubble.
func notifying(t *testing.T, test func(t *testing.T, n *notifier, m *manager, sessions *atomic.Int64)) {
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
func serveUntil(t *testing.T, n *notifier) (stop func()) {
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
	notifying(t, func(t *testing.T, n *notifier, m *manager, sessions *atomic.Int64) {
		time.Sleep(time.Minute)
		wantHeard(t, m.heard(), "STATUS=starting")
		n.started()
		synctest.Wait()
		wantHeard(t, m.heard(), "READY=1\nSTATUS=serving 0 sessions")
		sessions.Store(1)
		n.started()
		n.draining(1, time.Now().Add(time.Second), false)
		synctest.Wait()
		n.resumed()
		time.Sleep(time.Minute)
		heard := m.heard()
		if countNotices(heard, "READY=1") > 0 {
			t.Errorf("READY was told again: %v", heard)
		}
		if last := heard[len(heard)-1]; last.text != "STATUS=serving 1 session" {
			t.Errorf("the last was %q", last.text)
		}
	})
}

func TestTheStatusFollowsTheSessionsWithoutAFlood(t *testing.T) {
	notifying(t, func(t *testing.T, n *notifier, m *manager, sessions *atomic.Int64) {
		n.started()
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
		if last := heard[len(heard)-1]; last.text != "STATUS=serving 6000 sessions" {
			t.Errorf("the last was %q", last.text)
		}
		time.Sleep(time.Hour)
		wantHeard(t, m.heard()) // nothing has changed
	})
}

// systemd hears of the drain at once and every second, and never kills before the process's own
// deadline, however short TimeoutStopSec= is.
func TestADrainIsToldAndExtendsTheTimeout(t *testing.T) {
	notifying(t, func(t *testing.T, n *notifier, m *manager, _ *atomic.Int64) {
		n.started()
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
			if i > 0 && m.at.Sub(heard[i-1].at) > time.Second {
				t.Errorf("nothing was told between %v and %v", heard[i-1].at.Sub(began), m.at.Sub(began))
			}
			if end := m.at.Add(m.extends()); end.Sub(deadline) < 2*time.Second {
				t.Errorf("after %v systemd waits until %v after the deadline", m.at.Sub(began), end.Sub(deadline))
			}
		}
		if len(heard) < 20 || len(heard) > 23 || countNotices(heard, "STOPPING=1") != 1 {
			t.Errorf("%d messages, %d of them STOPPING", len(heard), countNotices(heard, "STOPPING=1"))
		}
		if last := heard[len(heard)-1]; !last.has("STATUS=draining: 2 sessions left, 1s to the deadline") {
			t.Errorf("the last was %q", last.text)
		}
	})
}

// A process that hangs past its deadline is systemd's to kill.
func TestNothingIsExtendedPastTheDeadline(t *testing.T) {
	notifying(t, func(t *testing.T, n *notifier, m *manager, _ *atomic.Int64) {
		n.draining(1, time.Now().Add(3*time.Second), true)
		time.Sleep(3 * time.Second)
		m.heard()
		n.draining(1, time.Now(), true)
		time.Sleep(time.Minute)
		for _, m := range m.heard() {
			if m.extends() > 0 {
				t.Errorf("it said %q", m.text)
			}
		}
	})
}

func TestADeadlineThatIsBroughtForwardIsToldAtOnce(t *testing.T) {
	notifying(t, func(t *testing.T, n *notifier, m *manager, _ *atomic.Int64) {
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
	notifying(t, func(t *testing.T, n *notifier, m *manager, _ *atomic.Int64) {
		n.started()
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
		if heard := m.heard(); countNotices(heard, "STOPPING=1") != 1 {
			t.Errorf("then it ends, and says %v", heard)
		}
	})
}

// The end of a process is not taken back.
func TestNothingFollowsTheLastDrain(t *testing.T) {
	notifying(t, func(t *testing.T, n *notifier, m *manager, _ *atomic.Int64) {
		n.started()
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
			if !strings.Contains(m.text, "STATUS=draining: 2") || m.extends() == 0 {
				t.Errorf("it said %q", m.text)
			}
		}
		if len(heard) < 2 {
			t.Errorf("it said no more than %v", heard)
		}
	})
}

// What was noted before the notifier stops is told, so short as the drain was.
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
			if heard := m.heard(); countNotices(heard, "STOPPING=1") != 1 {
				t.Errorf("it said %v", heard)
			}
		})
	}
}

// A service manager that can't be reached is named once, and told what it missed when it can be.
func TestAFailureToNotifyIsLoggedOnceAndMadeUpFor(t *testing.T) {
	notifying(t, func(t *testing.T, n *notifier, m *manager, sessions *atomic.Int64) {
		var log bytes.Buffer
		n.log = slog.New(slog.NewTextHandler(&log, nil))
		m.setDeaf(true)
		m.heard()
		n.started()
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
func watched(t *testing.T, alive func(context.Context) error, test func(n *notifier, m *manager, log *bytes.Buffer)) {
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
	watched(t, alive, func(n *notifier, m *manager, log *bytes.Buffer) {
		const ping = "WATCHDOG=1"
		n.started()
		time.Sleep(time.Minute - time.Millisecond)
		if pings := countNotices(m.heard(), ping); pings != 6 {
			t.Errorf("%d signs of life in a minute, want one every 10s", pings)
		}
		dead.Store(true)
		time.Sleep(time.Minute)
		if pings := countNotices(m.heard(), ping); pings != 0 {
			t.Errorf("%d signs of life of a dead process", pings)
		}
		synctest.Wait()
		if n := strings.Count(log.String(), "no answer"); n != 1 {
			t.Errorf("it was logged %d times:\n%s", n, log)
		}
		dead.Store(false)
		n.draining(3, time.Now().Add(time.Hour), true)
		time.Sleep(time.Minute)
		if pings := countNotices(m.heard(), ping); pings != 6 {
			t.Errorf("%d signs of life in a minute of a drain", pings)
		}
	})
}

// A check that hangs is no life, and doesn't keep the rest from being told.
func TestACheckThatHangsFeedsNoWatchdog(t *testing.T) {
	hang := func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	}
	watched(t, hang, func(n *notifier, m *manager, _ *bytes.Buffer) {
		n.started()
		n.draining(3, time.Now().Add(time.Minute), true)
		time.Sleep(time.Minute)
		heard := m.heard()
		if pings := countNotices(heard, "WATCHDOG=1"); pings != 0 {
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
	watched(t, once, func(_ *notifier, m *manager, _ *bytes.Buffer) {
		time.Sleep(20 * time.Second)
		if pings := countNotices(m.heard(), "WATCHDOG=1"); pings == 0 {
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
	watched(t, slow, func(_ *notifier, m *manager, _ *bytes.Buffer) {
		last := time.Now()
		time.Sleep(5 * time.Minute)
		for _, m := range m.heard() {
			if gap := m.at.Sub(last); m.has("WATCHDOG=1") && gap > 20*time.Second {
				t.Errorf("%v without a sign of life", gap)
			} else if m.has("WATCHDOG=1") {
				last = m.at
			}
		}
		if gap := time.Since(last); gap > 20*time.Second {
			t.Errorf("%v without a sign of life", gap)
		}
	})
}

// notifySocket is where a service manager listens: a path, or a name that is nowhere in the file
// system.
func notifySocket(t *testing.T, name string) *net.UnixConn {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// nextNotice waits for one.
func nextNotice(t *testing.T, conn *net.UnixConn) notice {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 4096)
	n, err := conn.Read(buffer)
	if err != nil {
		t.Fatal(err)
	}
	return notice{time.Now(), string(buffer[:n])}
}

func TestNotificationsArriveOnASocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	for _, name := range []string{path, "@" + path} {
		t.Run(fmt.Sprintf("%.1s", name), func(t *testing.T) {
			conn := notifySocket(t, name)
			t.Setenv("NOTIFY_SOCKET", name)
			t.Setenv("WATCHDOG_USEC", "3600000000")
			n := newNotifier(func() int { return 2 }, func(context.Context) error { return nil }, slog.New(slog.DiscardHandler))
			n.started()
			defer serveUntil(t, n)()
			got := []string{nextNotice(t, conn).text, nextNotice(t, conn).text}
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
	notifySocket(t, name) // and nobody reads
	for _, socket := range []string{name, name + ".gone"} {
		t.Setenv("NOTIFY_SOCKET", socket)
		n := newNotifier(func() int { return 0 }, nil, slog.New(slog.DiscardHandler))
		for n.say("STATUS=full") {
		}
		stop := serveUntil(t, n)
		n.started()
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
	n.started()
	n.draining(1, time.Now(), true)
	n.drained()
	n.resumed()
	stop()
}
