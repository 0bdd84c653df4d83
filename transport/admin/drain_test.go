package admin_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/transport/admin"
	"github.com/lastcall-go/lastcall/transport/history"
)

func TestADrainOfEverythingRefusesUntilItIsResumed(t *testing.T) {
	in(t, admin.Options{}, func(t *testing.T, h *house) {
		p := h.serve(&peer{workflow: "w1", stops: 2 * time.Second})
		h.wantReady(true)
		begun := h.drains("/drain")
		if begun.ID == "" || begun.Part || begun.Sessions != 1 || begun.Left != 1 || begun.Over || begun.Took != 0 || begun.Reason != "server shutdown" {
			t.Errorf("begun: %+v", begun)
		}
		h.wantReady(false)
		time.Sleep(time.Second)
		if state := h.state(); state.State != actors.Draining || state.Final || len(state.Drains) != 1 || state.Drains[0].ID != begun.ID || state.Drains[0].Left != 1 {
			t.Errorf("meanwhile: %+v", state)
		}
		time.Sleep(time.Hour)
		state := h.state()
		if len(state.Drains) != 1 {
			t.Fatalf("afterwards: %+v", state)
		}
		over := state.Drains[0]
		if state.State != actors.Idle || !over.Over || over.Left != 0 || time.Duration(over.Took) != 2*time.Second || !maps.Equal(over.Totals, map[actors.Outcome]int{actors.Drained: 1}) || over.Killed != nil {
			t.Errorf("afterwards: %+v", state)
		}
		h.wantReady(false)
		p.wantTold(t, "0s agent got stopWorkflow WORKHORSE_SERVER_SHUTDOWN", "2s client told 1001 server shutdown")

		if state := answer[admin.State](h, http.StatusOK, http.MethodPost, "/resume"); state.State != actors.Serving || len(state.Drains) != 1 {
			t.Errorf("resumed: %+v", state)
		}
		h.wantReady(true)
		h.serve(&peer{workflow: "w2"}).wantTold(t)
	})
}

func TestResumeWhileItDrainsLetsTheRestGoOn(t *testing.T) {
	in(t, admin.Options{}, func(t *testing.T, h *house) {
		h.serve(&peer{workflow: "w1"})
		time.Sleep(time.Second)
		second := h.serve(&peer{workflow: "w2"})
		h.drains("/drain?batch-size=1&batch-interval=1m&deadline=1h")
		synctest.Wait()
		state := answer[admin.State](h, http.StatusOK, http.MethodPost, "/resume")
		if state.State != actors.Serving {
			t.Errorf("resumed: %+v", state)
		}
		time.Sleep(time.Hour)
		second.wantTold(t)
		h.wantReady(true)
	})
}

func TestADrainTakesWhatItsRequestSays(t *testing.T) {
	const all = "deadline=1m&grace=5s&reason=new+version&batch-size=1&batch-interval=3s"
	for name, edit := range map[string]func(*http.Request){
		"in the query": func(r *http.Request) { r.URL.RawQuery = all },
		"as a form":    form(all),
		"in both": func(r *http.Request) {
			query, rest, _ := strings.Cut(all, "&")
			r.URL.RawQuery = query
			body("application/x-www-form-urlencoded; charset=utf-8", rest)(r)
		},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, admin.Options{}, func(t *testing.T, h *house) {
				first := h.serve(&peer{workflow: "w1"})
				second := h.serve(&peer{workflow: "w2"})
				d := h.drains("/drain", edit)
				if within := d.Deadline.Sub(d.Began); within != time.Minute || d.Reason != "new version" {
					t.Errorf("%+v", d)
				}
				time.Sleep(time.Minute)
				first.wantTold(t, "5s agent got stopWorkflow WORKHORSE_SERVER_SHUTDOWN", "5s client told 1001 new version")
				second.wantTold(t, "5s agent got stopWorkflow WORKHORSE_SERVER_SHUTDOWN", "5s client told 1001 new version") // asked after 3 s, to end within the same grace
			})
		})
	}
}

func TestADrainThatSaysNothingHasTheDefaults(t *testing.T) {
	defaults := admin.Defaults{Timeout: 40 * time.Second, Delay: 2 * time.Second, Grace: 3 * time.Second, BatchSize: 1, BatchInterval: 4 * time.Second}
	in(t, admin.Options{Drain: defaults}, func(t *testing.T, h *house) {
		first := h.serve(&peer{workflow: "w1"})
		time.Sleep(time.Second)
		second := h.serve(&peer{workflow: "w2"})
		d := h.drains("/drain")
		if within := d.Deadline.Sub(d.Began); within != 40*time.Second {
			t.Errorf("the deadline is in %v", within)
		}
		if err := h.supervisor.Admits(); err != nil {
			t.Errorf("nobody is admitted during the delay: %v", err)
		}
		time.Sleep(time.Minute)
		first.wantTold(t, "6s agent got stopWorkflow WORKHORSE_SERVER_SHUTDOWN", "6s client told 1001 server shutdown")
		second.wantTold(t, "6s agent got stopWorkflow WORKHORSE_SERVER_SHUTDOWN", "6s client told 1001 server shutdown")
	})
}

