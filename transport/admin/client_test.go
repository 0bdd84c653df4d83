package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/actors/relay"
)

// clientPatience is for what should come at once, on a machine that has other things to do.
const clientPatience = 30 * time.Second

// clientOf asks a fake. Both end with the test.
func clientOf(t *testing.T, handle http.HandlerFunc) (*Client, context.Context) {
	t.Helper()
	server := httptest.NewServer(handle)
	base, err := url.Parse(server.URL + "/ops")
	if err != nil {
		t.Fatal(err)
	}
	c := NewClient(base, "bearer-token")
	ctx, cancel := context.WithTimeout(t.Context(), clientPatience)
	t.Cleanup(func() {
		cancel()
		c.Close()
		server.CloseClientConnections()
		server.Close()
	})
	return c, ctx
}

func TestClientAsksWhatItWasToldAndUnderstandsTheAnswer(t *testing.T) {
	asked := make(chan string, 1)
	answer := ""
	c, ctx := clientOf(t, func(w http.ResponseWriter, r *http.Request) {
		asked <- r.Method + " " + r.URL.String() + " " + r.Header.Get("Authorization")
		_, _ = io.WriteString(w, answer)
	})
	wantAsked := func(want string) {
		t.Helper()
		if got := <-asked; got != want+" Bearer bearer-token" {
			t.Errorf("asked %s, want %s with the bearer token", got, want)
		}
	}

	answer = `{"total":7,"phases":{"serving":7},"sessions":[{"id":"x7","waits_for":"agent","received":{"messages":2,"bytes":3}}]}`
	sessions, err := c.Sessions(ctx, Query{Sort: "-bytes", Text: "a b"})
	wantAsked("GET /ops/sessions?q=a+b&sort=-bytes")
	if err != nil || sessions.Total != 7 || sessions.Phases["serving"] != 7 || sessions.Sessions[0].Received != (Flow{2, 3}) {
		t.Errorf("%+v, %v", sessions, err)
	}
	answer = `{"id":"x7","phase":"closing","waits_for":"client"}`
	session, err := c.Session(ctx, "x7")
	wantAsked("GET /ops/sessions/x7")
	if err != nil || session.Phase != "closing" || session.WaitsFor != relay.AwaitsClient {
		t.Errorf("%+v, %v", session, err)
	}
	answer = `{"state":"draining","final":true,"drains":[{"id":"d1","took_seconds":1.5}]}`
	state, err := c.State(ctx)
	wantAsked("GET /ops/drain")
	if err != nil || state.State != actors.Draining || !state.Final || state.Drains[0].Took != actors.Seconds(1500*time.Millisecond) {
		t.Errorf("%+v, %v", state, err)
	}
}

func TestClientPostsWithTheHeaderThatNoOtherSiteCanSend(t *testing.T) {
	var seen []string
	c, ctx := clientOf(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || r.Header.Get("X-Lastcall-Admin") == "" {
			t.Errorf("%s with %v", r.Method, r.Header)
		}
		_ = r.ParseForm()
		seen = append(seen, r.URL.String()+" "+r.PostForm.Encode())
		w.WriteHeader(http.StatusAccepted)
		fmt.Fprint(w, `{"id":"d1","left":3,"state":"serving"}`)
	})
	drain, err := c.DrainPart(ctx, Part{OlderThan: time.Hour}, DrainOptions{Reason: "rebalance & go"})
	if err != nil || drain.ID != "d1" || drain.Left != 3 {
		t.Errorf("%+v, %v", drain, err)
	}
	if _, err := c.DrainSession(ctx, "x7", DrainOptions{Deadline: time.Minute, Grace: new(time.Duration), BatchSize: new(int), BatchInterval: new(time.Duration)}); err != nil {
		t.Error(err)
	}
	if state, err := c.Resume(ctx); err != nil || state.State != actors.Serving {
		t.Errorf("%+v, %v", state, err)
	}
	if _, err := c.Drain(ctx, DrainOptions{}); err != nil {
		t.Error(err)
	}
	if _, err := c.DrainPart(ctx, Part{}, DrainOptions{}); err == nil {
		t.Error("a part that is not given drains")
	}
	want := []string{"/ops/drain older-than=1h0m0s&reason=rebalance+%26+go", "/ops/sessions/x7/drain batch-interval=0s&batch-size=0&deadline=1m0s&grace=0s",
		"/ops/resume ", "/ops/drain "}
	if !slices.Equal(seen, want) {
		t.Errorf("posted %q, want %q", seen, want)
	}
}

