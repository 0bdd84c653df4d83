package httpsession_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	coder "github.com/coder/websocket"
	gorilla "github.com/gorilla/websocket"
	"go.uber.org/goleak"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/actors/actorstest"
	"github.com/lastcall-go/lastcall/transport/httpsession"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must come.
const patience = 20 * time.Second

// house is a server whose handler is wrapped.
type house struct {
	*actors.Supervisor
	t     *testing.T
	url   string
	begun chan struct{} // the handler says that it is under way

	mu    sync.Mutex
	ended []actors.SessionStopped
}

func serve(t *testing.T, options httpsession.Options, limits actors.Options, next func(h *house, w http.ResponseWriter, r *http.Request)) *house {
	t.Helper()
	supervisor := actorstest.New(t, limits).Supervisor
	h := &house{Supervisor: supervisor, t: t, begun: make(chan struct{}, 1)}
	stop := supervisor.Listen(func(event any) {
		if e, ok := event.(actors.SessionStopped); ok {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.ended = append(h.ended, e)
		}
	})
	options.Supervisor = supervisor
	server := httptest.NewServer(httpsession.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { next(h, w, r) }), options))
	h.url = server.URL
	t.Cleanup(func() {
		supervisor.Close()
		stop()
		server.Close()
		http.DefaultClient.CloseIdleConnections()
	})
	return h
}

// drain drains, once the handler is under way, and returns how its session has ended.
func (h *house) drain(within time.Duration) actors.SessionReport {
	h.t.Helper()
	select {
	case <-h.begun:
	case <-time.After(patience):
		h.t.Fatal("the handler was not called")
	}
	report, _ := h.Drain(context.Background(), actors.Drain{Deadline: time.Now().Add(within), Reason: "new version"})
	if len(report.Sessions) != 1 {
		h.t.Fatalf("%+v", report)
	}
	return report.Sessions[0]
}

func coderHandler(h *house, w http.ResponseWriter, r *http.Request) {
	ws, err := coder.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer func() { _ = ws.CloseNow() }()
	h.begun <- struct{}{}
	<-r.Context().Done()
	var stop *actors.Stop
	if errors.As(context.Cause(r.Context()), &stop) {
		_ = ws.Close(coder.StatusGoingAway, stop.Reason)
	}
}

func gorillaHandler(h *house, w http.ResponseWriter, r *http.Request) {
	ws, err := (&gorilla.Upgrader{}).Upgrade(w, r, nil)
	if err != nil {
		return
	}
	defer func() { _ = ws.Close() }()
	h.begun <- struct{}{}
	<-r.Context().Done()
	_ = ws.WriteControl(gorilla.CloseMessage, gorilla.FormatCloseMessage(gorilla.CloseGoingAway, "new version"), time.Now().Add(time.Second))
}

func eventsHandler(h *house, w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	_, _ = io.WriteString(w, "data: hello\n\n")
	w.(http.Flusher).Flush()
	h.begun <- struct{}{}
	<-r.Context().Done()
	_, _ = io.WriteString(w, "event: goodbye\n\n")
}

func pollHandler(h *house, w http.ResponseWriter, r *http.Request) {
	h.begun <- struct{}{}
	<-r.Context().Done()
	w.WriteHeader(http.StatusNoContent)
}

// hears returns what a client hears of the end.
func (h *house) hears(transport string) <-chan string {
	heard := make(chan string, 1)
	go func() {
		if transport == "websocket" {
			heard <- h.hearsClose()
			return
		}
		response, err := http.Get(h.url)
		if err != nil {
			heard <- err.Error()
			return
		}
		defer func() { _ = response.Body.Close() }()
		body, err := io.ReadAll(response.Body)
		heard <- fmt.Sprintf("%d %q %v", response.StatusCode, body, err)
	}()
	return heard
}

func (h *house) hearsClose() string {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ws, _, err := coder.Dial(ctx, "ws"+strings.TrimPrefix(h.url, "http"), nil)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = ws.CloseNow() }()
	_, _, err = ws.Read(ctx)
	var closed coder.CloseError
	if errors.As(err, &closed) {
		return fmt.Sprint(int(closed.Code), " ", closed.Reason)
	}
	return "cut"
}

