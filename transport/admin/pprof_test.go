package admin_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/lastcall-go/lastcall/transport/admin"
)

func TestProfilesOfAMoment(t *testing.T) {
	h := open(t, admin.Options{})
	list := h.ask(http.MethodGet, "/debug/pprof/").Body.String()
	for _, name := range []string{"goroutine", "heap", "profile?seconds=30", "trace?seconds=1"} {
		if !strings.Contains(list, `<a href="`+name) {
			t.Errorf("%s is not in %s", name, list)
		}
	}
	for target, begin := range map[string]string{
		"/debug/pprof/heap":              "\x1f\x8b", // gzip: what go tool pprof reads
		"/debug/pprof/heap?gc=1":         "\x1f\x8b",
		"/debug/pprof/heap?debug=1":      "heap profile: ",
		"/debug/pprof/goroutine?debug=2": "goroutine ",
	} {
		if w := h.ask(http.MethodGet, target); w.Code != http.StatusOK || !strings.HasPrefix(w.Body.String(), begin) {
			t.Errorf("%s: %d %.40q", target, w.Code, w.Body)
		}
	}
	h.refuses(http.StatusNotFound, "no such profile", http.MethodGet, "/debug/pprof/cmdline")
	if w := h.ask(http.MethodGet, "/debug/pprof"); w.Header().Get("Location") != "/debug/pprof/" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	if _, pattern := http.DefaultServeMux.Handler(httptest.NewRequest(http.MethodGet, "/debug/pprof/", nil)); pattern != "" {
		t.Error("a program that serves http.DefaultServeMux shows its profiles to everybody")
	}
}

// Of two that take ten minutes one must wait, and the other ends with the handler.
func TestProfilesOverTimeEndWithTheHandler(t *testing.T) {
	for path, begin := range map[string]string{"/debug/pprof/profile": "\x1f\x8b", "/debug/pprof/trace": "go 1."} {
		h := open(t, admin.Options{})
		answers := make(chan *httptest.ResponseRecorder)
		next := func() *httptest.ResponseRecorder {
			select {
			case w := <-answers:
				return w
			case <-time.After(30 * time.Second):
				t.Fatalf("%s: no answer", path)
				return nil
			}
		}
		for range 2 {
			go func() { answers <- h.ask(http.MethodGet, path+"?seconds=600") }()
		}
		if w := next(); w.Code != http.StatusConflict {
			t.Errorf("%s: %d %.40q", path, w.Code, w.Body)
		}
		h.api.Close()
		if w := next(); w.Code != http.StatusOK || !strings.HasPrefix(w.Body.String(), begin) {
			t.Errorf("%s: %d %.40q", path, w.Code, w.Body)
		}
	}
}

func TestAProfileMayTakeLongerThanOtherResponses(t *testing.T) {
	h := open(t, admin.Options{})
	server := httptest.NewUnstartedServer(h.api)
	server.Config.WriteTimeout, server.Config.ReadTimeout = 500*time.Millisecond, 500*time.Millisecond
	server.Start()
	defer server.Close()
	answer, err := server.Client().Get(server.URL + "/debug/pprof/profile?seconds=1")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if all, err := io.ReadAll(answer.Body); err != nil || !strings.HasPrefix(string(all), "\x1f\x8b") {
		t.Errorf("%v %.40q", err, all)
	}
}
