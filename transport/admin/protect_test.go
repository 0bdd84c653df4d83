package admin_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/transport/admin"
	"github.com/lastcall-go/lastcall/transport/grant"
)

// authorizer admits the token "s3cret", and answers some others differently.
type authorizer struct{ asked, shown []string }

func (a *authorizer) Authorize(r *http.Request) (*grant.Grant, error) {
	a.asked = append(a.asked, r.Method+" "+r.URL.Path)
	a.shown = r.Header.Values("Authorization")
	switch r.Header.Get("Authorization") {
	case "Bearer s3cret":
		return &grant.Grant{Principal: "ada"}, nil
	case "Bearer forbidden":
		return nil, &grant.RefusedError{Status: http.StatusForbidden, Reason: "not you"}
	case "Bearer broken":
		return nil, errors.New("the endpoint is gone")
	case "Bearer slow":
		<-r.Context().Done()
		return nil, fmt.Errorf("the endpoint: %w", r.Context().Err())
	}
	return nil, &grant.RefusedError{Status: http.StatusUnauthorized, Header: http.Header{"Www-Authenticate": {"Bearer"}}, Reason: "a token is required"}
}

// everything is all that there is, and something that isn't.
func everything() []string {
	return []string{
		"GET /", "GET /assets/app.js", "GET /metrics", "GET /sessions", "GET /sessions/x", "GET /drain", "GET /events",
		"GET /debug/pprof", "GET /debug/pprof/", "GET /debug/pprof/heap",
		"POST /drain", "POST /sessions/x/drain", "POST /resume", "GET /nothing", "POST /nothing", "DELETE /drain", "OPTIONS /drain", "HEAD /events",
		"GET /healthz/", "GET //healthz",
	}
}

// patiently ends a request that is let in by mistake, and would go on.
func patiently(r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), time.Second)
	context.AfterFunc(ctx, cancel)
	*r = *r.WithContext(ctx)
}

func TestWithoutAuthorizationNobodyLearnsAnything(t *testing.T) {
	in(t, admin.Options{Authorizer: &authorizer{}}, func(t *testing.T, h *house) {
		for _, credentials := range []string{"", "Bearer wrong", "Bearer", "s3cret", "Basic czNjcmV0", "Basic Onczcm9uZw=="} {
			for _, request := range everything() {
				method, path, _ := strings.Cut(request, " ")
				w := h.ask(method, path, header("Authorization", credentials), header("X-Lastcall-Admin", "1"), patiently)
				if w.Code != http.StatusUnauthorized || w.Body.String() != "a token is required\n" {
					t.Errorf("%s with %q: %d %q", request, credentials, w.Code, w.Body)
				}
				if got := w.Header().Values("WWW-Authenticate"); !slices.Equal(got, []string{"Bearer", `Basic realm="lastcall"`}) {
					t.Errorf("%s: %q", request, got)
				}
			}
		}
		for path, text := range map[string]string{"/healthz": "alive\n", "/readyz": "ready\n"} {
			if w := h.ask(http.MethodGet, path, host("gateway.example")); w.Code != http.StatusOK || w.Body.String() != text {
				t.Errorf("%s: %d %q", path, w.Code, w.Body)
			}
		}
	})
}

func TestATokenLetsInAsBearerAndAsPassword(t *testing.T) {
	who := &authorizer{}
	in(t, admin.Options{Authorizer: who}, func(t *testing.T, h *house) {
		basic := func(r *http.Request) { r.SetBasicAuth("whoever", "s3cret") }
		for name, let := range map[string]func(*http.Request){"bearer": header("Authorization", "Bearer s3cret"), "basic": basic} {
			who.asked = nil
			if w := h.ask(http.MethodGet, "/sessions", let, host("gateway.example:8081")); w.Code != http.StatusOK {
				t.Fatalf("%s: %d %q", name, w.Code, w.Body)
			}
			if d := h.drains("/drain?sessions=1", let); !d.Part {
				t.Errorf("%s: %+v", name, d)
			}
			h.refuses(http.StatusNotFound, "not found", http.MethodGet, "/nothing", let)
			if !slices.Contains(who.asked, "POST /drain") || !slices.Contains(who.asked, "GET /nothing") {
				t.Errorf("%s: the authorizer was asked %q", name, who.asked)
			}
		}
		h.refuses(http.StatusUnauthorized, "required", http.MethodGet, "/drain", basic, func(r *http.Request) {
			r.Header.Add("Authorization", "Bearer wrong") // two readers could disagree
		})
		h.refuses(http.StatusUnauthorized, "required", http.MethodGet, "/drain", func(r *http.Request) { r.SetBasicAuth("", "s3cret\r\nX: y") })
		if len(who.shown) != 1 || !strings.HasPrefix(who.shown[0], "Basic ") {
			t.Errorf("what can't stand in a header is shown as %q", who.shown)
		}
	})
}

