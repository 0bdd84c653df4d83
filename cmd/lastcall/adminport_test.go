package main

import (
	"crypto/tls"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// adminPort asks the admin port of a process.
type adminPort struct {
	t      *testing.T
	scheme string
	port   string // where all of this machine's addresses are listened on, 127.0.0.1 is one
	client *http.Client
}

func adminPortOf(p *process, with *tls.Config) *adminPort {
	p.t.Helper()
	scheme, address, _ := strings.Cut(p.record("listening")["admin"].(string), "://")
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		p.t.Fatal(err)
	}
	transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: with}
	return &adminPort{p.t, scheme, port, &http.Client{Transport: transport, Timeout: patience}}
}

// do makes a request that the edits change. A stream is left after its header.
func (a *adminPort) do(method, path, body string, edits ...func(*http.Request)) (status int, text string, err error) {
	a.t.Helper()
	r, err := http.NewRequest(method, a.scheme+"://127.0.0.1:"+a.port+path, strings.NewReader(body))
	if err != nil {
		a.t.Fatal(err)
	}
	for _, edit := range edits {
		edit(r)
	}
	answer, err := a.client.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer answer.Body.Close()
	if path != "/events" {
		all, err := io.ReadAll(answer.Body)
		if err != nil {
			a.t.Errorf("%s %s: %v", method, path, err)
		}
		text = string(all)
	}
	return answer.StatusCode, text, nil
}

// wants makes a request that is answered with a status, and returns the answer.
func (a *adminPort) wants(status int, method, path, body string, edits ...func(*http.Request)) string {
	a.t.Helper()
	got, text, err := a.do(method, path, body, edits...)
	if err != nil || got != status {
		a.t.Errorf("%s %s: %d %.80q, %v; want %d", method, path, got, text, err, status)
	}
	return text
}

func bearer(token string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
}

func basic(password string) func(*http.Request) {
	return func(r *http.Request) { r.SetBasicAuth("operator", password) }
}

func host(name string) func(*http.Request) {
	return func(r *http.Request) { r.Host = name }
}

