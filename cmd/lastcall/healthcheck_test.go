package main

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/alecthomas/kong"

	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/operator"
)

// healthcheck runs the command.
func healthcheck(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	return command(t, "", append([]string{"healthcheck"}, args...)...)
}

// wantUnhealthy wants exit code 1 and one line that says why.
func wantUnhealthy(t *testing.T, why string, args ...string) {
	t.Helper()
	code, stdout, stderr := healthcheck(t, args...)
	line, rest, _ := strings.Cut(stderr, "\n")
	if code != 1 || stdout != "" || rest != "" || !strings.HasPrefix(line, "lastcall: not ") || !strings.Contains(line, why) {
		t.Errorf("exit code %d, %q, %q; want 1 and one line with %q", code, stdout, stderr, why)
	}
}

// admin is a server that answers as handle says. The test ends with it.
func admin(t *testing.T, handle http.HandlerFunc) (address string) {
	t.Helper()
	server := httptest.NewServer(handle)
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

func TestHealthcheckAsksWhetherTheGatewayIsReadyOrAlive(t *testing.T) {
	asked := make(chan string, 1)
	address := admin(t, func(_ http.ResponseWriter, r *http.Request) { asked <- r.Method + " " + r.URL.Path })
	for _, test := range []struct{ flag, asks, says string }{
		{"--live=false", "GET /readyz", "ready\n"},
		{"--live", "GET /healthz", "alive\n"},
	} {
		code, stdout, stderr := healthcheck(t, "--admin", address, test.flag)
		if got := <-asked; code != 0 || got != test.asks || stdout != test.says || stderr != "" {
			t.Errorf("%s: exit code %d, asked %s, %q, %q", test.flag, code, got, stdout, stderr)
		}
	}
}

// The same environment serves the gateway and its health check, in a container.
func TestHealthcheckOfAGatewayInItsEnvironment(t *testing.T) {
	p := startServe(t, "no daemon", "--drain-delay", "20s")
	_, port, err := net.SplitHostPort(strings.TrimPrefix(fmt.Sprint(p.record("listening")["admin"]), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("LASTCALL_ADMIN", "0.0.0.0:"+port)
	if code, stdout, stderr := healthcheck(t); code != 0 || stdout != "ready\n" {
		t.Errorf("exit code %d, %q, %q; want ready", code, stdout, stderr)
	}
	p.signal(syscall.SIGTERM)
	p.record("drain started")
	wantUnhealthy(t, "503: draining")
	if code, stdout, stderr := healthcheck(t, "--live"); code != 0 || stdout != "alive\n" {
		t.Errorf("exit code %d, %q, %q; want alive in a drain", code, stdout, stderr)
	}
}

func TestHealthcheckFailsOnEveryAnswerButOK(t *testing.T) {
	for _, status := range []int{201, 204, 302, 401, 404, 500, 503} {
		address := admin(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
		wantUnhealthy(t, fmt.Sprint(" answered ", status), "--admin", address)
	}
}

func TestHealthcheckSaysThatNobodyListens(t *testing.T) {
	wantUnhealthy(t, "connection refused", "--admin", "127.0.0.1:1")
}

func TestHealthcheckDoesNotFollowARedirect(t *testing.T) {
	healthy := admin(t, func(http.ResponseWriter, *http.Request) {})
	address := admin(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://"+healthy+"/readyz", http.StatusFound)
	})
	wantUnhealthy(t, "302", "--admin", address)
}

func TestHealthcheckEndsAtItsTimeout(t *testing.T) {
	silent := admin(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	wantUnhealthy(t, "no answer from "+silent+" within 50ms", "--admin", silent, "--timeout", "50ms")

	halfway := admin(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, "well")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	wantUnhealthy(t, "503: well", "--admin", halfway, "--timeout", "1s")
}

// However long the answer is, and whatever is in it, the reason is a short line.
func TestHealthcheckReadsOnlyTheBeginOfAnAnswer(t *testing.T) {
	for _, status := range []int{http.StatusOK, http.StatusServiceUnavailable} {
		address := admin(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			for {
				if _, err := io.WriteString(w, strings.Repeat("\x1b[2J no\r\n", 1000)); err != nil {
					return
				}
			}
		})
		code, _, stderr := healthcheck(t, "--admin", address, "--timeout", patience.String())
		if want := min(1, status-http.StatusOK); code != want || len(stderr) > 300 || strings.ContainsAny(stderr, "\x1b\r") {
			t.Errorf("%d: exit code %d, %d bytes: %.300q", status, code, len(stderr), stderr)
		}
	}
}

// The certificate is for the name that others use, or for none.
func TestHealthcheckTakesAnyCertificateOfALoopbackIPAddressAlone(t *testing.T) {
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // it would tell of the handshake that fails
	server.StartTLS()
	defer server.Close()
	_, port, _ := net.SplitHostPort(server.Listener.Addr().String())

	wantUnhealthy(t, "404", "--admin", "https://127.0.0.1:"+port)
	wantUnhealthy(t, "404", "--admin", "https://0.0.0.0:"+port)
	wantUnhealthy(t, "certificate", "--admin", "https://localhost:"+port)
}

// A proxy would be asked about itself.
func TestHealthcheckUsesNoProxy(t *testing.T) {
	for _, admin := range []string{"http://gateway.example", "http://127.0.0.1:8081"} {
		u, err := operator.URL(admin)
		if err != nil {
			t.Fatal(err)
		}
		if healthClient(u).Transport.(*http.Transport).Proxy != nil {
			t.Errorf("%s: a proxy may be used", admin)
		}
	}
}

func TestHealthcheckUsageErrors(t *testing.T) {
	for _, args := range [][]string{
		{"--admin", "nowhere"}, {"--admin", "ws://127.0.0.1:8081"}, {"--timeout", "0s"}, {"--timeout=-1s"}, {"--timeout", "9999h"},
	} {
		code, stdout, stderr := healthcheck(t, args...)
		flag, _, _ := strings.Cut(args[0], "=")
		if code != 2 || stdout != "" || !strings.Contains(stderr, flag) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%q: exit code %d, %q, %q", args, code, stdout, stderr)
		}
	}
}

func TestHealthcheckWaitsTwoSecondsAtMostUnlessToldOtherwise(t *testing.T) {
	var all commands
	if _, err := kong.Must(&all).Parse([]string{"healthcheck"}); err != nil {
		t.Fatal(err)
	}
	if c := all.Healthcheck; c.Timeout != 2*time.Second || c.Admin != "127.0.0.1:8081" || c.Live {
		t.Errorf("%+v", c)
	}
}
