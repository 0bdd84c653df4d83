package transport_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/transport"
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

func TestHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		supervisor, err := actors.NewSupervisor(actors.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer supervisor.Close()
		health := transport.Health(supervisor)
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
		go supervisor.Drain(context.Background(), actors.Drain{Delay: time.Second}) // which still admits
		synctest.Wait()
		want(http.MethodGet, "/healthz", http.StatusOK, "alive")
		want(http.MethodGet, "/readyz", http.StatusServiceUnavailable, "draining")
	})
}
