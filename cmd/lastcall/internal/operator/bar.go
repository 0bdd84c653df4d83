package operator

import (
	"fmt"
	"strings"
	"time"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/terminal"
	adminapi "github.com/lastcall-go/lastcall/transport/admin"
)

// drainDone is how many sessions a drain has seen the end of, and how many there are in all. It may
// be more than there were at its begin: requests on their way become sessions.
func drainDone(d *adminapi.Drain) (done, total int) {
	for _, n := range d.Totals {
		done += n
	}
	return done, max(d.Sessions, done+d.Left)
}

// DrainLine is how a drain stands, in a width: "[####>...] 9/12 drained 8, completed 1 · 3 left · 12s
// to the deadline". Where the width is small the bar is left out.
func DrainLine(d *adminapi.Drain, now time.Time, width int) string {
	const least, most = 10, 40
	text := drainText(d, now)
	if room := width - len([]rune(text)) - len("[] "); room >= least {
		text = drainBar(d, min(room, most)) + " " + text
	}
	return terminal.FitCell(text, width)
}

// drainText is how a drain stands, without the bar.
func drainText(d *adminapi.Drain, now time.Time) string {
	done, total := drainDone(d)
	text := fmt.Sprintf("%d/%d%s · %d left", done, total, terminal.Suffix(" ", outcomesText(d.Totals)), d.Left)
	if d.Untold > 0 {
		text += fmt.Sprintf(", %d of them not asked yet", d.Untold)
	}
	if d.Over {
		return text
	}
	return text + fmt.Sprintf(" · %v to the deadline", max(0, d.Deadline.Sub(now)).Round(time.Second))
}

// outcomesText lists the outcomes that occurred: "drained 8, completed 1".
func outcomesText(counts map[actors.Outcome]int) string {
	var parts []string
	for _, outcome := range barOrder() {
		if n := counts[outcome]; n > 0 {
			parts = append(parts, fmt.Sprintf("%s %d", outcome, n))
		}
	}
	return strings.Join(parts, ", ")
}

// barOrder is that of the outcomes in a bar: what went well comes first.
func barOrder() []actors.Outcome {
	return []actors.Outcome{
		actors.Drained, actors.Completed, actors.ClientGone,
		actors.Refused, actors.Failed, actors.Cancelled, actors.Killed,
	}
}

// drainBar is a bar with a sign for each outcome: # is drained, completed or gone, ! is any other.
// A killed session always shows, however few there are among many, and the bar is full only when the drain
// is over. The room is inside the brackets: at least 2.
func drainBar(d *adminapi.Drain, room int) string {
	done, total := drainDone(d)
	if total == 0 {
		return "[" + strings.Repeat("#", room) + "]"
	}
	bad := done - d.Totals[actors.Drained] - d.Totals[actors.Completed] - d.Totals[actors.ClientGone]
	signs := (bad*room + total - 1) / total
	filled := max(signs, done*room/total)
	head := ""
	if done < total {
		filled = min(filled, room-1)
		signs, head = min(signs, filled), ">"
	}
	bar := strings.Repeat("#", filled-signs) + strings.Repeat("!", signs) + head
	bar += strings.Repeat(".", room-len(bar))
	return "[" + bar + "]"
}

// Summary is the last line of a drain that is over.
func Summary(d *adminapi.Drain) string {
	done, _ := drainDone(d)
	line := fmt.Sprintf("drained %d %s in %v%s", done, terminal.Plural(done, "session"), d.Took, terminal.Suffix(": ", outcomesText(d.Totals)))
	if len(d.Killed) == 0 {
		return line
	}
	const most = 10
	more, names := "", d.Killed
	if len(names) > most {
		more, names = fmt.Sprintf(" and %d more", len(names)-most), names[:most]
	}
	return line + "; had to be killed: " + terminal.OneLine(strings.Join(names, ", ")) + more
}
