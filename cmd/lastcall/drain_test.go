package main

import (
	"context"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/operator/operatortest"
	adminapi "github.com/lastcall-go/lastcall/transport/admin"
)

// startDrain begins a drain away from any terminal, and waits until it was asked for.
func startDrain(t *testing.T, g *operatortest.Gateway, args ...string) (out *lockedBuffer, end func() int, ended <-chan int) {
	t.Helper()
	out = new(lockedBuffer)
	end, ended = startAdmin(t, streams{strings.NewReader(""), out, out}, append([]string{"drain", "--admin", g.Address}, args...)...)
	eventually(t, g.Posted, func(posted string) bool { return posted != "" })
	return out, end, ended
}

var someKilled = map[actors.Outcome]int{actors.Drained: 2, actors.Killed: 1}

func TestDrainTellsEachChangeAndEndsWithASummary(t *testing.T) {
	g := operatortest.New(t, operatortest.Sessions(3)...)
	out, _, ended := startDrain(t, g, "--yes")
	eventually(t, out.String, operatortest.Holds("0/3 · 3 left · "))
	g.Drained(func(d *adminapi.Drain) { d.Left, d.Totals = 1, operatortest.AllDrained(2) })
	g.Drained(func(d *adminapi.Drain) { d.Deadline = d.Deadline.Add(-time.Second) }) // no change to tell of
	eventually(t, out.String, operatortest.Holds("2/3 drained 2 · 1 left · "))
	g.Drained(operatortest.OverWith(operatortest.AllDrained(3)))
	code := await(t, ended)

	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	if code != 0 || len(lines) != 5 || lines[2] != "3/3 drained 3 · 0 left" || lines[3] != "drained 3 sessions in 1.5s: drained 3" ||
		lines[4] != "the gateway refuses new sessions until 'lastcall resume', or ends with SIGTERM" {
		t.Errorf("exit code %d\n%s", code, out)
	}
	if g.Posted() != "/drain" {
		t.Errorf("posted %q", g.Posted())
	}
}

func TestDrainListensBeforeItBegins(t *testing.T) {
	g := operatortest.New(t, operatortest.Session(1))
	g.Slowness = 100 * time.Millisecond
	g.OnDrain = func(d *adminapi.Drain) { // over before the answer is there
		if len(g.Streams) != 1 {
			t.Errorf("%d listen to the events", len(g.Streams))
		}
		operatortest.OverWith(operatortest.AllDrained(1))(d)
		g.TellDrain(d)
	}
	code, stdout, _ := adminOutput(t, "drain", "--yes", "--admin", g.Address)
	if code != 0 || !strings.Contains(stdout, "drained 1 session in 1.5s") {
		t.Errorf("exit code %d\n%s", code, stdout)
	}
	if slices.Contains(g.Seen, "GET /drain") && g.Seen[len(g.Seen)-1] != "GET /drain" {
		t.Errorf("it asked for what it was told: %q", g.Seen)
	}
}

func TestDrainExitsWith3IfSomebodyHadToBeKilled(t *testing.T) {
	g := operatortest.New(t, operatortest.Sessions(3)...)
	g.OnDrain = func(d *adminapi.Drain) { operatortest.OverWith(someKilled, "id0002")(d); g.TellDrain(d) }
	code, stdout, stderr := adminOutput(t, "drain", "--yes", "--admin", g.Address)
	if code != 3 || stderr != "" || !strings.Contains(stdout, "drained 3 sessions in 1.5s: drained 2, killed 1; had to be killed: id0002\n") {
		t.Errorf("exit code %d, %q\n%s", code, stderr, stdout)
	}
}

func TestDrainOfAPartIsToldFromADrainOfAll(t *testing.T) {
	g := operatortest.New(t, operatortest.Sessions(3)...)
	g.OnDrain = func(d *adminapi.Drain) { operatortest.OverWith(operatortest.AllDrained(1))(d); g.TellDrain(d) }
	for _, test := range []struct{ args, posted string }{
		{"id0001", "/sessions/id0001/drain"},
		{"id0001 --grace 0s --deadline 1m", "/sessions/id0001/drain deadline=1m0s&grace=0s"},
		{"--sessions 2", "/drain sessions=2"},
		{"--older-than 90m --agent a:1 --sessions 1", "/drain agent=a%3A1&older-than=1h30m0s&sessions=1"},
		{"--sessions 1 --deadline 1m --grace 5s --batch-size 0 --batch-interval 2s --reason moving",
			"/drain batch-interval=2s&batch-size=0&deadline=1m0s&grace=5s&reason=moving&sessions=1"},
		{"--yes --batch-size 100", "/drain batch-size=100"},
	} {
		g.Posts = nil
		code, stdout, stderr := adminOutput(t, append([]string{"drain", "--admin", g.Address}, strings.Fields(test.args)...)...)
		if code != 0 || g.Posted() != test.posted {
			t.Errorf("%s: exit code %d, %q, posted %q, want %q", test.args, code, stderr, g.Posted(), test.posted)
		}
		if ofAll := strings.Contains(test.args, "--yes"); strings.Contains(stdout, "refuses new sessions") != ofAll {
			t.Errorf("%s:\n%s", test.args, stdout)
		}
	}
}

