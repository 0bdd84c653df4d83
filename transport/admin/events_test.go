package admin_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/actors/relay"
	"github.com/lastcall-go/lastcall/transport/admin"
	"github.com/lastcall-go/lastcall/transport/httpserver"
)

// pipes is a listener without a network, for use in a bubble. Its connections have no buffer.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	close  func()
}

func newPipes() *pipes {
	p := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
	p.close = sync.OnceFunc(func() { close(p.closed) })
	return p
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.conns:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipes"} }

func (p *pipes) Close() error {
	p.close()
	return nil
}

// served is a house behind a server with limits on the time of a request.
type served struct {
	*house
	server *http.Server
	pipes  *pipes
}

func inServer(t *testing.T, test func(t *testing.T, s *served)) {
	t.Helper()
	in(t, admin.Options{}, func(t *testing.T, h *house) {
		s := &served{house: h, server: &http.Server{Handler: h.api, ReadTimeout: time.Minute, WriteTimeout: time.Minute}, pipes: newPipes()}
		s.server.RegisterOnShutdown(h.api.Close)
		done := make(chan struct{})
		go func() {
			_ = s.server.Serve(s.pipes)
			close(done)
		}()
		defer func() {
			_ = s.server.Close()
			<-done
		}()
		test(t, s)
	})
}

// watcher is a reader of events.
type watcher struct {
	t     *testing.T
	conn  net.Conn
	lines *bufio.Reader
}

// request asks for the events, and reads no more of the answer than its first line.
func (s *served) request() (*watcher, string) {
	s.t.Helper()
	here, there := net.Pipe()
	s.pipes.conns <- there
	w := &watcher{t: s.t.(*testing.T), conn: here, lines: bufio.NewReaderSize(here, 16)}
	if _, err := io.WriteString(here, "GET /events HTTP/1.0\r\nHost: localhost\r\n\r\n"); err != nil {
		s.t.Fatal(err)
	}
	return w, w.line()
}

// watch reads the events up to the state.
func (s *served) watch() *watcher {
	s.t.Helper()
	w, status := s.request()
	if !strings.Contains(status, "200 OK") {
		s.t.Fatal(status)
	}
	for w.line() != "" {
	}
	if name, data := w.next(); name != admin.EventState || !strings.HasPrefix(data, `{"state":`) {
		s.t.Errorf("the first event is %s %s", name, data)
	}
	return w
}

func (w *watcher) line() string {
	text, err := w.lines.ReadString('\n')
	if err != nil && err != io.EOF {
		w.t.Error(err)
	}
	return strings.TrimRight(text, "\r\n")
}

// next returns the next event. No name: the stream has ended. A comment has the name ":".
func (w *watcher) next() (name, data string) {
	w.t.Helper()
	name = w.line()
	if name == ":" || name == "" {
		w.line()
		return name, ""
	}
	name, isName := strings.CutPrefix(name, "event: ")
	data, isData := strings.CutPrefix(w.line(), "data: ")
	if end := w.line(); !isName || !isData || end != "" {
		w.t.Errorf("not an event: %q %q %q", name, data, end)
	}
	return name, data
}

// event reads the next event but comments, into value, and returns its name.
func (w *watcher) event(value any) string {
	w.t.Helper()
	name, data := w.next()
	for silence := 0; name == ":"; silence++ {
		if silence == 10 {
			w.t.Fatal("nothing happens")
		}
		name, data = w.next()
	}
	if name != "" {
		if err := json.Unmarshal([]byte(data), value); err != nil {
			w.t.Errorf("%s: %v in %s", name, err, data)
		}
	}
	return name
}

// want reads the next event but comments, which must be this one.
func want[T comparable](w *watcher, name string, value T) {
	w.t.Helper()
	var got T
	if gotName := w.event(&got); gotName != name || got != value {
		w.t.Errorf("got %s %+v, want %s %+v", gotName, got, name, value)
	}
}

func (w *watcher) wantEnd() {
	w.t.Helper()
	if name, data := w.next(); name != "" {
		w.t.Errorf("got %s %s, want the end", name, data)
	}
}

// tell sends every watcher an event.
func (h *house) tell(session string, err error) {
	h.supervisor.Engine().BroadcastEvent(relay.ToolUnavailable{Session: session, Err: err})
}

func TestASessionsLifeIsTold(t *testing.T) {
	inServer(t, func(t *testing.T, s *served) {
		w := s.watch()
		defer w.conn.Close()
		began := time.Now().UTC()
		p := s.serve(&peer{workflow: "w1", remote: "192.0.2.1:1", agent: "a:1", stops: 1500 * time.Millisecond})
		want(w, admin.EventSessionStarted, admin.SessionStarted{ID: p.ID, Kind: "dap", Remote: "192.0.2.1:1", Transport: "websocket", Agent: "a:1", At: began})
		want(w, admin.EventSessionPhase, admin.SessionPhase{ID: p.ID, Workflow: "w1", Phase: "serving", At: began})
		d := s.drains("/sessions/" + p.ID + "/drain?reason=you")
		var got admin.Drain
		if name := w.event(&got); name != admin.EventDrainStarted || got.ID != d.ID || got.Left != 1 || !got.Part || got.Over {
			t.Errorf("%s %+v", name, got)
		}
		want(w, admin.EventSessionPhase, admin.SessionPhase{ID: p.ID, Workflow: "w1", Phase: "stopping", At: began})
		if name := w.event(&got); name != admin.EventDrainProgress || got.ID != d.ID || got.Left != 1 {
			t.Errorf("%s %+v", name, got)
		}
		want(w, admin.EventSessionPhase, admin.SessionPhase{ID: p.ID, Workflow: "w1", Phase: "closing", At: began.Add(1500 * time.Millisecond)})
		want(w, admin.EventSessionStopped, admin.SessionStopped{
			ID: p.ID, Workflow: "w1", Remote: "192.0.2.1:1", Outcome: actors.Drained, Code: 1001, Reason: "you",
			Age: actors.Seconds(1500 * time.Millisecond), Took: actors.Seconds(1500 * time.Millisecond),
		})
		got = admin.Drain{}
		if name := w.event(&got); name != admin.EventDrainFinished || got.ID != d.ID || !got.Over || got.Totals[actors.Drained] != 1 || time.Duration(got.Took) != 1500*time.Millisecond {
			t.Errorf("%s %+v", name, got)
		}
	})
}

func TestServicesToolsAndTheResumeAreTold(t *testing.T) {
	inServer(t, func(t *testing.T, s *served) {
		s.drains("/drain")
		synctest.Wait()
		w := s.watch()
		defer w.conn.Close()
		_ = s.ask(http.MethodPost, "/resume")
		var state admin.State
		if name := w.event(&state); name != admin.EventResumed || state.State != actors.Serving || len(state.Drains) != 1 {
			t.Errorf("%s %+v", name, state)
		}
		s.tell("x1", errors.New("no such server"))
		want(w, admin.EventToolUnavailable, admin.ToolUnavailable{Session: "x1", Error: "no such server"})
		failing := actors.ServiceFunc(func(context.Context) error { return errors.New("port in use") })
		if err := s.supervisor.Add("metrics", actors.AfterSessions, failing); err != nil {
			t.Fatal(err)
		}
		want(w, admin.EventServiceStopped, admin.ServiceStopped{Name: "metrics", Outcome: actors.Failed, Error: "port in use"})
	})
}

// The session's phases and its end tell it all, and with many sessions it happens all day.
func TestTheDrainOfASessionThatIsTooOldIsNotTold(t *testing.T) {
	inServer(t, func(t *testing.T, s *served) {
		w := s.watch()
		defer w.conn.Close()
		old := actors.DrainStatus{ID: "d1", Part: true, Age: true}
		for _, event := range []any{actors.DrainStarted{DrainStatus: old}, actors.DrainProgress{DrainStatus: old}, actors.DrainFinished{DrainStatus: old, Report: &actors.Report{}}} {
			s.supervisor.Engine().BroadcastEvent(event)
		}
		s.tell("afterwards", nil)
		want(w, admin.EventToolUnavailable, admin.ToolUnavailable{Session: "afterwards"})
	})
}

func TestAnErrorIsToldInOneBoundedLine(t *testing.T) {
	inServer(t, func(t *testing.T, s *served) {
		w := s.watch()
		defer w.conn.Close()
		for _, c := range []struct {
			err  error
			want string
		}{
			{nil, ""},
			{&actors.PanicError{Value: "boom", Stack: []byte("goroutine 1 [running]:\nmain.main()")}, "panic: boom"},
			{errors.New(strings.Repeat("x", 5000)), strings.Repeat("x", 1024)},
			{errors.New("x" + strings.Repeat("é", 5000)), "x" + strings.Repeat("é", 511)},
			{errors.New("a\xff\u2028b"), "a\u2028b"},
		} {
			s.tell("x", c.err)
			want(w, admin.EventToolUnavailable, admin.ToolUnavailable{Session: "x", Error: c.want})
		}
	})
}

// What happens while the state is being asked for comes after it.
func TestNothingIsLostBetweenTheStateAndTheEvents(t *testing.T) {
	inServer(t, func(t *testing.T, s *served) {
		hold := make(chan struct{})
		s.serve(&peer{workflow: "w1", counts: func() { <-hold }})
		go func() {
			synctest.Wait() // until the supervisor is at the state
			s.tell("x1", nil)
			synctest.Wait()
			close(hold)
		}()
		w := s.watch()
		defer w.conn.Close()
		want(w, admin.EventToolUnavailable, admin.ToolUnavailable{Session: "x1"})
	})
}

func TestASilentStreamIsKeptAliveForAsLongAsItIsRead(t *testing.T) {
	inServer(t, func(t *testing.T, s *served) {
		w := s.watch()
		defer w.conn.Close()
		began := time.Now()
		for i := range 240 {
			if name, _ := w.next(); name != ":" || time.Since(began) != time.Duration(i+1)*15*time.Second {
				t.Fatalf("after %v: %q", time.Since(began), name)
			}
		}
		s.tell("x1", nil)
		want(w, admin.EventToolUnavailable, admin.ToolUnavailable{Session: "x1"})
	})
}

// countingError counts how often it is put into words.
type countingError struct{ n *atomic.Int32 }

func (e countingError) Error() string { return fmt.Sprint(e.n.Add(1)) }

func TestAnEventIsEncodedOnceForAllAndNotAtAllForNobody(t *testing.T) {
	inServer(t, func(t *testing.T, s *served) {
		var n atomic.Int32
		s.tell("x", countingError{&n})
		synctest.Wait()
		if n.Load() != 0 {
			t.Error("encoded for nobody")
		}
		one, other := s.watch(), s.watch()
		defer one.conn.Close()
		defer other.conn.Close()
		s.tell("x", countingError{&n})
		want(one, admin.EventToolUnavailable, admin.ToolUnavailable{Session: "x", Error: "1"})
		want(other, admin.EventToolUnavailable, admin.ToolUnavailable{Session: "x", Error: "1"})
	})
}

// The slow reader misses some events, learns how many, and delays nothing.
func TestASlowReaderIsToldThatItLags(t *testing.T) {
	const all = 3000
	inServer(t, func(t *testing.T, s *served) {
		slow, fast := s.watch(), s.watch()
		defer slow.conn.Close()
		defer fast.conn.Close()
		for i := range all {
			s.tell(fmt.Sprint(i), nil)
			want(fast, admin.EventToolUnavailable, admin.ToolUnavailable{Session: fmt.Sprint(i)})
			synctest.Wait() // the slow reader's handler is writing the first event, the rest queue up
		}
		got, lagged := 0, admin.Lagged{}
		for ; lagged.Missed == 0; got++ {
			var event admin.ToolUnavailable
			name, data := slow.next()
			switch name {
			case admin.EventToolUnavailable:
				if _ = json.Unmarshal([]byte(data), &event); event.Session != fmt.Sprint(got) {
					t.Fatalf("%d is %s", got, data)
				}
			case admin.EventLagged:
				_ = json.Unmarshal([]byte(data), &lagged)
			default:
				t.Fatal(name, data)
			}
		}
		if got--; got+lagged.Missed != all || got != 1+1024 {
			t.Errorf("%d were told, %d missed", got, lagged.Missed)
		}
		s.tell("afterwards", nil)
		want(slow, admin.EventToolUnavailable, admin.ToolUnavailable{Session: "afterwards"})
	})
}

func TestAStateThatCannotBeToldIsToBeReadAnew(t *testing.T) {
	inServer(t, func(t *testing.T, s *served) {
		w := s.watch()
		defer w.conn.Close()
		hold, looked := make(chan struct{}), make(chan struct{})
		defer func() { close(hold); <-looked }()
		s.start(&peer{counts: func() { <-hold }})
		var started admin.SessionStarted
		w.event(&started)
		go func() { // this holds the supervisor up
			defer close(looked)
			_, _ = s.supervisor.Snapshot(context.Background())
		}()
		synctest.Wait()
		s.supervisor.Engine().BroadcastEvent(actors.Resumed{At: time.Now()})
		want(w, admin.EventLagged, admin.Lagged{Missed: 1})
	})
}

// The handler's own listener can be behind, too.
func TestEventsThatTheHandlerMissedAreToldAsMissed(t *testing.T) {
	inServer(t, func(t *testing.T, s *served) {
		w := s.watch()
		defer w.conn.Close()
		s.supervisor.Engine().BroadcastEvent(actors.EventsMissed{Count: 7})
		want(w, admin.EventLagged, admin.Lagged{Missed: 7})
	})
}

func TestWhoTakesNothingForTenSecondsIsLetGo(t *testing.T) {
	inServer(t, func(t *testing.T, s *served) {
		w := s.watch()
		defer w.conn.Close()
		s.tell("x", nil)
		time.Sleep(11 * time.Second)
		if all, err := io.ReadAll(w.lines); err != nil || len(all) != 0 {
			t.Errorf("%q %v", all, err)
		}
	})
}

func TestTheNumberOfReadersIsBounded(t *testing.T) {
	inServer(t, func(t *testing.T, s *served) {
		for round := range 2 { // a client that has gone gives its place back
			var all []*watcher
			for range 64 {
				all = append(all, s.watch())
			}
			w, status := s.request()
			if !strings.Contains(status, "503") {
				t.Errorf("round %d: %s", round, status)
			}
			for _, w := range append(all, w) {
				_ = w.conn.Close()
			}
			synctest.Wait()
		}
	})
}

// slowError takes a while to be put into words.
type slowError struct{}

func (slowError) Error() string {
	time.Sleep(10 * time.Millisecond)
	return "slow"
}

func TestCloseEndsTheStreamsAfterWhatHasHappened(t *testing.T) {
	const events = 50
	inServer(t, func(t *testing.T, s *served) {
		stuck := s.watch()
		defer stuck.conn.Close()
		var all []*watcher
		for range 8 {
			w := s.watch()
			defer w.conn.Close()
			all = append(all, w)
		}
		for i := range events {
			s.tell(fmt.Sprint(i), slowError{}) // so that they have not been heard when the server shuts down
		}
		ended := make(chan time.Duration)
		go func() {
			began := time.Now()
			if err := s.server.Shutdown(context.Background()); err != nil {
				t.Error(err)
			}
			ended <- time.Since(began)
		}()
		for _, w := range all {
			for i := range events {
				want(w, admin.EventToolUnavailable, admin.ToolUnavailable{Session: fmt.Sprint(i), Error: "slow"})
			}
			w.wantEnd()
		}
		if took := <-ended; took > 2*time.Second {
			t.Errorf("the server waited %v for who reads nothing", took)
		}
		s.api.Close() // again
		s.refuses(http.StatusServiceUnavailable, "shutting down", http.MethodGet, "/events")
		if s.sessions("").Total != 0 || s.ask(http.MethodGet, "/healthz").Code != http.StatusOK {
			t.Error("all else is to be answered to the end")
		}
	})
}

func TestHeadOfTheEventsEnds(t *testing.T) {
	in(t, admin.Options{}, func(t *testing.T, h *house) {
		if w := h.ask(http.MethodHead, "/events"); w.Code != http.StatusOK || w.Header().Get("Content-Type") != "text/event-stream" || w.Body.Len() > 0 {
			t.Errorf("%d %v %q", w.Code, w.Header(), w.Body)
		}
	})
}

// As a gateway wires it, on a real socket.
func TestADrainIsNotHeldUpByWhoWatchesIt(t *testing.T) {
	h := open(t, admin.Options{})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &httpserver.Server{Listener: listener, Handler: h.api, OnShutdown: h.api.Close}
	if err := h.supervisor.Add("admin server", actors.AfterSessions, server); err != nil {
		t.Fatal(err)
	}
	p := &peer{workflow: "w1"}
	h.start(p)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+listener.Addr().String()+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	answer, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if kind := answer.Header.Get("Content-Type"); kind != "text/event-stream" || answer.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("%v", answer.Header)
	}
	report, err := h.supervisor.Drain(ctx, actors.Drain{Deadline: time.Now().Add(30 * time.Second)})
	if err != nil || time.Duration(report.Took) > 10*time.Second {
		t.Errorf("%v; %+v", err, report)
	}
	all, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Errorf("the stream ends with %v", err)
	}
	for _, name := range []string{admin.EventState, admin.EventDrainStarted, admin.EventSessionStopped} {
		if !strings.Contains(string(all), "event: "+name+"\n") {
			t.Errorf("no %s in %s", name, all)
		}
	}
}
