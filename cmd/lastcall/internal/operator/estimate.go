package operator

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/terminal"
	adminapi "github.com/lastcall-go/lastcall/transport/admin"
)

// killMargin is how long a platform should wait past a drain's deadline before it kills the process.
const killMargin = 5 * time.Second

// EstimateText is what a drain would take, in lines: its timeline, the times of stops so far, and whether the
// deadline suffices. last says that the drain would be that of the process, whose deadline the platform
// must know.
func EstimateText(e *adminapi.Estimate, last bool) string {
	var lines []string
	say := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	say("A drain of %s that began now (nothing is drained):", terminal.Counted(e.Sessions, "session"))
	lines = append(lines, Timeline(e, last)...)
	switch {
	case e.Sessions == 0:
		say("There is no session to wait for.")
	case e.Stops == 0:
		say("How long stops take is not known yet: no session has been asked to stop.")
	default:
		say("A stop takes %s (half of the sessions) to %s (99 of 100), by %s so far.", about(e.StopP50), about(e.StopP99), terminal.Counted(e.Stops, "stop"))
		if e.Unknown > 0 {
			say("%d of the sessions are of a kind and an agent without stops so far: all stops together stand for theirs.", e.Unknown)
		}
		say("The drain takes %s (1 of 2 times) to %s (99 of 100); %s.", about(e.TookP50), about(e.TookP99), cutText(e.Cut))
		say("%s", verdict(e, last))
	}
	if last {
		say("The platform must wait longer than %s before it kills the process; in Kubernetes, terminationGracePeriodSeconds: %d.",
			about(e.Deadline), int(math.Ceil((time.Duration(e.Deadline) + killMargin).Seconds())))
	}
	return strings.Join(lines, "\n") + "\n"
}

// Timeline has the moments of a drain in their order, a line each, without those at which nothing is done. all says that
// it is a drain of everything.
func Timeline(e *adminapi.Estimate, all bool) (lines []string) {
	at := func(when actors.Seconds, what string) {
		lines = append(lines, fmt.Sprintf("%10s  %s", about(when), what))
	}
	asked := "the sessions are asked to stop"
	if e.Batches > 1 {
		asked = fmt.Sprintf("the first of %d batches is asked to stop", e.Batches)
	}
	if all {
		if e.Closes > 0 {
			at(0, "not ready any more; new sessions are still admitted")
		}
		asked = "no new sessions; " + asked
	}
	at(e.Closes, asked)
	if e.Batches > 1 {
		at(e.LastAsk, "the last batch is asked")
	}
	if e.GraceEnd > e.Closes {
		at(e.GraceEnd, "workflows that still run are stopped")
	}
	at(e.Kill, "sessions that are left are killed")
	if all && e.Deadline > e.Kill {
		at(e.Deadline, "the deadline of all else")
	}
	return lines
}

func cutText(cut int) string {
	if cut == 0 {
		return "no session is likely to be cut"
	}
	return fmt.Sprintf("about %s will run into the stop timeout or the deadline, and be cut", terminal.Counted(cut, "session"))
}

// verdict says whether the deadline suffices, and what to do where it doesn't.
func verdict(e *adminapi.Estimate, last bool) string {
	if e.InTime {
		return fmt.Sprintf("The deadline of %s suffices: %s are left.", about(e.Deadline), about(e.Kill-e.TookP99))
	}
	flag := "--deadline"
	if last {
		flag = "--shutdown-timeout"
	}
	return fmt.Sprintf("The deadline of %s is too short: sessions are likely to be killed. Use a longer %s, larger or more frequent batches, or a shorter grace.", about(e.Deadline), flag)
}

// about is a duration that a person reads: to a tenth of a second from a second on.
func about(s actors.Seconds) string {
	d := time.Duration(s)
	if d >= time.Second {
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Millisecond).String()
}