// A variable that isn't set must not drain everything, nor may a path that was given for an ID.
func TestDrainTakesNothingForEverything(t *testing.T) {
	g := operatortest.New(t, operatortest.Sessions(3)...)
	for _, test := range []struct {
		args  []string
		code  int
		helps string
	}{
		{[]string{}, 2, "--yes"},
		{[]string{"--grace", "5s"}, 2, "--yes"},
		{[]string{""}, 2, "ID is empty"},
		{[]string{"", "--yes"}, 2, "ID is empty"},
		{[]string{"--agent", "", "--yes"}, 2, "--agent is empty"},
		{[]string{"--sessions", "0", "--yes"}, 2, "--sessions 0"},
		{[]string{"--sessions=-1", "--yes"}, 2, "--sessions -1"},
		{[]string{"--older-than", "0s", "--yes"}, 2, "--older-than 0s"},
		{[]string{"--deadline", "0s", "--yes"}, 2, "--deadline 0s"},
		{[]string{"--deadline", "2000h", "--yes"}, 2, "--deadline 2000h"},
		{[]string{"--grace=-1s", "--yes"}, 2, "--grace -1s"},
		{[]string{"--batch-size=-1", "--yes"}, 2, "--batch-size -1"},
		{[]string{"--batch-interval", "0s", "--yes"}, 2, "--batch-interval 0s"},
		{[]string{"id0001", "--sessions", "2"}, 2, "can't be combined"},
		{[]string{"id0001", "id0002"}, 2, "id0002"},
		{[]string{"..", "--yes"}, 1, `".." is no ID`},
		{[]string{"x/../..", "--yes"}, 1, "is no ID"},
	} {
		code, stdout, stderr := adminOutput(t, append([]string{"drain", "--admin", g.Address}, test.args...)...)
		if code != test.code || stdout != "" || !strings.Contains(stderr, test.helps) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%q: exit code %d, %q, %q", test.args, code, stdout, stderr)
		}
	}
	if g.Posted() != "" {
		t.Errorf("posted %q", g.Posted())
	}
}

func TestDrainRefusedForItsParametersIsAUsageError(t *testing.T) {
	g := operatortest.New(t)
	code, _, stderr := adminOutput(t, "drain", "--yes", "--reason", "bad", "--admin", g.Address)
	if code != 2 || !strings.Contains(stderr, "reason is bad") {
		t.Errorf("exit code %d, %q", code, stderr)
	}
}

func TestDrainIsFollowedWithoutEventsToo(t *testing.T) {
	for name, lose := range map[string]func(g *operatortest.Gateway){
		"never there":     func(g *operatortest.Gateway) { g.NoEvents = true },
		"lost in between": func(*operatortest.Gateway) {},
	} {
		t.Run(name, func(t *testing.T) {
			g := operatortest.New(t, operatortest.Sessions(3)...)
			lose(g)
			out, _, ended := startDrain(t, g, "--yes")
			eventually(t, out.String, operatortest.Holds("3 left"))
			g.Mu.Lock()
			g.NoEvents = true
			g.Mu.Unlock()
			g.LoseStreams()
			g.Drained(func(d *adminapi.Drain) { d.Left, d.Totals = 1, operatortest.AllDrained(2) })
			eventually(t, out.String, operatortest.Holds("2/3 drained 2 · 1 left"))
			g.Drained(operatortest.OverWith(someKilled))
			if code := await(t, ended); code != 3 {
				t.Errorf("exit code %d\n%s", code, out)
			}
		})
	}
}

