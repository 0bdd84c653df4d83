package client_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/lastcall-go/lastcall/proto/dap"
	"github.com/lastcall-go/lastcall/transport/client"
	"github.com/lastcall-go/lastcall/transport/codec"
)

func dial(t testing.TB, cfg client.Config) *client.Conn {
	t.Helper()
	conn, err := client.Dial(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Cut)
	return conn
}

func stop(reason string) *dap.ClientEvent {
	return &dap.ClientEvent{Response: &dap.ClientEvent_StopWorkflow{StopWorkflow: &dap.StopWorkflowRequest{Reason: reason}}}
}

func TestAConnSendsAndReceives(t *testing.T) {
	g := &gateway{t: t, script: func(p *peer) {
		if event, err := p.receive(); err != nil || event.GetStopWorkflow().GetReason() != "USER" {
			t.Errorf("without a Start the first message is %v, %v", event, err)
		}
		p.act(mkdir("r1"))
		p.close(1001, "server shutdown")
	}}
	cfg := overSockets(t, g)
	cfg.Start = nil
	conn := dial(t, cfg)
	if err := conn.Send(t.Context(), stop("USER")); err != nil {
		t.Fatal(err)
	}
	if action, err := conn.Receive(t.Context()); err != nil || action.GetRequestID() != "r1" {
		t.Errorf("got %v, %v", action, err)
	}
	for range 2 {
		_, err := conn.Receive(t.Context())
		wantCode(t, err, 1001, "server shutdown")
	}
	wantCode(t, conn.Send(t.Context(), stop("")), 1001, "server shutdown")
	conn.Close(1000, "")
	_, err := conn.Receive(t.Context())
	wantCode(t, err, 1001, "server shutdown")
}

func TestAConnectionWithoutACloseFrameIsLost(t *testing.T) {
	g := &gateway{t: t, script: func(p *peer) { p.started(); _ = p.CloseNow() }}
	_, err := dial(t, overSockets(t, g)).Receive(t.Context())
	wantCode(t, err, 1006, "")
	if !errors.Is(err, io.EOF) {
		t.Errorf("%v doesn't tell what broke it", err)
	}
}

func TestGivingUpOnReceiveLeavesTheConnection(t *testing.T) {
	goOn := make(chan struct{})
	g := &gateway{t: t, script: func(p *peer) { p.started(); <-goOn; p.act(mkdir("r1")); _ = p.drained() }}
	conn := dial(t, overSockets(t, g))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := conn.Receive(ctx); err != context.Canceled {
		t.Errorf("got %v", err)
	}
	close(goOn)
	if action, err := conn.Receive(t.Context()); err != nil || action.GetRequestID() != "r1" {
		t.Errorf("got %v, %v", action, err)
	}
}

func TestWhatCanNotBeSentLeavesTheConnection(t *testing.T) {
	g := &gateway{t: t, script: func(p *peer) {
		p.started()
		if event, err := p.receive(); event.GetStopWorkflow().GetReason() != "fine" {
			t.Errorf("got %v, %v", event, err)
		}
		p.close(1000, "")
	}}
	conn := dial(t, overSockets(t, g))
	if err := conn.Send(t.Context(), stop("\xff")); err == nil {
		t.Error("invalid UTF-8 was sent")
	}
	if err := conn.Send(t.Context(), stop(strings.Repeat("x", 4<<20))); !errors.Is(err, codec.ErrTooBig) {
		t.Errorf("over 4 MiB: %v", err)
	}
	if err := conn.Send(t.Context(), stop("fine")); err != nil {
		t.Error(err)
	}
	_, err := conn.Receive(t.Context())
	wantCode(t, err, 1000, "")
}

func TestCloseIsSeenWithItsCodeAndWhatFitsOfItsReason(t *testing.T) {
	var end error
	g := &gateway{t: t, script: func(p *peer) {
		p.started()
		for range 10 {
			_ = p.send(websocket.MessageText, mkdir("dropped"))
		}
		end = p.drained()
	}}
	conn := dial(t, overSockets(t, g))
	conn.Close(4001, "x"+strings.Repeat("é", 100))
	if _, err := conn.Receive(t.Context()); err != net.ErrClosed {
		t.Errorf("Receive after Close: %v", err)
	}
	g.running.Wait()
	var frame websocket.CloseError
	if !errors.As(end, &frame) || frame.Code != 4001 || frame.Reason != "x"+strings.Repeat("é", 61) {
		t.Errorf("the gateway saw %v", end)
	}
}

