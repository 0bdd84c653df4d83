package admin_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/actors/actorstest"
	"github.com/lastcall-go/lastcall/transport/admin"
)

// house is a supervisor and its admin API.
type house struct {
	t          testing.TB
	supervisor *actorstest.Supervisor
	api        *admin.Handler
}

// in runs a test in a bubble, with a house of its own.
func in(t *testing.T, options admin.Options, test func(t *testing.T, h *house)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, open(t, options)) })
}

func open(t testing.TB, options admin.Options) *house {
	t.Helper()
	supervisor := actorstest.New(t, actors.Options{})
	options.Supervisor = supervisor.Supervisor
	h := &house{t: t, supervisor: supervisor, api: admin.New(options)}
	t.Cleanup(h.api.Close)
	return h
}

// ask makes a request as a program on this machine does, with the header where it needs one. Each
// edit changes it.
func (h *house) ask(method, target string, edits ...func(*http.Request)) *httptest.ResponseRecorder {
	h.t.Helper()
	r := httptest.NewRequest(method, target, nil)
	r.Host = "127.0.0.1:8081"
	if method == http.MethodPost {
		r.Header.Set("X-Lastcall-Admin", "1")
	}
	for _, edit := range edits {
		edit(r)
	}
	w := httptest.NewRecorder()
	h.api.ServeHTTP(w, r)
	return w
}

func header(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

func host(name string) func(*http.Request) { return func(r *http.Request) { r.Host = name } }

func body(contentType, text string) func(*http.Request) {
	return func(r *http.Request) {
		r.Header.Set("Content-Type", contentType)
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(text)), int64(len(text))
	}
}

func form(text string) func(*http.Request) { return body("application/x-www-form-urlencoded", text) }

// refuses wants an error, and that its text says this.
func (h *house) refuses(status int, text, method, target string, edits ...func(*http.Request)) {
	h.t.Helper()
	answer := h.ask(method, target, edits...)
	if answer.Code != status || !strings.Contains(answer.Body.String(), text) {
		h.t.Errorf("%s %s: %d %q, want %d %q", method, target, answer.Code, answer.Body, status, text)
	}
	if kind := answer.Header().Get("Content-Type"); kind != "text/plain; charset=utf-8" {
		h.t.Errorf("%s %s: an error of type %q", method, target, kind)
	}
}

// answer makes a request that must succeed, and returns the JSON that came back.
func answer[T any](h *house, status int, method, target string, edits ...func(*http.Request)) (value T) {
	h.t.Helper()
	w := h.ask(method, target, edits...)
	if w.Code != status {
		h.t.Fatalf("%s %s: %d %q", method, target, w.Code, w.Body)
	}
	if kind := w.Header().Get("Content-Type"); kind != "application/json" || w.Header().Get("Cache-Control") != "no-store" || w.Header().Get("X-Content-Type-Options") != "nosniff" {
		h.t.Errorf("%s %s: the header is %v", method, target, w.Header())
	}
	if err := json.Unmarshal(w.Body.Bytes(), &value); err != nil {
		h.t.Fatalf("%s %s: %v in %q", method, target, err, w.Body)
	}
	return value
}

func (h *house) sessions(query string) admin.Sessions {
	h.t.Helper()
	return answer[admin.Sessions](h, http.StatusOK, http.MethodGet, "/sessions"+query)
}

func (h *house) state() admin.State {
	h.t.Helper()
	return answer[admin.State](h, http.StatusOK, http.MethodGet, "/drain")
}

// drains posts a drain that must begin.
func (h *house) drains(target string, edits ...func(*http.Request)) admin.Drain {
	h.t.Helper()
	return answer[admin.Drain](h, http.StatusAccepted, http.MethodPost, target, edits...)
}

func (h *house) wantReady(ready bool) {
	h.t.Helper()
	status, refused := http.StatusOK, error(nil)
	if !ready {
		status, refused = http.StatusServiceUnavailable, actors.ErrDraining
	}
	if w := h.ask(http.MethodGet, "/readyz"); w.Code != status {
		h.t.Errorf("/readyz: %d, want %d", w.Code, status)
	}
	if err := h.supervisor.Admits(); !errors.Is(err, refused) {
		h.t.Errorf("a request is admitted with %v, want %v", err, refused)
	}
}

// peer is a session with both its ends. Its zero settings are those of ends that behave.
type peer struct {
	*actorstest.Session        // once it has started
	workflow            string // empty: its client never says its startRequest
	remote, agent       string
	traffic             actors.Traffic
	counts              func()        // called when the traffic is asked for
	stops               time.Duration // what the agent takes to stop
	answers             time.Duration // what the client takes to answer the close frame
}

// serve starts a session, and waits until it has come as far as it does by itself.
func (h *house) serve(p *peer) *peer {
	h.t.Helper()
	h.start(p)
	synctest.Wait()
	return p
}

func (h *house) start(p *peer) {
	h.t.Helper()
	p.Session = h.supervisor.Session()
	p.Rebase(time.Now())
	p.Remote, p.AgentName, p.Transport = p.remote, p.agent, "websocket"
	p.Agent.OnStop.Takes, p.Client.OnClose.Takes = p.stops, p.answers
	p.Client.Counts = func() actors.Traffic {
		if p.counts != nil {
			p.counts()
		}
		return p.traffic
	}
	if p.workflow != "" {
		p.Client.Say(actorstest.StartRequest(p.workflow))
	}
	p.Join()
}

// wantTold checks what the ends got.
func (p *peer) wantTold(t *testing.T, want ...string) {
	t.Helper()
	synctest.Wait()
	told := slices.DeleteFunc(p.Lines(), func(line string) bool {
		return !strings.Contains(line, "agent got stopWorkflow") && !strings.Contains(line, "client told")
	})
	if !slices.Equal(told, want) {
		t.Errorf("%s was told %q, want %q", p.workflow, told, want)
	}
}
