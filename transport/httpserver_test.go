package transport_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/transport"
)

// inServer runs test beside an HTTPServer, the only service of a supervisor, and then drains.
func inServer(t *testing.T, handler http.HandlerFunc, test func(t *testing.T, supervisor *actors.Supervisor, clients memory)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		supervisor, err := actors.NewSupervisor(actors.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer supervisor.Close()
		clients := newMemory()
		server := &transport.HTTPServer{Listener: clients, Handler: handler}
		if err := supervisor.Add("http server", actors.AfterSessions, server); err != nil {
			t.Fatal(err)
		}
		test(t, supervisor, clients)
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

// talk writes a request, or the beginning of one, and tells what came back and how long the
// connection lived.
func talk(t *testing.T, clients memory, request string) (answer string, lived time.Duration) {
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
		inServer(t, fine, func(t *testing.T, _ *actors.Supervisor, clients memory) {
			answer, lived := talk(t, clients, c.request)
			if !strings.Contains(answer, c.answer) || lived < c.lived || lived > c.lived+time.Second {
				t.Errorf("%s: after %v, %q", c.name, lived, answer)
			}
		})
	}
}

// request makes one on a connection of its own.
func request(ctx context.Context, clients memory) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://gateway/", nil)
	if err != nil {
		return nil, err
	}
	answer, err := clients.httpClient(nil).Do(r)
	if err == nil {
		_ = answer.Body.Close()
	}
	return answer, err
}

// after answers after a while.
func after(wait time.Duration) http.HandlerFunc {
	return func(http.ResponseWriter, *http.Request) { time.Sleep(wait) }
}

func TestADrainLetsRequestsUnderWayFinish(t *testing.T) {
	inServer(t, after(10*time.Second), func(t *testing.T, supervisor *actors.Supervisor, clients memory) {
		answered := make(chan error, 1)
		go func() {
			_, err := request(t.Context(), clients)
			answered <- err
		}()
		synctest.Wait()
		began := time.Now()
		if _, err := supervisor.Drain(t.Context(), actors.Drain{}); err != nil {
			t.Error(err)
		}
		if err := <-answered; err != nil {
			t.Errorf("the request: %v", err)
		}
		if took := time.Since(began); took < 10*time.Second || took > 11*time.Second {
			t.Errorf("the drain took %v", took)
		}
	})
}

func TestTheDeadlineCutsRequestsUnderWay(t *testing.T) {
	inServer(t, after(time.Hour), func(t *testing.T, supervisor *actors.Supervisor, clients memory) {
		cut := make(chan time.Time, 1)
		go func() {
			if _, err := request(t.Context(), clients); err == nil {
				t.Error("the request was answered")
			}
			cut <- time.Now()
		}()
		synctest.Wait()
		began := time.Now()
		_, err := supervisor.Drain(t.Context(), actors.Drain{Deadline: began.Add(3 * time.Second)})
		var killed *actors.KilledError
		if !errors.As(err, &killed) || len(killed.Services) != 1 {
			t.Errorf("the drain says %v", err)
		}
		if took := time.Since(began); took > 3*time.Second+100*time.Millisecond {
			t.Errorf("the drain took %v", took)
		}
		if after := (<-cut).Sub(began); after > 3*time.Second+100*time.Millisecond {
			t.Errorf("the request was cut after %v", after)
		}
		time.Sleep(time.Hour) // until the handler returns
	})
}

func TestConnectionsWithoutARequestDontHoldUpADrain(t *testing.T) {
	inServer(t, fine, func(t *testing.T, supervisor *actors.Supervisor, clients memory) {
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
	inServer(t, fine, func(t *testing.T, supervisor *actors.Supervisor, clients memory) {
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
	listener := newMemory()
	listener.Close()
	err := (&transport.HTTPServer{Listener: listener, Handler: http.NotFoundHandler()}).Serve(t.Context())
	if err == nil || errors.Is(err, http.ErrServerClosed) {
		t.Errorf("it says %v", err)
	}
}
