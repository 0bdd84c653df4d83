package httpserver_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/actors/actorstest"
	"github.com/lastcall-go/lastcall/transport/httpserver"
)

// inServer runs test beside an Server, the only service of a supervisor, and then drains.
func inServer(t *testing.T, handler http.HandlerFunc, test func(t *testing.T, supervisor *actors.Supervisor, clients *actorstest.Network)) {
	t.Helper()
	beside(t, func() *httpserver.Server { return &httpserver.Server{Handler: handler} },
		func(t *testing.T, supervisor *actors.Supervisor, clients *actorstest.Network, _ *httpserver.Server) {
			test(t, supervisor, clients)
		})
}

// beside is inServer for a server that newServer makes, but for its listener.
func beside(t *testing.T, newServer func() *httpserver.Server, test func(*testing.T, *actors.Supervisor, *actorstest.Network, *httpserver.Server)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		supervisor := actorstest.New(t, actors.Options{}).Supervisor
		clients := actorstest.NewNetwork()
		server := newServer()
		server.Listener = clients
		if err := supervisor.Add("http server", actors.AfterSessions, server); err != nil {
			t.Fatal(err)
		}
		test(t, supervisor, clients, server)
		_, _ = supervisor.Drain(context.Background(), actors.Drain{})
		if _, err := clients.Dial(context.Background()); err == nil {
			t.Error("the listener is open")
		}
	})
}

func fine(w http.ResponseWriter, r *http.Request) {
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		w.WriteHeader(http.StatusRequestEntityTooLarge)
	}
}

// talk writes a request, or the beginning of one, and returns what came back and how long the
// connection lived.
func talk(t *testing.T, clients *actorstest.Network, request string) (answer string, lived time.Duration) {
	t.Helper()
	conn, err := clients.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	began := time.Now()
	go io.WriteString(conn, request)
	all, err := io.ReadAll(conn)
	if err != nil {
		t.Errorf("the connection ended with %v", err)
	}
	return string(all), time.Since(began)
}

func TestTheServerLimitsHeadersBodiesAndIdleTime(t *testing.T) {
	const get = "GET / HTTP/1.1\r\nHost: gateway\r\n"
	for _, c := range []struct {
		name, request, answer string
		lived                 time.Duration
	}{
		{"no byte", "", "", 10 * time.Second},
		{"half a header", get, "", 10 * time.Second},
		{"a huge header", get + "X: " + strings.Repeat("~", 40<<10) + "\r\n\r\n", "431 ", 0},
		{"half a body", "PUT / HTTP/1.1\r\nHost: gateway\r\nContent-Length: 9\r\n\r\nhalf", "", 60 * time.Second},
		{"a huge body", "PUT / HTTP/1.1\r\nHost: gateway\r\nContent-Length: 9000000\r\n\r\n" + strings.Repeat("~", 9000000), "413 ", 0},
		{"silence after an answer", get + "\r\n", "200 OK", 60 * time.Second},
	} {
		newServer := func() *httpserver.Server {
			return &httpserver.Server{Handler: http.HandlerFunc(fine), MaxBody: 4 << 20}
		}
		beside(t, newServer, func(t *testing.T, _ *actors.Supervisor, clients *actorstest.Network, _ *httpserver.Server) {
			answer, lived := talk(t, clients, c.request)
			if !strings.Contains(answer, c.answer) || lived < c.lived || lived > c.lived+time.Second {
				t.Errorf("%s: after %v, %q", c.name, lived, answer)
			}
		})
	}
}

func TestBodiesHaveNoLimitOfTheServersOwn(t *testing.T) {
	inServer(t, fine, func(t *testing.T, _ *actors.Supervisor, clients *actorstest.Network) {
		const body = 9_000_000
		answer, _ := talk(t, clients, fmt.Sprintf("PUT / HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\nContent-Length: %d\r\n\r\n", body)+strings.Repeat("~", body))
		if !strings.Contains(answer, "200 OK") {
			t.Errorf("%q", answer)
		}
	})
}

// request makes one on a connection of its own.
func request(ctx context.Context, clients *actorstest.Network) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://gateway/", nil)
	if err != nil {
		return nil, err
	}
	client := clients.Client()
	client.Transport.(*http.Transport).DisableKeepAlives = true
	answer, err := client.Do(r)
	if err == nil {
		_ = answer.Body.Close()
	}
	return answer, err
}

