package fleet

import (
	"fmt"
	"strings"
	"time"

	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/operator"
	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/terminal"
)

// Lines are all instances, one a line, and what they have together: "3 instances, 2 serving: 360 sessions".
func Lines(all []Standing, now time.Time) []string {
	serving, sessions, widest := 0, 0, 0
	for i := range all {
		widest = max(widest, len(nameOf(&all[i])))
		if all[i].serves() {
			serving++
		}
		if all[i].Err == nil {
			sessions += operator.SessionsOf(all[i].Sessions)
		}
	}
	lines := []string{fmt.Sprintf("%s, %d serving: %s", terminal.Counted(len(all), "instance"), serving, terminal.Counted(sessions, "session"))}
	for i := range all {
		lines = append(lines, fmt.Sprintf("%-*s  %s", widest, nameOf(&all[i]), line(&all[i], now)))
	}
	return lines
}

func nameOf(s *Standing) string { return terminal.OneLine(s.Name) }

// line is how one instance stands, in words.
func line(s *Standing, now time.Time) string {
	if s.Err != nil {
		return "does not answer: " + terminal.OneLine(s.Err.Error())
	}
	return operator.Headline(s.Sessions, s.State, now)
}

// Screen is Lines with the sessions below, as many as fit a terminal's height, cut to its width.
func Screen(all []Standing, now time.Time, width, height int) string {
	lines := append(Lines(all, now), "")
	for i := range all {
		if all[i].Err != nil || len(all[i].Sessions.Sessions) == 0 {
			continue
		}
		lines = append(lines, "sessions of "+nameOf(&all[i]))
		columns := operator.ColumnsWithin(width)
		lines = append(lines, operator.HeaderLine(columns))
		for j := range all[i].Sessions.Sessions {
			lines = append(lines, operator.SessionLine(columns, &all[i].Sessions.Sessions[j], now))
		}
		if more := all[i].Sessions.Total - len(all[i].Sessions.Sessions); more > 0 {
			lines = append(lines, fmt.Sprintf("and %d more: lastcall top --admin %s", more, nameOf(&all[i])))
		}
	}
	if len(lines) > height-1 {
		lines = append(lines[:max(0, height-2)], "…")
	}
	for i, text := range lines {
		lines[i] = terminal.FitCell(text, width)
	}
	return strings.Join(lines, "\n")
}

// shownSessions is how many sessions of each instance a screen asks for.
func shownSessions(instances, height int) int { return max(1, (height-4)/max(1, instances)-3) }