// Joined, ".." would be another path: POST /drain.
func TestClientTakesNoPathForAnID(t *testing.T) {
	c, ctx := clientOf(t, func(_ http.ResponseWriter, r *http.Request) { t.Errorf("asked %s %s", r.Method, r.URL) })
	for _, id := range []string{"", ".", "..", "a/b", "a%2fb", "a?b", "a b", "é"} {
		if _, err := c.Session(ctx, id); err == nil {
			t.Errorf("%q: no error", id)
		}
		if _, err := c.DrainSession(ctx, id, DrainOptions{}); err == nil {
			t.Errorf("%q: no error", id)
		}
	}
}

func TestClientTellsWhatTheGatewaySaid(t *testing.T) {
	for _, test := range []struct {
		status     int
		body, says string
	}{
		{http.StatusConflict, "the process ends\nmore\n", "the gateway answered 409: the process ends"},
		{http.StatusUnauthorized, "", "the gateway answered 401 Unauthorized"},
		{http.StatusBadRequest, "\x1b]0;evil\x07 no", "the gateway answered 400: \\x1b]0;evil\\x07 no"},
		{http.StatusBadGateway, strings.Repeat("x", 100_000), "the gateway answered 502: " + strings.Repeat("x", maxClientLine)},
	} {
		c, ctx := clientOf(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(test.status)
			_, _ = io.WriteString(w, test.body)
		})
		_, err := c.State(ctx)
		var status *StatusError
		if !errors.As(err, &status) || status.Status != test.status || err.Error() != test.says {
			t.Errorf("got %.200v, want %.200s", err, test.says)
		}
		if err := c.Events(ctx, nil); !errors.As(err, &status) {
			t.Errorf("events: got %v, want the status", err)
		}
	}
}

func TestClientFollowsNoRedirect(t *testing.T) {
	c, ctx := clientOf(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/elsewhere" {
			t.Error("followed, with the bearer token")
		}
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	})
	var status *StatusError
	if _, err := c.State(ctx); !errors.As(err, &status) || status.Status != http.StatusTemporaryRedirect {
		t.Errorf("got %v, want the redirect", err)
	}
}

func TestClientTellsThatNobodyListens(t *testing.T) {
	c := NewClient(&url.URL{Scheme: "http", Host: "127.0.0.1:1"}, "")
	defer c.Close()
	if _, err := c.State(t.Context()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("got %v", err)
	}
}

