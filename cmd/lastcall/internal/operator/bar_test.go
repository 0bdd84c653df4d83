package operator

import (
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"
	"pgregory.net/rapid"

	"github.com/lastcall-go/lastcall/actors"
	adminapi "github.com/lastcall-go/lastcall/transport/admin"
)

func TestDrainLineShowsTheBarByOutcome(t *testing.T) {
	now := time.Now()
	tests := []struct {
		drain adminapi.Drain
		width int
		want  string
	}{
		{
			adminapi.Drain{Sessions: 12, Left: 3, Totals: map[actors.Outcome]int{actors.Drained: 8, actors.Completed: 1}},
			72, "[########>..] 9/12 drained 8, completed 1 · 3 left · 12s to the deadline",
		},
		{
			adminapi.Drain{Sessions: 4, Left: 2, Totals: map[actors.Outcome]int{actors.Drained: 1, actors.Killed: 1}},
			80, "[#####!!!!!!>...........] 2/4 drained 1, killed 1 · 2 left · 12s to the deadline",
		},
		{
			adminapi.Drain{Sessions: 1000, Left: 999, Totals: map[actors.Outcome]int{actors.Failed: 1}},
			80, "[!>...........................] 1/1000 failed 1 · 999 left · 12s to the deadline",
		},
		{
			adminapi.Drain{Sessions: 11, Left: 1, Totals: map[actors.Outcome]int{actors.Killed: 10}},
			59, "[!!!!!!!!!>] 10/11 killed 10 · 1 left · 12s to the deadline",
		},
		{
			adminapi.Drain{Sessions: 4, Left: 4, Untold: 3},
			60, "0/4 · 4 left, 3 of them not asked yet · 12s to the deadline",
		},
		{
			adminapi.Drain{Sessions: 4, Totals: map[actors.Outcome]int{actors.Drained: 4}, Over: true},
			50, "[#########################] 4/4 drained 4 · 0 left",
		},
		{adminapi.Drain{Over: true}, 30, "[###############] 0/0 · 0 left"},
		{adminapi.Drain{Sessions: 4, Left: 4}, 10, "0/4 · 4 l…"},
	}
	for _, test := range tests {
		test.drain.Deadline = now.Add(12 * time.Second)
		if got := DrainLine(&test.drain, now, test.width); got != test.want {
			t.Errorf("got  %s\nwant %s", got, test.want)
		}
	}
}

// Whatever a gateway says of its drain, the line fits, and shows whether something went wrong.
func TestDrainLineOfAnyDrain(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		few := rapid.IntRange(0, 20_000)
		d := adminapi.Drain{
			Sessions: few.Draw(t, "sessions"),
			Left:     few.Draw(t, "left"),
			Totals:   map[actors.Outcome]int{actors.Drained: few.Draw(t, "drained"), actors.Killed: few.Draw(t, "killed")},
		}
		width := rapid.IntRange(0, 300).Draw(t, "width")
		line := DrainLine(&d, time.Now(), width)
		if ansi.StringWidth(line) > width {
			t.Fatalf("%d wide, want %d at most: %s", ansi.StringWidth(line), width, line)
		}
		bar, _, hasBar := strings.Cut(strings.TrimPrefix(line, "["), "]")
		if hasBar && strings.Contains(bar, "!") != (d.Totals[actors.Killed] > 0) {
			t.Fatalf("the bar hides who was killed, or makes it up: %s", line)
		}
		if hasBar && strings.Contains(bar, ">") != (d.Left > 0 || d.Sessions > d.Totals[actors.Drained]+d.Totals[actors.Killed]) {
			t.Fatalf("the bar is full too early, or never: %s", line)
		}
	})
}

func TestDrainSummaryNamesTheKilledUpToTen(t *testing.T) {
	d := adminapi.Drain{Totals: map[actors.Outcome]int{actors.Drained: 1}, Took: actors.Seconds(1234 * time.Millisecond)}
	if got, want := Summary(&d), "drained 1 session in 1.234s: drained 1"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	d.Totals[actors.Killed] = 12
	d.Killed = strings.Split("a\x1b b c d e f g h i j k l", " ")
	if got, want := Summary(&d), "drained 13 sessions in 1.234s: drained 1, killed 12; had to be killed: a\\x1b, b, c, d, e, f, g, h, i, j and 2 more"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestBarHasEveryOutcome(t *testing.T) {
	if len(barOrder()) != len(actors.Outcomes()) {
		t.Errorf("%v, want %v", barOrder(), actors.Outcomes())
	}
}