// after answers after a while.
func after(wait time.Duration) http.HandlerFunc {
	return func(http.ResponseWriter, *http.Request) { time.Sleep(wait) }
}

// Requests under way get the drain's time, as an embedder expects; less where it is said so.
func TestADrainLetsRequestsUnderWayFinish(t *testing.T) {
	for _, c := range []struct {
		name        string
		grace, took time.Duration
	}{
		{"by default", 0, 4 * time.Second},
		{"with time enough", 5 * time.Second, 4 * time.Second},
		{"with less", 750 * time.Millisecond, 750 * time.Millisecond},
	} {
		newServer := func() *httpserver.Server {
			return &httpserver.Server{Handler: after(4 * time.Second), RequestGrace: c.grace}
		}
		beside(t, newServer, func(t *testing.T, supervisor *actors.Supervisor, clients *actorstest.Network, _ *httpserver.Server) {
			answered := make(chan error, 1)
			go func() {
				_, err := request(t.Context(), clients)
				answered <- err
			}()
			synctest.Wait()
			began := time.Now()
			if _, err := supervisor.Drain(t.Context(), actors.Drain{Deadline: began.Add(20 * time.Second)}); err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
			if err := <-answered; (err == nil) != (c.took == 4*time.Second) {
				t.Errorf("%s: the request: %v", c.name, err)
			}
			if took := time.Since(began); took < c.took || took > c.took+50*time.Millisecond {
				t.Errorf("%s: the drain took %v", c.name, took)
			}
			time.Sleep(time.Minute) // until the handler returns
		})
	}
}

// A body that doesn't come, and a handler that doesn't end, are cut, and are no failure.
func TestRequestsThatDontEndDontHoldUpADrain(t *testing.T) {
	var log bytes.Buffer
	newServer := func() *httpserver.Server {
		mux := http.NewServeMux()
		mux.Handle("GET /{$}", http.HandlerFunc(fine))
		mux.Handle("GET /hour", after(time.Hour))
		return &httpserver.Server{Handler: mux, RequestGrace: 750 * time.Millisecond, Log: slog.New(slog.NewTextHandler(&log, nil))}
	}
	beside(t, newServer, func(t *testing.T, supervisor *actors.Supervisor, clients *actorstest.Network, _ *httpserver.Server) {
		const stalled = "POST /nothing HTTP/1.1\r\nHost: gateway\r\nContent-Length: 100\r\n\r\nabc"
		cut := make(chan time.Duration, 3)
		for _, request := range []string{stalled, stalled, "GET /hour HTTP/1.1\r\nHost: gateway\r\n\r\n"} {
			go func() {
				_, lived := talk(t, clients, request)
				cut <- lived
			}()
		}
		idle := connect(t, clients)
		defer idle.Close()
		ask(t, idle)
		synctest.Wait()
		began := time.Now()
		report, err := supervisor.Drain(t.Context(), actors.Drain{Deadline: began.Add(time.Hour)})
		if took := time.Since(began); err != nil || took != 750*time.Millisecond {
			t.Errorf("the drain took %v, %v", took, err)
		}
		if len(report.Services) != 1 || report.Services[0].Outcome != actors.Drained {
			t.Errorf("the report says %+v", report.Services)
		}
		for range cap(cut) {
			if lived := <-cut; lived != 750*time.Millisecond {
				t.Errorf("a connection lived %v", lived)
			}
		}
		if !strings.Contains(log.String(), "level=WARN") || !strings.Contains(log.String(), " connections=3\n") {
			t.Errorf("the log says %q", log.String())
		}
		time.Sleep(time.Hour) // until the handler returns
	})
}

func TestTheDeadlineCutsRequestsUnderWay(t *testing.T) {
	for _, left := range []time.Duration{100 * time.Millisecond, 500 * time.Millisecond} { // while it settles, and later
		inServer(t, after(time.Hour), func(t *testing.T, supervisor *actors.Supervisor, clients *actorstest.Network) {
			cut := make(chan time.Time, 1)
			go func() {
				if _, err := request(t.Context(), clients); err == nil {
					t.Error("the request was answered")
				}
				cut <- time.Now()
			}()
			synctest.Wait()
			began := time.Now()
			_, err := supervisor.Drain(t.Context(), actors.Drain{Deadline: began.Add(left)})
			var killed *actors.KilledError
			if !errors.As(err, &killed) || len(killed.Services) != 1 {
				t.Errorf("the drain says %v", err)
			}
			if took := time.Since(began); took > left+100*time.Millisecond {
				t.Errorf("the drain took %v", took)
			}
			if after := (<-cut).Sub(began); after > left+100*time.Millisecond {
				t.Errorf("the request was cut after %v", after)
			}
			time.Sleep(time.Hour) // until the handler returns
		})
	}
}

