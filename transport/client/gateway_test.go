package client_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"

	"github.com/lastcall-go/lastcall/proto/dap"
	"github.com/lastcall-go/lastcall/transport/client"
	"github.com/lastcall-go/lastcall/transport/codec"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// peer is the gateway's end of one connection.
type peer struct {
	t testing.TB
	*websocket.Conn
	n int // counts connections from 1
}

// gateway plays one script for each connection; a connection that the script leaves open is cut.
type gateway struct {
	t       testing.TB
	script  func(p *peer)
	dials   atomic.Int32
	running sync.WaitGroup
}

func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n := int(g.dials.Add(1))
	g.running.Add(1)
	defer g.running.Done()
	ws, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer ws.CloseNow()
	ws.SetReadLimit(-1)
	g.script(&peer{t: g.t, Conn: ws, n: n})
}

// overSockets serves handler on a port.
func overSockets(t testing.TB, handler http.Handler) client.Config {
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return configFor(strings.Replace(server.URL, "http", "ws", 1) + "/ws")
}

// configFor has backoffs short enough for real time.
func configFor(url string) client.Config {
	return client.Config{
		URL:        url,
		Start:      &dap.StartWorkflowRequest{WorkflowID: "w1", Goal: "a goal"},
		MinBackoff: time.Millisecond,
		MaxBackoff: 4 * time.Millisecond,
	}
}

// inMemory serves handler over pipes, for use in a synctest bubble. The backoffs are the defaults.
func inMemory(t testing.TB, handler http.Handler) client.Config {
	pipes := &pipes{accept: make(chan net.Conn), closed: make(chan struct{})}
	server := &http.Server{Handler: handler}
	served := make(chan struct{})
	go func() {
		_ = server.Serve(pipes)
		close(served)
	}()
	transport := &http.Transport{DialContext: pipes.dial, DisableKeepAlives: true}
	t.Cleanup(func() {
		_ = server.Close()
		<-served
	})
	cfg := configFor("ws://gateway/ws")
	cfg.MinBackoff, cfg.MaxBackoff = 0, 0
	cfg.HTTPClient = &http.Client{Transport: transport}
	return cfg
}

type pipes struct {
	accept    chan net.Conn
	closeOnce sync.Once
	closed    chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.accept:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case p.accept <- far:
		return near, nil
	case <-p.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p *pipes) Close() error {
	p.closeOnce.Do(func() { close(p.closed) })
	return nil
}
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipes"} }

// receive reads one event, which must come in a text frame.
func (p *peer) receive() (*dap.ClientEvent, error) {
	kind, message, err := p.Read(context.Background())
	if err != nil {
		return nil, err
	}
	if kind != websocket.MessageText {
		p.t.Errorf("a %v frame came", kind)
	}
	event := &dap.ClientEvent{}
	if err := codec.Decode(message, event); err != nil {
		p.t.Error(err)
	}
	return event, nil
}

// started reads the start request.
func (p *peer) started() *dap.StartWorkflowRequest {
	event, err := p.receive()
	if err != nil || event.GetStartRequest() == nil {
		p.t.Errorf("the first message is %v, %v, not a start request", event, err)
	}
	return event.GetStartRequest()
}

// answered reads the next answer, past heartbeats.
func (p *peer) answered() *dap.ActionResponse {
	for {
		event, err := p.receive()
		if err != nil {
			p.t.Errorf("instead of an answer: %v", err)
			return nil
		}
		if event.GetHeartbeat() == nil {
			return event.GetActionResponse()
		}
	}
}

func (p *peer) send(kind websocket.MessageType, action *dap.Action) error {
	message, err := codec.Append(nil, action)
	if err != nil {
		p.t.Error(err)
	}
	return p.Write(context.Background(), kind, message)
}

func (p *peer) act(action *dap.Action) {
	if err := p.send(websocket.MessageBinary, action); err != nil {
		p.t.Error(err)
	}
}

// drained reads until the connection ends and returns how it did.
func (p *peer) drained() error {
	for {
		if _, _, err := p.Read(context.Background()); err != nil {
			return err
		}
	}
}

func (p *peer) close(code int, reason string) { _ = p.Close(websocket.StatusCode(code), reason) }

func mkdir(id string) *dap.Action {
	return &dap.Action{RequestID: id, Action: &dap.Action_Mkdir{Mkdir: &dap.Mkdir{DirectoryPath: id}}}
}

func checkpoint() *dap.Action {
	return &dap.Action{Action: &dap.Action_NewCheckpoint{NewCheckpoint: &dap.NewCheckpoint{Status: "RUNNING"}}}
}

func plain(text string) *dap.ActionResponse {
	return &dap.ActionResponse{ResponseType: &dap.ActionResponse_PlainTextResponse{PlainTextResponse: &dap.PlainTextResponse{Response: text}}}
}

// names are gathered by several connections.
type names struct {
	mu  sync.Mutex
	all []string
}

func (n *names) add(name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.all = append(n.all, name)
}

func (n *names) list() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.all)
}

// record notes events.
type record struct{ events []client.Event }

func (r *record) observe(event client.Event) { r.events = append(r.events, event) }

func (r *record) reconnections() []client.Reconnecting {
	var all []client.Reconnecting
	for _, event := range r.events {
		if again, ok := event.(client.Reconnecting); ok {
			all = append(all, again)
		}
	}
	return all
}

func wantCode(t testing.TB, err error, code int, reason string) {
	t.Helper()
	var closed *client.CloseError
	if !errors.As(err, &closed) || closed.Code != code || closed.Reason != reason {
		t.Errorf("got %v, want close code %d %q", err, code, reason)
	}
}
