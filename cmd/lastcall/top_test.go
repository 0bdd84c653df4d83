package main

import (
	"strings"
	"testing"

	adminapi "github.com/lastcall-go/lastcall/transport/admin"
)

func TestTopNeedsATerminal(t *testing.T) {
	code, stdout, stderr := adminOutput(t, "top")
	if code != 2 || stdout != "" || !strings.Contains(stderr, "top needs a terminal") {
		t.Errorf("exit code %d, %q, %q", code, stdout, stderr)
	}
}

func TestTopFailsWhereNobodyListensAtTheStart(t *testing.T) {
	g := newFakeGateway(t)
	g.close()
	terminal := newAdminTerminal(t, 200, 24)
	_, ended := startAdmin(t, terminal.streams(), "top", "--admin", g.address)
	if code := await(t, ended); code != 1 {
		t.Errorf("exit code %d", code)
	}
	eventually(t, terminal.String, holds("is the gateway running"))
}

func TestTopInATerminal(t *testing.T) {
	g := newFakeGateway(t, adminSessions(60)...)
	terminal := newAdminTerminal(t, 80, 24)
	_, ended := startAdmin(t, terminal.streams(), "top", "--admin", g.address)
	shown := eventually(t, terminal.String, holds("60 sessions: 60 serving", "> w0 ", "id0018"))
	if strings.Contains(shown, "id0019") || strings.Count(shown, "\n") != 23 || !strings.HasPrefix(shown, "lastcall ") {
		t.Errorf("the screen:\n%s", shown)
	}
	terminal.press("r")
	eventually(t, terminal.String, holds("descending", "> w59 "))
	terminal.press("\x1b[B") // down
	eventually(t, terminal.String, holds("> w58 "))
	terminal.press("d")
	eventually(t, terminal.String, holds("Drain session id0058 (w58)? y/n"))
	terminal.press("y")
	eventually(t, g.posted, holds("/sessions/id0058/drain"))
	eventually(t, terminal.String, holds("draining id0058", "] 0/60"))
	g.drained(func(d *adminapi.Drain) { d.Left, d.Totals = 15, allDrained(45) })
	eventually(t, terminal.String, holds("###", "45/60 drained 45 · 15 left"))
	g.close()
	eventually(t, terminal.String, holds("trying again", "> w58 "))
	terminal.press("q")
	if code := await(t, ended); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func TestTopHasNoColoursWhereNO_COLORIsSet(t *testing.T) {
	t.Setenv("CI", "") // in which termenv has none either
	t.Setenv("TERM", "xterm-256color")
	for _, noColor := range []string{"", "1"} {
		t.Setenv("NO_COLOR", noColor)
		g := newFakeGateway(t, adminSessions(3)...)
		terminal := newAdminTerminal(t, 80, 24)
		end, _ := startAdmin(t, terminal.streams(), "top", "--admin", g.address)
		eventually(t, terminal.String, holds("> w0 ", "id0002", "q quit"))
		end()
		if terminal.styled() != (noColor == "") {
			t.Errorf("NO_COLOR=%s: styled is %v", noColor, terminal.styled())
		}
	}
}

func TestTopEndsWithASignal(t *testing.T) {
	g := newFakeGateway(t, adminSessions(3)...)
	terminal := newAdminTerminal(t, 80, 24)
	end, _ := startAdmin(t, terminal.streams(), "top", "--admin", g.address)
	eventually(t, terminal.String, holds("id0002"))
	if code := end(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}
