package main

import (
	"strings"
	"testing"

	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/operator/operatortest"
)

func TestFleetRejectsWhatCanNeverWork(t *testing.T) {
	for args, want := range map[string]string{
		"": "missing flags: --admin",
		"--admin a:1 --drain --listen 127.0.0.1:0":                       "can't be combined",
		"--admin 127.0.0.1:1 --resume":                                   "--resume is for --drain",
		"--admin 127.0.0.1:1 --listen 0.0.0.0:8090":                      "must be a loopback address",
		"--admin 127.0.0.1:1 --drain --yes":                              "one instance is no fleet",
		"--admin 127.0.0.1:1 --admin 127.0.0.1:2 --drain":                "needs --yes",
		"--admin 127.0.0.1:1,127.0.0.1:1":                                "given twice",
		"--admin 127.0.0.1:1 --batch-size=-1":                            "--batch-size -1",
		"--admin 127.0.0.1:1,127.0.0.1:2 --drain --ready-timeout 0s":     "--ready-timeout",
		"--admin 127.0.0.1:1,127.0.0.1:2 --drain --yes --deadline 9999h": "--deadline",
	} {
		code, _, stderr := adminOutput(t, append([]string{"fleet"}, strings.Fields(args)...)...)
		if code != exitUsage || !strings.Contains(stderr, want) {
			t.Errorf("%s: exit code %d, %s", args, code, stderr)
		}
	}
}

func TestFleetShowsAllInstances(t *testing.T) {
	a, b := operatortest.New(t, operatortest.Sessions(2)...), operatortest.New(t)
	code, stdout, stderr := adminOutput(t, "fleet", "--admin", a.Address, "--admin", b.Address)
	if code != exitOK || !strings.HasPrefix(stdout, "2 instances, 2 serving: 2 sessions\n"+a.Address) || !strings.Contains(stdout, "\n"+b.Address) {
		t.Errorf("exit code %d, %s\n%s", code, stderr, stdout)
	}
}

func TestFleetInATerminal(t *testing.T) {
	a, b := operatortest.New(t, operatortest.Sessions(3)...), operatortest.New(t)
	term := newAdminTerminal(t, 80, 24)
	_, ended := startAdmin(t, term.streams(), "fleet", "--admin", a.Address, "--admin", b.Address)
	eventually(t, term.String, operatortest.Holds("2 instances, 2 serving: 3 sessions"))
	eventually(t, term.String, operatortest.Holds("id0002"))
	b.Close()
	eventually(t, term.String, operatortest.Holds("2 instances, 1 serving: 3 sessions"))
	term.press("q")
	if code := await(t, ended); code != exitOK {
		t.Errorf("exit code %d", code)
	}
}