func TestConnectionsWithoutARequestDontHoldUpADrain(t *testing.T) {
	inServer(t, fine, func(t *testing.T, supervisor *actors.Supervisor, clients *actorstest.Network) {
		fresh, err := clients.Dial(t.Context()) // as some load balancers keep ready
		if err != nil {
			t.Fatal(err)
		}
		defer fresh.Close()
		kept, err := clients.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer kept.Close()
		go io.WriteString(kept, "GET / HTTP/1.1\r\nHost: gateway\r\n\r\n")
		if _, err := http.ReadResponse(bufio.NewReader(kept), nil); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if _, err := supervisor.Drain(t.Context(), actors.Drain{}); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("the drain took %v", took)
		}
	})
}

func TestAFirstRequestOnItsWayWhenTheServerStopsIsAnswered(t *testing.T) {
	inServer(t, fine, func(t *testing.T, supervisor *actors.Supervisor, clients *actorstest.Network) {
		conn, err := clients.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		synctest.Wait()
		go func() {
			time.Sleep(100 * time.Millisecond)
			_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: gateway\r\n\r\n")
		}()
		if _, err := supervisor.Drain(t.Context(), actors.Drain{}); err != nil {
			t.Error(err)
		}
		answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || answer.StatusCode != http.StatusOK {
			t.Errorf("%v %v", answer, err)
		}
	})
}

func TestAServerWhoseListenerFailsSaysSo(t *testing.T) {
	listener := actorstest.NewNetwork()
	listener.Close()
	err := (&httpserver.Server{Listener: listener, Handler: http.NotFoundHandler()}).Serve(t.Context())
	if err == nil || errors.Is(err, http.ErrServerClosed) {
		t.Errorf("it says %v", err)
	}
}

// connect opens a connection that the server has accepted when it returns.
func connect(t *testing.T, clients *actorstest.Network) net.Conn {
	t.Helper()
	conn, err := clients.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
	return conn
}

// ask makes a request on a connection.
func ask(t *testing.T, conn net.Conn) *http.Response {
	t.Helper()
	go io.WriteString(conn, "GET / HTTP/1.1\r\nHost: gateway\r\n\r\n")
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

func serverOf(handler http.HandlerFunc) func() *httpserver.Server {
	return func() *httpserver.Server { return &httpserver.Server{Handler: handler} }
}

// A client that connects once the server accepts no more waits for the next that accepts from the socket.
func TestStopAcceptingLeavesNewcomersToTheNextHolderOfTheSocket(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	file, err := listener.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	server := &httpserver.Server{Listener: listener, Handler: http.NotFoundHandler()}
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx) }()
	if err := server.StopAccepting(ctx); err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatalf("a newcomer was refused: %v", err)
	}
	defer conn.Close()
	next, err := net.FileListener(file)
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	accepted, err := next.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_ = accepted.Close()
	stop()
	if err := <-served; err != nil {
		t.Errorf("the server says %v", err)
	}
}

// What is under way goes on, and Serve doesn't take the closed listener for a failure.
func TestStopAcceptingServesThoseThatAreThere(t *testing.T) {
	beside(t, serverOf(after(10*time.Second)), func(t *testing.T, supervisor *actors.Supervisor, clients *actorstest.Network, server *httpserver.Server) {
		failed := make(chan actors.ServiceStopped, 1)
		defer supervisor.Listen(func(event any) {
			if e, ok := event.(actors.ServiceStopped); ok {
				failed <- e
			}
		})()
		conn := connect(t, clients)
		defer conn.Close()
		answered := make(chan *http.Response, 1)
		go func() { answered <- ask(t, conn) }()
		synctest.Wait()
		if err := server.StopAccepting(t.Context()); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Minute)
		if answer := <-answered; answer.StatusCode != http.StatusOK || !answer.Close {
			t.Errorf("status %d, close %v; want 200 and Connection: close", answer.StatusCode, answer.Close)
		}
		select {
		case e := <-failed:
			t.Errorf("the server ended: %v, %v", e.Outcome, e.Err)
		default:
		}
		if _, err := clients.Dial(t.Context()); err == nil {
			t.Error("the listener is open")
		}
	})
}

