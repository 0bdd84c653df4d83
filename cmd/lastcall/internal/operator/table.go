package operator

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"

	"github.com/lastcall-go/lastcall/actors/relay"
	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/terminal"
	adminapi "github.com/lastcall-go/lastcall/transport/admin"
)

// Column is a column of a table of sessions.
type Column struct {
	title string
	width int // in a table that must fit a screen
	rank  int // the highest gives way first where the screen is narrow
	right bool
	value func(s *adminapi.Session, now time.Time) string
}

// sessionColumns are all there are. Their values are safe for a terminal, and one line each.
func sessionColumns() []Column {
	return []Column{
		{"WORKFLOW", 8, 1, false, func(s *adminapi.Session, _ time.Time) string { return SafeCell(NameOf(s)) }},
		{"ID", 16, 0, false, func(s *adminapi.Session, _ time.Time) string { return SafeCell(s.ID) }},
		{"PHASE", 8, 1, false, func(s *adminapi.Session, _ time.Time) string { return SafeCell(s.Phase) }},
		{"FOR", 6, 5, true, func(s *adminapi.Session, now time.Time) string { return Since(s.Since, now) }},
		{"AGE", 6, 2, true, func(s *adminapi.Session, now time.Time) string { return Since(s.Started, now) }},
		{"REMOTE", 21, 9, false, func(s *adminapi.Session, _ time.Time) string { return SafeCell(s.Remote) }},
		{"AGENT", 21, 8, false, func(s *adminapi.Session, _ time.Time) string { return SafeCell(s.Agent) }},
		{"IN", 5, 4, true, func(s *adminapi.Session, _ time.Time) string { return countText(s.Received.Messages) }},
		{"OUT", 5, 4, true, func(s *adminapi.Session, _ time.Time) string { return countText(s.Sent.Messages) }},
		{"TOOLS", 5, 7, true, func(s *adminapi.Session, _ time.Time) string { return strconv.Itoa(s.ToolsRunning) }},
		{"LAST", 6, 6, true, func(s *adminapi.Session, now time.Time) string { return Since(s.LastMessage, now) }},
		{"WAITS FOR", 15, 3, false, func(s *adminapi.Session, _ time.Time) string { return SafeCell(string(s.WaitsFor)) }},
	}
}

// NameOf is the workflow of a session, with the session's kind before it unless that is the usual one.
func NameOf(s *adminapi.Session) string {
	switch {
	case s.Kind == relay.Kind, s.Kind == "": // an older gateway says none
		return s.Workflow
	case s.Workflow == "":
		return s.Kind
	}
	return s.Kind + ":" + s.Workflow
}

// SafeCell is an untrusted text as a cell. Cells are never empty, so that columns stay apart.
func SafeCell(text string) string {
	if text = strings.TrimSpace(terminal.OneLine(text)); text == "" {
		return "-"
	}
	return text
}

// Since is a time that has passed, in its two largest units: 4m12s. The clock that it began by
// may be ahead of ours.
func Since(began, now time.Time) string {
	if began.IsZero() {
		return "-"
	}
	seconds := int64(max(0, now.Sub(began)) / time.Second)
	switch minutes, hours := seconds/60, seconds/3600; {
	case seconds < 60:
		return fmt.Sprintf("%ds", seconds)
	case minutes < 60:
		return fmt.Sprintf("%dm%02ds", minutes, seconds%60)
	case hours < 24:
		return fmt.Sprintf("%dh%02dm", hours, minutes%60)
	default:
		return fmt.Sprintf("%dd%02dh", hours/24, hours%24)
	}
}

// countText is a number in five characters at most.
func countText(n uint64) string {
	if n < 100_000 {
		return strconv.FormatUint(n, 10)
	}
	for _, unit := range []string{"k", "M", "G"} {
		if n /= 1000; n < 10_000 {
			return strconv.FormatUint(n, 10) + unit
		}
	}
	return "many"
}

// Count is a number of sessions in five characters at most.
func Count(n int) string { return countText(uint64(max(0, n))) }

// SessionTable is a header and a line for each session, as wide as their texts are.
func SessionTable(sessions []adminapi.Session, now time.Time) []string {
	columns := sessionColumns()
	for i := range columns {
		columns[i].width = len(columns[i].title)
		for s := range sessions {
			columns[i].width = max(columns[i].width, ansi.StringWidth(columns[i].value(&sessions[s], now)))
		}
	}
	lines := []string{HeaderLine(columns)}
	for i := range sessions {
		lines = append(lines, SessionLine(columns, &sessions[i], now))
	}
	return lines
}

const betweenColumns = "  "

// ColumnsWithin returns the columns that fit a width. The workflow gets the room that is left.
func ColumnsWithin(width int) []Column {
	columns := sessionColumns()
	for len(columns) > 1 && widthOf(columns) > width {
		last := 0
		for i, c := range columns {
			if c.rank >= columns[last].rank {
				last = i
			}
		}
		columns = append(columns[:last], columns[last+1:]...)
	}
	const widest = 40
	if first := &columns[0]; first.title == "WORKFLOW" {
		first.width = min(widest, first.width+width-widthOf(columns))
	}
	return columns
}

func widthOf(columns []Column) int {
	sum := (len(columns) - 1) * len(betweenColumns)
	for _, c := range columns {
		sum += c.width
	}
	return sum
}

func HeaderLine(columns []Column) string {
	return joinCells(columns, func(c Column) string { return c.title })
}

func SessionLine(columns []Column, s *adminapi.Session, now time.Time) string {
	return joinCells(columns, func(c Column) string { return c.value(s, now) })
}

func joinCells(columns []Column, text func(Column) string) string {
	cells := make([]string, len(columns))
	for i, c := range columns {
		cells[i] = terminal.PadCell(text(c), c.width, c.right)
	}
	return strings.TrimRight(strings.Join(cells, betweenColumns), " ")
}
