package actorstest_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/actors/actorstest"
	"github.com/lastcall-go/lastcall/transport/httpserver"
)

// terminals is a server's handler under test. Its WebSockets are sessions.
type terminals struct{ supervisor *actors.Supervisor }

func (s terminals) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ticket, err := s.supervisor.Admit(r.Context())
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	defer ticket.Cancel()
	ws, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	reading, cut := context.WithCancel(context.Background())
	defer cut()
	_ = ticket.Run(actors.Connection{Kind: "terminal", Cut: cut}, func(ctx context.Context) error {
		defer context.AfterFunc(ctx, func() {
			var stop *actors.Stop
			if errors.As(context.Cause(ctx), &stop) {
				_ = ws.Close(websocket.StatusGoingAway, stop.Reason)
			}
		})()
		for { // an echo
			kind, line, err := ws.Read(reading)
			if code := websocket.CloseStatus(err); code != -1 {
				return &actors.ClosedError{Code: int(code)}
			}
			if err != nil {
				return err
			}
			if err := ws.Write(reading, kind, line); err != nil {
				return err
			}
		}
	})
}

func TestATerminalIsToldToStop(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, s *actorstest.Supervisor) {
		network := actorstest.NewNetwork() // instead of a socket
		server := &httpserver.Server{Listener: network, Handler: terminals{s.Supervisor}}
		s.AddService("http server", actors.AfterSessions, server)
		ws, _, err := websocket.Dial(t.Context(), "ws://host", &websocket.DialOptions{HTTPClient: network.Client()})
		if err != nil {
			t.Fatal(err)
		}
		told := make(chan error, 1)
		go func() {
			_, _, err := ws.Read(context.Background())
			told <- err
		}()
		time.Sleep(time.Hour) // takes no time
		report := s.Drained(actors.Drain{})
		if err := <-told; websocket.CloseStatus(err) != websocket.StatusGoingAway {
			t.Errorf("the client was told %v", err)
		}
		if report.Took != 0 || report.Totals[actors.Drained] != 1 {
			t.Errorf("the report is %+v", report)
		}
	})
}

func TestTheStoreStopsWhenTheLastClientIsGone(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, s *actorstest.Supervisor) {
		session := s.Session()
		session.Lease()
		session.Agent.OnStop.Takes = 2 * time.Second
		session.Agent.LastWords = []string{"checkpoint 7"}
		session.Client.OnClose.Hangs = true // it never answers the close frame
		session.Serve()
		store := &actorstest.Service{Journal: session.Journal, Name: "store"} // yours
		s.AddService("store", actors.AfterSessions, store)
		time.Sleep(time.Hour)
		s.Drained(actors.Drain{Reason: "new version"})
		session.Saw(
			"0s lease on w1 taken",
			"0s agent got startRequest",
			"1h0m0s agent got stopWorkflow WORKHORSE_SERVER_SHUTDOWN",
			"1h0m2s client got checkpoint 7",
			"1h0m2s agent ended",
			"1h0m2s lease released",
			"1h0m2s client told 1001 new version",
			"1h0m7s client cut",
			"1h0m7s store told",
			"1h0m7s store stopped",
		)
		session.EndsAs(actors.Drained)
	})
}
