package transport_test

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/lastcall-go/lastcall/transport"
)

// pageAsks is the status of a WebSocket, and of a run, that a page asks a host for.
func (g *gateway) pageAsks(host, origin string) (upgrade, run int, said string) {
	g.t.Helper()
	client := g.clients.httpClient(nil)
	ask := func(request *http.Request, err error) (int, string) {
		if err != nil {
			g.t.Fatal(err)
		}
		request.Host = host
		request.Header.Set("Origin", origin)
		answer, err := client.Do(request)
		if err != nil {
			g.t.Fatal(err)
		}
		defer answer.Body.Close()
		var body bytes.Buffer
		if answer.StatusCode != http.StatusSwitchingProtocols {
			_, _ = body.ReadFrom(answer.Body)
		}
		return answer.StatusCode, body.String()
	}
	request, err := http.NewRequestWithContext(context.Background(), "GET", "http://gateway/", nil)
	for i := 0; err == nil && i < len(upgradeHeader); i += 2 {
		request.Header.Set(upgradeHeader[i], upgradeHeader[i+1])
	}
	upgrade, said = ask(request, err)
	run, _ = ask(http.NewRequestWithContext(context.Background(), "POST", "http://gateway/workflows/w1/execute", strings.NewReader("no JSON")))
	return upgrade, run, said
}

// Both doors have the same rule, and it knows that https://x:443 is https://x.
func TestPagesThatMayConnect(t *testing.T) {
	const own = "gateway.example"
	for _, test := range []struct {
		host, origin, pattern string
		want                  bool
	}{
		{own, "https://gateway.example", "", true},
		{own, "http://gateway.example", "", true},
		{own, "HTTPS://Gateway.Example", "", true},
		{own + ":443", "https://gateway.example", "", true},
		{own, "https://gateway.example:443", "", true},
		{own + ":80", "http://gateway.example", "", true},
		{own, "http://gateway.example:80", "", true},
		{own + ":443", "http://gateway.example", "", false},
		{own + ":80", "https://gateway.example", "", false},
		{own, "https://gateway.example:8443", "", false},
		{own + ":8443", "https://gateway.example", "", false},
		{own + ":8443", "https://gateway.example:8443", "", true},
		{own, "https://gateway.example.evil.example", "", false},
		{own, "https://evil.example", "", false},
		{own, "null", "", false},
		{own, "null", "*", false},
		{own, "file://", "*", false},
		{own, "file://", "file://", true},
		{own, "gateway.example", "", false},
		{own, "//gateway.example", "", false},
		{own, "https://x.example", "https://x.example", true},
		{own, "https://x.example", "https://x.example:443", true},
		{own, "https://x.example:443", "https://x.example", true},
		{own, "https://x.example", "x.example:443", true},
		{own, "https://x.example", "x.example", true},
		{own, "http://x.example", "x.example:443", false},
		{own, "http://x.example", "https://x.example", false},
		{own, "http://x.example:443", "x.example:443", true},
		{own, "http://x.example:3000", "x.example", false},
		{own, "http://x.example:3000", "x.example:*", true},
		{own, "https://x.example", "x.example:*", true},
		{own, "https://A.Example.com", "*.EXAMPLE.com", true},
		{own, "https://example.com", "*.example.com", false},
		{own, "http://[::1]", "[[]::1]:80", true},
		{own, "http://[::1]:8080", "http://[::1]:8080", true},
		{own, "http://1", "[::1]", false},
		{own, "vscode-webview://abc", "vscode-webview://*", true},
		{own, "vscode-webview://abc", "vscode-webview://abc", true},
		{own, "vscode-webview://abc", "https://abc", false},
	} {
		handler := func(h *transport.Handler) {
			if test.pattern != "" {
				h.AllowOrigins = []string{test.pattern}
			}
		}
		if err := transport.CheckOrigin(test.pattern); test.want && test.pattern != "" && err != nil {
			t.Errorf("%q: %v", test.pattern, err)
		}
		inGateway(t, setting{handler: handler}, func(t *testing.T, g *gateway) {
			upgrade, run, _ := g.pageAsks(test.host, test.origin)
			if (upgrade == 101) != test.want || (run == 400) != test.want || !test.want && (upgrade != 403 || run != 403) {
				t.Errorf("host %s, origin %s, allowed %q: %d and %d", test.host, test.origin, test.pattern, upgrade, run)
			}
		})
	}
}

// What has to be allowed is shown in full, to the page's author and in the log.
func TestARefusedOriginIsShownInFull(t *testing.T) {
	var log bytes.Buffer
	handler := func(h *transport.Handler) { h.Log = slog.New(slog.NewTextHandler(&log, nil)) }
	inGateway(t, setting{handler: handler}, func(t *testing.T, g *gateway) {
		const origin = "vscode-webview://abc"
		_, _, said := g.pageAsks("gateway", origin)
		if !strings.Contains(said, `"`+origin+`"`) || strings.Count(log.String(), "origin="+origin) != 2 {
			t.Errorf("the answer is %q, the log %s", said, log.String())
		}
		log.Reset()
		_, _, said = g.pageAsks("gateway", "https://"+strings.Repeat("x", 20_000))
		if len(said) > 1000 || log.Len() > 3000 {
			t.Errorf("a long origin makes %d bytes of answer, and %d of log", len(said), log.Len())
		}
	})
}

func TestPatternsThatMatchNoPage(t *testing.T) {
	for pattern, helps := range map[string]string{
		"":                          "no host",
		"://":                       "not a scheme",
		"[::1]:80x":                 "port",
		"http://[::1]:8080":         "",
		"https://":                  "no host",
		"file://":                   "",
		"https://x.example/":        "without a slash",
		"https://x.example/path":    "without a slash",
		"x.example/":                "without a slash",
		"https:/x.example":          "without a slash",
		"https://u@x.example":       "no user",
		"x.example#f":               "no user",
		"null":                      "null",
		"bücher.example":            "xn--",
		" x.example":                "without spaces",
		"[":                         "not a pattern",
		"x.example:":                "port",
		"x.example:http":            "port",
		"x.example:99999":           "port",
		"x.example:080":             "port",
		"::1":                       "brackets",
		"1http://x.example":         "not a scheme",
		"x.example%zz":              "host",
		"*":                         "",
		"https://*.x.example:*":     "",
		"http*://x.example":         "",
		"[[]::1]:8080":              "",
		"vscode-webview://*":        "",
		"chrome-extension://abcdef": "",
	} {
		err := transport.CheckOrigin(pattern)
		if (err == nil) != (helps == "") || err != nil && (!strings.Contains(err.Error(), helps) || strings.Contains(err.Error(), "\n")) {
			t.Errorf("%q: %v, want %q", pattern, err, helps)
		}
	}
}
