package page_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lastcall-go/lastcall/transport/admin"
	"github.com/lastcall-go/lastcall/transport/admin/page"
	"github.com/lastcall-go/lastcall/transport/history"
	"github.com/lastcall-go/lastcall/transport/porttest"
)

// backend is a gateway as the page sees it: it answers the admin API out of memory, and does with its
// sessions what the test says.
type backend struct {
	t       testing.TB
	address string
	stop    func()

	mu        sync.Mutex
	state     string
	sessions  []*session // oldest first
	drains    []*drain
	listeners map[chan event]struct{}
	posts     []string // what was asked for, with its fields
	reads     int      // of pages of the table
	store     any      // the lease store; nil: none
	instance  any      // nil: not said
	samples   []history.Sample
	past      []history.Over
	reports   map[string]*history.Summary
	estimate  admin.Estimate
}

type flow struct {
	Messages int `json:"messages"`
	Bytes    int `json:"bytes"`
}

type session struct {
	ID           string     `json:"id"`
	Kind         string     `json:"kind"`
	Workflow     string     `json:"workflow"`
	Phase        string     `json:"phase"`
	Since        time.Time  `json:"since"`
	Started      time.Time  `json:"started"`
	Told         *time.Time `json:"told,omitempty"`
	WaitsFor     string     `json:"waits_for"`
	Remote       string     `json:"remote"`
	Transport    string     `json:"transport"`
	Agent        string     `json:"agent"`
	Received     flow       `json:"received"`
	Sent         flow       `json:"sent"`
	ToolsRunning int        `json:"tools_running"`
	LastMessage  *time.Time `json:"last_message,omitempty"`
}

type drain struct {
	ID       string         `json:"id"`
	Part     bool           `json:"part"`
	Reason   string         `json:"reason"`
	Sessions int            `json:"sessions"`
	Left     int            `json:"left"`
	Untold   int            `json:"untold"`
	Totals   map[string]int `json:"totals"`
	Began    time.Time      `json:"began"`
	Deadline time.Time      `json:"deadline"`
	Over     bool           `json:"over"`
	Took     float64        `json:"took_seconds,omitempty"`
	Killed   []string       `json:"killed,omitempty"`
	members  map[string]bool
}

type event struct {
	name string
	data []byte
}

// newBackend serves an idle gateway until the test ends.
func newBackend(t testing.TB) *backend {
	t.Helper()
	b := &backend{t: t}
	b.start(porttest.Address(t))
	t.Cleanup(func() { b.stop() })
	return b
}

// start is a new process, which knows nothing of the one before.
func (b *backend) start(address string) {
	b.t.Helper()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		b.t.Fatal(err)
	}
	b.mu.Lock()
	b.address, b.state = listener.Addr().String(), "serving"
	b.sessions, b.drains, b.listeners = nil, nil, make(map[chan event]struct{})
	b.mu.Unlock()
	server := &http.Server{Handler: b.routes(page.Handler())}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(listener)
	}()
	b.stop = func() {
		_ = server.Close()
		<-served
	}
}

func (b *backend) routes(files http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", files)
	mux.HandleFunc("GET /sessions", b.getSessions)
	mux.HandleFunc("GET /drain", b.getDrain)
	mux.HandleFunc("GET /events", b.getEvents)
	mux.HandleFunc("GET /history", func(w http.ResponseWriter, _ *http.Request) { b.locked(func() { reply(w, 200, b.historyLocked()) }) })
	mux.HandleFunc("GET /drains/{id}", func(w http.ResponseWriter, r *http.Request) {
		b.locked(func() { reply(w, 200, b.reports[r.PathValue("id")]) })
	})
	mux.HandleFunc("GET /drain/estimate", func(w http.ResponseWriter, _ *http.Request) { b.locked(func() { reply(w, 200, b.estimate) }) })
	mux.HandleFunc("POST /drain", b.posted(b.postDrain))
	mux.HandleFunc("POST /sessions/{id}/drain", b.posted(b.postSessionDrain))
	mux.HandleFunc("POST /resume", b.posted(b.postResume))
	return mux
}

func reply(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(value)
}

// locked runs f with the state for itself.
func (b *backend) locked(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
}

// --- reading