func TestAnyHandlerThatLastsIsDrained(t *testing.T) {
	for name, c := range map[string]struct {
		transport string
		handler   func(*house, http.ResponseWriter, *http.Request)
		hears     string
	}{
		"coder/websocket":    {"websocket", coderHandler, "1001 new version"},
		"gorilla/websocket":  {"websocket", gorillaHandler, "1001 new version"},
		"server-sent events": {"sse", eventsHandler, `200 "data: hello\n\nevent: goodbye\n\n" <nil>`},
		"long poll":          {"poll", pollHandler, `204 "" <nil>`},
	} {
		t.Run(name, func(t *testing.T) {
			h := serve(t, httpsession.Options{Kind: "chat", Transport: c.transport, Workflow: func(r *http.Request) string { return r.URL.Path }}, actors.Options{}, c.handler)
			heard := h.hears(c.transport)
			if end := h.drain(patience); end.Outcome != actors.Drained || end.Workflow != "/" {
				t.Errorf("%+v", end)
			}
			if got := <-heard; got != c.hears {
				t.Errorf("the client hears %s, want %s", got, c.hears)
			}
		})
	}
}

// The handler heeds nothing but its connection: the kill cuts that.
func TestAHandlerThatHangsIsCut(t *testing.T) {
	for name, c := range map[string]struct {
		transport string
		handler   func(*house, http.ResponseWriter, *http.Request)
	}{
		"reading what was hijacked": {"websocket", func(h *house, w http.ResponseWriter, r *http.Request) {
			ws, err := coder.Accept(w, r, nil)
			if err != nil {
				return
			}
			h.begun <- struct{}{}
			_, _, _ = ws.Read(context.Background())
			_ = ws.CloseNow()
		}},
		"writing a response": {"sse", func(h *house, w http.ResponseWriter, _ *http.Request) {
			h.begun <- struct{}{}
			for err := error(nil); err == nil; {
				_, err = w.Write(make([]byte, 1<<20))
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			done := make(chan struct{})
			h := serve(t, httpsession.Options{}, actors.Options{}, func(h *house, w http.ResponseWriter, r *http.Request) {
				defer close(done)
				c.handler(h, w, r)
			})
			client := make(chan struct{})
			defer close(client)
			if c.transport == "sse" { // and reads nothing
				response, err := rawGet(h.url)
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = response.Close() }()
			} else {
				heard := h.hears(c.transport)
				defer func() {
					if got := <-heard; got != "cut" {
						t.Errorf("the client hears %s", got)
					}
				}()
			}
			if end := h.drain(time.Second); end.Outcome != actors.Killed {
				t.Errorf("%+v", end)
			}
			select {
			case <-done:
			case <-time.After(patience):
				t.Error("the handler still runs")
			}
		})
	}
}

// rawGet asks, and leaves the response to the caller.
func rawGet(url string) (io.Closer, error) {
	response, err := http.Get(url)
	if err != nil {
		return nil, err
	}
	return response.Body, nil
}

func TestARequestWithoutASessionIsRefused(t *testing.T) {
	full := actors.Options{MaxSessions: 1}
	for name, c := range map[string]struct {
		options httpsession.Options
		limits  actors.Options
		status  int
		retry   string
		text    string
	}{
		"full": {httpsession.Options{}, full, 503, "5", "full, try again later\n"},
		"full for its principal": {httpsession.Options{Principal: func(*http.Request) string { return "ada" }},
			actors.Options{MaxSessionsPerPrincipal: 1}, 429, "5", "too many sessions, try again later\n"},
		"in words of its own": {httpsession.Options{Refuse: func(w http.ResponseWriter, _ *http.Request, err error) {
			w.WriteHeader(http.StatusTeapot)
			_, _ = fmt.Fprint(w, err)
		}}, full, 418, "", actors.ErrFull.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			h := serve(t, c.options, c.limits, eventsHandler)
			first, err := http.Get(h.url)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = first.Body.Close() }()
			if line, _ := bufio.NewReader(first.Body).ReadString('\n'); line != "data: hello\n" {
				t.Fatalf("%q", line)
			}
			second, err := http.Get(h.url)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = second.Body.Close() }()
			body, _ := io.ReadAll(second.Body)
			if second.StatusCode != c.status || second.Header.Get("Retry-After") != c.retry || string(body) != c.text {
				t.Errorf("%d %q %q", second.StatusCode, second.Header.Get("Retry-After"), body)
			}
		})
	}
}

