package httpserver_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/transport/httpserver"
)

// reluctant is a listener from which connections are accepted more slowly than they come.
type reluctant struct{ net.Listener }

func (r reluctant) Accept() (net.Conn, error) {
	time.Sleep(time.Millisecond)
	return r.Listener.Accept()
}

// late is a plain listener from which nothing is accepted before the server looks at its queue or
// closes it.
type late struct {
	*net.TCPListener
	begun chan struct{}
	begin func()
}

func newLate(t *testing.T) *late {
	t.Helper()
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	begun := make(chan struct{})
	return &late{plain.(*net.TCPListener), begun, sync.OnceFunc(func() { close(begun) })}
}

func (l *late) Accept() (net.Conn, error) {
	<-l.begun
	return l.TCPListener.Accept()
}

// SyscallConn implements [syscall.Conn].
func (l *late) SyscallConn() (syscall.RawConn, error) {
	defer l.begin()
	return l.TCPListener.SyscallConn()
}

// Close implements [net.Listener].
func (l *late) Close() error {
	defer l.begin()
	return l.TCPListener.Close()
}

// stopping serves on a listener until stop is called, which drains.
func stopping(t *testing.T, listener net.Listener) (stop func()) {
	t.Helper()
	supervisor, err := actors.NewSupervisor(actors.Options{})
	if err != nil {
		t.Fatal(err)
	}
	server := &httpserver.Server{Listener: listener, Handler: http.HandlerFunc(fine)}
	if err := supervisor.Add("http server", actors.AfterSessions, server); err != nil {
		t.Fatal(err)
	}
	return func() {
		defer supervisor.Close()
		if _, err := supervisor.Drain(context.Background(), actors.Drain{}); err != nil {
			t.Error(err)
		}
	}
}

// exchange makes a request on a connection.
func exchange(conn net.Conn) error {
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n"); err != nil {
		return err
	}
	answer, err := io.ReadAll(conn)
	if err == nil && !strings.HasPrefix(string(answer), "HTTP/1.1 200 ") {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// Clients come in a flood, and some are always waiting to be accepted. Each is answered, or refused.
func TestAListenerThatClosesResetsNoConnection(t *testing.T) {
	const rounds, clients, before = 3, 16, 200
	for range rounds {
		listener, err := httpserver.Listen("127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		stop := stopping(t, reluctant{listener})
		answered := make(chan struct{}, before)
		var all sync.WaitGroup
		for range clients {
			all.Go(func() {
				for {
					conn, err := net.Dial("tcp", listener.Addr().String())
					if errors.Is(err, syscall.ECONNREFUSED) {
						return
					}
					if err == nil {
						err = exchange(conn)
					}
					if err != nil {
						t.Error(err)
						return
					}
					select {
					case answered <- struct{}{}:
					default:
					}
				}
			})
		}
		gone := make(chan struct{})
		go func() { all.Wait(); close(gone) }()
		for range before {
			select {
			case <-answered:
			case <-gone: // and each has said why
			}
		}
		stop()
		<-gone
	}
}

// A plain listener is emptied as well, if not as exactly.
func TestConnectionsThatWaitToBeAcceptedAreAnswered(t *testing.T) {
	listener := newLate(t)
	stop := stopping(t, listener)
	var all sync.WaitGroup
	for range 50 {
		conn, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		all.Go(func() {
			if err := exchange(conn); err != nil {
				t.Error(err)
			}
		})
	}
	stop()
	all.Wait()
}

func TestAListenerThatNobodyAcceptsFromIsClosed(t *testing.T) {
	listener, err := httpserver.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	began := time.Now()
	for range 2 {
		if err := listener.Close(); err != nil {
			t.Error(err)
		}
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
	if _, err := listener.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("it accepts: %v", err)
	}
}