func TestStopAcceptingClosesIdleConnections(t *testing.T) {
	beside(t, serverOf(fine), func(t *testing.T, _ *actors.Supervisor, clients *actorstest.Network, server *httpserver.Server) {
		conn := connect(t, clients)
		defer conn.Close()
		if answer := ask(t, conn); answer.Close {
			t.Error("the connection isn't kept alive: what does this test show?")
		}
		synctest.Wait()
		began := time.Now()
		if err := server.StopAccepting(t.Context()); err != nil {
			t.Error(err)
		}
		if n, err := conn.Read(make([]byte, 1)); err != io.EOF || time.Since(began) > 0 {
			t.Errorf("read %d bytes, %v, after %v; want the end, at once", n, err, time.Since(began))
		}
	})
}

// Who was accepted is answered before admission ends, if the request comes in time.
func TestStopAcceptingWaitsForThoseItAccepted(t *testing.T) {
	answered := false
	slowly := func(http.ResponseWriter, *http.Request) {
		time.Sleep(100 * time.Millisecond)
		answered = true
	}
	beside(t, serverOf(slowly), func(t *testing.T, _ *actors.Supervisor, clients *actorstest.Network, server *httpserver.Server) {
		conn := connect(t, clients)
		defer conn.Close()
		go func() {
			time.Sleep(100 * time.Millisecond)
			_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: gateway\r\n\r\n")
		}()
		began := time.Now()
		if err := server.StopAccepting(t.Context()); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); !answered || took != 200*time.Millisecond {
			t.Errorf("after %v, answered: %v; want 200ms, with the answer", took, answered)
		}
	})
}

// The same for a later request of a connection that was kept alive.
func TestStopAcceptingWaitsForRequestsOfKeptConnections(t *testing.T) {
	beside(t, serverOf(after(100*time.Millisecond)), func(t *testing.T, _ *actors.Supervisor, clients *actorstest.Network, server *httpserver.Server) {
		conn := connect(t, clients)
		defer conn.Close()
		ask(t, conn)
		answered := make(chan *http.Response, 1)
		go func() { answered <- ask(t, conn) }()
		synctest.Wait()
		began := time.Now()
		if err := server.StopAccepting(t.Context()); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took != 100*time.Millisecond {
			t.Errorf("it took %v, want 100ms", took)
		}
		if answer := <-answered; answer.StatusCode != http.StatusOK || !answer.Close {
			t.Errorf("status %d, close %v; want 200 and Connection: close", answer.StatusCode, answer.Close)
		}
	})
}

// A connection that brings nothing, or a request that takes long, is not waited for long, nor cut.
func TestStopAcceptingIsBounded(t *testing.T) {
	beside(t, serverOf(after(10*time.Second)), func(t *testing.T, _ *actors.Supervisor, clients *actorstest.Network, server *httpserver.Server) {
		silent, slow := connect(t, clients), connect(t, clients)
		defer silent.Close()
		defer slow.Close()
		answered := make(chan *http.Response, 2)
		go func() { answered <- ask(t, slow) }()
		synctest.Wait()
		began := time.Now()
		if err := server.StopAccepting(t.Context()); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took != 250*time.Millisecond {
			t.Errorf("it took %v, want 250ms", took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		began = time.Now()
		if err := server.StopAccepting(ctx); err != nil {
			t.Errorf("the second time: %v", err)
		}
		if took := time.Since(began); took != 50*time.Millisecond {
			t.Errorf("with 50ms to wait it took %v", took)
		}
		go func() { answered <- ask(t, silent) }()
		for range 2 {
			if answer := <-answered; answer.StatusCode != http.StatusOK {
				t.Errorf("status %d", answer.StatusCode)
			}
		}
	})
}

func TestStopAcceptingBeforeServe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clients := actorstest.NewNetwork()
		server := &httpserver.Server{Listener: clients, Handler: http.HandlerFunc(fine)}
		if err := server.StopAccepting(t.Context()); err != nil {
			t.Error(err)
		}
		ctx, stop := context.WithTimeout(t.Context(), time.Minute)
		defer stop()
		began := time.Now()
		if err := server.Serve(ctx); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took != time.Minute {
			t.Errorf("it served for %v, want as long as it was to", took)
		}
	})
}