func TestTheDeadlineFollowsALongerGrace(t *testing.T) {
	defaults := admin.Defaults{Timeout: 20 * time.Second, Grace: 5 * time.Second}
	for query, want := range map[string]time.Duration{
		"":                       20 * time.Second,
		"?grace=65s":             80 * time.Second,
		"?grace=1s":              20 * time.Second,
		"?grace=65s&deadline=1m": 0, // refused
		"?grace=65s&deadline=2m": 2 * time.Minute,
		"?deadline=2s":           2 * time.Second, // the default grace is cut
	} {
		in(t, admin.Options{Drain: defaults}, func(t *testing.T, h *house) {
			if want == 0 {
				h.refuses(http.StatusBadRequest, "grace 1m5s does not fit into deadline 1m0s", http.MethodPost, "/drain"+query)
				return
			}
			if d := h.drains("/drain" + query); d.Deadline.Sub(d.Began) != want {
				t.Errorf("%s: the deadline is in %v, want %v", query, d.Deadline.Sub(d.Began), want)
			}
		})
	}
}

func TestASecondDrainBringsTheFirstForward(t *testing.T) {
	in(t, admin.Options{}, func(t *testing.T, h *house) {
		h.serve(&peer{workflow: "w1", stops: time.Hour, answers: time.Hour})
		first := h.drains("/drain?deadline=1h")
		if second := h.drains("/drain?deadline=3s"); second.ID != first.ID || second.Deadline.Sub(first.Began) != 3*time.Second {
			t.Errorf("%+v", second)
		}
		time.Sleep(4 * time.Second)
		if over := h.state().Drains[0]; !over.Over || over.Totals[actors.Drained] == 1 {
			t.Errorf("%+v", over)
		}
	})
}

// Shedding: the selected sessions are asked to stop, and no other.
func TestSheddingLeavesTheOthersUntouched(t *testing.T) {
	for query, want := range map[string]string{
		"sessions=2":                           "a b",
		"sessions=9":                           "a b c d e",
		"older-than=25m":                       "a b c",
		"older-than=3h":                        "",
		"agent=one:1":                          "a c e",
		"agent=nobody:1":                       "",
		"agent=one:1&sessions=1":               "a",
		"agent=one:1&older-than=25m":           "a c",
		"agent=two:1&older-than=1m&sessions=1": "b",
	} {
		t.Run(query, func(t *testing.T) {
			in(t, admin.Options{}, func(t *testing.T, h *house) {
				var all []*peer
				for i, name := range strings.Fields("a b c d e") {
					all = append(all, h.serve(&peer{workflow: name, agent: []string{"one:1", "two:1"}[i%2]}))
					time.Sleep(10 * time.Minute)
				}
				n := len(strings.Fields(want))
				d := h.drains("/drain", form(query+"&reason=rebalance"))
				if !d.Part || d.Sessions != n || d.Over != (n == 0) {
					t.Errorf("%+v", d)
				}
				h.wantReady(true)
				synctest.Wait()
				for i, p := range all {
					if at := time.Duration(5-i) * 10 * time.Minute; strings.Contains(want, p.workflow) {
						p.wantTold(t, fmt.Sprint(at)+" agent got stopWorkflow WORKHORSE_SERVER_SHUTDOWN", fmt.Sprint(at)+" client told 1001 rebalance")
						h.refuses(http.StatusNotFound, "", http.MethodGet, "/sessions/"+p.ID)
						continue
					}
					p.wantTold(t)
					if s := answer[admin.Session](h, http.StatusOK, http.MethodGet, "/sessions/"+p.ID); s.Phase != "serving" || !s.Told.IsZero() {
						t.Errorf("%+v", s)
					}
				}
				state := h.state()
				if state.State != actors.Serving || len(state.Drains) != 1 || !state.Drains[0].Over || state.Drains[0].Totals[actors.Drained] != n {
					t.Errorf("%+v", state)
				}
				h.wantReady(true)
			})
		})
	}
}

