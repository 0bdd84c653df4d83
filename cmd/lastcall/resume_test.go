package main

import (
	"net/http"
	"strings"
	"testing"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/operator/operatortest"
	adminapi "github.com/lastcall-go/lastcall/transport/admin"
)

func TestResumeLetsTheGatewayAdmitAgain(t *testing.T) {
	g := operatortest.New(t)
	g.State.State = actors.Idle
	code, stdout, stderr := adminOutput(t, "resume", "--admin", g.Address)
	if code != 0 || stdout != "the gateway admits sessions\n" || stderr != "" || g.Posted() != "/resume" {
		t.Errorf("exit code %d, %q, %q, posted %q", code, stdout, stderr, g.Posted())
	}
}

func TestResumeTellsWhoIsStillStopping(t *testing.T) {
	g := operatortest.New(t)
	g.State.Drains = []adminapi.Drain{{Over: true, Left: 9}, {Left: 2}}
	code, stdout, _ := adminOutput(t, "resume", "--admin", g.Address)
	if code != 0 || !strings.Contains(stdout, "; 2 sessions that were asked to stop are still here") {
		t.Errorf("exit code %d, %q", code, stdout)
	}
}

func TestResumeOfWhatEndsFails(t *testing.T) {
	address := admin(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			http.Error(w, "the process is ending", http.StatusConflict)
			return
		}
		_, _ = w.Write([]byte("token"))
	})
	code, stdout, stderr := adminOutput(t, "resume", "--admin", address)
	if code != 1 || stdout != "" || !strings.Contains(stderr, "409: the process is ending") {
		t.Errorf("exit code %d, %q, %q", code, stdout, stderr)
	}
}
