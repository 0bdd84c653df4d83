package admin_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/actors/relay"
	"github.com/lastcall-go/lastcall/transport/admin"
)

// flows is a traffic of so many messages and bytes from the client, and to it.
func flows(messagesIn, bytesIn, messagesOut, bytesOut uint64) actors.Traffic {
	return actors.Traffic{
		Received: actors.Flow{Messages: messagesIn, Bytes: bytesIn},
		Sent:     actors.Flow{Messages: messagesOut, Bytes: bytesOut},
	}
}

// workflows are those of sessions, in their order.
func workflows(sessions []admin.Session) string {
	var names []string
	for _, s := range sessions {
		names = append(names, s.Workflow)
	}
	return strings.Join(names, " ")
}

func TestASessionIsShownAsItStands(t *testing.T) {
	in(t, admin.Options{}, func(t *testing.T, h *house) {
		p := &peer{workflow: "w1", remote: "127.0.0.1:5555", agent: "127.0.0.1:50052", traffic: flows(12, 3400, 40, 99000), answers: time.Hour}
		p.traffic.Last = time.Now().Add(1500*time.Microsecond + 7)
		h.serve(p)
		const started = "2000-01-01T00:00:00Z"
		want := map[string]any{
			"id": p.ID, "kind": "dap", "workflow": "w1", "phase": "serving", "since": started, "started": started, "waits_for": "",
			"remote": "127.0.0.1:5555", "transport": "websocket", "agent": "127.0.0.1:50052",
			"received":      map[string]any{"messages": 12.0, "bytes": 3400.0},
			"sent":          map[string]any{"messages": 40.0, "bytes": 99000.0},
			"tools_running": 0.0, "last_message": "2000-01-01T00:00:00.001Z",
		}
		check := func() {
			t.Helper()
			if got := answer[map[string]any](h, http.StatusOK, http.MethodGet, "/sessions/"+p.ID); !reflect.DeepEqual(got, want) {
				t.Errorf("got  %v\nwant %v", got, want)
			}
			type list struct{ Sessions []any }
			if got := answer[list](h, http.StatusOK, http.MethodGet, "/sessions"); !reflect.DeepEqual(got.Sessions, []any{want}) {
				t.Errorf("in the list: %v", got)
			}
		}
		check()
		time.Sleep(time.Second)
		h.drains("/sessions/" + p.ID + "/drain")
		synctest.Wait()
		want["phase"], want["since"], want["told"], want["waits_for"] = "closing", "2000-01-01T00:00:01Z", "2000-01-01T00:00:01Z", "client"
		check()
		h.refuses(http.StatusNotFound, "no such session", http.MethodGet, "/sessions/"+p.ID+"x")
	})
}

func TestTheStateTellsOfTheLeaseStore(t *testing.T) {
	store := admin.LeaseStore{Reachable: true}
	in(t, admin.Options{LeaseStore: func() admin.LeaseStore { return store }}, func(t *testing.T, h *house) {
		want := func(json string) {
			t.Helper()
			if got := h.ask(http.MethodGet, "/drain").Body.String(); got != `{"state":"serving","final":false,"drains":[],"lease_store":`+json+"}\n" {
				t.Errorf("got %s", got)
			}
		}
		want(`{"reachable":true}`)
		store.Since = time.Now().Add(7)
		want(`{"reachable":true,"since":"2000-01-01T00:00:00Z"}`)
		store.Reachable, store.SessionsEnd = false, time.Now().Add(time.Minute)
		want(`{"reachable":false,"since":"2000-01-01T00:00:00Z","sessions_end":"2000-01-01T00:01:00Z"}`)
	})
}