func TestDrainIgnoresTheDrainsOfOthers(t *testing.T) {
	g := operatortest.New(t, operatortest.Sessions(3)...)
	out, _, ended := startDrain(t, g, "id0001")
	eventually(t, out.String, operatortest.Holds("3 left"))
	g.Mu.Lock()
	g.Tell(adminapi.EventDrainFinished, adminapi.Drain{ID: "another", Over: true, Totals: someKilled})
	g.Mu.Unlock()
	g.Drained(operatortest.OverWith(operatortest.AllDrained(1)))
	if code := await(t, ended); code != 0 || strings.Contains(out.String(), "killed") {
		t.Errorf("exit code %d\n%s", code, out)
	}
}

func TestDrainOfAGatewayThatIsLostFails(t *testing.T) {
	g := operatortest.New(t, operatortest.Sessions(3)...)
	out, _, ended := startDrain(t, g, "--yes")
	eventually(t, out.String, operatortest.Holds("3 left"))
	g.Close()
	if code := await(t, ended); code != 1 || !strings.Contains(out.String(), "the gateway is lost, and how its drain ends: ") {
		t.Errorf("exit code %d\n%s", code, out)
	}
}

func TestDrainOfAGatewayThatWasStartedAnewFails(t *testing.T) {
	g := operatortest.New(t, operatortest.Sessions(3)...)
	out, _, ended := startDrain(t, g, "--yes")
	eventually(t, out.String, operatortest.Holds("3 left"))
	g.Mu.Lock()
	g.State = adminapi.State{State: actors.Serving}
	g.Mu.Unlock()
	g.LoseStreams()
	if code := await(t, ended); code != 1 || !strings.Contains(out.String(), "knows nothing of the drain any more") {
		t.Errorf("exit code %d\n%s", code, out)
	}
}

func TestInterruptedDrainGoesOnAtTheGateway(t *testing.T) {
	g := operatortest.New(t, operatortest.Sessions(3)...)
	out, end, _ := startDrain(t, g, "--yes")
	eventually(t, out.String, operatortest.Holds("3 left"))
	if code := end(); code != 1 || !strings.Contains(out.String(), "interrupted: the drain goes on at the gateway\n") {
		t.Errorf("exit code %d\n%s", code, out)
	}
}

func TestDrainThatIsInterruptedInTimeDrainsNothing(t *testing.T) {
	g := operatortest.New(t, operatortest.Sessions(3)...)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out lockedBuffer
	code := adminRun(ctx, streams{strings.NewReader(""), &out, &out}, "drain", "--yes", "--admin", g.Address)
	if code != 1 || g.Posted() != "" || !strings.Contains(out.String(), "interrupted: nothing was drained") {
		t.Errorf("exit code %d, posted %q\n%s", code, g.Posted(), &out)
	}
}

func TestDrainThatSomebodyResumedSaysSo(t *testing.T) {
	g := operatortest.New(t, operatortest.Session(1))
	out, _, ended := startDrain(t, g, "--yes")
	eventually(t, out.String, operatortest.Holds("1 left"))
	g.Mu.Lock()
	g.State.State = actors.Serving
	g.Mu.Unlock()
	g.Drained(operatortest.OverWith(operatortest.AllDrained(1)))
	if code := await(t, ended); code != 0 || !strings.Contains(out.String(), "the gateway admits sessions again") {
		t.Errorf("exit code %d\n%s", code, out)
	}
}

func TestDrainOnATerminalMovesItsBarAndLeavesTheSummary(t *testing.T) {
	for totals, want := range map[*map[actors.Outcome]int]int{ptr(operatortest.AllDrained(4)): 0, ptr(someKilled): 3} {
		g := operatortest.New(t, operatortest.Sessions(4)...)
		screen := newAdminTerminal(t, 80, 10)
		_, ended := startAdmin(t, screen.streams(), "drain", "--yes", "--admin", g.Address)
		eventually(t, screen.String, operatortest.Holds("[>......"))
		g.Drained(func(d *adminapi.Drain) { d.Left, d.Totals = 2, operatortest.AllDrained(2) })
		half := eventually(t, screen.String, operatortest.Holds("] 2/4 drained 2 · 2 left · 2", "s to the deadline"))
		if filled, free := strings.Count(half, "#"), strings.Count(half, "."); filled < 5 || free < filled-3 || free > filled+3 {
			t.Errorf("the bar isn't half full:\n%s", half)
		}
		if strings.Count(half, "\n") != strings.Count(strings.TrimLeft(half, "\n"), "\n") || strings.Count(half, "[") != 1 {
			t.Errorf("the bar is drawn more than once:\n%s", half)
		}
		g.Drained(operatortest.OverWith(*totals))
		code := await(t, ended)
		end := eventually(t, screen.String, operatortest.Holds("drained ", "the gateway refuses new sessions until"))
		if code != want || strings.ContainsAny(end, "[]") {
			t.Errorf("exit code %d, want %d\n%s", code, want, end)
		}
	}
}