func TestWhatTheAuthorizerSaysIsPassedOn(t *testing.T) {
	in(t, admin.Options{Authorizer: &authorizer{}}, func(t *testing.T, h *house) {
		began := time.Now()
		h.refuses(http.StatusForbidden, "not you", http.MethodGet, "/drain", header("Authorization", "Bearer forbidden"))
		h.refuses(http.StatusBadGateway, "not available", http.MethodGet, "/drain", header("Authorization", "Bearer broken"))
		h.refuses(http.StatusGatewayTimeout, "not available", http.MethodGet, "/drain", header("Authorization", "Bearer slow"))
		if took := time.Since(began); took != 30*time.Second {
			t.Errorf("a slow authorizer is waited for %v", took)
		}
		if w := h.ask(http.MethodGet, "/drain", header("Authorization", "Bearer forbidden")); w.Header().Get("WWW-Authenticate") != "" {
			t.Error("a browser would ask for another password")
		}
	})
}

// DNS rebinding: another site's name leads a browser here.
func TestWithoutAuthorizerTheHostMustBeALocalName(t *testing.T) {
	in(t, admin.Options{}, func(t *testing.T, h *house) {
		for _, name := range []string{"127.0.0.1:8081", "127.0.0.1", "localhost", "LOCALHOST:8081", "[::1]:8081", "[::1]", "127.1.2.3:1"} {
			if w := h.ask(http.MethodGet, "/sessions", host(name)); w.Code != http.StatusOK {
				t.Errorf("%s: %d %q", name, w.Code, w.Body)
			}
		}
		for _, name := range []string{"evil.example:8081", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example:8081", "10.0.0.1:8081", "0.0.0.0:8081", "", "[::2]:8081", "127.0.0.1:8081:1"} {
			for _, request := range everything() {
				method, path, _ := strings.Cut(request, " ")
				h.refuses(http.StatusForbidden, "localhost alone", method, path, header("X-Lastcall-Admin", "1"), host(name), patiently)
			}
			if w := h.ask(http.MethodGet, "/readyz", host(name)); w.Code != http.StatusOK {
				t.Errorf("/readyz as %s: %d", name, w.Code)
			}
		}
	})
}

func TestACrossSitePostIsRefused(t *testing.T) {
	in(t, admin.Options{}, func(t *testing.T, h *house) {
		p := h.serve(&peer{workflow: "w1"})
		for _, target := range []string{"/drain", "/drain?sessions=1", "/sessions/" + p.ID + "/drain", "/resume"} {
			refused := func(text string, edits ...func(*http.Request)) {
				t.Helper()
				h.refuses(http.StatusForbidden, text, http.MethodPost, target, edits...)
			}
			refused("cross-origin", header("Origin", "https://evil.example"))
			refused("cross-origin", header("Origin", "null"))
			refused("cross-origin", header("Origin", "http://127.0.0.1:9999"))
			refused("cross-origin", header("Sec-Fetch-Site", "cross-site"))
			refused("cross-origin", header("Sec-Fetch-Site", "same-site"))
			refused("cross-origin", header("Sec-Fetch-Site", "cross-site"), header("Sec-Fetch-Dest", "document"))
			for _, own := range []string{"same-origin", "none", ""} {
				refused("X-Lastcall-Admin", header("Sec-Fetch-Site", own), header("X-Lastcall-Admin", ""))
			}
			// A form of another site, in a browser that sends neither Origin nor Sec-Fetch-Site.
			refused("X-Lastcall-Admin", header("X-Lastcall-Admin", ""), form("X-Lastcall-Admin=1"))
		}
		// A browser asks whether a page of another site may send the header. It must get no leave.
		preflight := h.ask(http.MethodOptions, "/drain", header("Origin", "https://evil.example"),
			header("Access-Control-Request-Method", "POST"), header("Access-Control-Request-Headers", "x-lastcall-admin"))
		if preflight.Code/100 == 2 || preflight.Header().Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("a page of another site may post: %d %v", preflight.Code, preflight.Header())
		}
		h.refuses(http.StatusForbidden, "X-Lastcall-Admin", http.MethodDelete, "/drain", header("X-Lastcall-Admin", ""))
		if state := h.state(); state.State != actors.Serving || len(state.Drains) != 0 {
			t.Errorf("%+v", state)
		}
		p.wantTold(t)

		h.drains("/sessions/"+p.ID+"/drain", header("Origin", "http://127.0.0.1:8081"), header("Sec-Fetch-Site", "same-origin"))
	})
}