func TestItIsNotReadyForTheReasonThatReadyReturns(t *testing.T) {
	var missing error
	in(t, admin.Options{Ready: func() error { return missing }}, func(t *testing.T, h *house) {
		wantReady := func(status int, text string) {
			t.Helper()
			if got := h.ask(http.MethodGet, "/readyz"); got.Code != status || got.Body.String() != text+"\n" {
				t.Errorf("%d %s", got.Code, got.Body)
			}
		}
		wantReady(http.StatusOK, "ready")
		missing = errors.New("lease store not reached yet")
		wantReady(http.StatusServiceUnavailable, "lease store not reached yet")
	})
}

func TestWithoutSessionsTheListIsEmptyAndThere(t *testing.T) {
	in(t, admin.Options{}, func(t *testing.T, h *house) {
		const want = `{"total":0,"phases":{"closing":0,"opening":0,"serving":0,"stopping":0},"sessions":[]}` + "\n"
		if got := h.ask(http.MethodGet, "/sessions").Body.String(); got != want {
			t.Errorf("got %s", got)
		}
		const state = `{"state":"serving","final":false,"drains":[]}` + "\n"
		if got := h.ask(http.MethodGet, "/drain").Body.String(); got != state {
			t.Errorf("got %s", got)
		}
	})
}

// inFull runs a test with sessions in each phase, a second apart.
func inFull(t *testing.T, test func(t *testing.T, h *house)) {
	t.Helper()
	in(t, admin.Options{}, func(t *testing.T, h *house) {
		now := time.Now()
		for i, p := range []*peer{
			{workflow: "beta", remote: "10.0.0.1:9", agent: "a2:1", traffic: flows(5, 10, 0, 0)},
			{workflow: "alpha", remote: "10.0.0.2:9", agent: "a1:1", traffic: flows(1, 900, 1, 0)},
			{workflow: "delta", remote: "10.0.0.3:9", agent: "a1:1", traffic: flows(0, 0, 9, 20), stops: time.Hour},
			{workflow: "gamma", remote: "10.0.0.4:9", agent: "A3:1", traffic: flows(3, 0, 0, 30), answers: time.Hour},
			{remote: "10.0.0.5:9", agent: "a2:1"},
		} {
			if p.workflow != "" {
				p.traffic.Last = now.Add(-time.Duration(i) * time.Minute)
			}
			h.serve(p)
			if p.stops+p.answers > 0 {
				h.drains("/sessions/" + p.ID + "/drain?deadline=1h")
			}
			time.Sleep(time.Second)
		}
		test(t, h)
	})
}

func TestSessionsAreFiltered(t *testing.T) {
	inFull(t, func(t *testing.T, h *house) {
		for query, want := range map[string]string{
			"":                                   "beta alpha delta gamma ",
			"?phase=opening":                     "",
			"?phase=serving":                     "beta alpha",
			"?phase=stopping":                    "delta",
			"?phase=closing":                     "gamma",
			"?workflow=alpha":                    "alpha",
			"?workflow=alph":                     "-",
			"?agent=a1:1":                        "alpha delta",
			"?agent=a1":                          "-",
			"?told=true":                         "delta gamma",
			"?told=true&phase=serving":           "-",
			"?q=delta":                           "delta",
			"?q=10.0.0.2":                        "alpha",
			"?q=a3:1":                            "gamma",
			"?q=A":                               "beta alpha delta gamma ",
			"?q=nothing":                         "-",
			"?agent=a1:1&phase=serving":          "alpha",
			"?agent=a1:1&phase=serving&q=nobody": "-",
			"?phase=&workflow=&q=&sort=":         "beta alpha delta gamma ",
		} {
			got := h.sessions(query)
			if names := workflows(got.Sessions); names != strings.TrimPrefix(want, "-") || got.Total != len(got.Sessions) || (want == "-") != (got.Total == 0) {
				t.Errorf("%s: %q of %d, want %q", query, names, got.Total, want)
			}
			if counts := fmt.Sprint(got.Phases); counts != "map[closing:1 opening:1 serving:2 stopping:1]" {
				t.Errorf("%s: phases are %s", query, counts)
			}
		}
		last := h.sessions("?sort=-started&limit=1").Sessions[0]
		if got := h.sessions("?q=" + last.ID[2:9]); got.Total != 1 || got.Sessions[0].ID != last.ID {
			t.Errorf("a part of an ID: %+v", got)
		}
		if last.WaitsFor != relay.AwaitsStart || h.sessions("?phase=stopping").Sessions[0].WaitsFor != relay.AwaitsAgent {
			t.Error("who is waited for is wrong")
		}
	})
}

