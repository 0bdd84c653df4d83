package servescreen

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/operator"
	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/terminal"
	adminapi "github.com/lastcall-go/lastcall/transport/admin"
)

const (
	slowest      = 5 // sessions under the bar
	lookEvery    = time.Second
	lookPatience = 500 * time.Millisecond // what the supervisor has to say what its sessions wait for
)

// Screen shows the drain of all sessions as one block below the log: a bar, and the sessions that were asked to stop
// first and are still here.
type Screen struct {
	Console  *terminal.Console
	Width    func() int
	Snapshot func(ctx context.Context) (actors.Snapshot, error)

	lookedAt time.Time
	waiting  []string
}

// Show shows an event of a drain. False: there is no terminal. It is a gateway's Progress: it is called with one event at
// a time, and no drain waits for it.
func (s *Screen) Show(event any) (shown bool) {
	switch e := event.(type) {
	case actors.DrainStarted:
		s.waiting, s.lookedAt = nil, time.Now()
		s.show(e.DrainStatus)
	case actors.DrainProgress:
		s.look()
		s.show(e.DrainStatus)
	case actors.DrainFinished:
		drain := adminapi.DrainOf(e.DrainStatus)
		s.Console.Conclude(operator.Summary(&drain))
	}
	return s.Console.IsTerminal()
}

func (s *Screen) show(status actors.DrainStatus) {
	drain := adminapi.DrainOf(status)
	width := s.Width() - 1 // a full line would wrap
	lines := append([]string{operator.DrainLine(&drain, time.Now(), width)}, s.waiting...)
	for i, line := range lines {
		lines[i] = terminal.FitCell(line, width)
	}
	s.Console.Show(strings.Join(lines, "\n"))
}

// look asks what the sessions wait for, once a second: it costs the supervisor a moment for each session.
func (s *Screen) look() {
	if !s.Console.IsTerminal() || time.Since(s.lookedAt) < lookEvery {
		return
	}
	s.lookedAt = time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), lookPatience)
	defer cancel()
	if view, err := s.Snapshot(ctx); err == nil {
		s.waiting = waitingLines(view.Sessions, time.Now())
	}
}

// waitingLines are the sessions that were asked to stop first.
func waitingLines(sessions []actors.SessionInfo, now time.Time) []string {
	sessions = slices.DeleteFunc(sessions, func(s actors.SessionInfo) bool { return s.Told.IsZero() })
	slices.SortStableFunc(sessions, func(a, b actors.SessionInfo) int {
		return cmp.Or(a.Told.Compare(b.Told), cmp.Compare(a.ID, b.ID))
	})
	var lines []string
	for _, session := range sessions[:min(slowest, len(sessions))] {
		lines = append(lines, fmt.Sprintf("  %s %s for %v, waits for %s", session.ID, session.Phase,
			now.Sub(session.Told).Round(time.Second), cmp.Or(terminal.OneLine(string(session.WaitsFor)), "nothing known"))+
			terminal.Suffix("  ", terminal.OneLine(session.Workflow)))
	}
	if more := len(sessions) - slowest; more > 0 {
		lines = append(lines, fmt.Sprintf("  and %d more", more))
	}
	return lines
}
