package main

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/lastcall-go/lastcall/transport/scripted"
)

func TestATypoSuggestsWhatWasMeant(t *testing.T) {
	for args, want := range map[string]string{
		"drian":                      `did you mean "drain"?`,
		"sesions":                    `did you mean "sessions"?`,
		"fleeet --admin a:1":         `did you mean "fleet"?`,
		"drain --batchsize 3":        `did you mean "--batch-size"?`,
		"serve --drain-garce 3s":     `did you mean "--drain-grace"?`,
		"serve --log-fromat json":    `did you mean "--log-format"?`,
		"example kubernets":          `"kubernetes"`,
		"serve --log-format jsn":     `"json"`,
		"something that is no typo":  "unexpected argument something (try 'lastcall --help')",
		"sessions --phase stoping":   `"stopping"`,
		"serve --lease-failure clsd": `"closed"`,
	} {
		var stderr bytes.Buffer
		if code := run(strings.Fields(args), streams{strings.NewReader(""), io.Discard, &stderr}); code != exitUsage || !strings.Contains(stderr.String(), want) {
			t.Errorf("%s: exit code %d, %s", args, code, &stderr)
		}
	}
}

// hangUp is a listener that answers each connection with this, and closes it.
func hangUp(t *testing.T, answer string) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_ = conn.SetDeadline(time.Now().Add(patience))
			_, _ = conn.Read(make([]byte, 4096))
			_, _ = io.WriteString(conn, answer)
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() {
		listener.Close()
		<-done
	})
	return listener.Addr().String()
}

func TestAWrongPortSaysWhatAnswered(t *testing.T) {
	p := startServe(t, "no daemon")
	sessions := strings.TrimPrefix(strings.TrimSuffix(p.url, "/api/v4/ai/duo_workflows/ws"), "ws://")
	admin := strings.TrimPrefix(p.record("listening")["admin"].(string), "http://")
	agent := startAgent(t, scripted.Wait()).address
	web := httptest.NewServer(http.NotFoundHandler())
	defer web.Close()
	secure := httptest.NewTLSServer(http.NotFoundHandler())
	defer secure.Close()
	webAddress, secureAddress := web.Listener.Addr().String(), secure.Listener.Addr().String()

	for _, test := range []struct{ name, args, want string }{
		{"the sessions' port", "sessions --admin " + sessions, "this listener takes sessions, at /api/v4/ai/duo_workflows/ws; the admin API has a listener of its own"},
		{"an agent's port", "sessions --admin " + agent, "a gRPC server answers there, such as an agent: is --admin right?"},
		{"another web server", "drain --yes --admin " + webAddress, "404 page not found: is --admin right?"},
		{"TLS", "sessions --admin " + secureAddress, "write --admin with https://"},
		{"an unknown authority", "sessions --admin https://" + secureAddress, "SSL_CERT_FILE"},
		{"no TLS", "sessions --admin https://" + webAddress, "write --admin with http://"},
		{"no HTTP", "sessions --admin " + hangUp(t, "-ERR wrong number of arguments\r\n"), "speaks no HTTP: is --admin right?"},
		{"no answer", "sessions --admin " + hangUp(t, ""), "speaks no HTTP; is --admin right?"},
		{"no listener", "resume --admin 127.0.0.1:1", "is the gateway running, and is --admin right?"},
		{"the admin port", "connect --url ws://" + admin + "/api/v4/ai/duo_workflows/ws", "this is the admin API: sessions have a listener of their own: is --url right?"},
		{"an agent's port for a session", "connect --url ws://" + agent + "/ws", "a gRPC server answers there, such as an agent: is --url right?"},
		{"another path", "connect --url ws://" + sessions + "/ws", "this listener takes sessions, at /api/v4/ai/duo_workflows/ws"},
		{"no HTTP for a session", "connect --url ws://" + hangUp(t, "-ERR wrong number of arguments\r\n"), "speaks no HTTP: is --url right?"},
	} {
		var stderr bytes.Buffer
		code := run(strings.Fields(test.args), streams{strings.NewReader(""), io.Discard, &stderr})
		if code != exitFailed || !strings.Contains(stderr.String(), test.want) {
			t.Errorf("%s: exit code %d, %swant %s", test.name, code, &stderr, test.want)
		}
	}
}

func TestWithoutATokenItSaysWhereOneComesFrom(t *testing.T) {
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "unauthorized", http.StatusUnauthorized)
	}))
	defer web.Close()
	for _, args := range [][]string{
		{"sessions", "--admin", web.URL},
		{"connect", "--url", "ws" + strings.TrimPrefix(web.URL, "http")},
	} {
		var stderr bytes.Buffer
		code := run(args, streams{strings.NewReader(""), io.Discard, &stderr})
		if code != exitFailed || !strings.Contains(stderr.String(), "set LASTCALL_TOKEN (or --token) to a token that the gateway knows; 'lastcall token --help' says how one is made") {
			t.Errorf("%s: exit code %d, %s", args, code, &stderr)
		}
	}
}
