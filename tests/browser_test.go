package tests

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/lastcall-go/lastcall/transport/admin/page/pagetest"
	"github.com/lastcall-go/lastcall/transport/auth"
)

// TestBrowser is about the built binary and a page of another origin in a real browser.
func TestBrowser(t *testing.T) {
	runWithBinary(t, []binaryTest{
		{"a page brings its token as a subprotocol", pageBringsToken},
	})
}

// opens is a page's attempt to run a workflow: the subprotocol that was selected, and the first action;
// or the close code.
const opens = `(url, protocols) => new Promise((done) => {
	const socket = new WebSocket(url, protocols);
	socket.onopen = () => socket.send('{"startRequest": {"workflowID": "w1"}}');
	socket.onclose = (end) => done("closed with " + end.code);
	socket.onmessage = async (message) => {
		socket.onclose = null;
		socket.close();
		done(socket.protocol + ": " + (await message.data.text()).slice(0, 16));
	};
})`

func pageBringsToken(t *testing.T, binary string) {
	token, line, err := auth.NewToken("ada")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(file, []byte(line+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`<!doctype html><link rel="icon" href="data:,">`))
	}))
	defer page.Close()
	p := startServe(t, binary, "--agent", patientAgent(t), "--auth", "tokens", "--auth-tokens", file, "--allow-origin", page.URL, "--log-level", "debug")
	tab := pagetest.Open(t, page.URL, "WebSocket connection to") // the failed ones
	ask := func(protocols ...string) string {
		list, err := json.Marshal(protocols)
		if err != nil {
			t.Fatal(err)
		}
		return pagetest.Eval[string](tab, fmt.Sprintf("(%s)(%q, %s)", opens, p.url, list))
	}
	bearer := "lastcall.bearer." + token
	if got := ask("dap", bearer); !strings.HasPrefix(got, `dap: {`) {
		t.Errorf("with a token: %s", got)
	}
	for _, protocols := range [][]string{{"dap"}, {"dap", bearer + "x"}, {bearer}} {
		if got := ask(protocols...); got != "closed with 1006" {
			t.Errorf("with %q: %s", protocols, got)
		}
	}
	p.record("a page offered no subprotocol that can be answered with, so that its browser closes the connection: beside a token it must offer another one")
	p.drain(syscall.SIGTERM, 0)
	if said := strings.Join(p.lines, "\n"); strings.Contains(said, token) {
		t.Errorf("the token was said:\n%s", said)
	}
}
