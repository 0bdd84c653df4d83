package transport_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/actors/actorstest"
	"github.com/lastcall-go/lastcall/transport"
	"github.com/lastcall-go/lastcall/transport/httpserver"
)

// get makes a request on a connection that would be kept alive.
func (g *gateway) get(header ...string) (*http.Response, string) {
	g.t.Helper()
	client := g.clients.httpClient(nil)
	client.Transport.(*http.Transport).DisableKeepAlives = false
	defer client.CloseIdleConnections()
	request, err := http.NewRequestWithContext(g.t.Context(), http.MethodGet, "http://gateway/", nil)
	if err != nil {
		g.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	answer, err := client.Do(request)
	if err != nil {
		g.t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	return answer, string(body)
}

func wantUnavailable(t *testing.T, answer *http.Response, body, retryAfter, text string) {
	t.Helper()
	if answer.StatusCode != http.StatusServiceUnavailable || answer.Header.Get("Retry-After") != retryAfter || !strings.Contains(body, text) {
		t.Errorf("%s, Retry-After %q, %q", answer.Status, answer.Header.Get("Retry-After"), body)
	}
	if !answer.Close {
		t.Error("the connection is kept")
	}
}

func TestADrainingGatewayAnswers503(t *testing.T) {
	inGateway(t, setting{agent: waits}, func(t *testing.T, g *gateway) {
		g.start() // and doesn't answer the close frame, which makes the drain last
		go g.supervisor.Drain(context.Background(), actors.Drain{})
		synctest.Wait()
		answer, body := g.get("Connection", "Upgrade", "Upgrade", "websocket")
		wantUnavailable(t, answer, body, "1", "draining")
	})
}

func TestAFullGatewayAnswers503(t *testing.T) {
	inGateway(t, setting{agent: waits, limits: actors.Options{MaxSessions: 1}}, func(t *testing.T, g *gateway) {
		ws := g.start()
		answer, body := g.get("Connection", "Upgrade", "Upgrade", "websocket")
		wantUnavailable(t, answer, body, "5", "full")
		ws.CloseNow()
		<-g.stopped
		g.dial(nil) // there is room again
	})
}

func TestARequestThatIsNotUpgradedGivesItsPlaceBack(t *testing.T) {
	upgrade := []string{"Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA=="}
	for _, c := range []struct {
		name   string
		header []string
		status int
	}{
		{"no upgrade", nil, http.StatusUpgradeRequired},
		{"no key", upgrade[:6], http.StatusBadRequest},
		{"another site's page", append(upgrade, "Origin", "https://evil.example"), http.StatusForbidden},
	} {
		inGateway(t, setting{agent: waits, limits: actors.Options{MaxSessions: 1}}, func(t *testing.T, g *gateway) {
			for range 3 {
				if answer, body := g.get(c.header...); answer.StatusCode != c.status {
					t.Errorf("%s: %s %q", c.name, answer.Status, body)
				}
			}
			g.dial(&websocket.DialOptions{HTTPHeader: http.Header{"Origin": {"https://gateway"}}})
		})
	}
}

// behind serves the gateway's handler behind a middleware.
func (g *gateway) behind(wrap func(http.ResponseWriter) http.ResponseWriter, log io.Writer) memory {
	g.t.Helper()
	handler := &transport.Handler{Supervisor: g.supervisor, Agents: g.pool, Log: slog.New(slog.NewTextHandler(log, nil))}
	clients := newMemory()
	g.add("behind a middleware", &httpserver.Server{
		Listener: clients,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Middleware", "was here")
			handler.ServeHTTP(wrap(w), r)
		}),
		Log: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})), // superfluous WriteHeader
	})
	return clients
}

// Middlewares' ResponseWriters.
type (
	hides   struct{ http.ResponseWriter }
	lies    struct{ hides }
	unwraps struct{ hides }
)

func (lies) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return nil, nil, errors.New("the ResponseWriter is no Hijacker")
}

func (u unwraps) Unwrap() http.ResponseWriter { return u.ResponseWriter }

