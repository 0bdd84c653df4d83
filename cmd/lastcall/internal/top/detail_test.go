package top

import (
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/operator/operatortest"
	"github.com/lastcall-go/lastcall/transport/history"
	"github.com/lastcall-go/lastcall/transport/printable"
)

func TestTheLastHourIsALine(t *testing.T) {
	now := time.Now()
	past := &history.View{}
	for i := range 60 {
		s := history.Sample{At: now.Add(time.Duration(i-60) * time.Minute), Serving: 10 + i}
		if i >= 54 {
			s.StopP99 = actors.Seconds(time.Duration(i-53) * time.Second)
		}
		past.Samples = append(past.Samples, s)
	}
	want := "last hour: sessions ▂▂▃▃▃▄▄▄▅▅▅▆▆▇▇▇████ 69 · stop p99                  ▂▆█ 6s"
	if got := trendText(past, now); got != want {
		t.Errorf("%q\nwant %q", got, want)
	}
	if got := trendText(nil, now) + trendText(&history.View{}, now); got != "" {
		t.Errorf("without a sample: %q", got)
	}
	past.Samples = []history.Sample{{At: now.Add(time.Minute), Serving: 1}, {At: now.Add(-2 * time.Hour), Serving: 9}} // a clock ahead, and one that is too old
	if got := trendText(past, now); got != "last hour: sessions "+strings.Repeat(" ", trendWidth-1)+"█ 9" {
		t.Errorf("%q", got)
	}
}

func TestTopShowsTheLastHourWhereNothingElseIsToSay(t *testing.T) {
	g := operatortest.New(t, operatortest.Sessions(3)...)
	g.Past = &history.View{Samples: []history.Sample{{At: time.Now(), Serving: 3}}}
	u := topOf(t, g, 80, 24)
	u.wants(t, "last hour: sessions", "█ 3")
	u.second()
	u.second()
	g.Mu.Lock()
	asked := strings.Count(strings.Join(g.Seen, "\n"), "GET /history")
	g.Mu.Unlock()
	if asked > 2 {
		t.Errorf("it was asked for %d times in one second", asked)
	}
	none := topOf(t, operatortest.New(t, operatortest.Sessions(3)...), 80, 24) // an older gateway
	none.wants(t, "3 sessions")
}

func TestTopShowsTheSessionsOfOnePhase(t *testing.T) {
	sessions := operatortest.Sessions(3)
	sessions[1].Phase = "stopping"
	u := topOf(t, operatortest.New(t, sessions...), 80, 24)
	u.press("p", "p", "p") // opening, serving, stopping
	u.wants(t, "only stopping", "id0001")
	if ids := u.listed(); len(ids) != 1 {
		t.Errorf("%q", ids)
	}
	u.press("p", "p")
	if ids := u.listed(); len(ids) != 3 {
		t.Errorf("of any: %q", ids)
	}
}

func TestTopShowsAllOfOneSession(t *testing.T) {
	sessions := operatortest.Sessions(3)
	s := &sessions[1]
	s.Workflow, s.Principal, s.WaitsFor, s.Agent, s.ToolsRunning = operatortest.EvilText, "ada", "agent", "agent.example:50052", 2
	g := operatortest.New(t, sessions...)
	for _, size := range [][2]int{{80, 24}, {40, 12}} {
		u := topOf(t, g, size[0], size[1])
		u.press("down", "enter")
		u.wants(t, "session id0001", "ada", "agent.example:50052")
		for line := range strings.Lines(ansi.Strip(u.model.text())) {
			if line = strings.TrimSuffix(line, "\n"); !printable.Is(line) || ansi.StringWidth(line) > size[0] {
				t.Errorf("%d columns: %q", ansi.StringWidth(line), line)
			}
		}
		if n := strings.Count(u.model.text(), "\n"); n >= size[1] {
			t.Errorf("%d lines", n+1)
		}
		u.press("esc")
		u.wants(t, "> ", "id0001")
	}
	u := topOf(t, g, 80, 24)
	u.press("down", "enter", "d")
	u.wants(t, "Drain session id0001")
	u.press("n", "enter")
	u.wants(t, "tool calls    2 running")
	g.Mu.Lock()
	g.Sessions = g.Sessions[:1]
	g.Mu.Unlock()
	u.second()
	u.wants(t, "it has ended: this is how it was seen last", "ada")
	u.press("esc")
	u.wants(t, "1 session")
}