// In whatever order the two come to each other, both return and nothing failed.
func TestStopAcceptingWhileTheServerStarts(t *testing.T) {
	for range 100 {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		server := &httpserver.Server{Listener: listener, Handler: http.NotFoundHandler()}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 3)
		go func() { ended <- server.Serve(ctx) }()
		go func() { ended <- server.StopAccepting(ctx) }()
		go func() { stop(); ended <- server.StopAccepting(ctx) }()
		for range 3 {
			if err := <-ended; err != nil {
				t.Fatal(err)
			}
		}
	}
}

// endless is a handler of responses that last until it is asked to end them.
type endless struct {
	over  chan struct{}
	calls int
}

func (e *endless) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_ = http.NewResponseController(w).Flush()
	select {
	case <-e.over:
	case <-r.Context().Done():
	}
}

// A long response is asked to end before it is waited for.
func TestOnShutdownComesBeforeTheWait(t *testing.T) {
	events := &endless{}
	newServer := func() *httpserver.Server {
		events.over = make(chan struct{})
		return &httpserver.Server{Handler: events, OnShutdown: func() {
			events.calls++
			close(events.over)
		}}
	}
	beside(t, newServer, func(t *testing.T, supervisor *actors.Supervisor, clients *actorstest.Network, server *httpserver.Server) {
		conn := connect(t, clients)
		defer conn.Close()
		ask(t, conn)
		if err := server.StopAccepting(t.Context()); err != nil {
			t.Error(err)
		}
		if events.calls != 0 {
			t.Error("OnShutdown was called, and the server goes on")
		}
		began := time.Now()
		if _, err := supervisor.Drain(t.Context(), actors.Drain{}); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took >= 250*time.Millisecond {
			t.Errorf("the drain took %v: the response was waited for before it was told", took)
		}
		if events.calls != 1 {
			t.Errorf("OnShutdown was called %d times", events.calls)
		}
	})
}

// Nobody comes in behind OnShutdown.
func TestOnShutdownFindsTheListenerClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clients := actorstest.NewNetwork()
		server := &httpserver.Server{Listener: clients, Handler: http.HandlerFunc(fine), OnShutdown: func() {
			if _, err := clients.Dial(t.Context()); err == nil {
				t.Error("the listener is open")
			}
		}}
		ctx, stop := context.WithTimeout(t.Context(), time.Minute)
		defer stop()
		if err := server.Serve(ctx); err != nil {
			t.Error(err)
		}
	})
}

func TestAnEmbedderSetsTheTimeOfItsRequests(t *testing.T) {
	newServer := func() *httpserver.Server {
		return &httpserver.Server{Handler: http.HandlerFunc(fine), RequestTimeout: 5 * time.Minute}
	}
	beside(t, newServer, func(t *testing.T, _ *actors.Supervisor, clients *actorstest.Network, _ *httpserver.Server) {
		answer, lived := talk(t, clients, "PUT / HTTP/1.1\r\nHost: gateway\r\nContent-Length: 9\r\n\r\nhalf")
		if answer != "" || lived != 5*time.Minute {
			t.Errorf("%q after %v", answer, lived)
		}
	})
}

// slowToClose is a listener that takes its time to close, as one does that empties its queue.
type slowToClose struct{ *actorstest.Network }

func (s slowToClose) Close() error {
	time.Sleep(200 * time.Millisecond)
	return s.Network.Close()
}

func TestStopAcceptingReturnsWhenItsContextIsDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &httpserver.Server{Listener: slowToClose{actorstest.NewNetwork()}, Handler: http.HandlerFunc(fine)}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		began := time.Now()
		if err := server.StopAccepting(ctx); err != nil || time.Since(began) != 50*time.Millisecond {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		if err := server.StopAccepting(t.Context()); err != nil || time.Since(began) != 200*time.Millisecond {
			t.Errorf("again: %v after %v", err, time.Since(began))
		}
	})
}
