package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alecthomas/kong"

	"github.com/lastcall-go/lastcall/actors"
	adminapi "github.com/lastcall-go/lastcall/transport/admin"
)

// adminCommands are the commands that ask an admin listener.
type adminCommands struct {
	Sessions sessionsCmd `cmd:""`
	Drain    drainCmd    `cmd:""`
	Resume   resumeCmd   `cmd:""`
	Top      topCmd      `cmd:""`
}

func parseAdmin(args ...string) (*adminCommands, *kong.Context, error) {
	grammar := new(adminCommands)
	parser := kong.Must(grammar, kong.DefaultEnvars("LASTCALL"), kong.Exit(func(int) {}), kong.Writers(io.Discard, io.Discard))
	command, err := parser.Parse(args)
	return grammar, command, err
}

// adminRun runs a command until it ends by itself, or ctx ends, which is as if Ctrl-C was pressed.
func adminRun(ctx context.Context, std streams, args ...string) int {
	grammar, command, err := parseAdmin(args...)
	if err != nil {
		return exitCode(usageError{err}, std.err)
	}
	switch command.Selected().Name {
	case "sessions":
		err = grammar.Sessions.run(ctx, std)
	case "drain":
		err = grammar.Drain.run(ctx, std)
	case "top":
		err = grammar.Top.run(ctx, std)
	default:
		err = command.Run(std)
	}
	return exitCode(err, std.err)
}

// adminOutput runs a command that ends by itself, away from any terminal.
func adminOutput(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var out, err bytes.Buffer
	code = adminRun(ctx, streams{strings.NewReader(""), &out, &err}, args...)
	if ctx.Err() != nil {
		t.Fatalf("%q goes on", args)
	}
	return code, out.String(), err.String()
}

// lockedBuffer is an output that is read while it is written.
type lockedBuffer struct {
	mu   sync.Mutex
	data bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.data.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.data.String()
}

// eventually waits for what should come at once.
func eventually(t *testing.T, what func() string, is func(string) bool) string {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		got := what()
		if is(got) {
			return got
		}
		if time.Now().After(deadline) {
			t.Fatalf("never came to it:\n%s", got)
		}
	}
}

// holds waits for all of these texts.
func holds(texts ...string) func(string) bool {
	return func(s string) bool {
		return !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(s, text) })
	}
}

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

func TestAdminCommandsExplainWhyTheyCannotAsk(t *testing.T) {
	g := newFakeGateway(t)
	g.close()
	refuses := admin(t, func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "a token is needed", http.StatusUnauthorized)
	})
	for _, command := range []string{"sessions", "sessions --watch", "sessions --json", "drain --yes", "drain x7", "resume"} {
		code, stdout, stderr := adminOutput(t, append(strings.Fields(command), "--admin", g.address)...)
		if code != 1 || stdout != "" || !strings.Contains(stderr, "is the gateway running, and is --admin right?") {
			t.Errorf("%s: exit code %d, %q, %q", command, code, stdout, stderr)
		}
		code, stdout, stderr = adminOutput(t, append(strings.Fields(command), "--admin", refuses)...)
		if code != 1 || stdout != "" || !strings.Contains(stderr, "a token is needed: is LASTCALL_TOKEN (or --token) right?") {
			t.Errorf("%s: exit code %d, %q, %q", command, code, stdout, stderr)
		}
		code, _, stderr = adminOutput(t, append(strings.Fields(command), "--admin", "nowhere")...)
		if code != 2 || !strings.Contains(stderr, "--admin") {
			t.Errorf("%s: exit code %d, %q", command, code, stderr)
		}
	}
}

// What was set for "lastcall serve" must not choose what is drained.
func TestOnlyAdminAndTokenComeFromTheEnvironment(t *testing.T) {
	for _, name := range []string{"AGENT", "BATCH_SIZE", "SESSIONS", "YES", "PHASE", "WORKFLOW", "JSON", "WATCH", "GRACE", "REASON"} {
		t.Setenv("LASTCALL_"+name, "serving")
	}
	t.Setenv("LASTCALL_ADMIN", "192.0.2.1:1")
	t.Setenv("LASTCALL_TOKEN", "secret")
	for _, command := range []string{"sessions", "drain", "resume", "top"} {
		grammar, parsed, err := parseAdmin(command)
		if err != nil {
			t.Fatal(err)
		}
		for _, flag := range parsed.Selected().Flags {
			if isShared := flag.Name == "admin" || flag.Name == "token"; isShared != (len(flag.Envs) > 0) {
				t.Errorf("%s --%s: environment %q", command, flag.Name, flag.Envs)
			}
		}
		if command == "drain" && (!grammar.Drain.everything() || grammar.Drain.Admin != "192.0.2.1:1" || grammar.Drain.Token != "secret") {
			t.Errorf("%+v", grammar.Drain)
		}
	}
}

func TestHelpOfTheAdminCommandsHasExamplesThatAreRight(t *testing.T) {
	helps := map[string]string{
		"sessions": (*sessionsCmd)(nil).Help(), "drain": (*drainCmd)(nil).Help(),
		"resume": (*resumeCmd)(nil).Help(), "top": (*topCmd)(nil).Help(),
	}
	for command, help := range helps {
		_, example, _ := strings.Cut(help, "Example:\n")
		for line := range strings.Lines(example) {
			args := strings.Fields(strings.ReplaceAll(line, `"moving to another host"`, "moving"))
			if args[0] != "lastcall" || args[1] != command {
				t.Errorf("%s: %q", command, line)
			}
			if _, _, err := parseAdmin(args[1:]...); err != nil {
				t.Errorf("%s: %v", line, err)
			}
		}
		if example == "" || !strings.Contains(help, "Exit codes: 0") {
			t.Errorf("%s: no example, or no exit codes", command)
		}
	}
}