func ptr[T any](value T) *T { return &value }

func TestDrainOfAllAsksOnTheTerminal(t *testing.T) {
	for answer, want := range map[string]int{"y\r": 0, "n\r": 1, "\r": 1} {
		g := operatortest.New(t, operatortest.Sessions(2)...)
		g.OnDrain = func(d *adminapi.Drain) { operatortest.OverWith(operatortest.AllDrained(2))(d); g.TellDrain(d) }
		screen := newAdminTerminal(t, 100, 10)
		_, ended := startAdmin(t, screen.streams(), "drain", "--admin", g.Address)
		eventually(t, screen.String, operatortest.Holds("Drain all 2 sessions at "+g.Address+"? New ones are refused until 'lastcall resume'. [y/N]"))
		if g.Posted() != "" {
			t.Error("drained unasked")
		}
		screen.press(answer)
		if code := await(t, ended); code != want || (g.Posted() == "/drain") != (want == 0) {
			t.Errorf("%q: exit code %d, want %d, posted %q", answer, code, want, g.Posted())
		}
		if want == 1 {
			eventually(t, screen.String, operatortest.Holds("nothing was drained"))
		}
	}
}

func TestInterruptedDrainLeavesTheTerminalInOrder(t *testing.T) {
	g := operatortest.New(t, operatortest.Sessions(2)...)
	screen := newAdminTerminal(t, 80, 10)
	end, _ := startAdmin(t, screen.streams(), "drain", "id0001", "--admin", g.Address)
	eventually(t, screen.String, operatortest.Holds("[>"))
	if code := end(); code != 1 {
		t.Errorf("exit code %d", code)
	}
	eventually(t, screen.String, operatortest.Holds("left · ", "deadline\nlastcall: interrupted: the drain goes on at the gateway\n"))
}

// A dry run against a real supervisor: it learns, foresees, and drains nothing.
func TestADryRunSaysWhatTheDrainWouldTake(t *testing.T) {
	supervisor, err := actors.NewSupervisor(actors.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer supervisor.Close()
	handler := adminapi.New(adminapi.Options{Supervisor: supervisor, Drain: adminapi.Defaults{Timeout: 20 * time.Second}})
	defer handler.Close()
	server := httptest.NewServer(handler)
	defer server.Close()
	dryRun := func(args ...string) (code int, stdout, stderr string) {
		return adminOutput(t, append([]string{"drain", "--dry-run", "--admin", server.URL}, args...)...)
	}
	open := func() {
		ticket, err := supervisor.Admit(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		started := make(chan struct{})
		go func() {
			_ = ticket.Run(actors.Connection{Kind: "terminal"}, func(ctx context.Context) error {
				close(started)
				<-ctx.Done()
				time.Sleep(10 * time.Millisecond)
				return nil
			})
		}()
		<-started
	}
	want := func(code int, text string, args ...string) {
		t.Helper()
		got, stdout, stderr := dryRun(args...)
		if got != code || !strings.Contains(stdout+stderr, text) {
			t.Errorf("%v: exit code %d, want %d with %q\n%s%s", args, got, code, text, stdout, stderr)
		}
	}
	open()
	want(0, "How long stops take is not known yet")
	if _, err := supervisor.Drain(t.Context(), actors.Drain{Only: &actors.Selection{}}); err != nil {
		t.Fatal(err)
	}
	open()
	want(0, "The deadline of 20s suffices")
	want(0, "A drain of 1 session that", "--kind", "terminal")
	want(0, "A drain of 0 sessions that", "--agent", "other")
	want(0, "A drain of 0 sessions that", "unheardof")
	want(3, "is too short", "--deadline", "3ms")
	want(2, "grace 1m0s does not fit", "--grace", "1m", "--deadline", "1s")
	if view, err := supervisor.Snapshot(t.Context()); err != nil || len(view.Sessions) != 1 || view.State != actors.Serving {
		t.Errorf("%+v, %v", view, err)
	}
	if _, err := supervisor.Drain(t.Context(), actors.Drain{Standby: true}); err != nil {
		t.Fatal(err)
	}
	want(0, "There is no session to wait for.")
}
