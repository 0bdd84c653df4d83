package serveflags

import (
	"net"
	"path/filepath"
	"strings"
	"testing"
)

// A socket in the file system isn't known to be out of others' reach.
func TestAnInheritedAddressIsCheckedAsListenIs(t *testing.T) {
	for address, safe := range map[string]bool{"127.0.0.1:0": true, "0.0.0.0:0": false, filepath.Join(t.TempDir(), "s"): false} {
		network := "tcp"
		if strings.HasPrefix(address, "/") {
			network = "unix"
		}
		listener, err := net.Listen(network, address)
		if err != nil {
			t.Fatal(err)
		}
		err = new(authFlags).CheckAuth(addressOf(listener, "127.0.0.1:8080"), "127.0.0.1:8081")
		_ = listener.Close()
		if (err == nil) != safe {
			t.Errorf("without --auth on %s: %v", address, err)
		}
	}
	if got := addressOf(nil, "127.0.0.1:8080"); got != "127.0.0.1:8080" {
		t.Errorf("without a socket the address is %q", got)
	}
}