// Its answers can't be read there, but streams and profiles would be taken up.
func TestAForeignPageEmbedsNothing(t *testing.T) {
	in(t, admin.Options{}, func(t *testing.T, h *house) {
		for _, site := range []string{"cross-site", "same-site"} {
			for _, dest := range []string{"empty", "image", "script", "iframe", ""} {
				h.refuses(http.StatusForbidden, "cross-origin", http.MethodGet, "/drain", header("Sec-Fetch-Site", site), header("Sec-Fetch-Dest", dest))
			}
			if w := h.ask(http.MethodGet, "/drain", header("Sec-Fetch-Site", site), header("Sec-Fetch-Dest", "document")); w.Code != http.StatusOK {
				t.Errorf("a link from elsewhere: %d", w.Code)
			}
		}
		if w := h.ask(http.MethodGet, "/drain", header("Sec-Fetch-Site", "same-origin"), header("Sec-Fetch-Dest", "empty")); w.Code != http.StatusOK {
			t.Errorf("our own page: %d", w.Code)
		}
	})
}

func TestThePageAndTheMetricsAreServedWhereTheyAreGiven(t *testing.T) {
	in(t, admin.Options{}, func(t *testing.T, h *house) {
		for _, path := range []string{"/", "/assets/app.js", "/metrics"} {
			h.refuses(http.StatusNotFound, "", http.MethodGet, path)
		}
	})
	says := func(text string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = fmt.Fprint(w, text, " at ", r.URL.Path) })
	}
	options := admin.Options{Metrics: says("metrics"), Page: says("page")}
	in(t, options, func(t *testing.T, h *house) {
		for path, want := range map[string]string{"/metrics": "metrics at /metrics", "/": "page at /", "/assets/app.js": "page at /assets/app.js"} {
			if w := h.ask(http.MethodGet, path); w.Code != http.StatusOK || w.Body.String() != want {
				t.Errorf("%s: %d %q", path, w.Code, w.Body)
			}
		}
		h.refuses(http.StatusNotFound, "", http.MethodGet, "/elsewhere")
	})
}

func TestReadinessFollowsTheDrain(t *testing.T) {
	in(t, admin.Options{}, func(t *testing.T, h *house) {
		want := func(ready int) {
			t.Helper()
			if w := h.ask(http.MethodGet, "/readyz"); w.Code != ready {
				t.Errorf("/readyz: %d, want %d", w.Code, ready)
			}
			if w := h.ask(http.MethodGet, "/healthz"); w.Code != http.StatusOK {
				t.Errorf("/healthz: %d", w.Code)
			}
		}
		want(http.StatusOK)
		_, err := h.supervisor.Begin(context.Background(), actors.Drain{Standby: true, Delay: time.Minute})
		want(http.StatusServiceUnavailable)
		h.ask(http.MethodPost, "/resume")
		want(http.StatusOK)
		if err != nil {
			t.Error(err)
		}
	})
}

// until grants everything until it is withdrawn.
type until struct{ authorized context.Context }

func (u until) Authorize(*http.Request) (*grant.Grant, error) {
	return &grant.Grant{Principal: "ada", Authorized: u.authorized}, nil
}

func TestAWithdrawnAuthorizationEndsAStreamOfEvents(t *testing.T) {
	authorized, withdraw := context.WithCancel(context.Background())
	in(t, admin.Options{Authorizer: until{authorized}}, func(t *testing.T, h *house) {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		streamed := make(chan struct{})
		go func() {
			defer close(streamed)
			h.ask(http.MethodGet, "/events", func(r *http.Request) { *r = *r.WithContext(ctx) })
		}()
		time.Sleep(time.Hour)
		select {
		case <-streamed:
			t.Error("the stream has ended before")
		default:
		}
		withdraw()
		synctest.Wait()
		select {
		case <-streamed:
		default:
			t.Error("the stream goes on")
		}
		cancel()
	})
}