func TestCloseIsBoundedWithAPeerThatDoesNotAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		free := make(chan struct{})
		g := &gateway{t: t, script: func(p *peer) { p.started(); <-free }}
		conn := dial(t, inMemory(t, g))
		begun := time.Now()
		conn.Close(1000, "")
		if took := time.Since(begun); took > 10*time.Second {
			t.Errorf("took %v", took)
		}
		close(free)
		g.running.Wait()
	})
}

func TestCutIsSeenAsALostClient(t *testing.T) {
	var end error
	g := &gateway{t: t, script: func(p *peer) {
		p.started()
		p.act(mkdir("never received"))
		end = p.drained()
	}}
	conn := dial(t, overSockets(t, g))
	conn.Cut()
	if _, err := conn.Receive(t.Context()); err != net.ErrClosed {
		t.Errorf("Receive after Cut: %v", err)
	}
	g.running.Wait()
	if end == nil || websocket.CloseStatus(end) != -1 {
		t.Errorf("the gateway saw %v", end)
	}
}

func TestASendIsBoundedWithAPeerThatDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		free := make(chan struct{})
		g := &gateway{t: t, script: func(p *peer) { p.started(); <-free }}
		conn := dial(t, inMemory(t, g))
		begun := time.Now()
		wantCode(t, conn.Send(t.Context(), stop("")), 1006, "")
		if took := time.Since(begun); took > 61*time.Second {
			t.Errorf("took %v", took)
		}
		close(free)
		g.running.Wait()
	})
}

func TestCancellingASendCutsTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		free := make(chan struct{})
		g := &gateway{t: t, script: func(p *peer) { p.started(); <-free }}
		conn := dial(t, inMemory(t, g))
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		begun := time.Now()
		if err := conn.Send(ctx, stop("")); err != context.DeadlineExceeded || time.Since(begun) != 3*time.Second {
			t.Errorf("%v after %v", err, time.Since(begun))
		}
		_, err := conn.Receive(t.Context())
		wantCode(t, err, 1006, "")
		close(free)
		g.running.Wait()
	})
}

// breaking is a connection that can be written to no more, though it can be read.
type breaking struct {
	net.Conn
	broken atomic.Bool
	failed chan struct{} // closed by the first write that fails
}

func (b *breaking) Write(p []byte) (int, error) {
	if !b.broken.Load() {
		return b.Conn.Write(p)
	}
	select {
	case <-b.failed:
	default:
		close(b.failed)
	}
	return 0, errors.New("broken pipe")
}

// The close frame is the reason, the failed write no more than a symptom of it.
func TestASendThatFailsTellsWhyTheGatewayClosed(t *testing.T) {
	for _, explained := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			wire := &breaking{failed: make(chan struct{})}
			g := &gateway{t: t, script: func(p *peer) {
				<-wire.failed
				if explained {
					p.close(1013, "workflow is running elsewhere")
				}
				_ = p.drained()
			}}
			cfg := inMemory(t, g)
			cfg.Start = nil
			transport := cfg.HTTPClient.Transport.(*http.Transport)
			dialPipe := transport.DialContext
			transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
				var err error
				wire.Conn, err = dialPipe(ctx, network, address)
				return wire, err
			}
			conn := dial(t, cfg)
			wire.broken.Store(true)
			begun := time.Now()
			err := conn.Send(t.Context(), stop(""))
			if explained {
				wantCode(t, err, 1013, "workflow is running elsewhere")
				return
			}
			wantCode(t, err, 1006, "")
			if took := time.Since(begun); took != time.Second || !strings.Contains(err.Error(), "broken pipe") {
				t.Errorf("%v after %v", err, took)
			}
		})
	}
}
