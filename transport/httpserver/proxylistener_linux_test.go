package httpserver_test

import (
	"fmt"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/lastcall-go/lastcall/transport/httpserver"
)

// What waits to be accepted is answered when the port closes, behind a proxy too.
func TestAProxyListenerThatClosesResetsNoConnection(t *testing.T) {
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	own, err := httpserver.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	for _, below := range []net.Listener{plain, own} {
		listener := &httpserver.ProxyListener{Listener: below, Trusted: proxies(t, "127.0.0.1")}
		stop := stopping(t, listener)
		header := version2(t, "203.0.113.7:1234")
		var all sync.WaitGroup
		for range 16 {
			conn, err := net.Dial("tcp", below.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			all.Go(func() {
				if _, err := io.WriteString(conn, header); err != nil {
					t.Error(err)
				}
				if err := exchange(conn); err != nil {
					t.Error(fmt.Errorf("%T: %w", below, err))
				}
			})
		}
		stop()
		all.Wait()
	}
}
