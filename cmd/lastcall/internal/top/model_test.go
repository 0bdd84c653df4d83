package top

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"
	"pgregory.net/rapid"

	"github.com/charmbracelet/x/ansi"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/actors/relay"
	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/operator"
	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/operator/operatortest"
	adminapi "github.com/lastcall-go/lastcall/transport/admin"
)

// topUser is a user in front of a model, whose commands are run at once. Only the waiting for the
// next look is left to the test.
type topUser struct {
	model *topModel
	quit  bool
}

// topOf is in front of a model that a gateway answers.
func topOf(t *testing.T, g *operatortest.Gateway, width, height int) *topUser {
	t.Helper()
	flags := operator.Flags{Admin: g.Address}
	gateway, err := flags.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(gateway.Close)
	u := &topUser{model: newTopModel(topGateway{ctx: t.Context(), gateway: gateway}, "127.0.0.1:8081")}
	u.does(tea.WindowSizeMsg{Width: width, Height: height})
	u.run(u.model.Init())
	return u
}

func (u *topUser) does(msg tea.Msg) {
	_, cmd := u.model.Update(msg)
	_, looked := msg.(topLooked)
	if waits := looked && !u.model.asking; !waits {
		u.run(cmd)
	}
}

func (u *topUser) run(cmd tea.Cmd) {
	if cmd == nil {
		return
	}
	switch msg := cmd().(type) {
	case tea.QuitMsg:
		u.quit = true
	case tea.BatchMsg:
		for _, cmd := range msg {
			u.run(cmd)
		}
	default:
		u.does(msg)
	}
}

// press presses keys: words, or single ones.
func (u *topUser) press(keys ...string) {
	for _, key := range keys {
		if msg := topKey(key); msg.Text != "" {
			for _, r := range key {
				u.does(tea.KeyPressMsg{Code: r, Text: string(r)})
			}
		} else {
			u.does(msg)
		}
	}
}

func topKey(text string) tea.KeyPressMsg {
	special := map[string]rune{
		"up": tea.KeyUp, "down": tea.KeyDown, "pgup": tea.KeyPgUp, "pgdown": tea.KeyPgDown, "home": tea.KeyHome, "end": tea.KeyEnd,
		"enter": tea.KeyEnter, "esc": tea.KeyEscape, "backspace": tea.KeyBackspace,
	}
	if code, isSpecial := special[text]; isSpecial {
		return tea.KeyPressMsg{Code: code}
	}
	if text == "ctrl+c" {
		return tea.KeyPressMsg{Code: 'c', Mod: tea.ModCtrl}
	}
	return tea.KeyPressMsg{Code: []rune(text)[0], Text: text}
}

// second is the next look.
func (u *topUser) second() { u.does(u.model.tick) }

func (u *topUser) wants(t *testing.T, texts ...string) {
	t.Helper()
	if shown := ansi.Strip(u.model.text()); !operatortest.Holds(texts...)(shown) {
		t.Errorf("want %q in\n%s", texts, shown)
	}
}

// listed are the IDs on the screen, with a mark before the one that is selected.
func (u *topUser) listed() []string {
	var ids []string
	for line := range strings.Lines(ansi.Strip(u.model.text())) {
		if id := operatortest.AnID.FindString(line); id != "" {
			ids = append(ids, strings.TrimSpace(line[:2])+id)
		}
	}
	return ids
}

func TestTopShowsTheGatewayAndItsSessions(t *testing.T) {
	g := operatortest.New(t, operatortest.Sessions(3)...)
	g.Sessions[2].Phase, g.Sessions[2].WaitsFor = "stopping", relay.AwaitsAgent
	u := topOf(t, g, 80, 24)
	u.wants(t, "lastcall 127.0.0.1:8081 · serving · 3 sessions: 2 serving, 1 stopping", "by started, ascending",
		"  WORKFLOW", "> w0 ", "  w1 ", "WAITS FOR", "agent", "q quit")
	if got := strings.Join(u.listed(), " "); got != ">id0000 id0001 id0002" {
		t.Errorf("listed %s", got)
	}
}

