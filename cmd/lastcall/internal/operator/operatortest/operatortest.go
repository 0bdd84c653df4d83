// Package operatortest has a gateway for tests of what asks one.
package operatortest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lastcall-go/lastcall/actors"
	adminapi "github.com/lastcall-go/lastcall/transport/admin"
	"github.com/lastcall-go/lastcall/transport/history"
)

// Gateway is the admin API of a gateway of which there is nothing else. What a drain does is the
// test's to say.
type Gateway struct {
	Address string
	server  *httptest.Server

	Mu       sync.Mutex
	Sessions []adminapi.Session
	State    adminapi.State
	Posts    []string // path and form
	Queries  []string // of GET /sessions
	Streams  map[chan adminapi.Event]bool
	OnDrain  func(d *adminapi.Drain) // before it is answered, with mu locked
	NoEvents bool
	Past     *history.View // nil: it keeps no history
	Slowness time.Duration // until an event stream begins
	Seen     []string      // paths, in their order
}

func New(t *testing.T, sessions ...adminapi.Session) *Gateway {
	t.Helper()
	g := &Gateway{
		Sessions: sessions,
		State:    adminapi.State{State: actors.Serving},
		Streams:  map[chan adminapi.Event]bool{},
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /sessions", g.getSessions)
	mux.HandleFunc("GET /sessions/{id}", g.getSession)
	mux.HandleFunc("GET /history", g.getHistory)
	mux.HandleFunc("GET /drain", func(w http.ResponseWriter, _ *http.Request) { g.answer(w, &g.State) })
	mux.HandleFunc("GET /events", g.getEvents)
	mux.HandleFunc("POST /drain", g.post)
	mux.HandleFunc("POST /sessions/{id}/drain", g.post)
	mux.HandleFunc("POST /resume", g.post)
	g.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.Mu.Lock()
		g.Seen = append(g.Seen, r.Method+" "+r.URL.Path)
		g.Mu.Unlock()
		mux.ServeHTTP(w, r)
	}))
	g.Address = g.server.Listener.Addr().String()
	t.Cleanup(g.Close)
	return g
}

// Close ends the gateway as the end of its process does: the port is closed after it.
func (g *Gateway) Close() {
	g.LoseStreams()
	g.server.CloseClientConnections()
	g.server.Close()
}

func (g *Gateway) answer(w http.ResponseWriter, answer any) {
	g.Mu.Lock()
	defer g.Mu.Unlock()
	_ = json.NewEncoder(w).Encode(answer)
}

func (g *Gateway) getSessions(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	for name := range q {
		if !slices.Contains([]string{"phase", "workflow", "agent", "q", "sort", "offset", "limit"}, name) {
			http.Error(w, "unknown parameter "+name, http.StatusBadRequest)
			return
		}
	}
	g.Mu.Lock()
	defer g.Mu.Unlock()
	g.Queries = append(g.Queries, r.URL.RawQuery)
	answer := adminapi.Sessions{Phases: map[string]int{}, Sessions: []adminapi.Session{}}
	for _, s := range g.Sessions {
		answer.Phases[s.Phase]++
		if fakeMatches(&s, q) {
			answer.Sessions = append(answer.Sessions, s)
		}
	}
	fakeSort(answer.Sessions, q.Get("sort"))
	answer.Total = len(answer.Sessions)
	offset, _ := strconv.Atoi(q.Get("offset"))
	answer.Sessions = answer.Sessions[min(offset, answer.Total):]
	if limit, err := strconv.Atoi(q.Get("limit")); err == nil {
		answer.Sessions = answer.Sessions[:min(limit, len(answer.Sessions))]
	}
	_ = json.NewEncoder(w).Encode(answer)
}

func fakeMatches(s *adminapi.Session, q url.Values) bool {
	same := func(name, value string) bool { return q.Get(name) == "" || q.Get(name) == value }
	return same("phase", s.Phase) && same("workflow", s.Workflow) && same("agent", s.Agent) &&
		strings.Contains(strings.Join([]string{s.ID, s.Workflow, s.Remote, s.Agent}, "\n"), q.Get("q"))
}

func fakeSort(sessions []adminapi.Session, by string) {
	key, descending := strings.CutPrefix(by, "-")
	slices.SortStableFunc(sessions, func(a, b adminapi.Session) int {
		order := 0
		switch key {
		case "workflow":
			order = cmp.Compare(a.Workflow, b.Workflow)
		case "phase":
			order = cmp.Compare(a.Phase, b.Phase)
		case "messages":
			order = cmp.Compare(a.Received.Messages+a.Sent.Messages, b.Received.Messages+b.Sent.Messages)
		default:
			order = a.Started.Compare(b.Started)
		}
		if descending {
			return -order
		}
		return order
	})
}

