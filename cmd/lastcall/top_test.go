package main

import (
	"strings"
	"testing"
	"time"

	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/operator/operatortest"
	adminapi "github.com/lastcall-go/lastcall/transport/admin"
)

func TestTopNeedsATerminal(t *testing.T) {
	code, stdout, stderr := adminOutput(t, "top")
	if code != 2 || stdout != "" || !strings.Contains(stderr, "top needs a terminal") {
		t.Errorf("exit code %d, %q, %q", code, stdout, stderr)
	}
}

func TestTopFailsWhereNobodyListensAtTheStart(t *testing.T) {
	g := operatortest.New(t)
	g.Close()
	screen := newAdminTerminal(t, 200, 24)
	_, ended := startAdmin(t, screen.streams(), "top", "--admin", g.Address)
	if code := await(t, ended); code != 1 {
		t.Errorf("exit code %d", code)
	}
	eventually(t, screen.String, operatortest.Holds("is the gateway running"))
}

func TestTopInATerminal(t *testing.T) {
	g := operatortest.New(t, operatortest.Sessions(60)...)
	screen := newAdminTerminal(t, 80, 24)
	_, ended := startAdmin(t, screen.streams(), "top", "--admin", g.Address)
	shown := eventually(t, screen.String, operatortest.Holds("60 sessions: 60 serving", "> w0 ", "id0018"))
	if strings.Contains(shown, "id0019") || strings.Count(shown, "\n") != 23 || !strings.HasPrefix(shown, "lastcall ") {
		t.Errorf("the screen:\n%s", shown)
	}
	screen.press("r")
	eventually(t, screen.String, operatortest.Holds("descending", "> w59 "))
	screen.press("\x1b[B") // down
	eventually(t, screen.String, operatortest.Holds("> w58 "))
	screen.press("d")
	eventually(t, screen.String, operatortest.Holds("Drain session id0058 (w58)? y/n"))
	screen.press("y")
	eventually(t, g.Posted, operatortest.Holds("/sessions/id0058/drain"))
	eventually(t, screen.String, operatortest.Holds("draining id0058", "] 0/60"))
	g.Drained(func(d *adminapi.Drain) { d.Left, d.Totals = 15, operatortest.AllDrained(45) })
	eventually(t, screen.String, operatortest.Holds("###", "45/60 drained 45 · 15 left"))
	g.Close()
	eventually(t, screen.String, operatortest.Holds("trying again", "> w58 "))
	screen.press("q")
	if code := await(t, ended); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func TestTopHasNoColoursWhereNO_COLORIsSet(t *testing.T) {
	t.Setenv("CI", "")
	t.Setenv("TERM", "xterm-256color")
	for _, noColor := range []string{"", "1"} {
		t.Setenv("NO_COLOR", noColor)
		g := operatortest.New(t, operatortest.Sessions(3)...)
		g.State.Drains = []adminapi.Drain{{ID: "d1", Sessions: 3, Left: 3, Deadline: time.Now().Add(time.Hour)}} // has a colour
		screen := newAdminTerminal(t, 80, 24)
		end, _ := startAdmin(t, screen.streams(), "top", "--admin", g.Address)
		eventually(t, screen.String, operatortest.Holds("> w0 ", "id0002", "q quit"))
		coloured := screen.coloured()
		end()
		if coloured != (noColor == "") {
			t.Errorf("NO_COLOR=%s: coloured is %v", noColor, coloured)
		}
	}
}

func TestTopEndsWithASignal(t *testing.T) {
	g := operatortest.New(t, operatortest.Sessions(3)...)
	screen := newAdminTerminal(t, 80, 24)
	end, _ := startAdmin(t, screen.streams(), "top", "--admin", g.Address)
	eventually(t, screen.String, operatortest.Holds("id0002"))
	if code := end(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}
