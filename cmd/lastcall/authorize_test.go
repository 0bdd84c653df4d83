package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/proto/dap"
	"github.com/lastcall-go/lastcall/transport/auth"
	"github.com/lastcall-go/lastcall/transport/client"
	"github.com/lastcall-go/lastcall/transport/grant"
	"github.com/lastcall-go/lastcall/transport/scripted"
)

// testAgent is an agent on a port of the test's.
type testAgent struct {
	address string

	mu     sync.Mutex
	events []scripted.Event
}

func startAgent(t *testing.T, steps ...scripted.Step) *testAgent {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a := &testAgent{address: listener.Addr().String()}
	script := scripted.New(scripted.Options{Steps: append([]scripted.Step{scripted.Checkpoint("begun")}, steps...), Observe: func(e scripted.Event) {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.events = append(a.events, e)
	}})
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- script.Serve(ctx, listener) }()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Errorf("the agent: %v", err)
		}
	})
	return a
}

// seen returns what the agent saw of a kind.
func seen[E scripted.Event](a *testAgent) (found []E) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, event := range a.events {
		if e, ok := event.(E); ok {
			found = append(found, e)
		}
	}
	return found
}

// join opens a session of a new workflow with a token, waits until it is under way, and reads on.
func (p *process) join(token string, with *tls.Config) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	config := client.Config{URL: p.url, Header: http.Header{}, Start: &dap.StartWorkflowRequest{WorkflowID: rand.Text()}}
	if token != "" {
		config.Header.Set("Authorization", "Bearer "+token)
	}
	if with != nil {
		transport := &http.Transport{TLSClientConfig: with, DisableKeepAlives: true}
		defer transport.CloseIdleConnections()
		config.HTTPClient = &http.Client{Transport: transport}
	}
	conn, err := client.Dial(ctx, config)
	if err != nil {
		return err
	}
	_, err = conn.Receive(ctx)
	var reading sync.WaitGroup
	reading.Go(func() {
		var err error
		for err == nil {
			_, err = conn.Receive(context.Background())
		}
	})
	p.t.Cleanup(func() { conn.Cut(); reading.Wait() })
	return err
}

func (p *process) wantStatus(token string, want int) {
	p.t.Helper()
	err := p.join(token, nil)
	var refused *client.RefusedError
	if want == http.StatusSwitchingProtocols && err == nil || errors.As(err, &refused) && refused.Status == want {
		return
	}
	p.t.Errorf("the client was answered %v, want %d", err, want)
}

// wantSilence drains, and wants none of the secrets in what the process said.
func (p *process) wantSilence(secrets ...string) {
	p.t.Helper()
	p.drain(syscall.SIGTERM, 0)
	report, err := json.Marshal(p.report())
	if err != nil {
		p.t.Fatal(err)
	}
	p.mu.Lock()
	said := strings.Join(append(p.lines, string(report)), "\n")
	p.mu.Unlock()
	for _, secret := range secrets {
		if secret == "" || strings.Contains(said, secret) {
			p.t.Errorf("%q was said", secret)
		}
	}
}

func TestAnOpenDoorIsRefused(t *testing.T) {
	for _, address := range []string{"0.0.0.0:0", ":0", "[::]:0", "192.0.2.1:8080", "gateway.example:8080"} {
		wantUsageError(t, "--listen "+address+" can be reached by others", "serve", "--listen", address, "--admin", "127.0.0.1:0")
	}
}

func TestAnOpenDoorThatIsAskedForIsOpened(t *testing.T) {
	for _, listen := range []string{"0.0.0.0:0", "localhost:0"} {
		args := []string{"--agent", startAgent(t, scripted.Wait()).address, "--listen", listen}
		if listen == "0.0.0.0:0" {
			args = append(args, "--auth", "none")
		}
		p := startServe(t, "no daemon", args...)
		_, port, err := net.SplitHostPort(strings.TrimPrefix(strings.TrimSuffix(p.url, "/api/v4/ai/duo_workflows/ws"), "ws://"))
		if err != nil {
			t.Fatal(err)
		}
		p.url = "ws://" + net.JoinHostPort("127.0.0.1", port) + "/api/v4/ai/duo_workflows/ws"
		p.wantStatus("", 101)
		p.drain(syscall.SIGTERM, 0)
	}
}