func set(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

// adminPaths are what an operator reads.
var adminPaths = []string{"/", "/metrics", "/sessions", "/drain", "/events", "/debug/pprof/"}

// withTokens are the flags of a gateway that lets in the owner of a token.
func withTokens(t *testing.T, more ...string) (token string, args []string) {
	t.Helper()
	token, line := owner(t, "ada")
	file := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(file, []byte(line), 0o600); err != nil {
		t.Fatal(err)
	}
	return token, append([]string{"--auth", "tokens", "--auth-tokens", file}, more...)
}

// Where others reach the admin port, only health is open to all, whatever name they give the host.
func TestTheAdminPortAsksWhoItIsWhereOthersReachIt(t *testing.T) {
	token, args := withTokens(t, "--admin", "0.0.0.0:0")
	a := adminPortOf(startServe(t, "no daemon", args...), nil)
	if a.scheme != "http" {
		t.Errorf("without a certificate it speaks %s", a.scheme)
	}
	for _, name := range []string{"127.0.0.1:" + a.port, "localhost", "gateway.example"} {
		for _, path := range append(adminPaths, "/nothing") {
			a.wants(http.StatusUnauthorized, "GET", path, "", host(name))
			a.wants(http.StatusUnauthorized, "GET", path, "", host(name), bearer("wrong"))
			a.wants(http.StatusUnauthorized, "GET", path, "", host(name), basic("wrong"))
		}
		for _, path := range []string{"/drain", "/resume", "/sessions/1/drain"} {
			a.wants(http.StatusUnauthorized, "POST", path, "", host(name))
		}
		a.wants(http.StatusOK, "GET", "/healthz", "", host(name))
		a.wants(http.StatusOK, "GET", "/readyz", "", host(name)) // nothing of the above has drained
	}
	for _, path := range adminPaths {
		a.wants(http.StatusOK, "GET", path, "", bearer(token))
		a.wants(http.StatusOK, "GET", path, "", basic(token))
	}
}

// A request that drains needs the header too that no other site's page can send, and says little.
func TestTheAdminPortGuardsItsOrders(t *testing.T) {
	token, args := withTokens(t, "--admin", "0.0.0.0:0")
	a := adminPortOf(startServe(t, "no daemon", args...), nil)
	proof := set("X-Lastcall-Admin", "1")
	form := set("Content-Type", "application/x-www-form-urlencoded")
	for _, who := range []func(*http.Request){bearer(token), basic(token)} {
		a.wants(http.StatusForbidden, "POST", "/drain", "", who)
		a.wants(http.StatusForbidden, "POST", "/drain", "", who, proof, set("Origin", "https://evil.example"))
		a.wants(http.StatusForbidden, "POST", "/drain", "", who, proof, set("Sec-Fetch-Site", "cross-site"))
		a.wants(http.StatusRequestEntityTooLarge, "POST", "/drain", "reason="+strings.Repeat("a", 4<<10), who, proof, form)
	}
	a.wants(http.StatusUnauthorized, "POST", "/drain", "", proof)
	a.wants(http.StatusOK, "GET", "/readyz", "")
	a.wants(http.StatusAccepted, "POST", "/drain", "reason=maintenance", bearer(token), proof, form)
	a.wants(http.StatusServiceUnavailable, "GET", "/readyz", "")
}

// Tokens come by the admin port too. Health checks have no certificate to show.
func TestTheAdminPortIsEncryptedWhereOthersReachIt(t *testing.T) {
	authority := newCerts(t)
	cert, key := authority.files(t, 5)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: authority.ca.Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	token, args := withTokens(t, "--admin", "0.0.0.0:0", "--tls-cert", cert, "--tls-key", key, "--tls-client-ca", ca)
	var serial int64
	a := adminPortOf(startServe(t, "no daemon", args...), authority.client(&serial))
	if a.scheme != "https" {
		t.Errorf("it says that it speaks %s", a.scheme)
	}
	a.scheme = "https"
	a.wants(http.StatusOK, "GET", "/healthz", "")
	a.wants(http.StatusUnauthorized, "GET", "/sessions", "")
	a.wants(http.StatusOK, "GET", "/sessions", "", bearer(token))
	if serial != 5 {
		t.Errorf("it shows certificate %d", serial)
	}
	a.scheme = "http"
	for _, path := range []string{"/healthz", "/sessions"} {
		if status, text, err := a.do("GET", path, "", bearer(token)); err == nil && status != http.StatusBadRequest {
			t.Errorf("%s without encryption: %d %.80q", path, status, text)
		}
	}
}

// Where only this machine reaches it, it asks for no token, only for a local name.
func TestTheAdminPortOfALoopbackAddressIsOpenUnderALocalName(t *testing.T) {
	authority := newCerts(t)
	cert, key := authority.files(t, 5)
	_, args := withTokens(t, "--admin", "127.0.0.1:0", "--tls-cert", cert, "--tls-key", key)
	var serial int64
	a := adminPortOf(startServe(t, "no daemon", args...), authority.client(&serial))
	if a.scheme != "http" {
		t.Errorf("it says that it speaks %s", a.scheme)
	}
	a.scheme = "http"
	for _, path := range adminPaths {
		a.wants(http.StatusOK, "GET", path, "")
		a.wants(http.StatusOK, "GET", path, "", host("localhost"))
		a.wants(http.StatusForbidden, "GET", path, "", host("gateway.example"))
	}
	a.wants(http.StatusOK, "GET", "/healthz", "", host("gateway.example"))
	a.scheme = "https"
	if status, _, err := a.do("GET", "/healthz", ""); err == nil {
		t.Errorf("it speaks https: %d", status)
	}
}

// The command line may have secrets.
func TestTheCommandLineIsNoProfile(t *testing.T) {
	a := adminPortOf(startServe(t, "no daemon"), nil)
	a.wants(http.StatusNotFound, "GET", "/debug/pprof/cmdline", "")
	a.wants(http.StatusOK, "GET", "/debug/pprof/heap", "")
}