func TestOneSessionIsDrainedAlone(t *testing.T) {
	in(t, admin.Options{}, func(t *testing.T, h *house) {
		one, other := h.serve(&peer{workflow: "w1"}), h.serve(&peer{workflow: "w2"})
		if d := h.drains("/sessions/"+one.ID+"/drain?reason=you&grace=2s", form("deadline=30s")); !d.Part || d.Sessions != 1 || d.Deadline.Sub(d.Began) != 30*time.Second {
			t.Errorf("%+v", d)
		}
		time.Sleep(time.Minute)
		one.wantTold(t, "2s agent got stopWorkflow WORKHORSE_SERVER_SHUTDOWN", "2s client told 1001 you")
		other.wantTold(t)
		h.wantReady(true)
		h.refuses(http.StatusNotFound, "no such session", http.MethodPost, "/sessions/"+one.ID+"/drain")
		h.refuses(http.StatusNotFound, "no such session", http.MethodPost, "/sessions/%2e%2e/drain")
		if drains := h.state().Drains; len(drains) != 1 {
			t.Errorf("remembered: %+v", drains)
		}
	})
}

func TestASlipOfThePenDrainsNobody(t *testing.T) {
	in(t, admin.Options{}, func(t *testing.T, h *house) {
		p := h.serve(&peer{workflow: "w1"})
		refused := func(status int, text, target string, edits ...func(*http.Request)) {
			t.Helper()
			h.refuses(status, text, http.MethodPost, target, edits...)
		}
		for query, text := range map[string]string{
			"older_than=1h":                      "unknown parameter",
			"session=1":                          "unknown parameter",
			"phase=serving":                      "unknown parameter",
			"sessions=":                          "sessions is empty",
			"agent=":                             "agent is empty",
			"older-than":                         "older-than is empty",
			"deadline=":                          "deadline is empty",
			"sessions=0":                         "at least 1",
			"sessions=-1":                        "at least 1",
			"sessions=1e3":                       "at least 1",
			"sessions=1&sessions=2":              "more than once",
			"older-than=0s":                      "older-than must be a duration",
			"older-than=-1h":                     "older-than must be a duration",
			"older-than=3600":                    "older-than must be a duration",
			"older-than=1001h":                   "older-than must be a duration",
			"deadline=0s":                        "deadline must be a duration",
			"deadline=-1s":                       "deadline must be a duration",
			"deadline=1001h":                     "deadline must be a duration",
			"grace=-1s":                          "grace must be a duration",
			"grace=1001h":                        "grace must be a duration",
			"batch-size=-1":                      "batch-size must be",
			"batch-size=1.5":                     "batch-size must be",
			"batch-interval=-1s":                 "batch-interval must be",
			"reason=":                            "reason is empty",
			"reason=a%0Ab":                       "reason must be printable",
			"reason=%ff":                         "reason must be printable",
			"reason=%1b[2J":                      "reason must be printable",
			"deadline=1s;older-than=1h":          "name=value",
			"deadline=%zz":                       "name=value",
			"reason=" + strings.Repeat("x", 124): "123 bytes",
		} {
			refused(http.StatusBadRequest, text, "/drain?"+query)
			refused(http.StatusBadRequest, text, "/drain", form(query))
		}
		refused(http.StatusBadRequest, "more than once", "/drain?grace=1s", form("grace=1s"))
		refused(http.StatusBadRequest, "unknown parameter", "/sessions/"+p.ID+"/drain?sessions=1")
		refused(http.StatusBadRequest, "unknown parameter", "/resume?sessions=1")
		refused(http.StatusUnsupportedMediaType, "form", "/drain", body("application/json", `{"sessions":1}`))
		refused(http.StatusUnsupportedMediaType, "form", "/drain", body("", "sessions=1"))
		refused(http.StatusRequestEntityTooLarge, "4096 bytes", "/drain", form("sessions=1&reason="+strings.Repeat("x", 4096)))
		refused(http.StatusRequestEntityTooLarge, "4096 bytes", "/resume", form(strings.Repeat("x", 4097)))
		refused(http.StatusBadRequest, "unknown parameter", "/drain", form(strings.Repeat("x", 4096)))
		refused(http.StatusBadRequest, "incomplete", "/drain", func(r *http.Request) { r.Body = cutBody{} })
		if state := h.state(); state.State != actors.Serving || len(state.Drains) != 0 {
			t.Errorf("%+v", state)
		}
		p.wantTold(t)
	})
}

// cutBody is one whose client goes away.
type cutBody struct{}

func (cutBody) Read([]byte) (int, error) { return 0, errors.New("connection cut") }
func (cutBody) Close() error             { return nil }

func TestADrainOfAPartIsRefusedWhileEverythingDrains(t *testing.T) {
	in(t, admin.Options{}, func(t *testing.T, h *house) {
		p := h.serve(&peer{workflow: "w1", stops: time.Hour})
		h.drains("/drain?deadline=1h")
		h.refuses(http.StatusConflict, "everything drains already", http.MethodPost, "/drain?sessions=1")
		h.refuses(http.StatusConflict, "everything drains already", http.MethodPost, "/sessions/"+p.ID+"/drain")
	})
}