func (b *backend) getSessions(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	query := r.URL.Query()
	if query.Has("offset") {
		b.reads++
	}
	for name := range query {
		if !slices.Contains([]string{"phase", "workflow", "agent", "told", "q", "sort", "offset", "limit"}, name) {
			http.Error(w, "unknown parameter "+name, http.StatusBadRequest)
			return
		}
	}
	counts := map[string]int{"opening": 0, "serving": 0, "stopping": 0, "closing": 0}
	matching := []*session{}
	for _, s := range b.sessions {
		counts[s.Phase]++
		if matches(s, query.Get("phase"), query.Get("q")) && (!query.Has("told") || s.Told != nil) {
			matching = append(matching, s)
		}
	}
	sortSessions(matching, query.Get("sort"))
	total := len(matching)
	offset, _ := strconv.Atoi(query.Get("offset"))
	matching = matching[min(offset, total):]
	if limit, err := strconv.Atoi(query.Get("limit")); err == nil {
		matching = matching[:min(limit, len(matching))]
	}
	reply(w, 200, map[string]any{"total": total, "phases": counts, "sessions": matching})
}

func matches(s *session, phase, q string) bool {
	text := strings.Join([]string{s.ID, s.Workflow, s.Remote, s.Agent}, "\n")
	return (phase == "" || s.Phase == phase) && strings.Contains(text, q)
}

func sortSessions(sessions []*session, by string) {
	name, turned := strings.CutPrefix(by, "-")
	compare := map[string]func(a, b *session) int{
		"phase":    func(a, b *session) int { return cmp.Compare(a.Phase, b.Phase) },
		"workflow": func(a, b *session) int { return cmp.Compare(a.Workflow, b.Workflow) },
		"agent":    func(a, b *session) int { return cmp.Compare(a.Agent, b.Agent) },
		"messages": func(a, b *session) int {
			return cmp.Compare(a.Received.Messages+a.Sent.Messages, b.Received.Messages+b.Sent.Messages)
		},
		"bytes": func(a, b *session) int {
			return cmp.Compare(a.Received.Bytes+a.Sent.Bytes, b.Received.Bytes+b.Sent.Bytes)
		},
		"last": func(a, b *session) int { return a.LastMessage.Compare(*b.LastMessage) },
	}[name]
	if compare != nil {
		slices.SortStableFunc(sessions, compare)
	}
	if turned {
		slices.Reverse(sessions)
	}
}

func (b *backend) getDrain(w http.ResponseWriter, _ *http.Request) {
	b.locked(func() { reply(w, 200, b.stateLocked()) })
}

// stateLocked is called, and what it gives encoded, with the state locked.
func (b *backend) stateLocked() map[string]any {
	state := map[string]any{"state": b.state, "final": false, "drains": append([]*drain{}, b.drains...)}
	if b.store != nil {
		state["lease_store"] = b.store
	}
	if b.instance != nil {
		state["instance"] = b.instance
	}
	return state
}

func (b *backend) historyLocked() history.View {
	return history.View{Samples: append([]history.Sample{}, b.samples...), Drains: append([]history.Over{}, b.past...)}
}

func (b *backend) getEvents(w http.ResponseWriter, r *http.Request) {
	events := make(chan event, 50_000)
	b.locked(func() {
		b.listeners[events] = struct{}{}
		events <- newEvent("state", b.stateLocked())
	})
	defer b.locked(func() { delete(b.listeners, events) })
	w.Header().Set("Content-Type", "text/event-stream")
	for {
		select {
		case e := <-events:
			fmt.Fprintf(w, "event: %s\ndata: %s\n\n", e.name, e.data)
			if len(events) == 0 {
				_ = http.NewResponseController(w).Flush()
			}
		case <-r.Context().Done():
			return
		}
	}
}

func newEvent(name string, data any) event {
	text, _ := json.Marshal(data)
	return event{name, text}
}

// tell is called with the state locked.
func (b *backend) tell(name string, data any) {
	for events := range b.listeners {
		events <- newEvent(name, data)
	}
}

// --- changing

// posted lets only requests with the header through, and keeps what they want.
func (b *backend) posted(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		b.mu.Lock()
		defer b.mu.Unlock()
		if r.Header.Get("X-Lastcall-Admin") == "" {
			http.Error(w, "X-Lastcall-Admin is missing", http.StatusForbidden)
			return
		}
		_ = r.ParseForm()
		b.posts = append(b.posts, strings.TrimSuffix(r.URL.Path+" "+r.Form.Encode(), " "))
		next(w, r)
	}
}

