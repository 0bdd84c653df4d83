package httpserver_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/lastcall-go/lastcall/transport/httpserver"
)

// leaving is how many descriptors to keep free so that so many can still be opened.
func leaving(t *testing.T, room int) int {
	t.Helper()
	limit, known := httpserver.DescriptorLimit()
	if !known {
		t.Fatal("the limit isn't known")
	}
	lowest, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer lowest.Close()
	return limit - int(lowest.Fd()) - room
}

// dial opens a connection, and asks for something on it.
func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: gateway\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	return conn
}

// answer is the first of what comes.
func answer(t *testing.T, conn net.Conn) string {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	some := make([]byte, 4096)
	n, err := conn.Read(some)
	if err != nil {
		t.Fatal(err)
	}
	return string(some[:n])
}

// Connections that take the descriptors which are to stay free get 503; the log has it
// once.
func TestConnectionsLeaveDescriptorsFree(t *testing.T) {
	var log bytes.Buffer
	var refused atomic.Int32
	server := &httpserver.Server{
		Handler: http.HandlerFunc(fine),
		Log:     slog.New(slog.NewTextHandler(&log, nil)),
		OnFull:  func() { refused.Add(1) },
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0") // has what it needs before the room is measured
	if err != nil {
		t.Fatal(err)
	}
	server.Listener = listener
	server.KeepFree = leaving(t, 7) // 3 connections, of which both ends are here, and one
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx) }()

	accepted, full := 0, 0
	for range 6 {
		switch text := answer(t, dial(t, listener.Addr().String())); {
		case strings.HasPrefix(text, "HTTP/1.1 200 "):
			accepted++
		case strings.HasPrefix(text, "HTTP/1.1 503 ") && strings.Contains(text, "\r\nRetry-After: ") && strings.Contains(text, "\r\nConnection: close\r\n"):
			full++
		default:
			t.Errorf("answered %q", text)
		}
	}
	if accepted < 2 || accepted > 4 || full != 6-accepted || int(refused.Load()) != full {
		t.Errorf("%d accepted, %d refused, of %d told", accepted, full, refused.Load())
	}
	stop()
	if err := <-served; err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if n := strings.Count(log.String(), "no descriptors for new connections"); n != 1 {
		t.Errorf("logged %d times:\n%s", n, &log)
	}
}

func TestADialerLeavesDescriptorsFree(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	for room, want := range map[int]error{0: syscall.EMFILE, 4: nil} {
		dialer := net.Dialer{Control: httpserver.LeaveFree(leaving(t, room))}
		conn, err := dialer.Dial("tcp", listener.Addr().String())
		if !errors.Is(err, want) {
			t.Errorf("with room for %d: %v, want %v", room, err, want)
		}
		if err == nil {
			conn.Close()
		}
	}
}

func TestKeptFree(t *testing.T) {
	for limit, want := range map[int]int{20: 10, 40: 16, 1024: 128, 65536: 256} {
		if got := httpserver.KeptFree(limit); got != want {
			t.Errorf("of %d: %d, want %d", limit, got, want)
		}
	}
}