func TestSessionsAreSorted(t *testing.T) {
	inFull(t, func(t *testing.T, h *house) {
		for key, want := range map[string]string{
			"started":  "beta alpha delta gamma -",
			"phase":    "- beta alpha delta gamma",
			"workflow": "- alpha beta delta gamma",
			"agent":    "gamma alpha delta beta -",
			"messages": "- alpha gamma beta delta",
			"bytes":    "- beta delta gamma alpha",
			"last":     "- gamma delta alpha beta",
		} {
			names := strings.Fields(want)
			for _, key := range []string{key, "-" + key} {
				want := strings.ReplaceAll(strings.Join(names, " "), "-", "")
				if got := workflows(h.sessions("?sort=" + key).Sessions); got != want {
					t.Errorf("%s: %q, want %q", key, got, want)
				}
				slices.Reverse(names)
			}
		}
	})
}

// Sessions that are equal in what they are sorted by, and began in the same instant too.
func TestPagesHoldEachSessionOnce(t *testing.T) {
	in(t, admin.Options{}, func(t *testing.T, h *house) {
		for range 7 {
			h.start(&peer{workflow: "w"})
		}
		synctest.Wait()
		for _, key := range []string{"started", "-workflow", "messages"} {
			var ids []string
			for offset := 0; offset < 9; offset += 3 {
				page := h.sessions(fmt.Sprintf("?sort=%s&limit=3&offset=%d", key, offset))
				if page.Total != 7 {
					t.Errorf("total %d", page.Total)
				}
				for _, s := range page.Sessions {
					ids = append(ids, s.ID)
				}
			}
			slices.Sort(ids)
			if len(ids) != 7 || len(slices.Compact(ids)) != 7 {
				t.Errorf("%s: %q", key, ids)
			}
		}
		if beyond := h.sessions("?offset=8"); beyond.Total != 7 || len(beyond.Sessions) != 0 {
			t.Errorf("%+v", beyond)
		}
	})
}

func TestAnUnknownParameterIsRefused(t *testing.T) {
	in(t, admin.Options{}, func(t *testing.T, h *house) {
		for target, text := range map[string]string{
			"/sessions?fase=serving":     `"fase"; there are: phase, workflow`,
			"/sessions?phase=Serving":    "opening, serving, stopping, closing",
			"/sessions?phase=stopped":    "phase must be",
			"/sessions?sort=age":         "started, phase",
			"/sessions?told=1":           "told must be",
			"/sessions?sort=--started":   "sort must be",
			"/sessions?limit=-1":         "limit must be",
			"/sessions?offset=x":         "offset must be",
			"/sessions?limit=1&limit=2":  "more than once",
			"/sessions?limit=1;offset=2": "name=value",
			"/sessions?=1":               "unknown parameter",
			"/sessions/x?verbose=1":      "unknown parameter",
			"/drain?verbose=1":           "unknown parameter",
			"/events?since=1":            "unknown parameter",
		} {
			h.refuses(http.StatusBadRequest, text, http.MethodGet, target)
		}
	})
}