func TestClientAsksLoopbackDirectly(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://192.0.2.1:1") // nobody is there
	c, ctx := clientOf(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{}`) })
	if _, err := c.State(ctx); err != nil {
		t.Error(err)
	}
}

func TestClientRefusesWhatIsNoAnswer(t *testing.T) {
	endless := func(w http.ResponseWriter, _ *http.Request) {
		block := []byte(strings.Repeat(" ", 1<<20))
		for {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	}
	c, ctx := clientOf(t, endless)
	if _, err := c.Sessions(ctx, Query{}); err == nil || !strings.Contains(err.Error(), "larger than 64 MiB") {
		t.Errorf("got %v, want the bound", err)
	}
	c, ctx = clientOf(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") })
	if _, err := c.Sessions(ctx, Query{}); err == nil || !strings.Contains(err.Error(), "not the answer of a lastcall gateway") {
		t.Errorf("got %v", err)
	}
	if err := c.Events(ctx, nil); err == nil || !strings.Contains(err.Error(), `its type is "text/html"`) {
		t.Errorf("got %v", err)
	}
}

// streamOf is a client whose gateway's events are this text.
func streamOf(t *testing.T, text string) (*Client, context.Context) {
	t.Helper()
	return clientOf(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
		_, _ = io.WriteString(w, text)
	})
}

func TestEventsComeInTheirOrderUntilTheStreamEnds(t *testing.T) {
	c, ctx := streamOf(t, "event: state\ndata: {\"state\":\"serving\"}\n\n: still here\n\nevent: resumed\ndata: {}\n\nevent: never whole\ndata: {}\n")
	var got []string
	err := c.Events(ctx, func(e Event) error {
		if !json.Valid(e.Data) {
			t.Errorf("%s: data %q", e.Name, e.Data)
		}
		got = append(got, e.Name)
		return nil
	})
	if !errors.Is(err, ErrStreamEnded) || !slices.Equal(got, []string{EventState, EventResumed}) {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestEventsEndWithTheHandlersError(t *testing.T) {
	c, ctx := streamOf(t, "data: 1\n\ndata: 2\n\n")
	enough, n := errors.New("enough"), 0
	err := c.Events(ctx, func(Event) error { n++; return enough })
	if !errors.Is(err, enough) || n != 1 {
		t.Errorf("%d events, %v", n, err)
	}
}

func TestEventsEndWithTheContextAndWithSilence(t *testing.T) {
	silent := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: 1\n\n")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}
	c, ctx := clientOf(t, silent)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := c.Events(ctx, func(Event) error { cancel(); return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the context's end", err)
	}
	c, ctx = clientOf(t, silent)
	c.silence = 50 * time.Millisecond
	err := c.Events(ctx, func(Event) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "nothing came from the gateway for 50ms") {
		t.Errorf("got %v, want the silence", err)
	}
}

func TestASlowReaderOfEventsIsNoSilence(t *testing.T) {
	read := make(chan struct{})
	c, ctx := clientOf(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: 1\n\n")
		_ = http.NewResponseController(w).Flush()
		<-read
		_, _ = io.WriteString(w, "data: 2\n\n")
	})
	c.silence = 100 * time.Millisecond
	n := 0
	err := c.Events(ctx, func(Event) error {
		if n++; n == 1 {
			time.Sleep(3 * c.silence)
			close(read)
		}
		return nil
	})
	if n != 2 || !errors.Is(err, ErrStreamEnded) {
		t.Errorf("%d events, %v", n, err)
	}
}

// The examples of section 9.2.6 of the HTML standard are among them. What has no data is no event of a gateway's.
func TestEventsAreParsedByTheHTMLStandard(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"data: YHOO\ndata: +2\ndata: 10\n\n", "=YHOO\n+2\n10"},
		{": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n", "=first event|=second event|= third event"},
		{"data\n\ndata:", ""},
		{"data:test\n\ndata: test\n\n", "=test|=test"},
		{"event: a\r\ndata: 1\r\n\r\nevent: b\rdata: 2\r\rdata: 3\n\n", "a=1|b=2|=3"},
		{"\ufeffevent: a\ndata: 1\n\n", "a=1"},
		{"event: none\n\ndata: 1\n\n", "=1"},
		{"retry: 5\nwhatever: x\nevent: a\nevent: b\ndata: :1: 2\n\n", "b=:1: 2"},
		{"event: cut\ndata: short", ""},
		{"event: cut\ndata: short\n", ""},
	} {
		c, ctx := streamOf(t, test.text)
		var got []string
		err := c.Events(ctx, func(e Event) error {
			got = append(got, e.Name+"="+string(e.Data))
			return nil
		})
		if strings.Join(got, "|") != test.want || err != ErrStreamEnded {
			t.Errorf("%q: got %q, %v, want %q", test.text, got, err, test.want)
		}
	}
}

func TestEventsAreBounded(t *testing.T) {
	for _, text := range []string{"x", "data:" + strings.Repeat("x", 90) + "\n"} {
		c, ctx := clientOf(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			for piece := []byte(strings.Repeat(text, 1000)); r.Context().Err() == nil; {
				if _, err := w.Write(piece); err != nil {
					return
				}
			}
		})
		events := 0
		err := c.Events(ctx, func(Event) error { events++; return nil })
		if !errors.Is(err, errEventTooLarge) || events != 0 {
			t.Errorf("%.10s…: got %d events, %v", text, events, err)
		}
	}
}