func (b *backend) postDrain(w http.ResponseWriter, r *http.Request) {
	b.state = "draining"
	deadline, err := time.ParseDuration(cmp.Or(r.Form.Get("deadline"), "25s"))
	if err != nil {
		http.Error(w, "deadline: "+err.Error(), http.StatusBadRequest)
		return
	}
	reply(w, http.StatusAccepted, b.begin(false, deadline, b.sessions))
}

func (b *backend) postSessionDrain(w http.ResponseWriter, r *http.Request) {
	at := slices.IndexFunc(b.sessions, func(s *session) bool { return s.ID == r.PathValue("id") })
	if at < 0 {
		http.Error(w, "no such session", http.StatusNotFound)
		return
	}
	reply(w, http.StatusAccepted, b.begin(true, 25*time.Second, b.sessions[at:at+1]))
}

func (b *backend) postResume(w http.ResponseWriter, _ *http.Request) {
	b.resume()
	reply(w, http.StatusOK, b.stateLocked())
}

func (b *backend) resume() {
	b.state = "serving"
	b.tell("resumed", b.stateLocked())
}

// begin drains all sessions: their agents get stopWorkflow.
func (b *backend) begin(part bool, deadline time.Duration, sessions []*session) *drain {
	now := time.Now()
	d := &drain{
		ID: fmt.Sprint("d", len(b.drains)+1), Part: part, Reason: "server shutdown", Sessions: len(sessions), Left: len(sessions),
		Totals: map[string]int{}, Began: now, Deadline: now.Add(deadline), members: make(map[string]bool),
	}
	b.drains = append(b.drains, d)
	for _, s := range sessions {
		s.Told = &now
		d.members[s.ID] = true
		b.enter(s, "stopping", "agent")
	}
	b.tell("drain-started", d)
	return d
}

func (b *backend) enter(s *session, phase, waitsFor string) {
	s.Phase, s.WaitsFor, s.Since = phase, waitsFor, time.Now()
	b.tell("session-phase", map[string]any{"id": s.ID, "workflow": s.Workflow, "phase": phase, "at": s.Since})
}

// add opens n sessions, each a second older than the next, with work behind them that grows.
func (b *backend) add(n int, change func(i int, s *session)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	for range n {
		i := len(b.sessions)
		last := now.Add(-time.Duration(i%90) * time.Second)
		s := &session{
			ID: fmt.Sprintf("s%05d-7f3a9c41", i), Workflow: fmt.Sprintf("workflow-%05d", i), Phase: "serving",
			Started: now.Add(time.Duration(i)*time.Second - 4*time.Hour), Remote: fmt.Sprintf("10.1.%d.%d:5%04d", i/250%250, i%250, i%9999),
			Transport: "websocket", Agent: fmt.Sprintf("agent-%d:50052", i%3), LastMessage: &last,
			Received: flow{3 + i%40, 800 * (3 + i%40)}, Sent: flow{9 + i*7%4000, 2100 * (9 + i*7%4000)}, ToolsRunning: i % 4 / 3,
		}
		s.Since = s.Started.Add(time.Second)
		if change != nil {
			change(i, s)
		}
		b.sessions = append(b.sessions, s)
		b.tell("session-started", map[string]any{"id": s.ID, "remote": s.Remote, "transport": s.Transport, "agent": s.Agent, "at": s.Started})
	}
}

// end is the end of the oldest n sessions.
func (b *backend) end(n int, outcome string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.sessions[:n] {
		b.tell("session-stopped", map[string]any{
			"id": s.ID, "workflow": s.Workflow, "remote": s.Remote, "outcome": outcome, "code": 1001, "reason": "server shutdown",
			"age_seconds": time.Since(s.Started).Seconds(), "stop_seconds": time.Since(s.Since).Seconds(),
		})
		for _, d := range b.drains {
			b.count(d, s, outcome)
		}
	}
	b.sessions = slices.Clone(b.sessions[n:])
	for _, d := range b.drains {
		b.progress(d)
	}
}

func (b *backend) count(d *drain, s *session, outcome string) {
	if !d.members[s.ID] {
		return
	}
	delete(d.members, s.ID)
	d.Totals[outcome]++
	d.Left--
	if outcome == "killed" {
		d.Killed = append(d.Killed, s.ID)
	}
}

func (b *backend) progress(d *drain) {
	if d.Over {
		return
	}
	if d.Left > 0 {
		b.tell("drain-progress", d)
		return
	}
	d.Over, d.Took = true, time.Since(d.Began).Seconds()
	if !d.Part {
		b.state = "drained"
	}
	b.tell("drain-finished", d)
}