func (g *Gateway) post(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("X-Lastcall-Admin") == "" {
		http.Error(w, "X-Lastcall-Admin is missing", http.StatusForbidden)
		return
	}
	_ = r.ParseForm()
	g.Mu.Lock()
	defer g.Mu.Unlock()
	g.Posts = append(g.Posts, strings.TrimSpace(r.URL.Path+" "+r.PostForm.Encode()))
	if r.PostForm.Get("reason") == "bad" {
		http.Error(w, "reason is bad", http.StatusBadRequest)
		return
	}
	if r.URL.Path == "/resume" {
		g.State.State = actors.Serving
		_ = json.NewEncoder(w).Encode(g.State)
		return
	}
	part := r.URL.Path != "/drain" || r.PostForm.Has("sessions") || r.PostForm.Has("older-than") || r.PostForm.Has("agent")
	drain := adminapi.Drain{
		ID: fmt.Sprint("d", len(g.State.Drains)), Part: part, Sessions: len(g.Sessions), Left: len(g.Sessions), Totals: map[actors.Outcome]int{},
		Began: time.Now(), Deadline: time.Now().Add(25 * time.Second),
	}
	if !part {
		g.State.State = actors.Draining
	}
	g.State.Drains = append(g.State.Drains, drain)
	if g.OnDrain != nil {
		g.OnDrain(&g.State.Drains[len(g.State.Drains)-1])
	}
	w.WriteHeader(http.StatusAccepted)
	_ = json.NewEncoder(w).Encode(drain) // as it was when it began
}

// Drained changes the last drain, and sends the event.
func (g *Gateway) Drained(change func(d *adminapi.Drain)) {
	g.Mu.Lock()
	defer g.Mu.Unlock()
	d := &g.State.Drains[len(g.State.Drains)-1]
	change(d)
	g.TellDrain(d)
}

// OverWith returns the change of a drain that is over, with these totals.
func OverWith(totals map[actors.Outcome]int, killed ...string) func(d *adminapi.Drain) {
	return func(d *adminapi.Drain) {
		d.Totals, d.Left, d.Over, d.Took, d.Killed = totals, 0, true, actors.Seconds(1500*time.Millisecond), killed
	}
}

// TellDrain is called with mu locked.
func (g *Gateway) TellDrain(d *adminapi.Drain) {
	name := adminapi.EventDrainProgress
	if d.Over {
		name = adminapi.EventDrainFinished
		if g.State.State == actors.Draining {
			g.State.State = actors.Idle
		}
	}
	g.Tell(name, d)
}

// Tell is called with mu locked.
func (g *Gateway) Tell(name string, data any) {
	text, _ := json.Marshal(data)
	for stream := range g.Streams {
		stream <- adminapi.Event{Name: name, Data: text}
	}
}

func (g *Gateway) getEvents(w http.ResponseWriter, r *http.Request) {
	stream := make(chan adminapi.Event, 100)
	time.Sleep(g.Slowness)
	g.Mu.Lock()
	if g.NoEvents {
		g.Mu.Unlock()
		http.Error(w, "no events here", http.StatusServiceUnavailable)
		return
	}
	g.Streams[stream] = true
	g.Mu.Unlock()
	w.Header().Set("Content-Type", "text/event-stream")
	fmt.Fprintf(w, "event: state\ndata: {\"state\":\"serving\"}\n\n")
	for {
		_ = http.NewResponseController(w).Flush()
		select {
		case e, goesOn := <-stream:
			if !goesOn {
				return
			}
			fmt.Fprintf(w, "event: %s\ndata: %s\n\n", e.Name, e.Data)
		case <-r.Context().Done():
			g.Mu.Lock()
			delete(g.Streams, stream)
			g.Mu.Unlock()
			return
		}
	}
}

func (g *Gateway) LoseStreams() {
	g.Mu.Lock()
	defer g.Mu.Unlock()
	for stream := range g.Streams {
		delete(g.Streams, stream)
		close(stream)
	}
}

func (g *Gateway) Posted() string {
	g.Mu.Lock()
	defer g.Mu.Unlock()
	return strings.Join(g.Posts, "\n")
}

// Session is the nth of a gateway.
func Session(n int) adminapi.Session {
	now := time.Now()
	return adminapi.Session{
		ID: fmt.Sprintf("id%04d", n), Workflow: fmt.Sprintf("w%d", n), Phase: "serving",
		Started: now.Add(-time.Hour).Add(time.Duration(n) * time.Second), Since: now.Add(-90 * time.Second),
		Remote: "127.0.0.1:5555", Transport: "websocket", Agent: "127.0.0.1:50052",
		Received: adminapi.Flow{Messages: uint64(10000 - n)}, Sent: adminapi.Flow{Messages: 40}, LastMessage: now.Add(-3 * time.Second),
	}
}

func Sessions(n int) []adminapi.Session {
	sessions := make([]adminapi.Session, n)
	for i := range sessions {
		sessions[i] = Session(i)
	}
	return sessions
}

// Holds waits for all of these texts.
func Holds(texts ...string) func(string) bool {
	return func(s string) bool {
		return !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(s, text) })
	}
}

func AllDrained(n int) map[actors.Outcome]int { return map[actors.Outcome]int{actors.Drained: n} }

const EvilText = "\x1b]0;evil\x07\u009b2J\u202e\n😀" // a title, a C1 control, a change of direction

var AnID = regexp.MustCompile(`id[0-9]{4}`)

func (g *Gateway) getSession(w http.ResponseWriter, r *http.Request) {
	g.Mu.Lock()
	defer g.Mu.Unlock()
	for i := range g.Sessions {
		if g.Sessions[i].ID == r.PathValue("id") {
			_ = json.NewEncoder(w).Encode(&g.Sessions[i])
			return
		}
	}
	http.Error(w, "no such session", http.StatusNotFound)
}

func (g *Gateway) getHistory(w http.ResponseWriter, r *http.Request) {
	if g.Past == nil {
		http.NotFound(w, r)
		return
	}
	g.answer(w, g.Past)
}