func TestFlagsOfAuthorizationGoTogether(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	absent, bad := filepath.Join(dir, "absent"), write("bad", "not what it should be\n")
	secret := write("secret", base64.StdEncoding.EncodeToString(make([]byte, 32)))
	certs := newCerts(t)
	cert, key := certs.files(t, 1)
	for _, test := range []struct{ helps, args string }{
		{"--auth tokens and --auth-tokens go together", "--auth tokens"},
		{"--auth tokens and --auth-tokens go together", "--auth-tokens " + bad},
		{"--auth tokens and --auth-tokens go together", "--auth none --auth-tokens " + bad},
		{"--auth forward and --auth-url go together", "--auth forward"},
		{"--auth forward and --auth-url go together", "--auth-url http://127.0.0.1:1"},
		{"--auth forward and --auth-url go together", "--auth tokens --auth-tokens " + bad + " --auth-url http://127.0.0.1:1"},
		{"--auth-secret", "--auth-secret " + secret},
		{"--auth-secret", "--auth tokens --auth-tokens " + bad + " --auth-secret " + secret},
		{"--auth-secret", "--auth forward --auth-url http://127.0.0.1:1 --auth-secret " + absent},
		{"--auth-secret", "--auth forward --auth-url http://127.0.0.1:1 --auth-secret " + bad},
		{"--auth-url", "--auth forward --auth-url ftp://127.0.0.1:1"},
		{"--auth-url", "--auth forward --auth-url http://user:hunter2@127.0.0.1:1"},
		{"--auth-tokens", "--auth tokens --auth-tokens " + absent},
		{"line 1", "--auth tokens --auth-tokens " + bad},
		{"--auth", "--auth guess"},
		{"--tls-cert and --tls-key go together", "--tls-cert " + cert},
		{"--tls-cert and --tls-key go together", "--tls-key " + key},
		{"--tls-client-ca needs", "--tls-client-ca " + cert},
		{"--tls-cert", "--tls-cert " + absent + " --tls-key " + key},
		{"--tls-cert", "--tls-cert " + key + " --tls-key " + cert},
		{"--tls-client-ca", "--tls-cert " + cert + " --tls-key " + key + " --tls-client-ca " + absent},
		{"--tls-client-ca", "--tls-cert " + cert + " --tls-key " + key + " --tls-client-ca " + bad},
		{"--max-sessions-per-principal -1", "--max-sessions-per-principal=-1"},
	} {
		t.Run(test.args, func(t *testing.T) {
			wantUsageError(t, test.helps, append([]string{"serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"}, strings.Fields(test.args)...)...)
		})
	}
	_, _, stderr := lastcall(t, "serve", "--listen", "127.0.0.1:0", "--auth", "forward", "--auth-url", "http://user:hunter2@127.0.0.1:1")
	if strings.Contains(stderr, "hunter2") {
		t.Errorf("a password is repeated: %s", stderr)
	}
}