func TestADrainingServerRefuses(t *testing.T) {
	h := serve(t, httpsession.Options{}, actors.Options{}, eventsHandler)
	if _, err := h.Drain(context.Background(), actors.Drain{}); err != nil {
		t.Fatal(err)
	}
	response, err := http.Get(h.url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != 503 || response.Header.Get("Retry-After") != "1" || !response.Close {
		t.Errorf("%d, %v", response.StatusCode, response.Header)
	}
}

// net/http gets a handler's panic as if nothing were between them, and the session has failed.
func TestAPanicGoesOn(t *testing.T) {
	for name, value := range map[string]any{"abort": http.ErrAbortHandler, "defect": "in a handler"} {
		t.Run(name, func(t *testing.T) {
			supervisor := actorstest.New(t, actors.Options{}).Supervisor
			var ended []actors.SessionStopped
			stop := supervisor.Listen(func(event any) {
				if e, ok := event.(actors.SessionStopped); ok {
					ended = append(ended, e)
				}
			})
			wrapped := httpsession.Wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(value) }), httpsession.Options{Supervisor: supervisor})
			func() {
				defer func() {
					if v := recover(); v != value {
						t.Errorf("panics with %v, want %v", v, value)
					}
				}()
				wrapped.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
			}()
			_, _ = supervisor.Drain(context.Background(), actors.Drain{})
			stop()
			if len(ended) != 1 || ended[0].Outcome != actors.Failed {
				t.Errorf("%+v", ended)
			}
		})
	}
}

// The server's own time limits are for plain requests.
func TestASessionOutlastsTheServersTimeouts(t *testing.T) {
	supervisor := actorstest.New(t, actors.Options{}).Supervisor
	server := httptest.NewUnstartedServer(httpsession.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(200 * time.Millisecond)
		_, _ = io.WriteString(w, "late")
	}), httpsession.Options{Supervisor: supervisor}))
	server.Config.ReadTimeout, server.Config.WriteTimeout = 50*time.Millisecond, 50*time.Millisecond
	server.Start()
	defer server.Close()
	defer http.DefaultClient.CloseIdleConnections()
	response, err := http.Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if body, err := io.ReadAll(response.Body); string(body) != "late" {
		t.Errorf("%q, %v", body, err)
	}
}

// net/http lets go of a connection that was hijacked: a handler that panics may leave it open.
func TestAPanicCutsWhatWasHijacked(t *testing.T) {
	h := serve(t, httpsession.Options{}, actors.Options{}, func(h *house, w http.ResponseWriter, r *http.Request) {
		if _, err := coder.Accept(w, r, nil); err == nil {
			panic(http.ErrAbortHandler)
		}
	})
	select {
	case got := <-h.hears("websocket"):
		if got != "cut" {
			t.Errorf("the client hears %s", got)
		}
	case <-time.After(patience):
		t.Error("the client hears nothing")
	}
}

// The handler says goodbye with the code that fits.
func TestAWithdrawnAuthorizationEndsASession(t *testing.T) {
	authorized, withdraw := context.WithCancel(context.Background())
	options := httpsession.Options{Authorized: func(*http.Request) context.Context { return authorized }}
	h := serve(t, options, actors.Options{}, func(h *house, w http.ResponseWriter, r *http.Request) {
		ws, err := coder.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer func() { _ = ws.CloseNow() }()
		withdraw()
		<-r.Context().Done()
		var stop *actors.Stop
		if errors.As(context.Cause(r.Context()), &stop) {
			_ = ws.Close(coder.StatusCode(stop.CloseCode()), stop.Reason)
		}
	})
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ws, _, err := coder.Dial(ctx, h.url, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ws.CloseNow() }()
	var end coder.CloseError
	if _, _, err := ws.Read(ctx); !errors.As(err, &end) || end.Code != 3000 || end.Reason != actors.ReasonRevoked {
		t.Errorf("the client was told %v", err)
	}
}