func TestTopFitsAnyScreen(t *testing.T) {
	g := operatortest.New(t, operatortest.Sessions(100)...)
	g.Sessions[0].Workflow, g.Sessions[1].Workflow = operatortest.EvilText, strings.Repeat("名", 50)
	g.State = adminapi.State{State: actors.Draining, Drains: []adminapi.Drain{{Sessions: 100, Left: 100, Deadline: time.Now().Add(time.Hour)}}}
	u := topOf(t, g, 80, 24)
	rapid.Check(t, func(t *rapid.T) {
		width, height := rapid.IntRange(1, 250).Draw(t, "width"), rapid.IntRange(1, 60).Draw(t, "height")
		u.does(tea.WindowSizeMsg{Width: width, Height: height})
		u.press(rapid.SampledFrom([]string{"?", "/", "d", "D", "end", "pgup", "r", "home", "esc", "q"}).Draw(t, "key"))
		lines := strings.Split(ansi.Strip(u.model.text()), "\n")
		if len(lines) > height {
			t.Fatalf("%d lines, want %d at most", len(lines), height)
		}
		for _, line := range lines {
			if lipgloss.Width(line) > width || strings.ContainsAny(line, "\x1b\x07\u009b\u202e") {
				t.Fatalf("%d wide, want %d at most, and no escapes: %q", lipgloss.Width(line), width, line)
			}
		}
	})
}

func TestTopAsksOnlyForWhatTheScreenShows(t *testing.T) {
	g := operatortest.New(t, operatortest.Sessions(10_000)...)
	u := topOf(t, g, 80, 25)
	wantTop := func(first, selected int) {
		t.Helper()
		ids := u.listed()
		if len(ids) != 20 || strings.TrimPrefix(ids[0], ">") != fmt.Sprintf("id%04d", first) || ids[selected-first] != fmt.Sprintf(">id%04d", selected) {
			t.Errorf("want from %d, selected %d:\n%s", first, selected, ansi.Strip(u.model.text()))
		}
	}
	wantTop(0, 0)
	u.press("down", "j", "j", "up", "k")
	wantTop(0, 1)
	u.press("pgdown", "pgdown")
	wantTop(22, 41)
	u.press("pgup")
	wantTop(21, 21)
	u.press("end")
	wantTop(9980, 9999)
	u.press("pgup", "down", "G", "down")
	wantTop(9980, 9999)
	u.press("home", "up")
	wantTop(0, 0)
	for _, query := range g.Queries {
		if !strings.Contains(query, "limit=60") {
			t.Errorf("asked %s", query)
		}
	}
}

// It scrolls at once within what it has, and never shows a session in another's place.
func TestTopShowsEachSessionInItsPlaceWhileItScrolls(t *testing.T) {
	g := operatortest.New(t, operatortest.Sessions(500)...)
	u := topOf(t, g, 80, 25)
	rapid.Check(t, func(t *rapid.T) {
		for _, key := range rapid.SliceOfN(rapid.SampledFrom([]string{"up", "down", "pgup", "pgdown", "home", "end"}), 1, 20).Draw(t, "keys") {
			if rapid.Bool().Draw(t, "answered") {
				u.press(key)
			} else {
				_, cmd := u.model.Update(topKey(key)) // the answer is on its way
				wantInPlace(t, u)
				u.run(cmd)
			}
			wantInPlace(t, u)
		}
		if len(u.listed()) != 20 {
			t.Fatalf("the screen isn't full:\n%s", ansi.Strip(u.model.text()))
		}
	})
}

func TestTopFollowsAListThatShrinks(t *testing.T) {
	g := operatortest.New(t, operatortest.Sessions(100)...)
	u := topOf(t, g, 80, 25)
	u.press("end")
	g.Sessions = g.Sessions[:30]
	u.second()
	if ids := u.listed(); len(ids) != 20 || ids[19] != ">id0029" {
		t.Errorf("listed %q", ids)
	}
	g.Sessions = nil
	u.second()
	u.press("down", "d")
	u.wants(t, "0 sessions", "no session is selected")
}

func TestTopSortsAndReverses(t *testing.T) {
	g := operatortest.New(t, operatortest.Sessions(3)...)
	u := topOf(t, g, 80, 24)
	for _, want := range []string{"-started", "phase", "workflow", "agent", "-messages", "-bytes", "-last", "started"} {
		key := "s"
		if want == "-started" {
			key = "r"
		}
		u.press(key)
		order := "ascending"
		name, descending := strings.CutPrefix(want, "-")
		if descending {
			order = "descending"
		}
		u.wants(t, "by "+name+", "+order)
		if query := g.Queries[len(g.Queries)-1]; !strings.HasSuffix(query, "&sort="+want) {
			t.Errorf("asked %s, want sort=%s", query, want)
		}
	}
	u.press("s", "s", "s", "s", "r")
	if query := g.Queries[len(g.Queries)-1]; !strings.HasSuffix(query, "&sort=messages") {
		t.Errorf("asked %s, want the order turned round", query)
	}
}

