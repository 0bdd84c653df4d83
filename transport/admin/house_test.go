package admin_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/actors/relay"
	"github.com/lastcall-go/lastcall/proto/dap"
	"github.com/lastcall-go/lastcall/transport/admin"
)

// house is a supervisor and its admin API.
type house struct {
	t          testing.TB
	supervisor *actors.Supervisor
	api        *admin.Handler
}

// in runs a test in a bubble, with a house of its own.
func in(t *testing.T, options admin.Options, test func(t *testing.T, h *house)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, open(t, options)) })
}

func open(t testing.TB, options admin.Options) *house {
	t.Helper()
	supervisor, err := actors.NewSupervisor(actors.Options{})
	if err != nil {
		t.Fatal(err)
	}
	options.Supervisor = supervisor
	h := &house{t: t, supervisor: supervisor, api: admin.New(options)}
	t.Cleanup(func() {
		supervisor.Close()
		h.api.Close()
	})
	return h
}

// ask makes a request as a program on this machine does, with the token where it needs one. Each
// edit changes it.
func (h *house) ask(method, target string, edits ...func(*http.Request)) *httptest.ResponseRecorder {
	h.t.Helper()
	r := httptest.NewRequest(method, target, nil)
	r.Host = "127.0.0.1:8081"
	if method == http.MethodPost {
		r.Header.Set("X-Lastcall-Token", h.token())
	}
	for _, edit := range edits {
		edit(r)
	}
	w := httptest.NewRecorder()
	h.api.ServeHTTP(w, r)
	return w
}

func (h *house) token() string {
	h.t.Helper()
	return strings.TrimSpace(h.ask(http.MethodGet, "/token").Body.String())
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
	ticket, err := h.supervisor.Admit(context.Background())
	if !errors.Is(err, refused) {
		h.t.Errorf("a request is admitted with %v, want %v", err, refused)
	}
	if ticket != nil {
		ticket.Cancel()
	}
}

// peer is both ends of a session. Its zero settings are those of ends that behave.
type peer struct {
	id       string
	workflow string // empty: its client never says its startRequest
	remote   string
	agent    string
	traffic  actors.Traffic
	counts   func()        // called when the traffic is asked for
	stops    time.Duration // what the agent takes to stop
	answers  time.Duration // what the client takes to answer the close frame

	began   time.Time
	said    bool
	stopped chan struct{} // closed when the agent was told to stop
	aborted chan struct{}
	abort   sync.Once
	mu      sync.Mutex
	told    []string // what each end was told, when
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
	p.began, p.stopped, p.aborted = time.Now(), make(chan struct{}), make(chan struct{})
	ticket, err := h.supervisor.Admit(context.Background())
	if err != nil {
		h.t.Fatal(err)
	}
	p.id, err = relay.Start(ticket, relay.Session{Client: p, Agent: agentOf{p}, AgentName: p.agent, Remote: p.remote, Transport: "websocket"})
	if err != nil {
		h.t.Fatal(err)
	}
}

func (p *peer) note(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.told = append(p.told, fmt.Sprintf("%v ", time.Since(p.began))+fmt.Sprintf(format, args...))
}

// wantTold checks what the ends were told.
func (p *peer) wantTold(t *testing.T, want ...string) {
	t.Helper()
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	if !slices.Equal(p.told, want) {
		t.Errorf("%s was told %q, want %q", p.workflow, p.told, want)
	}
}

func (p *peer) Receive() (*dap.ClientEvent, error) {
	if !p.said && p.workflow != "" {
		p.said = true
		start := &dap.StartWorkflowRequest{WorkflowID: p.workflow}
		return &dap.ClientEvent{Response: &dap.ClientEvent_StartRequest{StartRequest: start}}, nil
	}
	<-p.aborted
	return nil, io.ErrClosedPipe
}

func (p *peer) Send(*dap.Action) error { return nil }

func (p *peer) Close(code int, reason string) error {
	p.note("%d %s", code, reason)
	if p.answers > 0 {
		p.pass(p.answers)
	}
	return nil
}

func (p *peer) Abort() { p.abort.Do(func() { close(p.aborted) }) }

func (p *peer) Traffic() actors.Traffic {
	if p.counts != nil {
		p.counts()
	}
	return p.traffic
}

func (p *peer) pass(d time.Duration) {
	select {
	case <-time.After(d):
	case <-p.aborted:
	}
}

type agentOf struct{ *peer }

func (a agentOf) Open(ctx context.Context) (relay.Stream, error) { return streamOf{a.peer, ctx}, nil }

type streamOf struct {
	*peer
	ctx context.Context
}

func (s streamOf) Send(ev *dap.ClientEvent) error {
	if ev.GetStopWorkflow() != nil {
		s.note("stopWorkflow")
		close(s.stopped)
	}
	return nil
}

func (s streamOf) Receive() (*dap.Action, error) {
	select {
	case <-s.stopped:
	case <-s.ctx.Done():
	}
	if s.stops > 0 {
		select {
		case <-time.After(s.stops):
		case <-s.ctx.Done():
		}
	}
	return nil, errors.New("UNAVAILABLE: workflow execution interrupted")
}
