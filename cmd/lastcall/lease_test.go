package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/lastcall-go/lastcall/transport/porttest"
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
	p := startServe(t, "no daemon", "--lease-url", "redis://:s3cret@127.0.0.1:1", "--lease-failure", "closed")
	warning := p.record("lease store can't be reached yet")
	if text, err := json.Marshal(warning); err != nil || warning["level"] != "WARN" || warning["failure"] != "closed" || strings.Contains(string(text), "s3cret") {
		t.Errorf("the log says %s: %v", text, err)
	}
}

// storeShown is what the admin port shows of a lease store.
type storeShown struct {
	Ready  int // status
	Why    string
	Metric string
	State  struct {
		LeaseStore *struct {
			Reachable   bool      `json:"reachable"`
			Since       time.Time `json:"since"`
			SessionsEnd time.Time `json:"sessions_end"`
		} `json:"lease_store"`
	}
}

func (a *adminPort) storeShown() (shown storeShown) {
	a.t.Helper()
	var err error
	if shown.Ready, shown.Why, err = a.do("GET", "/readyz", ""); err != nil {
		a.t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(a.wants(200, "GET", "/drain", "")), &shown.State); err != nil {
		a.t.Fatal(err)
	}
	_, value, _ := strings.Cut(a.wants(200, "GET", "/metrics", ""), "\nlastcall_lease_store_reachable ")
	shown.Metric, _, _ = strings.Cut(value, "\n")
	return shown
}

func TestWithFailureClosedItIsReadyOnceTheLeaseStoreWasReached(t *testing.T) {
	address := porttest.Address(t)
	began := time.Now()
	flags := []string{"--lease-url", "redis://" + address, "--lease-ttl", "1s", "--lease-failure"}
	closed := adminPortOf(startServe(t, "no daemon", append(flags, "closed")...), nil)
	open := adminPortOf(startServe(t, "no daemon", append(flags, "open")...), nil)

	shown := closed.storeShown()
	if shown.Ready != 503 || shown.Why != "lease store not reached yet\n" {
		t.Errorf("before the store is there: %d %s", shown.Ready, shown.Why)
	}
	if store := shown.State.LeaseStore; shown.Metric != "0" || store == nil || store.Reachable || store.Since.Before(began.Add(-time.Second)) || store.SessionsEnd != store.Since.Add(time.Second) {
		t.Errorf("closed, before the store is there: %s, %+v", shown.Metric, store)
	}
	shown = open.storeShown()
	if store := shown.State.LeaseStore; shown.Ready != 200 || shown.Metric != "0" || store == nil || store.Reachable || store.Since.IsZero() || !store.SessionsEnd.IsZero() {
		t.Errorf("open, before the store is there: %d %s, %+v", shown.Ready, shown.Metric, store)
	}

	server := miniredis.NewMiniRedis()
	if err := server.StartAddr(address); err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	status := func() string { return fmt.Sprint(closed.storeShown().Ready) }
	eventually(t, status, func(ready string) bool { return ready == "200" })
	shown = closed.storeShown()
	if store := shown.State.LeaseStore; shown.Metric != "1" || store == nil || !store.Reachable || !store.SessionsEnd.IsZero() {
		t.Errorf("with the store: %s, %+v", shown.Metric, store)
	}

	server.Close() // it stays ready: sessions go on until their leases run out
	eventually(t, func() string { return closed.storeShown().Metric }, func(reachable string) bool { return reachable == "0" })
	if shown := closed.storeShown(); shown.Ready != 200 || shown.State.LeaseStore.Reachable {
		t.Errorf("after the store has gone: %d, %+v", shown.Ready, shown.State.LeaseStore)
	}
}

func TestWithoutALeaseStoreNothingIsToldOfOne(t *testing.T) {
	shown := adminPortOf(startServe(t, "no daemon", "--lease-failure", "closed"), nil).storeShown()
	if shown.Ready != 200 || shown.Metric != "1" || shown.State.LeaseStore != nil {
		t.Errorf("%+v", shown)
	}
}