func TestTopFiltersAsIsTyped(t *testing.T) {
	g := operatortest.New(t, operatortest.Sessions(30)...)
	u := topOf(t, g, 80, 24)
	u.press("end", "/", "w", "2")
	u.wants(t, "filter: w2_", `11 match "w2"`) // 2, 20 to 29
	if ids := u.listed(); ids[0] != ">id0002" {
		t.Errorf("listed %q, want the first selected", ids)
	}
	u.press("q5D", "backspace", "backspace", "backspace", "5", "enter")
	if got := strings.Join(u.listed(), " "); got != ">id0025" || u.quit || g.Posted() != "" {
		t.Errorf("listed %s", got)
	}
	u.wants(t, "30 sessions", "q quit")
	u.press("/", "esc")
	if len(u.listed()) != 19 {
		t.Errorf("listed %q", u.listed())
	}
	u.press("/", strings.Repeat("x", 300), "up", "ctrl+c")
	if len(u.model.filter) != 100 || !u.quit {
		t.Errorf("filter %q, quit %v", u.model.filter, u.quit)
	}
}

func TestTopDrainsTheSelectedSessionAfterYes(t *testing.T) {
	g := operatortest.New(t, operatortest.Sessions(3)...)
	u := topOf(t, g, 80, 24)
	for _, no := range []string{"n", "esc", "enter", "d", "q", "down"} {
		u.press("d")
		u.wants(t, "Drain session id0000 (w0)? y/n")
		u.press(no)
		u.wants(t, "nothing was drained")
	}
	if g.Posted() != "" || u.quit {
		t.Fatalf("posted %q, quit %v", g.Posted(), u.quit)
	}
	u.press("down", "d")
	g.Sessions = g.Sessions[1:] // another one is selected when the answer comes
	u.second()
	u.press("y")
	if g.Posted() != "/sessions/id0001/drain" {
		t.Errorf("posted %q", g.Posted())
	}
	u.wants(t, "draining id0001", "] 0/2 · 2 left · 25s to the deadline")
}

func TestTopDrainsAllAfterYesAndResumes(t *testing.T) {
	g := operatortest.New(t, operatortest.Sessions(3)...)
	u := topOf(t, g, 80, 24)
	u.press("/", "w1", "enter", "D") // all, whatever is listed
	u.wants(t, "Drain all 3 sessions? New ones are refused until R. y/n")
	u.press("n")
	u.press("D", "y")
	u.wants(t, "· draining ·", "draining all", "[>......")
	g.Drained(operatortest.OverWith(operatortest.AllDrained(3)))
	u.second()
	u.wants(t, "· drained ·", "drained: new sessions are refused until R")
	u.press("R")
	u.wants(t, "· serving ·", "resuming")
	if g.Posted() != "/drain\n/resume" {
		t.Errorf("posted %q", g.Posted())
	}
	u.press("down")
	if strings.Contains(ansi.Strip(u.model.text()), "resuming") {
		t.Error("the notice stays")
	}
}

// What is pasted must not press keys.
func TestTopTakesAPasteForTextAlone(t *testing.T) {
	g := operatortest.New(t, operatortest.Sessions(3)...)
	u := topOf(t, g, 80, 24)
	paste := tea.PasteMsg{Content: "dyDyq"}
	u.does(paste)
	if g.Posted() != "" || u.quit || u.model.mode != topBrowsing {
		t.Errorf("posted %q, quit %v", g.Posted(), u.quit)
	}
	u.press("/")
	u.does(paste)
	u.wants(t, "filter: dyDyq_")
}

func TestTopQuits(t *testing.T) {
	g := operatortest.New(t)
	for _, key := range []string{"q", "ctrl+c"} {
		if u := topOf(t, g, 80, 24); func() bool { u.press(key); return !u.quit }() {
			t.Errorf("%s doesn't quit", key)
		}
	}
	for _, mode := range []string{"?", "/", "d", "D"} {
		u := topOf(t, g, 80, 24)
		u.press(mode, "ctrl+c")
		if !u.quit {
			t.Errorf("Ctrl-C doesn't quit after %s", mode)
		}
	}
}

