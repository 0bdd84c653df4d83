package main

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
)

// fakeGateway is the admin API of a gateway of which there is nothing else. What a drain does is the
// test's to say.
type fakeGateway struct {
	address string
	server  *httptest.Server

	mu       sync.Mutex
	sessions []adminapi.Session
	state    adminapi.State
	posts    []string // path and form
	queries  []string // of GET /sessions
	streams  map[chan adminapi.Event]bool
	onDrain  func(d *adminapi.Drain) // before it is answered, with mu locked
	noEvents bool
	slowness time.Duration // until an event stream begins
	seen     []string      // paths, in their order
}

func newFakeGateway(t *testing.T, sessions ...adminapi.Session) *fakeGateway {
	t.Helper()
	g := &fakeGateway{
		sessions: sessions,
		state:    adminapi.State{State: actors.Serving},
		streams:  map[chan adminapi.Event]bool{},
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /sessions", g.getSessions)
	mux.HandleFunc("GET /drain", func(w http.ResponseWriter, _ *http.Request) { g.answer(w, &g.state) })
	mux.HandleFunc("GET /events", g.getEvents)
	mux.HandleFunc("POST /drain", g.post)
	mux.HandleFunc("POST /sessions/{id}/drain", g.post)
	mux.HandleFunc("POST /resume", g.post)
	g.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.mu.Lock()
		g.seen = append(g.seen, r.Method+" "+r.URL.Path)
		g.mu.Unlock()
		mux.ServeHTTP(w, r)
	}))
	g.address = g.server.Listener.Addr().String()
	t.Cleanup(g.close)
	return g
}

// close is that of the process: nobody listens after it.
func (g *fakeGateway) close() {
	g.loseStreams()
	g.server.CloseClientConnections()
	g.server.Close()
}

func (g *fakeGateway) answer(w http.ResponseWriter, answer any) {
	g.mu.Lock()
	defer g.mu.Unlock()
	_ = json.NewEncoder(w).Encode(answer)
}

func (g *fakeGateway) getSessions(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	for name := range q {
		if !slices.Contains([]string{"phase", "workflow", "agent", "q", "sort", "offset", "limit"}, name) {
			http.Error(w, "unknown parameter "+name, http.StatusBadRequest)
			return
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.queries = append(g.queries, r.URL.RawQuery)
	answer := adminapi.Sessions{Phases: map[string]int{}, Sessions: []adminapi.Session{}}
	for _, s := range g.sessions {
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

func (g *fakeGateway) post(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("X-Lastcall-Admin") == "" {
		http.Error(w, "X-Lastcall-Admin is missing", http.StatusForbidden)
		return
	}
	_ = r.ParseForm()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.posts = append(g.posts, strings.TrimSpace(r.URL.Path+" "+r.PostForm.Encode()))
	if r.PostForm.Get("reason") == "bad" {
		http.Error(w, "reason is bad", http.StatusBadRequest)
		return
	}
	if r.URL.Path == "/resume" {
		g.state.State = actors.Serving
		_ = json.NewEncoder(w).Encode(g.state)
		return
	}
	part := r.URL.Path != "/drain" || r.PostForm.Has("sessions") || r.PostForm.Has("older-than") || r.PostForm.Has("agent")
	drain := adminapi.Drain{
		ID: fmt.Sprint("d", len(g.state.Drains)), Part: part, Sessions: len(g.sessions), Left: len(g.sessions), Totals: map[actors.Outcome]int{},
		Began: time.Now(), Deadline: time.Now().Add(25 * time.Second),
	}
	if !part {
		g.state.State = actors.Draining
	}
	g.state.Drains = append(g.state.Drains, drain)
	if g.onDrain != nil {
		g.onDrain(&g.state.Drains[len(g.state.Drains)-1])
	}
	w.WriteHeader(http.StatusAccepted)
	_ = json.NewEncoder(w).Encode(drain) // as it was when it began
}

// drained changes the last drain, and tells of it.
func (g *fakeGateway) drained(change func(d *adminapi.Drain)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	d := &g.state.Drains[len(g.state.Drains)-1]
	change(d)
	g.tellDrain(d)
}

// overWith is a drain of which everybody has left.
func overWith(totals map[actors.Outcome]int, killed ...string) func(d *adminapi.Drain) {
	return func(d *adminapi.Drain) {
		d.Totals, d.Left, d.Over, d.Took, d.Killed = totals, 0, true, actors.Seconds(1500*time.Millisecond), killed
	}
}

// tellDrain is called with mu locked.
func (g *fakeGateway) tellDrain(d *adminapi.Drain) {
	name := adminapi.EventDrainProgress
	if d.Over {
		name = adminapi.EventDrainFinished
		if g.state.State == actors.Draining {
			g.state.State = actors.Idle
		}
	}
	g.tell(name, d)
}

// tell is called with mu locked.
func (g *fakeGateway) tell(name string, data any) {
	text, _ := json.Marshal(data)
	for stream := range g.streams {
		stream <- adminapi.Event{Name: name, Data: text}
	}
}

func (g *fakeGateway) getEvents(w http.ResponseWriter, r *http.Request) {
	stream := make(chan adminapi.Event, 100)
	time.Sleep(g.slowness)
	g.mu.Lock()
	if g.noEvents {
		g.mu.Unlock()
		http.Error(w, "no events here", http.StatusServiceUnavailable)
		return
	}
	g.streams[stream] = true
	g.mu.Unlock()
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
			g.mu.Lock()
			delete(g.streams, stream)
			g.mu.Unlock()
			return
		}
	}
}

func (g *fakeGateway) loseStreams() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for stream := range g.streams {
		delete(g.streams, stream)
		close(stream)
	}
}

func (g *fakeGateway) posted() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return strings.Join(g.posts, "\n")
}

// aSession is the nth of a gateway.
func aSession(n int) adminapi.Session {
	now := time.Now()
	return adminapi.Session{
		ID: fmt.Sprintf("id%04d", n), Workflow: fmt.Sprintf("w%d", n), Phase: "serving",
		Started: now.Add(-time.Hour).Add(time.Duration(n) * time.Second), Since: now.Add(-90 * time.Second),
		Remote: "127.0.0.1:5555", Transport: "websocket", Agent: "127.0.0.1:50052",
		Received: adminapi.Flow{Messages: uint64(10000 - n)}, Sent: adminapi.Flow{Messages: 40}, LastMessage: now.Add(-3 * time.Second),
	}
}

func adminSessions(n int) []adminapi.Session {
	sessions := make([]adminapi.Session, n)
	for i := range sessions {
		sessions[i] = aSession(i)
	}
	return sessions
}

// holds waits for all of these texts.
func holds(texts ...string) func(string) bool {
	return func(s string) bool {
		return !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(s, text) })
	}
}

func allDrained(n int) map[actors.Outcome]int { return map[actors.Outcome]int{actors.Drained: n} }

const evilText = "\x1b]0;evil\x07\u009b2J\u202e\n😀" // a title, a C1 control, a change of direction

var anID = regexp.MustCompile(`id[0-9]{4}`)
