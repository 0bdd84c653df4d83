package main

import (
	"encoding/json"
	"io"
	"log"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alicebob/miniredis/v2"
)

func TestALeaseStoreThatRefusesIsAUsageError(t *testing.T) {
	server := miniredis.RunT(t)
	server.RequireAuth("s3cret")
	web := httptest.NewUnstartedServer(nil)
	web.Config.ErrorLog = log.New(io.Discard, "", 0)
	web.StartTLS()
	defer web.Close()
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	missing := filepath.Join(dir, "missing.pem")
	for _, test := range []struct{ helps, args string }{
		{"WRONGPASS", "--lease-url redis://:wr0ng@" + server.Addr()},
		{"NOAUTH", "--lease-url redis://" + server.Addr()},
		{"speaks TLS", "--lease-url redis://" + web.Listener.Addr().String()},
		{"certificate", "--lease-url rediss://" + web.Listener.Addr().String()},
		{"--lease-url", "--lease-url redis://h1,"},
		{"--lease-ca", "--lease-ca " + empty},
		{"--lease-ca", "--lease-url redis://" + server.Addr() + " --lease-ca " + empty},
		{"no certificate in PEM", "--lease-url rediss://" + server.Addr() + " --lease-ca " + empty},
		{"missing.pem", "--lease-url rediss://" + server.Addr() + " --lease-ca " + missing},
		{"go together", "--lease-url rediss://" + server.Addr() + " --lease-cert " + missing},
		{"--lease-cert, --lease-key: client certificate", "--lease-url valkeys://" + server.Addr() + " --lease-cert " + empty + " --lease-key " + empty},
	} {
		t.Run(test.args, func(t *testing.T) {
			wantUsageError(t, test.helps, append([]string{"serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"}, strings.Fields(test.args)...)...)
		})
	}
}

func TestALeaseStoreThatCantBeReachedIsAWarning(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	p := startServe(t, "no daemon", "--lease-url", "redis://:s3cret@"+address, "--lease-failure", "closed")
	warning := p.record("lease store can't be reached yet")
	if text, err := json.Marshal(warning); err != nil || warning["level"] != "WARN" || warning["failure"] != "closed" || strings.Contains(string(text), "s3cret") {
		t.Errorf("the log says %s: %v", text, err)
	}
}