func TestASupervisorThatDoesNotAnswerIsNotWaitedForLong(t *testing.T) {
	in(t, admin.Options{}, func(t *testing.T, h *house) {
		release := make(chan struct{})
		h.serve(&peer{workflow: "w1", counts: func() { <-release }})
		looked := make(chan struct{})
		go func() { // this holds the supervisor up
			defer close(looked)
			_, _ = h.supervisor.Snapshot(context.Background())
		}()
		synctest.Wait()
		for method, targets := range map[string][]string{
			http.MethodGet:  {"/sessions", "/sessions/x", "/drain", "/events"},
			http.MethodPost: {"/drain", "/drain?sessions=1", "/sessions/x/drain", "/resume"},
		} {
			for _, target := range targets {
				began := time.Now()
				h.refuses(http.StatusServiceUnavailable, "does not answer", method, target)
				if took := time.Since(began); took != 2*time.Second {
					t.Errorf("%s %s took %v", method, target, took)
				}
			}
		}
		close(release)
		<-looked
		synctest.Wait()
		h.supervisor.Close()
		h.refuses(http.StatusServiceUnavailable, "does not answer", http.MethodGet, "/sessions")
	})
}

func BenchmarkSessions10000(b *testing.B) {
	h := open(b, admin.Options{})
	for i := range 10_000 {
		h.start(&peer{workflow: fmt.Sprint("workflow-", i), remote: "192.0.2.1:55555", agent: "agent.example:50052", traffic: flows(1234, 567890, 1234, 567890)})
	}
	for h.sessions("?limit=0").Phases["serving"] < 10_000 {
		time.Sleep(10 * time.Millisecond)
	}
	for _, query := range []string{"?limit=50", "?limit=50&sort=-bytes&q=example", ""} {
		b.Run("query="+query, func(b *testing.B) {
			for b.Loop() {
				if w := h.ask(http.MethodGet, "/sessions"+query); w.Code != http.StatusOK {
					b.Fatal(w.Code)
				}
			}
		})
	}
}

func TestSessionsAreSelectedByKind(t *testing.T) {
	in(t, admin.Options{}, func(t *testing.T, h *house) {
		h.serve(&peer{workflow: "w1"})
		terminal := h.supervisor.Connection(actors.Connection{Kind: "terminal", Workflow: "tty"})
		terminal.Run(func(ctx context.Context) error { <-ctx.Done(); return nil })
		list := answer[admin.Sessions](h, http.StatusOK, http.MethodGet, "/sessions?kind=terminal")
		if workflows(list.Sessions) != "tty" || list.Sessions[0].Kind != "terminal" {
			t.Errorf("%+v", list)
		}
		if begun := h.drains("/drain?kind=terminal"); !begun.Part || begun.Sessions != 1 {
			t.Errorf("%+v", begun)
		}
		if err := terminal.Wait(); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if list := answer[admin.Sessions](h, http.StatusOK, http.MethodGet, "/sessions"); workflows(list.Sessions) != "w1" {
			t.Errorf("%+v", list)
		}
	})
}

func TestSessionsAreSelectedByPrincipal(t *testing.T) {
	in(t, admin.Options{}, func(t *testing.T, h *house) {
		for _, principal := range []string{"ada", "bob"} {
			ticket, err := h.supervisor.AdmitAs(context.Background(), principal)
			if err != nil {
				t.Fatal(err)
			}
			go func() {
				_ = ticket.Run(actors.Connection{Workflow: "of " + principal}, func(ctx context.Context) error { <-ctx.Done(); return nil })
			}()
		}
		synctest.Wait()
		list := answer[admin.Sessions](h, http.StatusOK, http.MethodGet, "/sessions?principal=ada")
		if workflows(list.Sessions) != "of ada" || list.Sessions[0].Principal != "ada" {
			t.Errorf("%+v", list)
		}
		if begun := h.drains("/drain?principal=ada"); !begun.Part || begun.Sessions != 1 {
			t.Errorf("%+v", begun)
		}
		synctest.Wait()
		if list := answer[admin.Sessions](h, http.StatusOK, http.MethodGet, "/sessions"); workflows(list.Sessions) != "of bob" {
			t.Errorf("%+v", list)
		}
		h.refuses(http.StatusBadRequest, "principal is empty", http.MethodPost, "/drain?principal=")
	})
}