func TestTopHelpNamesEveryKeyAndGoesAway(t *testing.T) {
	u := topOf(t, operatortest.New(t, operatortest.Session(1)), 80, 24)
	u.press("?")
	u.wants(t, "up, k / down, j", "PgUp / PgDn", "g / G", "s  ", "r  ", "/  ", "d  ", "D  ", "R  ", "q, Ctrl-C")
	u.press("x")
	u.wants(t, "id0001")
}

func TestTopGoesOnTryingWhenTheConnectionIsLost(t *testing.T) {
	g := operatortest.New(t, operatortest.Sessions(3)...)
	u := topOf(t, g, 80, 24)
	at := u.model.now
	failure := topLooked{err: errors.New("connection\x1b refused"), at: at.Add(5 * time.Second)}
	u.model.asking = true
	if _, cmd := u.model.Update(failure); cmd == nil {
		t.Error("it gives up")
	}
	u.wants(t, "not answered for 5s, trying again: connection\\x1b refused", "id0000")
	u.second()
	if strings.Contains(ansi.Strip(u.model.text()), "not answered") {
		t.Errorf("still:\n%s", ansi.Strip(u.model.text()))
	}
}

func TestTopBeforeTheFirstAnswer(t *testing.T) {
	m := newTopModel(topGateway{}, "127.0.0.1:8081")
	u := &topUser{model: m}
	m.asking = true // for ever
	u.press("down", "end", "d", "D", "s")
	u.wants(t, "lastcall 127.0.0.1:8081", "asking", "q quit")
	u.does(tea.WindowSizeMsg{Width: 60, Height: 10})
	m.asking, m.stale = true, false
	if _, cmd := m.Update(topLooked{err: errors.New("refused"), at: time.Now()}); cmd == nil {
		t.Error("it gives up")
	}
	u.wants(t, "not answered, trying again: refused")
}

// However fast keys are pressed: one look at a time, and one tick that counts.
func TestTopLooksOnceAtATime(t *testing.T) {
	g := operatortest.New(t, operatortest.Sessions(1000)...)
	u := topOf(t, g, 80, 24)
	stale := u.model.tick
	var looks []tea.Cmd
	for range 50 {
		if _, cmd := u.model.Update(topKey("s")); cmd != nil {
			looks = append(looks, cmd)
		}
	}
	if len(looks) != 1 {
		t.Fatalf("%d looks under way, want 1", len(looks))
	}
	before := len(g.Queries)
	u.run(looks[0])
	if asked := len(g.Queries) - before; asked != 2 || u.model.asking {
		t.Errorf("asked %d times, want for the first key and for the last", asked)
	}
	if _, cmd := u.model.Update(stale); cmd != nil {
		t.Error("a tick of before makes it look twice a second")
	}
	if query := g.Queries[len(g.Queries)-1]; !strings.HasSuffix(query, "&sort=phase") {
		t.Errorf("asked %s, want what the last key asked for", query)
	}
}

func TestTopShowsMessageRates(t *testing.T) {
	g := operatortest.New(t, operatortest.Sessions(2)...)
	u := topOf(t, g, 80, 24)
	sessions := func(in, out uint64) *adminapi.Sessions {
		one, other := operatortest.Session(1), operatortest.Session(2)
		one.Received.Messages, one.Sent.Messages = in, out
		return &adminapi.Sessions{Total: 3, Sessions: []adminapi.Session{one, other}}
	}
	at := u.model.now.Add(time.Hour)
	for i, counts := range [][2]uint64{{1000, 100}, {1006, 101}, {9000, 9000}} {
		after := []time.Duration{0, 2 * time.Second, 2100 * time.Millisecond}[i] // the last is too soon
		u.model.asking = true
		_, _ = u.model.Update(topLooked{sessions: sessions(counts[0], counts[1]), state: &g.State, at: at.Add(after)})
	}
	u.wants(t, "messages in 3.0/s, out 0.5/s of 2 listed")
}

func wantInPlace(t *rapid.T, u *topUser) {
	for y, line := range strings.Split(ansi.Strip(u.model.text()), "\n")[topChrome-1:] {
		if id := operatortest.AnID.FindString(line); id != "" && id != fmt.Sprintf("id%04d", u.model.offset+y) {
			t.Fatalf("line %d, want session %d: %s", y, u.model.offset+y, line)
		}
	}
}