// A client gets an answer, and the log says what to do.
func TestAMiddlewareThatHidesHijackIsTold(t *testing.T) {
	for name, wrap := range map[string]func(http.ResponseWriter) http.ResponseWriter{
		"hides": func(w http.ResponseWriter) http.ResponseWriter { return hides{w} },
		"lies":  func(w http.ResponseWriter) http.ResponseWriter { return lies{hides{w}} },
	} {
		inGateway(t, setting{limits: actors.Options{MaxSessions: 1}}, func(t *testing.T, g *gateway) {
			var log bytes.Buffer
			clients := g.behind(wrap, &log)
			for range 3 {
				answer := exchange(t, clients, "GET / HTTP/1.1\r\nHost: gateway\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n"+
					"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n")
				if !strings.HasPrefix(answer, "HTTP/1.1 500 ") || !strings.HasSuffix(answer, "a WebSocket upgrade is not possible here\n") || strings.Contains(answer, "Upgrade: ") {
					t.Errorf("%s: %q", name, answer)
				}
			}
			if lines := strings.Count(log.String(), "\n"); lines != 1 || !strings.Contains(log.String(), "give it an Unwrap method (transport_test."+name) {
				t.Errorf("%s: the log says %s", name, log.String())
			}
		})
	}
}

func TestAMiddlewareThatUnwrapsIsPassed(t *testing.T) {
	inGateway(t, setting{agent: waits}, func(t *testing.T, g *gateway) {
		var log bytes.Buffer
		clients := g.behind(func(w http.ResponseWriter) http.ResponseWriter { return unwraps{hides{w}} }, &log)
		ws, answer, err := websocket.Dial(t.Context(), "ws://gateway/", &websocket.DialOptions{HTTPClient: clients.httpClient(nil)})
		if err != nil {
			t.Fatal(err)
		}
		if answer.Header.Get("X-Middleware") != "was here" {
			t.Errorf("the answer has %v", answer.Header)
		}
		_ = ws.CloseNow()
		<-g.stopped
		if log.Len() > 0 {
			t.Errorf("the log says %s", log.String())
		}
	})
}

func TestAWebSocketOverHTTP2IsRefusedInWords(t *testing.T) {
	inGateway(t, setting{}, func(t *testing.T, g *gateway) {
		request := httptest.NewRequest(http.MethodGet, "/", nil)
		request.Proto, request.ProtoMajor, request.ProtoMinor = "HTTP/2.0", 2, 0
		answer := httptest.NewRecorder()
		(&transport.Handler{Supervisor: g.supervisor, Agents: g.pool}).ServeHTTP(answer, request)
		if answer.Code != http.StatusHTTPVersionNotSupported || !strings.Contains(answer.Body.String(), "HTTP/1.1") {
			t.Errorf("%d %q", answer.Code, answer.Body)
		}
	})
}

func TestHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		supervisor := actorstest.New(t, actors.Options{}).Supervisor
		var missing error
		health := httpserver.Health(supervisor, func() error { return missing })
		want := func(method, path string, status int, body string) {
			t.Helper()
			answer := httptest.NewRecorder()
			health.ServeHTTP(answer, httptest.NewRequest(method, path, nil))
			if answer.Code != status || !strings.HasPrefix(answer.Body.String(), body) {
				t.Errorf("%s %s: %d %q", method, path, answer.Code, answer.Body)
			}
		}
		want(http.MethodGet, "/healthz", http.StatusOK, "alive")
		want(http.MethodGet, "/readyz", http.StatusOK, "ready")
		want(http.MethodPost, "/readyz", http.StatusMethodNotAllowed, "")
		missing = errors.New("lease store not reached yet")
		want(http.MethodGet, "/healthz", http.StatusOK, "alive")
		want(http.MethodGet, "/readyz", http.StatusServiceUnavailable, "lease store not reached yet\n")
		go supervisor.Drain(context.Background(), actors.Drain{Delay: time.Second}) // which still admits
		synctest.Wait()
		want(http.MethodGet, "/healthz", http.StatusOK, "alive")
		want(http.MethodGet, "/readyz", http.StatusServiceUnavailable, "draining")
	})
}

// exchange writes a request and returns all that comes back.
func exchange(t *testing.T, clients memory, request string) string {
	t.Helper()
	conn, err := clients.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	go io.WriteString(conn, request)
	all, err := io.ReadAll(conn)
	if err != nil {
		t.Errorf("the connection ended with %v", err)
	}
	return string(all)
}