func TestTokenPrintsTheLineAndTheTokenApart(t *testing.T) {
	code, stdout, stderr := lastcall(t, "token", "ada")
	token := strings.TrimPrefix(strings.TrimSpace(stderr), "token of ada: ")
	if code != 0 || !strings.HasPrefix(stdout, "ada ") || strings.Count(stdout, "\n") != 1 || !strings.HasPrefix(token, auth.TokenPrefix) || strings.Contains(stdout, token) {
		t.Fatalf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	path := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(path, []byte(stdout), 0o600); err != nil {
		t.Fatal(err)
	}
	tokens, err := auth.OpenTokens(path, grant.Grant{})
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Authorization", "Bearer "+token)
	if g, err := tokens.Authorize(r); err != nil || g.Principal != "ada" {
		t.Errorf("the token is for %v, %v", g, err)
	}
	if _, again, _ := lastcall(t, "token", "ada"); again == stdout {
		t.Error("two tokens are the same")
	}
	wantUsageError(t, "name", "token", "not a name")
	wantUsageError(t, "<name>", "token")
}

// owner is a user with a token.
func owner(t *testing.T, name string) (token, line string) {
	t.Helper()
	token, line, err := auth.NewToken(name)
	if err != nil {
		t.Fatal(err)
	}
	return token, line + "\n"
}

func TestTokensEndToEnd(t *testing.T) {
	ada, adasLine := owner(t, "ada")
	bob, bobsLine := owner(t, "bob")
	eve, _ := owner(t, "eve")
	file := filepath.Join(t.TempDir(), "tokens")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(adasLine)
	agent := startAgent(t, scripted.Wait())
	p := startServe(t, "no daemon", "--auth", "tokens", "--auth-tokens", file, "--agent", agent.address, "--max-sessions-per-principal", "2", "--log-level", "debug")
	p.wantStatus("", 401)
	p.wantStatus(eve, 401)
	p.wantStatus(bob, 401)
	p.wantStatus(ada, 101)
	p.wantStatus(ada, 101)
	p.wantStatus(ada, 429)
	if n := len(seen[scripted.Started](agent)); n != 2 {
		t.Errorf("the agent was started %d times", n)
	}

	write(adasLine + bobsLine)
	p.signal(syscall.SIGHUP)
	p.record("read again")
	p.wantStatus(bob, 101)
	p.wantStatus(eve, 401)

	write(bobsLine + "eve " + eve + "\n") // not a hash: the token itself
	p.signal(syscall.SIGHUP)
	if failed := p.record("not read again, what was read before stays in force"); !strings.Contains(failed["error"].(string), "line 2") {
		t.Errorf("the log says %v", failed)
	}
	p.wantStatus(ada, 429) // she has a token still, and two sessions
	p.wantStatus(bob, 101)
	p.wantStatus(eve, 401)

	_, adasHash, _ := strings.Cut(adasLine, " ")
	p.wantSilence(ada, bob, eve, strings.TrimSpace(adasHash))
	if report := p.report(); report.Totals[actors.Drained] != 4 {
		t.Errorf("totals %v", report.Totals)
	}
}

// preauthorization is an endpoint that answers with a grant, if the signature and the token are right.
type preauthorization struct {
	*httptest.Server
	secret []byte

	mu       sync.Mutex
	bad      []string // what was wrong with the requests
	requests []*http.Request
}

const (
	clientToken = "client-s3cret"
	apiToken    = "api-s3cret"
	agentToken  = "agent-s3cret"
)

func newPreauthorization(t *testing.T, secret []byte, answer string) *preauthorization {
	t.Helper()
	e := &preauthorization{secret: secret}
	e.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := e.check(r.Header.Get("Gitlab-Workhorse-Api-Request"))
		e.mu.Lock()
		defer e.mu.Unlock()
		e.requests = append(e.requests, r)
		switch {
		case err != nil:
			e.bad = append(e.bad, err.Error())
			w.WriteHeader(http.StatusInternalServerError)
		case r.Header.Get("Authorization") == "":
			w.Header().Set("WWW-Authenticate", `Bearer realm="here"`)
			w.WriteHeader(http.StatusUnauthorized)
		case r.Header.Get("Authorization") != "Bearer "+clientToken:
			w.WriteHeader(http.StatusForbidden)
		default:
			w.Header().Set("Content-Type", "application/vnd.gitlab-workhorse+json")
			_, _ = io.WriteString(w, answer)
		}
	}))
	t.Cleanup(e.Close)
	return e
}

func (e *preauthorization) check(signature string) error {
	parsed, err := jwt.Parse(signature, func(*jwt.Token) (any, error) { return e.secret, nil },
		jwt.WithValidMethods([]string{"HS256"}), jwt.WithIssuer("gitlab-workhorse"), jwt.WithExpirationRequired())
	if err == nil && !parsed.Valid {
		err = errors.New("not valid")
	}
	return err
}

