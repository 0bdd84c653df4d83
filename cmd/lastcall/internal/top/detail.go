package top

import (
	"fmt"
	"time"

	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/operator"
	adminapi "github.com/lastcall-go/lastcall/transport/admin"
)

// topDetail is the one session that the screen shows.
type topDetail struct {
	id      string
	session *adminapi.Session // as it was seen last
	gone    bool
}

// detailLines are all that is known of a session.
func detailLines(d *topDetail, now time.Time) []string {
	s := d.session
	lines := []string{"session " + operator.SafeCell(d.id)}
	row := func(name, value string) { lines = append(lines, fmt.Sprintf("  %-13s %s", name, value)) }
	since := func(t time.Time) string {
		if t.IsZero() {
			return "-"
		}
		return operator.Since(t, now) + " ago"
	}
	row("workflow", operator.SafeCell(s.Workflow))
	row("kind", operator.SafeCell(s.Kind))
	row("principal", operator.SafeCell(s.Principal))
	row("client", operator.SafeCell(s.Remote)+", by "+operator.SafeCell(s.Transport))
	row("agent", operator.SafeCell(s.Agent))
	row("phase", operator.SafeCell(s.Phase)+" for "+operator.Since(s.Since, now))
	row("waits for", operator.SafeCell(string(s.WaitsFor)))
	row("started", since(s.Started))
	row("asked to stop", since(s.Told))
	row("received", fmt.Sprintf("%d messages, %d bytes", s.Received.Messages, s.Received.Bytes))
	row("sent", fmt.Sprintf("%d messages, %d bytes", s.Sent.Messages, s.Sent.Bytes))
	row("last message", since(s.LastMessage))
	row("tool calls", fmt.Sprintf("%d running", s.ToolsRunning))
	if d.gone {
		return append(lines, "", "it has ended: this is how it was seen last", "", "Esc back")
	}
	return append(lines, "", "d drain  Esc back")
}
