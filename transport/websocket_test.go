package transport

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/actors/actorstest"
	"github.com/lastcall-go/lastcall/actors/relay"
	"github.com/lastcall-go/lastcall/transport/codec"
)

// upgraded gives test the gateway's end of a WebSocket and the client's, in a bubble.
func upgraded(t *testing.T, test func(t *testing.T, c *wsClient, peer *websocket.Conn)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		listener := actorstest.NewNetwork()
		accepted := make(chan *wsClient)
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			c, err := accept(w, r, nil, terms{contract: codec.BuiltIn})
			if err != nil {
				t.Error(err)
			}
			accepted <- c
		})}
		go server.Serve(listener)
		defer server.Close()
		dial := func(ctx context.Context, _, _ string) (net.Conn, error) { return listener.Dial(ctx) }
		dialled := make(chan *websocket.Conn)
		go func() {
			peer, _, err := websocket.Dial(t.Context(), "ws://gateway/", &websocket.DialOptions{
				HTTPClient: &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}},
			})
			if err != nil {
				t.Error(err)
			}
			dialled <- peer
		}()
		c, peer := <-accepted, <-dialled
		defer peer.CloseNow()
		test(t, c, peer)
	})
}

func TestNoPingOutlivesTheConnection(t *testing.T) {
	receive := func(c *wsClient) {
		if _, err := c.Receive(); err == nil {
			t.Error("something was received")
		}
	}
	for _, end := range []struct {
		name string
		run  func(c *wsClient, peer *websocket.Conn)
	}{
		{"Abort", func(c *wsClient, _ *websocket.Conn) { c.Abort() }},
		{"Abort twice", func(c *wsClient, _ *websocket.Conn) { c.Abort(); c.Abort() }},
		{"Abort, then Close", func(c *wsClient, _ *websocket.Conn) { c.Abort(); c.Close(actors.CloseError{Code: 1001}) }},
		{"Close, unanswered", func(c *wsClient, _ *websocket.Conn) { c.Close(actors.CloseError{Code: 1001}) }},
		{"Close, then Abort", func(c *wsClient, _ *websocket.Conn) { c.Close(actors.CloseError{Code: 1001}); c.Abort() }},
		{"Abort during Close", func(c *wsClient, _ *websocket.Conn) {
			time.AfterFunc(time.Second, c.Abort)
			c.Close(actors.CloseError{Code: 1001})
		}},
		{"Abort during Receive", func(c *wsClient, _ *websocket.Conn) {
			time.AfterFunc(time.Second, c.Abort)
			receive(c)
		}},
		{"the client is gone", func(c *wsClient, peer *websocket.Conn) { peer.CloseNow(); receive(c) }},
		{"the client is gone, then all the rest", func(c *wsClient, peer *websocket.Conn) {
			peer.CloseNow()
			receive(c)
			c.Abort()
			c.Close(actors.CloseError{Code: 1001})
		}},
		{"the client closes", func(c *wsClient, peer *websocket.Conn) {
			go peer.Close(1000, "")
			receive(c)
		}},
		{"the client is silent", func(c *wsClient, _ *websocket.Conn) { receive(c) }},
	} {
		// The first ping goes out after 20 s and waits for its pong for 10 s.
		for _, when := range []time.Duration{0, 20 * time.Second, 25 * time.Second} {
			upgraded(t, func(t *testing.T, c *wsClient, peer *websocket.Conn) {
				time.Sleep(when)
				end.run(c, peer)
				ended := time.Now()
				c.pings.wait()
				if took := time.Since(ended); took > 0 {
					t.Errorf("%s after %v: a ping outlived it by %v", end.name, when, took)
				}
				if c.pings.timer.Stop() {
					t.Errorf("%s after %v: more pings will come", end.name, when)
				}
			})
		}
	}
}

func TestAbortCutsACloseHandshakeAtOnce(t *testing.T) {
	for _, reading := range []bool{false, true} {
		upgraded(t, func(t *testing.T, c *wsClient, peer *websocket.Conn) {
			read := make(chan struct{})
			go func() {
				defer close(read)
				if reading { // as a session's pump does
					_, _ = c.Receive()
				}
			}()
			time.AfterFunc(time.Second, c.Abort)
			began := time.Now()
			_ = c.Close(actors.CloseError{Code: 1001})
			<-read
			if took := time.Since(began); took != time.Second {
				t.Errorf("Close took %v", took)
			}
		})
	}
}

func TestTheClientsOwnCloseIsTold(t *testing.T) {
	for _, code := range []websocket.StatusCode{1000, 1001, 1005, 4711} {
		upgraded(t, func(t *testing.T, c *wsClient, peer *websocket.Conn) {
			go peer.Close(code, "") // 1005: without a code
			_, err := c.Receive()
			var closed *actors.ClosedError
			if !errors.As(err, &closed) || closed.Code != int(code) {
				t.Errorf("%d: Receive says %v", code, err)
			}
		})
	}
}

// The library writes nothing more once it has read such a frame, and says no more than that.
func TestSendSaysWhyNothingCanBeWritten(t *testing.T) {
	for _, code := range []websocket.StatusCode{1000, 4711} {
		upgraded(t, func(t *testing.T, c *wsClient, peer *websocket.Conn) {
			go peer.Close(code, "")
			_, why := c.Receive()
			for range 20 {
				if err := c.Send(relay.Message{}); err != why {
					t.Fatalf("%d: Send says %v, Receive %v", code, err, why)
				}
			}
		})
	}
}

// Nobody receives while the agent takes no more. A Send must not wait for that.
func TestSendIsNotHeldUpByAReaderThatIsAway(t *testing.T) {
	for name, test := range map[string]struct {
		end  func(*wsClient)
		took time.Duration
	}{
		"aborted":                 {(*wsClient).Abort, 0},
		"closed under the client": {func(c *wsClient) { c.ws.CloseNow() }, explainLimit},
	} {
		upgraded(t, func(t *testing.T, c *wsClient, _ *websocket.Conn) {
			test.end(c)
			began := time.Now()
			if err := c.Send(relay.Message{}); !errors.Is(err, net.ErrClosed) || time.Since(began) != test.took {
				t.Errorf("%s: %v after %v", name, err, time.Since(began))
			}
			c.Abort()
		})
	}
}

// broken is a connection on which the answer to the upgrade can't be written.
type broken struct {
	net.Conn
	closed bool
}

func (b *broken) Write([]byte) (int, error)        { return 0, errors.New("broken pipe") }
func (b *broken) SetWriteDeadline(time.Time) error { return nil }

func (b *broken) Close() error {
	b.closed = true
	return nil
}

type brokenResponse struct {
	*httptest.ResponseRecorder
	conn *broken
}

func (r brokenResponse) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return r.conn, bufio.NewReadWriter(bufio.NewReader(r.conn), bufio.NewWriter(r.conn)), nil
}

func TestAConnectionThatBreaksDuringTheUpgradeIsClosed(t *testing.T) {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header = http.Header{
		"Connection": {"Upgrade"}, "Upgrade": {"websocket"},
		"Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"AAAAAAAAAAAAAAAAAAAAAA=="},
	}
	conn := &broken{}
	if _, err := accept(brokenResponse{httptest.NewRecorder(), conn}, r, nil, terms{contract: codec.BuiltIn}); err == nil {
		t.Error("it was upgraded")
	}
	if !conn.closed {
		t.Error("the connection is open")
	}
}