func secretFile(t *testing.T) (secret []byte, path string) {
	t.Helper()
	secret = make([]byte, 32)
	_, _ = rand.Read(secret)
	path = filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(base64.StdEncoding.EncodeToString(secret)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return secret, path
}

func TestForwardEndToEnd(t *testing.T) {
	agent, own := startAgent(t, scripted.Wait()), startAgent(t, scripted.Wait())
	secret, file := secretFile(t)
	endpoint := newPreauthorization(t, secret, `{"GL_ID": "user-1", "DuoWorkflow": {
		"Service": {"URI": "`+agent.address+`", "Headers": {"Authorization": "Bearer `+agentToken+`", "x-gitlab-oauth-token": "`+apiToken+`"}},
		"WorkflowID": 77, "ServerCapabilities": ["advanced_search", "made_up"], "LockConcurrentFlow": true}}`)
	p := startServe(t, "no daemon", "--auth", "forward", "--auth-url", endpoint.URL, "--auth-secret", file, "--agent", own.address, "--log-level", "debug")
	p.url += "?project_id=7"
	p.wantStatus("", 401)
	p.wantStatus("somebody-else", 403)

	end := make(chan error, 1)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	config := client.Config{URL: p.url, Header: http.Header{"Authorization": {"Bearer " + clientToken}}, Start: &dap.StartWorkflowRequest{}}
	conn, err := client.Dial(ctx, config)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Cut()
	if _, err := conn.Receive(ctx); err != nil {
		t.Fatal(err)
	}
	started := seen[scripted.Started](agent)
	if len(started) != 1 || started[0].WorkflowID != "77" || !slices.Equal(started[0].Request.ClientCapabilities, []string{"advanced_search"}) ||
		!slices.Equal(started[0].Metadata.Get("authorization"), []string{"Bearer " + agentToken}) {
		t.Errorf("the granted agent was started with %v", started)
	}
	// The same workflow again, over WebSocket and without a client.
	second, err := client.Dial(ctx, config)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Cut()
	var held *client.CloseError
	if _, err := second.Receive(ctx); !errors.As(err, &held) || held.Code != 1013 || held.Reason != "workflow is running elsewhere" {
		t.Errorf("the second session: %v", err)
	}
	if status := p.execute(t, "77", clientToken); status != 409 {
		t.Errorf("execute: %d", status)
	}
	if status := p.execute(t, "78", clientToken); status != 403 {
		t.Errorf("execute of another workflow: %d", status)
	}
	if n := len(seen[scripted.Started](own)); n != 0 {
		t.Errorf("the gateway's own agent was started %d times", n)
	}
	go func() {
		var err error
		for err == nil {
			_, err = conn.Receive(ctx)
		}
		end <- err
	}()
	endpoint.mu.Lock()
	if len(endpoint.bad) != 0 {
		t.Errorf("signatures: %q", endpoint.bad)
	}
	first := endpoint.requests[0]
	if first.Method != "GET" || first.URL.Path != "/api/v4/ai/duo_workflows/ws" || first.URL.Query().Get("project_id") != "7" {
		t.Errorf("the endpoint was asked %s %s", first.Method, first.URL)
	}
	endpoint.mu.Unlock()
	endpoint.Close()
	p.wantStatus(clientToken, 502)
	p.record("authorization failed")
	p.wantSilence(clientToken, apiToken, agentToken, base64.StdEncoding.EncodeToString(secret), "somebody-else")
	wantClose(t, end, actors.CloseGoingAway, "server shutdown")
}

// execute asks for a run, and returns the status.
func (p *process) execute(t *testing.T, workflow, token string) int {
	t.Helper()
	address, _, _ := strings.Cut(strings.TrimPrefix(p.url, "ws://"), "/")
	request, err := http.NewRequest("POST", "http://"+address+"/api/v4/ai/duo_workflows/workflows/"+workflow+"/execute", strings.NewReader(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	transport := &http.Transport{DisableKeepAlives: true}
	answer, err := (&http.Client{Transport: transport, Timeout: patience}).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, answer.Body)
	return answer.StatusCode
}

// certs is an authority that issues certificates for 127.0.0.1.
type certs struct {
	ca  *x509.Certificate
	key *ecdsa.PrivateKey
}

func newCerts(t *testing.T) *certs {
	t.Helper()
	c := &certs{}
	c.ca, c.key = c.certify(t, &x509.Certificate{SerialNumber: big.NewInt(1000), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return c
}

// certify signs with the authority's key; its own certificate with its own.
func (c *certs) certify(t *testing.T, template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	template.Subject = pkix.Name{CommonName: "lastcall test"}
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	parent, signer := template, key
	if c.ca != nil {
		parent, signer = c.ca, c.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return certificate, key
}

func (c *certs) pem(t *testing.T, serial int64) (cert, key []byte) {
	t.Helper()
	certificate, private := c.certify(t, &x509.Certificate{
		SerialNumber: big.NewInt(serial),
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Raw}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func (c *certs) files(t *testing.T, serial int64) (cert, key string) {
	t.Helper()
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	c.replace(t, cert, key, serial)
	return cert, key
}

func (c *certs) replace(t *testing.T, certFile, keyFile string, serial int64) {
	t.Helper()
	cert, key := c.pem(t, serial)
	if err := errors.Join(os.WriteFile(certFile, cert, 0o600), os.WriteFile(keyFile, key, 0o600)); err != nil {
		t.Fatal(err)
	}
}

// client trusts the authority, and returns the serial number of the certificate that it saw.
func (c *certs) client(serial *int64) *tls.Config {
	roots := x509.NewCertPool()
	roots.AddCert(c.ca)
	return &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12, VerifyConnection: func(state tls.ConnectionState) error {
		*serial = state.PeerCertificates[0].SerialNumber.Int64()
		return nil
	}}
}

func TestTLSWithACertificateThatIsReplaced(t *testing.T) {
	authority := newCerts(t)
	cert, key := authority.files(t, 1)
	agent := startAgent(t, scripted.Wait())
	p := startServe(t, "no daemon", "--tls-cert", cert, "--tls-key", key, "--agent", agent.address)
	if !strings.HasPrefix(p.url, "wss://127.0.0.1:") {
		t.Fatalf("it listens on %s", p.url)
	}
	var serial int64
	if err := p.join("", authority.client(&serial)); err != nil || serial != 1 {
		t.Fatalf("certificate %d, %v", serial, err)
	}
	authority.replace(t, cert, key, 2)
	for late := time.Now().Add(patience); serial != 2; time.Sleep(20 * time.Millisecond) { // it looks once a second
		if err := p.join("", authority.client(&serial)); err != nil {
			t.Fatal(err)
		}
		if time.Now().After(late) {
			t.Fatal("the new certificate isn't used")
		}
	}
	if err := os.WriteFile(cert, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	failed := make(chan struct{})
	go func() {
		defer close(failed)
		p.record("certificate not read again, the one before stays in use")
	}()
	for told := false; !told; {
		if err := p.join("", authority.client(&serial)); err != nil || serial != 2 {
			t.Fatalf("certificate %d, %v", serial, err)
		}
		select {
		case <-failed:
			told = true
		case <-time.After(20 * time.Millisecond):
		}
	}
	p.drain(syscall.SIGTERM, 0)
}

func TestTLSWithClientCertificates(t *testing.T) {
	authority, strange := newCerts(t), newCerts(t)
	cert, key := authority.files(t, 1)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: authority.ca.Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	agent := startAgent(t, scripted.Wait())
	p := startServe(t, "no daemon", "--tls-cert", cert, "--tls-key", key, "--tls-client-ca", ca, "--agent", agent.address)
	var serial int64
	for name, issuer := range map[string]*certs{"none": nil, "a stranger's": strange, "its own": authority} {
		config := authority.client(&serial)
		if issuer != nil {
			pair, err := tls.X509KeyPair(issuer.pem(t, 7))
			if err != nil {
				t.Fatal(err)
			}
			config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
		}
		if err := p.join("", config); (err == nil) != (issuer == authority) {
			t.Errorf("with %s as certificate: %v", name, err)
		}
	}
	if n := len(seen[scripted.Started](agent)); n != 1 {
		t.Errorf("the agent was started %d times", n)
	}
	p.drain(syscall.SIGTERM, 0)
}

// The flag of connect that brings a token, and the door that wants one.
func TestConnectBringsItsToken(t *testing.T) {
	ada, line := owner(t, "ada")
	file := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(file, []byte(line), 0o600); err != nil {
		t.Fatal(err)
	}
	p := startServe(t, "no daemon", "--auth", "tokens", "--auth-tokens", file, "--agent", startAgent(t).address)
	for _, test := range []struct {
		token string
		code  int
		says  string
	}{{"", 1, "401"}, {"wrong-s3cret", 1, "401"}, {ada, 0, "closed 1000"}} {
		t.Setenv("LASTCALL_TOKEN", test.token)
		var out bytes.Buffer
		code := run([]string{"connect", "--url", p.url}, streams{strings.NewReader(""), &out, &out})
		if code != test.code || !strings.Contains(out.String(), test.says) || test.token != "" && strings.Contains(out.String(), test.token) {
			t.Errorf("exit code %d, %q; want %d, %q", code, out.String(), test.code, test.says)
		}
	}
	p.wantSilence(ada, "wrong-s3cret")
}

// A token that is removed ends what it has opened; the others' sessions go on, until they are drained.
func TestATokenThatIsRemovedEndsItsSessions(t *testing.T) {
	ada, adasLine := owner(t, "ada")
	bob, bobsLine := owner(t, "bob")
	file := filepath.Join(t.TempDir(), "tokens")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(adasLine + bobsLine)
	agent := startAgent(t, scripted.Wait())
	p := startServe(t, "no daemon", "--auth", "tokens", "--auth-tokens", file, "--agent", agent.address)
	open := func(token string) <-chan error {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		t.Cleanup(cancel)
		conn, err := client.Dial(ctx, client.Config{
			URL: p.url, Header: http.Header{"Authorization": {"Bearer " + token}}, Start: &dap.StartWorkflowRequest{WorkflowID: rand.Text()},
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Receive(ctx); err != nil {
			t.Fatal(err)
		}
		end := make(chan error, 1)
		var reading sync.WaitGroup
		reading.Go(func() {
			for {
				if _, err := conn.Receive(context.Background()); err != nil {
					end <- err
					return
				}
			}
		})
		t.Cleanup(func() { conn.Cut(); reading.Wait() })
		return end
	}
	adas, bobs := open(ada), open(bob)
	write(bobsLine)
	p.signal(syscall.SIGHUP)
	wantClose(t, adas, actors.CloseUnauthorized, actors.ReasonRevoked)
	if stopped := p.record("session stopped"); stopped["code"] != float64(3000) || stopped["outcome"] != string(actors.Drained) {
		t.Errorf("the log says %v", stopped)
	}
	p.wantStatus(ada, 401)
	if again := open(bob); len(again)+len(bobs) != 0 {
		t.Error("bob's sessions have ended")
	}

	address := p.record("listening")["admin"].(string)
	command := func(want int, args ...string) string {
		t.Helper()
		code, out, stderr := lastcall(t, append(args, "--admin", address)...)
		if code != want {
			t.Errorf("%q: exit code %d, %s%s", args, code, out, stderr)
		}
		return out
	}
	if n := strings.Count(command(0, "sessions", "--json", "--principal", "bob"), `"principal":"bob"`); n != 2 {
		t.Errorf("bob has %d sessions", n)
	}
	command(0, "drain", "--principal", "ada")
	if len(bobs) != 0 {
		t.Error("ada's drain was bob's")
	}
	command(2, "drain", "--principal", "")
	command(0, "drain", "--principal", "bob")
	wantClose(t, bobs, actors.CloseGoingAway, "server shutdown")
	p.wantStatus(bob, 101)
	p.wantSilence(ada, bob)
}
