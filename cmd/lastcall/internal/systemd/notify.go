package systemd

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/lastcall-go/lastcall/actors"
)

const (
	// statusPulse is how often a changed number of sessions is sent to systemd, and
	// stoppingPulse how often how far a drain is.
	statusPulse   = 5 * time.Second
	stoppingPulse = time.Second

	// extendMargin is what a process gets beyond its own deadline to exit, before systemd kills it.
	extendMargin = 5 * time.Second

	// notifyTimeout bounds the wait for a service manager that doesn't read.
	notifyTimeout = 100 * time.Millisecond
)

// Notifier sends the state of the process to systemd (sd_notify(3), Type=notify), and answers its watchdog.
// Its methods only keep what is to be sent, and never wait: Serve sends it. Where the process wasn't
// started by something that wants to know, all of it does nothing. A failure to send is logged once,
// and tried again with the next news.
//
// As a service it is the first of the stage AfterSessions, and so the last to stop.
type Notifier struct {
	send     func(state string) error // nil: the process was not started by systemd
	watchdog time.Duration            // what systemd waits for a sign of life. 0: for ever
	sessions func() int
	alive    func(context.Context) error
	log      *slog.Logger

	open    atomic.Int64 // sessions, as far as was observed
	failure sync.Once
	news    chan struct{} // holds one when something is to be sent at once

	mu  sync.Mutex
	now condition

	// Serve's own: what was sent.
	told       condition
	toldStatus string
}

// condition is what systemd is to know.
type condition struct {
	ready    bool // all ports are open
	draining bool
	standby  bool // a drain is over, and the process stays
	final    bool // the process ends with the drain
	left     int  // sessions
	deadline time.Time
}

// NewNotifier reads NOTIFY_SOCKET and WATCHDOG_USEC. They stay in the environment: the process starts
// no other that would inherit them, and systemd listens to its main process alone (NotifyAccess=main).
//
// alive must return when its context is done, with an error unless the process still does what it is there
// for.
func NewNotifier(alive func(context.Context) error, log *slog.Logger) *Notifier {
	n := newNotifier(nil, alive, log)
	n.sessions = func() int { return int(n.open.Load()) }
	return n
}

// newNotifier has another count of sessions than that of [Notifier.Observe].
func newNotifier(sessions func() int, alive func(context.Context) error, log *slog.Logger) *Notifier {
	n := &Notifier{sessions: sessions, alive: alive, log: log, news: make(chan struct{}, 1)}
	socket := os.Getenv("NOTIFY_SOCKET")
	if socket == "" {
		return n
	}
	n.send = func(state string) error { return sdNotify(socket, state) }
	watchdog, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		log.Warn("no watchdog", "error", err)
	}
	n.watchdog = watchdog
	return n
}

// Started: all ports are open, and all services run.
func (n *Notifier) Started() { n.note(func(c *condition) { c.ready = true }) }

// Ending: the drain begins that the process ends with. A short one is over before its events are heard.
func (n *Notifier) Ending(deadline time.Time) { n.draining(n.sessions(), deadline, true) }

// Observe takes the supervisor's events, one at a time.
func (n *Notifier) Observe(event any) {
	switch e := event.(type) {
	case actors.SessionStarted:
		n.open.Add(1)
	case actors.SessionStopped:
		n.open.Add(-1)
	case actors.DrainStarted:
		n.observeDrain(e.DrainStatus)
	case actors.DrainProgress:
		n.observeDrain(e.DrainStatus)
	case actors.DrainFinished:
		n.observeDrain(e.DrainStatus)
	case actors.Resumed:
		n.resumed()
	}
}

// observeDrain notes what becomes of all sessions.
func (n *Notifier) observeDrain(d actors.DrainStatus) {
	switch {
	case d.Part:
	case d.Standby && d.Over:
		n.drained()
	default:
		n.draining(d.Left, d.Deadline, !d.Standby)
	}
}

// draining: a drain of everything has begun or goes on, with so many sessions left. final: the
// process ends with it; from then on nothing else is sent.
func (n *Notifier) draining(left int, deadline time.Time, final bool) {
	n.note(func(c *condition) {
		*c = condition{ready: c.ready, draining: true, final: final, left: left, deadline: deadline}
	})
}