// The drain that a process ends with can't be changed.
func TestAnEndingProcessIsLeftAlone(t *testing.T) {
	in(t, admin.Options{}, func(t *testing.T, h *house) {
		p := h.serve(&peer{workflow: "w1", stops: time.Hour})
		began, err := h.supervisor.Begin(context.Background(), actors.Drain{Deadline: time.Now().Add(time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		h.refuses(http.StatusConflict, "the process is ending", http.MethodPost, "/drain?deadline=1s")
		h.refuses(http.StatusConflict, "the process is ending", http.MethodPost, "/resume")
		h.refuses(http.StatusConflict, "everything drains already", http.MethodPost, "/drain?sessions=1")
		h.refuses(http.StatusConflict, "everything drains already", http.MethodPost, "/sessions/"+p.ID+"/drain")
		state := h.state()
		if !state.Final || state.State != actors.Draining || len(state.Drains) != 1 || !state.Drains[0].Deadline.Equal(began.Deadline.Truncate(time.Millisecond)) {
			t.Errorf("%+v", state)
		}
	})
}

func TestAnEstimateIsThatOfTheDrainWithItsParameters(t *testing.T) {
	in(t, admin.Options{Drain: admin.Defaults{Timeout: 30 * time.Second, Delay: 2 * time.Second}}, func(t *testing.T, h *house) {
		h.serve(&peer{workflow: "w1", stops: 2 * time.Second})
		h.drains("/drain?sessions=1")
		time.Sleep(time.Minute)
		kept := h.serve(&peer{workflow: "w2", stops: 2 * time.Second})
		h.serve(&peer{workflow: "w3", stops: 2 * time.Second})
		estimate := func(query string) admin.Estimate {
			return answer[admin.Estimate](h, http.StatusOK, http.MethodGet, "/drain/estimate"+query)
		}
		all := estimate("")
		if all.Sessions != 2 || all.Batches != 1 || all.Stops != 1 || !all.InTime || all.Cut != 0 ||
			time.Duration(all.Closes) != 2*time.Second || time.Duration(all.Deadline) != 30*time.Second ||
			time.Duration(all.StopP99-2*actors.Seconds(time.Second)).Abs() > 100*time.Millisecond ||
			time.Duration(all.TookP99-4*actors.Seconds(time.Second)).Abs() > 100*time.Millisecond {
			t.Errorf("%+v", all)
		}
		if e := estimate("?batch-size=1&batch-interval=3s&deadline=25s"); e.Batches != 2 || time.Duration(e.LastAsk) != 5*time.Second || time.Duration(e.Deadline) != 25*time.Second {
			t.Errorf("in batches: %+v", e)
		}
		if e := estimate("?sessions=1"); e.Sessions != 1 || e.Closes != 0 {
			t.Errorf("a part: %+v", e)
		}
		if e := estimate("?id=" + kept.ID); e.Sessions != 1 {
			t.Errorf("one: %+v", e)
		}
		kept.wantTold(t)
		h.drains("/drain")
		h.refuses(http.StatusConflict, "everything drains already", http.MethodGet, "/drain/estimate")
		h.refuses(http.StatusBadRequest, "unknown parameter", http.MethodGet, "/drain/estimate?size=1")
	})
}

func TestTheHistoryAndTheReportsOfDrainsAreServed(t *testing.T) {
	past := history.New(nil)
	in(t, admin.Options{History: past, Instance: &admin.Instance{Name: "a", Flags: []string{"--lock"}}}, func(t *testing.T, h *house) {
		past.Observe(actors.DrainFinished{Report: &actors.Report{ID: "d1", Reason: "new version"}})
		if view := answer[history.View](h, http.StatusOK, http.MethodGet, "/history"); len(view.Drains) != 1 || view.Drains[0].ID != "d1" || view.Samples == nil {
			t.Errorf("%+v", view)
		}
		if s := answer[history.Summary](h, http.StatusOK, http.MethodGet, "/drains/d1"); s.Reason != "new version" {
			t.Errorf("%+v", s)
		}
		h.refuses(http.StatusNotFound, "no such drain", http.MethodGet, "/drains/d2")
		h.refuses(http.StatusBadRequest, "unknown parameter", http.MethodGet, "/history?since=1h")
		if i := h.state().Instance; i == nil || i.Name != "a" || len(i.Flags) != 1 {
			t.Errorf("%+v", i)
		}
	})
	in(t, admin.Options{}, func(t *testing.T, h *house) {
		h.refuses(http.StatusNotFound, "", http.MethodGet, "/history")
		if h.state().Instance != nil {
			t.Error("an instance")
		}
	})
}
