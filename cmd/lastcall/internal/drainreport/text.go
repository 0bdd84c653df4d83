package drainreport

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/terminal"
	"github.com/lastcall-go/lastcall/transport/history"
	"github.com/lastcall-go/lastcall/transport/printable"
)

// WriteJSON writes nothing that a terminal would obey: JSON as such leaves some control characters be.
func WriteJSON(w io.Writer, s *history.Summary) error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(w, printable.JSON(data))
	return err
}

// WriteText writes for a terminal of that many columns.
func WriteText(w io.Writer, s *history.Summary, columns int) error {
	var text strings.Builder
	writeHeadline(&text, s)
	writeOutcomes(&text, s)
	writeSlowest(&text, s)
	writeStopTimes(&text, s, columns)
	writeServices(&text, s)
	writeKilled(&text, "session", s.Killed.Sessions)
	writeKilled(&text, "service", s.Killed.Services)
	_, err := io.WriteString(w, text.String())
	return err
}

func writeHeadline(w io.Writer, s *history.Summary) {
	var parts []string
	for _, o := range s.Outcomes {
		parts = append(parts, fmt.Sprintf("%d %s", o.Count, o.Outcome))
	}
	fmt.Fprintf(w, "%s at %s: %s in %v%s\n", cmp.Or(terminal.OneLine(s.Reason), "drain"), s.Started.Format(time.RFC3339),
		terminal.Counted(s.Sessions, "session"), s.Took, terminal.Suffix(": ", strings.Join(parts, ", ")))
}

func writeOutcomes(w io.Writer, s *history.Summary) {
	if len(s.Outcomes) == 0 {
		return
	}
	table := newTable(w, "OUTCOME", "COUNT", "SHARE", "P50", "P95", "MAX")
	for _, o := range s.Outcomes {
		table.row(o.Outcome, o.Count, fmt.Sprintf("%.1f%%", 100*o.Share), orDash(o.P50), orDash(o.P95), orDash(o.Max))
	}
	table.flush()
}

// writeSlowest says of killed sessions what they waited for.
func writeSlowest(w io.Writer, s *history.Summary) {
	if len(s.Slowest) == 0 {
		return
	}
	heads := []any{"LONGEST TO STOP", "WORKFLOW", "OUTCOME", "STOP", "AGE"}
	waited := slices.ContainsFunc(s.Slowest, func(session actors.SessionReport) bool { return session.WaitedFor != "" })
	if waited {
		heads = append(heads, "WAITED FOR")
	}
	table := newTable(w, heads...)
	for _, session := range s.Slowest {
		cells := []any{terminal.OneLine(session.ID), cmp.Or(terminal.OneLine(session.Workflow), "-"), terminal.OneLine(string(session.Outcome)), session.Took, session.Age}
		if waited {
			cells = append(cells, cmp.Or(terminal.OneLine(string(session.WaitedFor)), "-"))
		}
		table.row(cells...)
	}
	table.flush()
}

// writeStopTimes draws a bar a bucket; the longest leaves the last column free.
func writeStopTimes(w io.Writer, s *history.Summary, columns int) {
	most, label := 0, 0
	for _, bucket := range s.StopTimes {
		most, label = max(most, bucket.Count), max(label, len(bucket.UpTo.String()))
	}
	if most > 0 {
		fmt.Fprintln(w, "\nTIME TO STOP")
	}
	width := max(10, columns-label-len(fmt.Sprintf("up to    %d ", most)))
	for _, bucket := range s.StopTimes {
		bar := strings.Repeat("█", (bucket.Count*width+most-1)/most)
		fmt.Fprintf(w, "up to %*v  %s %d\n", label, bucket.UpTo, bar, bucket.Count)
	}
	if s.Untold > 0 {
		fmt.Fprintf(w, "\n%s without a stop time: not asked to stop, or gone within half a millisecond\n", terminal.Counted(s.Untold, "session"))
	}
}

func writeServices(w io.Writer, s *history.Summary) {
	if len(s.Services) == 0 {
		return
	}
	table := newTable(w, "SERVICE", "OUTCOME", "STOP")
	for _, service := range s.Services {
		table.row(terminal.OneLine(service.Name), terminal.OneLine(string(service.Outcome)), service.Took)
	}
	table.flush()
}

// writeKilled names a page of them; --json names all.
func writeKilled(w io.Writer, what string, names []string) {
	const most = 20
	if len(names) == 0 {
		return
	}
	fmt.Fprintf(w, "\nhad to be killed: %s\n", terminal.Counted(len(names), what))
	for _, name := range names[:min(most, len(names))] {
		fmt.Fprintln(w, "  "+terminal.OneLine(name))
	}
	if more := len(names) - most; more > 0 {
		fmt.Fprintf(w, "  and %d more, which --json names\n", more)
	}
}

// textTable has columns as wide as they need to be, and an empty line before it.
type textTable struct{ *tabwriter.Writer }

func newTable(w io.Writer, heads ...any) textTable {
	fmt.Fprintln(w)
	t := textTable{tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)}
	t.row(heads...)
	return t
}

// row wants cells without tabs and line ends.
func (t textTable) row(cells ...any) {
	for i, cell := range cells {
		if i > 0 {
			fmt.Fprint(t, "\t")
		}
		fmt.Fprint(t, cell)
	}
	fmt.Fprintln(t)
}

func (t textTable) flush() { _ = t.Flush() } // what it writes to is in memory

func orDash(s *actors.Seconds) string {
	if s == nil {
		return "-"
	}
	return s.String()
}
