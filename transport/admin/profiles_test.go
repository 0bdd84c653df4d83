package admin_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/pprof"
	"runtime/trace"
	"strings"
	"testing"
	"time"

	"github.com/lastcall-go/lastcall/transport/admin"
)

// profiled are options with profiles, as a program hands them in.
func profiled() admin.Options {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return admin.Options{Profiles: mux}
}

func TestProfilesAreServedWhereTheyAreGiven(t *testing.T) {
	h := open(t, profiled())
	for target, begin := range map[string]string{
		"/debug/pprof/":                  "<html>",
		"/debug/pprof/heap":              "\x1f\x8b", // gzip: what go tool pprof reads
		"/debug/pprof/heap?gc=1":         "\x1f\x8b",
		"/debug/pprof/heap?debug=1":      "heap profile: ",
		"/debug/pprof/goroutine?debug=2": "goroutine ",
	} {
		if w := h.ask(http.MethodGet, target); w.Code != http.StatusOK || !strings.HasPrefix(w.Body.String(), begin) {
			t.Errorf("%s: %d %.40q", target, w.Code, w.Body)
		}
	}
	if w := h.ask(http.MethodGet, "/debug/pprof"); w.Header().Get("Location") != "/debug/pprof/" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	for _, seconds := range []string{"601", "1e9", "NaN", "Inf"} {
		h.refuses(http.StatusBadRequest, "seconds must be 600 at most", http.MethodGet, "/debug/pprof/profile?seconds="+seconds)
	}
	open(t, admin.Options{}).refuses(http.StatusNotFound, "not found", http.MethodGet, "/debug/pprof/heap")
}

// Of two that take ten minutes one must wait, and the other ends with the handler.
func TestProfilesOverTimeEndWithTheHandler(t *testing.T) {
	for path, begin := range map[string]string{"/debug/pprof/profile": "\x1f\x8b", "/debug/pprof/trace": "go 1."} {
		h := open(t, profiled())
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
		if w := next(); w.Code != http.StatusInternalServerError {
			t.Errorf("%s: %d %.40q", path, w.Code, w.Body)
		}
		h.api.Close()
		if w := next(); w.Code != http.StatusOK || !strings.HasPrefix(w.Body.String(), begin) {
			t.Errorf("%s: %d %.40q", path, w.Code, w.Body)
		}
	}
}

func TestAProfileMayTakeLongerThanOtherResponses(t *testing.T) {
	h := open(t, profiled())
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

// A client that takes nothing doesn't keep a trace going: to stop it is to write to that client.
func TestAProfileThatNobodyReadsEndsWithTheHandler(t *testing.T) {
	h := open(t, profiled())
	ended := make(chan struct{})
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(ended)
		h.api.ServeHTTP(w, r)
	}))
	server.Config.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
		if err := conn.(*net.TCPConn).SetWriteBuffer(1); err != nil { // as little as the system lets it be
			t.Error(err)
		}
		return ctx
	}
	server.Start()
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET /debug/pprof/trace?seconds=300 HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	for late := time.Now().Add(30 * time.Second); !trace.IsEnabled(); time.Sleep(time.Millisecond) {
		if time.Now().After(late) {
			t.Fatal("no trace is made")
		}
	}
	for range 1 << 15 { // more than the sockets hold
		trace.Log(t.Context(), "test", strings.Repeat("~", 1000))
	}
	h.api.Close()
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Fatal("the trace goes on")
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, answer.Body); err != io.ErrUnexpectedEOF {
		t.Errorf("all %d bytes came, %v: what does this test show?", n, err)
	}
}