// drained: a drain is over that the process survives.
func (n *Notifier) drained() {
	n.note(func(c *condition) { *c = condition{ready: c.ready, standby: true} })
}

// resumed: sessions are admitted again.
func (n *Notifier) resumed() { n.note(func(c *condition) { *c = condition{ready: c.ready} }) }

// note changes the condition. What is more than progress is sent at once.
func (n *Notifier) note(change func(*condition)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	was, now := n.now, n.now
	change(&now)
	if was.final && !now.final {
		return
	}
	n.now = now
	was.left = now.left
	if was != now {
		select {
		case n.news <- struct{}{}:
		default: // it will see this too
		}
	}
}

// Serve implements [actors.Service]. It sends until ctx is done, also while the process
// drains, and what was noted last before it returns.
func (n *Notifier) Serve(ctx context.Context) error {
	if n.send == nil {
		<-ctx.Done()
		return nil
	}
	var watch sync.WaitGroup
	watch.Go(func() { n.watch(ctx) })
	defer watch.Wait()
	for {
		pause := n.tell()
		select {
		case <-n.news:
		case <-time.After(pause):
		case <-ctx.Done():
			n.tell()
			return nil
		}
	}
}

// tell sends what systemd doesn't know yet, and returns when to look again.
func (n *Notifier) tell() (pause time.Duration) {
	n.mu.Lock()
	now := n.now
	n.mu.Unlock()
	status := now.status(n.sessions)
	message := now.message(n.told, status, n.toldStatus)
	if message == "" || n.say(message) {
		n.told, n.toldStatus = now, status
	}
	if now.draining || n.told != now {
		return stoppingPulse
	}
	return statusPulse
}

// message returns what to send after the condition told was sent. Empty: nothing.
func (c condition) message(told condition, status, toldStatus string) string {
	var lines []string
	if c.ready && !told.ready {
		lines = append(lines, daemon.SdNotifyReady)
	}
	if c.final && !told.final {
		lines = append(lines, daemon.SdNotifyStopping)
	}
	if status != toldStatus {
		lines = append(lines, "STATUS="+status)
	}
	// Past the deadline nothing is extended: a process that still hangs is systemd's to kill.
	if left := time.Until(c.deadline); c.final && left > 0 {
		lines = append(lines, fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", (left+extendMargin).Microseconds()))
	}
	return strings.Join(lines, "\n")
}

// status is one line for "systemctl status".
func (c condition) status(sessions func() int) string {
	switch {
	case c.draining:
		return fmt.Sprintf("draining: %s left, %v to the deadline", numberOfSessions(c.left), max(0, time.Until(c.deadline)).Round(time.Second))
	case c.standby:
		return "drained, refusing until resumed"
	case c.ready:
		return "serving " + numberOfSessions(sessions())
	}
	return "starting"
}

func numberOfSessions(n int) string {
	if n == 1 {
		return "1 session"
	}
	return fmt.Sprintf("%d sessions", n)
}

// watch gives systemd's watchdog a sign of life every third of its time, as long as there is one.
// When there is none for that time, systemd ends the process, and starts it again.
func (n *Notifier) watch(ctx context.Context) {
	if n.watchdog <= 0 {
		return
	}
	pulse := n.watchdog / 3
	ticker := time.NewTicker(pulse)
	defer ticker.Stop()
	var last error
	for {
		err := n.ping(ctx, pulse)
		if err != nil && last == nil && ctx.Err() == nil {
			n.log.Warn("no sign of life for the watchdog", "error", err)
		}
		last = err
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

func (n *Notifier) ping(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := n.alive(ctx)
	if err == nil {
		n.say(daemon.SdNotifyWatchdog)
	}
	return err
}

// say sends a message, and reports whether that went well.
func (n *Notifier) say(state string) bool {
	err := n.send(state)
	if err != nil {
		n.failure.Do(func() { n.log.Warn("systemd not notified", "error", err) })
	}
	return err == nil
}

// sdNotify sends one message to a socket that is a path, or abstract ("@name"). Unlike daemon.SdNotify
// it doesn't wait for ever where the socket is full.
func sdNotify(socket, state string) (err error) {
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer func() { err = cmp.Or(err, conn.Close()) }()
	if err := conn.SetWriteDeadline(time.Now().Add(notifyTimeout)); err != nil {
		return err
	}
	_, err = conn.Write([]byte(state))
	return err
}
