package auth_test

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/lastcall-go/lastcall/transport/auth"
	"github.com/lastcall-go/lastcall/transport/grant"
	"github.com/lastcall-go/lastcall/transport/httpserver"
)

const smallest = `{"DuoWorkflow":{"Service":{"URI":"agent.example:443"}}}`

// endpoint serves pre-authorization until the test ends.
func endpoint(t *testing.T, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server
}

// answering serves one answer.
func answering(t *testing.T, status int, kind, body string) *httptest.Server {
	return endpoint(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", kind)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	})
}

func forward(t *testing.T, options auth.ForwardOptions) *auth.Forward {
	t.Helper()
	f, err := auth.NewForward(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.CloseIdleConnections)
	return f
}

// asked returns the request that an endpoint gets when r is to be authorized.
func asked(t *testing.T, options auth.ForwardOptions, path string, r *http.Request) *http.Request {
	t.Helper()
	var got *http.Request
	server := endpoint(t, func(w http.ResponseWriter, r *http.Request) {
		if body, _ := io.ReadAll(r.Body); len(body) > 0 {
			t.Errorf("the endpoint got a body: %q", body)
		}
		got = r
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, smallest)
	})
	options.URL = server.URL + path
	if _, err := forward(t, options).Authorize(r); err != nil {
		t.Fatal(err)
	}
	return got
}

func upgrade() *http.Request {
	r := httptest.NewRequest(http.MethodGet, "http://gitlab.example/api/v4/ai/duo%5Fworkflows/ws?project_id=7&q=a%20b", nil)
	r.RemoteAddr = "192.0.2.7:4711"
	for name, value := range map[string]string{
		"Authorization":         "Bearer " + canary,
		"Cookie":                "session=1",
		"Origin":                "https://gitlab.example",
		"User-Agent":            "ide/1",
		"X-Request-Id":          "r1",
		"X-Forwarded-For":       "198.51.100.9",
		"Connection":            "Upgrade, X-Hop",
		"Upgrade":               "websocket",
		"X-Hop":                 "1",
		"Sec-Websocket-Key":     "k",
		"Sec-Websocket-Version": "13",
		"Accept-Encoding":       "br",
		"Content-Type":          "text/plain",
		"Keep-Alive":            "1",
		"Te":                    "trailers",
		"Trailer":               "x",
		"Transfer-Encoding":     "chunked",
		"Expect":                "100-continue",
		"Proxy-Authorization":   "Basic " + canary,
		"Proxy-Connection":      "keep-alive",
	} {
		r.Header.Set(name, value)
	}
	return r
}

func TestTheEndpointIsAskedAsWorkhorseDoes(t *testing.T) {
	for _, path := range []string{"", "/"} {
		got := asked(t, auth.ForwardOptions{}, path, upgrade())
		if got.Method != http.MethodGet || got.RequestURI != "/api/v4/ai/duo%5Fworkflows/ws?project_id=7&q=a%20b" || got.Host != "gitlab.example" {
			t.Errorf("asked %s %s of %s", got.Method, got.RequestURI, got.Host)
		}
		if got.Header.Get("X-Original-Uri") != "" {
			t.Error("there is no other original")
		}
	}
}

func TestAnEndpointWithAPathIsAskedAsNginxDoes(t *testing.T) {
	for _, path := range []string{"/auth", "/auth/?kind=x", "/?kind=x"} {
		r := upgrade()
		r.Method = http.MethodPost
		r.Header.Set("X-Original-Uri", "/forged")
		r.Header.Set("X-Original-Method", "FORGED")
		got := asked(t, auth.ForwardOptions{}, path, r)
		if got.Method != http.MethodPost || got.RequestURI != path || got.Host != "gitlab.example" {
			t.Errorf("asked %s %s of %s", got.Method, got.RequestURI, got.Host)
		}
		if got.Header.Get("X-Original-Uri") != "/api/v4/ai/duo%5Fworkflows/ws?project_id=7&q=a%20b" || got.Header.Get("X-Original-Method") != "POST" {
			t.Errorf("original %s %s", got.Header.Get("X-Original-Method"), got.Header.Get("X-Original-Uri"))
		}
	}
}

// A trusted proxy's word for the client may have no port, and is the only one that counts.
func TestTheEndpointIsToldTheClientThatAProxyNames(t *testing.T) {
	trusted, err := httpserver.ParseProxies([]string{"192.0.2.0/24"})
	if err != nil {
		t.Fatal(err)
	}
	r := upgrade()
	r.Header.Set("X-Forwarded-For", "10.9.9.9, 2001:db8::7")
	r.Header.Set("X-Forwarded-Proto", "https")
	r.Header.Set("X-Forwarded-Host", "public.example")
	got := asked(t, auth.ForwardOptions{}, "", trusted.Request(r))
	if got.Header.Get("X-Forwarded-For") != "2001:db8::7" || got.Header.Get("X-Forwarded-Proto") != "https" || got.Host != "public.example" {
		t.Errorf("of %s, with %v", got.Host, got.Header)
	}
}

func TestTheEndpointGetsTheClientsHeadersAndNotTheConnections(t *testing.T) {
	r := upgrade()
	got := asked(t, auth.ForwardOptions{}, "", r).Header
	want := http.Header{
		"Accept-Encoding": {"gzip"}, // the gateway's own
		"Authorization":   {"Bearer " + canary},
		"Cookie":          {"session=1"},
		"Origin":          {"https://gitlab.example"},
		"User-Agent":      {"ide/1"},
		"X-Request-Id":    {"r1"},
		"X-Forwarded-For": {"198.51.100.9, 192.0.2.7"},
	}
	for name, values := range got {
		if strings.Join(values, "|") != strings.Join(want[name], "|") {
			t.Errorf("%s: got %q, want %q", name, values, want[name])
		}
	}
	for name := range want {
		if got[name] == nil {
			t.Errorf("%s is missing", name)
		}
	}
	if r.Header.Get("Upgrade") != "websocket" || r.Header.Get("X-Forwarded-For") != "198.51.100.9" {
		t.Error("the client's request was changed")
	}
}

// transportFunc sees a request before net/http drops what it never sends.
type transportFunc func(*http.Request) (*http.Response, error)

func (f transportFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestNoHeaderOfTheConnectionIsEvenTried(t *testing.T) {
	for _, name := range []string{"Upgrade", "Transfer-Encoding", "Trailer", "Content-Length", "Content-Encoding", "Content-Disposition"} {
		given := &http.Client{Transport: transportFunc(func(r *http.Request) (*http.Response, error) {
			if r.Header[name] != nil || r.Header.Get("X-Other") != "1" {
				t.Errorf("%s: got %q", name, r.Header)
			}
			return nil, errors.New(canary)
		})}
		r := get()
		r.Header.Set(name, "1")
		r.Header.Set("X-Other", "1")
		_, err := forward(t, auth.ForwardOptions{URL: "http://auth.example", HTTPClient: given}).Authorize(r)
		mustNotTell(t, err)
	}
}

func TestRefusalsShareAConnection(t *testing.T) {
	peers := make(map[string]bool)
	server := endpoint(t, func(w http.ResponseWriter, r *http.Request) {
		peers[r.RemoteAddr] = true
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, strings.Repeat("x", 32<<10))
	})
	f := forward(t, auth.ForwardOptions{URL: server.URL})
	for range 5 {
		_, _ = f.Authorize(get())
	}
	if len(peers) != 1 {
		t.Errorf("5 questions took %d connections", len(peers))
	}
}

func TestTheBodyIsNotRead(t *testing.T) {
	body := strings.NewReader("body")
	r := httptest.NewRequest(http.MethodPost, "/api/v4/ai/duo_workflows/workflows/1/execute", body)
	got := asked(t, auth.ForwardOptions{}, "", r)
	if got.ContentLength != 0 || body.Len() != 4 {
		t.Errorf("sent %d bytes, %d left", got.ContentLength, body.Len())
	}
	if got.Header.Get("X-Forwarded-For") != "192.0.2.1" || got.Header["User-Agent"] != nil {
		t.Errorf("got %q", got.Header)
	}
}

func TestASignedRequestVerifies(t *testing.T) {
	r := upgrade()
	r.Header.Set("Gitlab-Workhorse-Api-Request", "forged")
	got := asked(t, auth.ForwardOptions{Secret: key()}, "", r).Header["Gitlab-Workhorse-Api-Request"]
	if len(got) != 1 {
		t.Fatalf("got %d signatures", len(got))
	}
	verify := func(key auth.Secret, now time.Time, issuer string) error {
		_, err := jwt.Parse(got[0], func(*jwt.Token) (any, error) { return []byte(key), nil },
			jwt.WithValidMethods([]string{"HS256"}), jwt.WithIssuer(issuer), jwt.WithTimeFunc(func() time.Time { return now }), jwt.WithExpirationRequired())
		return err
	}
	if err := verify(key(), time.Now(), "gitlab-workhorse"); err != nil {
		t.Error(err)
	}
	if err := verify(key(), time.Now().Add(-time.Hour), "gitlab-workhorse"); err != nil {
		t.Errorf("an endpoint whose clock is behind: %v", err)
	}
	if verify(key(), time.Now().Add(6*time.Minute), "gitlab-workhorse") == nil {
		t.Error("a signature verifies for ever")
	}
	if verify(bytes.Repeat([]byte("x"), 32), time.Now(), "gitlab-workhorse") == nil {
		t.Error("another secret verifies it")
	}
}

func TestAClientCannotPassOffItsOwnSignature(t *testing.T) {
	r := upgrade()
	r.Header.Set("Gitlab-Workhorse-Api-Request", "forged")
	if got := asked(t, auth.ForwardOptions{}, "", r).Header["Gitlab-Workhorse-Api-Request"]; got != nil {
		t.Errorf("got %q", got)
	}
}

func TestARefusalIsPassedOnWithoutItsBody(t *testing.T) {
	for status, reason := range map[int]string{401: "unauthorized", 403: "forbidden", 404: "not found"} {
		server := endpoint(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Add("WWW-Authenticate", `Bearer realm="x"`)
			w.Header().Add("WWW-Authenticate", strings.Repeat("x", 2000))
			w.Header().Add("WWW-Authenticate", "Negotiate")
			w.Header().Set("Set-Cookie", canary)
			w.WriteHeader(status)
			_, _ = io.WriteString(w, canary)
		})
		g, err := forward(t, auth.ForwardOptions{URL: server.URL}).Authorize(upgrade())
		var denied *grant.RefusedError
		if g != nil || !errors.As(err, &denied) || denied.Status != status || denied.Reason != reason {
			t.Fatalf("%d: got %v, %v", status, g, err)
		}
		if got := strings.Join(denied.Header.Values("WWW-Authenticate"), "|"); len(denied.Header) != 1 || got != `Bearer realm="x"|Negotiate` {
			t.Errorf("%d: headers %q", status, denied.Header)
		}
		mustNotTell(t, err, *denied)
	}
}

func TestAnEndpointThatIsAskedTooOftenTellsHowLongToWait(t *testing.T) {
	for wait, want := range map[string]string{
		"7": "7", "Fri, 31 Dec 1999 23:59:59 GMT": "Fri, 31 Dec 1999 23:59:59 GMT",
		"": "", "-7": "", canary: "", "99999999999": "",
	} {
		server := endpoint(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", wait)
			w.WriteHeader(http.StatusTooManyRequests)
			_, _ = io.WriteString(w, canary)
		})
		_, err := forward(t, auth.ForwardOptions{URL: server.URL}).Authorize(upgrade())
		var denied *grant.RefusedError
		if !errors.As(err, &denied) || denied.Status != 429 || denied.Reason != "too many requests" || denied.Header.Get("Retry-After") != want {
			t.Errorf("Retry-After %q: got %+v, %v", wait, denied, err)
		}
		mustNotTell(t, err)
	}
}

func TestChallengesArePassedOnInReasonableNumber(t *testing.T) {
	server := endpoint(t, func(w http.ResponseWriter, _ *http.Request) {
		for range 20 {
			w.Header().Add("WWW-Authenticate", "Bearer")
		}
		w.WriteHeader(http.StatusUnauthorized)
	})
	_, err := forward(t, auth.ForwardOptions{URL: server.URL}).Authorize(upgrade())
	var denied *grant.RefusedError
	if !errors.As(err, &denied) || len(denied.Header.Values("WWW-Authenticate")) != 8 {
		t.Errorf("got %+v", denied)
	}
}

func TestAnyOtherAnswerIsNoDecision(t *testing.T) {
	var bomb bytes.Buffer
	zip := gzip.NewWriter(&bomb)
	_, _ = zip.Write([]byte(smallest + strings.Repeat(" ", 1<<20)))
	_ = zip.Close()

	const kind = "application/json"
	for name, test := range map[string]struct {
		status     int
		kind, body string
		encoding   string
		want       string
	}{
		"teapot":            {418, kind, canary, "", "answered 418"},
		"broken":            {500, kind, canary, "", "answered 500"},
		"overload":          {503, kind, smallest, "", "answered 503"},
		"created":           {201, kind, smallest, "", "answered 201"},
		"nothing":           {204, "", "", "", "answered 204"},
		"no type":           {200, "", smallest, "", "content type that isn't JSON"},
		"HTML":              {200, "text/html; x=" + canary, smallest, "", "content type that isn't JSON"},
		"JSON, so to speak": {200, "text/json", smallest, "", "content type that isn't JSON"},
		"too big":           {200, kind, smallest + strings.Repeat(" ", 1<<20), "", "over 1048576 bytes"},
		"too big, zipped":   {200, kind, bomb.String(), "gzip", "over 1048576 bytes"},
		"not zipped":        {200, kind, canary, "gzip", "the connection broke"},
		"not JSON":          {200, kind, canary, "", "not JSON at byte"},
		"more than JSON":    {200, kind, smallest + canary, "", "not JSON at byte"},
		"no grant":          {200, kind, `{}`, "", "DuoWorkflow is missing"},
	} {
		server := endpoint(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Content-Type"] = []string{test.kind}
			if test.encoding != "" {
				w.Header().Set("Content-Encoding", test.encoding)
			}
			w.WriteHeader(test.status)
			_, _ = io.WriteString(w, test.body)
		})
		g, err := forward(t, auth.ForwardOptions{URL: server.URL}).Authorize(upgrade())
		var denied *grant.RefusedError
		if g != nil || err == nil || errors.As(err, &denied) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, %v", name, g, err)
		}
		mustNotTell(t, err)
	}
}

func TestWorkhorsesMediaTypeIsTaken(t *testing.T) {
	for _, kind := range []string{"application/vnd.gitlab-workhorse+json", "application/json; charset=utf-8", "Application/JSON"} {
		server := answering(t, 200, kind, smallest)
		if _, err := forward(t, auth.ForwardOptions{URL: server.URL}).Authorize(upgrade()); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

func TestAnAnswerOfTheLimitIsTaken(t *testing.T) {
	server := answering(t, 200, "application/json", smallest+strings.Repeat(" ", 1<<20-len(smallest)))
	if _, err := forward(t, auth.ForwardOptions{URL: server.URL}).Authorize(upgrade()); err != nil {
		t.Error(err)
	}
}

func TestARedirectIsNotFollowed(t *testing.T) {
	followed := false
	elsewhere := endpoint(t, func(http.ResponseWriter, *http.Request) { followed = true })
	for _, location := range []string{elsewhere.URL + "/?" + canary, "/?" + canary, "http://%zz" + canary} {
		for _, status := range []int{301, 302, 307, 308} {
			server := endpoint(t, func(w http.ResponseWriter, r *http.Request) {
				followed = followed || r.URL.Path == "/"
				w.Header().Set("Location", location)
				w.WriteHeader(status)
			})
			// Whatever the given client would do.
			options := auth.ForwardOptions{URL: server.URL, HTTPClient: &http.Client{Transport: &http.Transport{}}}
			g, err := forward(t, options).Authorize(upgrade())
			if g != nil || err == nil {
				t.Errorf("%d: got %v, %v", status, g, err)
			}
			mustNotTell(t, err)
		}
	}
	if followed {
		t.Error("a redirect was followed")
	}
}

func TestOneClientsCookiesAreNotAnothers(t *testing.T) {
	server := endpoint(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Cookie") != "" {
			t.Errorf("got %q", r.Header.Get("Cookie"))
		}
		http.SetCookie(w, &http.Cookie{Name: "session", Value: "1"})
		w.WriteHeader(http.StatusForbidden)
	})
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	given := &http.Client{Transport: &http.Transport{}, Jar: jar}
	f := forward(t, auth.ForwardOptions{URL: server.URL, HTTPClient: given})
	for range 2 {
		_, _ = f.Authorize(get("Bearer x"))
	}
	if given.Jar == nil || given.CheckRedirect != nil {
		t.Error("the given client was changed")
	}
}

func TestASlowEndpointIsNotWaitedFor(t *testing.T) {
	for name, handler := range map[string]http.HandlerFunc{
		"no answer": func(http.ResponseWriter, *http.Request) {},
		"slow grant": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, canary)
			_ = http.NewResponseController(w).Flush()
		},
		"slow refusal": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusForbidden)
			_ = http.NewResponseController(w).Flush()
		},
	} {
		server := endpoint(t, func(w http.ResponseWriter, r *http.Request) {
			handler(w, r)
			<-r.Context().Done()
		})
		start := time.Now()
		_, err := forward(t, auth.ForwardOptions{URL: server.URL, Timeout: 50 * time.Millisecond}).Authorize(upgrade())
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("%s: took %v", name, took)
		}
		if denied := (*grant.RefusedError)(nil); !errors.Is(err, context.DeadlineExceeded) && !errors.As(err, &denied) {
			t.Errorf("%s: got %v", name, err)
		}
		mustNotTell(t, err)
	}
}

func TestTheGivenClientsTimeoutHoldsToo(t *testing.T) {
	server := endpoint(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	client := &http.Client{Transport: &http.Transport{}, Timeout: 50 * time.Millisecond}
	_, err := forward(t, auth.ForwardOptions{URL: server.URL, HTTPClient: client}).Authorize(upgrade())
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestAClientThatLeavesEndsTheQuestion(t *testing.T) {
	reached := make(chan struct{})
	server := endpoint(t, func(_ http.ResponseWriter, r *http.Request) {
		close(reached)
		<-r.Context().Done()
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-reached
		cancel()
	}()
	_, err := forward(t, auth.ForwardOptions{URL: server.URL}).Authorize(upgrade().WithContext(ctx))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	mustNotTell(t, err)
}

func TestAnEndpointThatIsNotThereIsToldWithoutTheRequest(t *testing.T) {
	r := upgrade()
	r.URL.RawQuery = "token=" + canary
	_, err := forward(t, auth.ForwardOptions{URL: "http://127.0.0.1:1"}).Authorize(r)
	var operation *net.OpError
	if !errors.As(err, &operation) || !strings.HasPrefix(err.Error(), "authorization endpoint: dial tcp ") {
		t.Errorf("got %v", err)
	}
	mustNotTell(t, err)
}

func TestAnUntrustedEndpointIsNotAsked(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("asked") }))
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // of the handshake that we refuse
	server.StartTLS()
	t.Cleanup(server.Close)
	_, err := forward(t, auth.ForwardOptions{URL: server.URL}).Authorize(upgrade())
	var certificate *tls.CertificateVerificationError
	if !errors.As(err, &certificate) {
		t.Errorf("got %v", err)
	}
	mustNotTell(t, err)
}

func TestWhatIsNotHTTPIsNotQuoted(t *testing.T) {
	for _, text := range []string{
		"", canary + "\r\n\r\n", "HTTP/1.1 200 OK\r\n" + canary + "\r\n\r\n", "HTTP/1.1 " + canary + " OK\r\n\r\n",
		"HTTP/1.1 200 OK\r\nX: " + strings.Repeat(canary, 1<<14) + "\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n" + canary,
		"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n" + canary,
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: " + canary + "\r\n\r\n",
	} {
		_, err := forward(t, auth.ForwardOptions{URL: "http://" + raw(t, text)}).Authorize(upgrade())
		if err == nil {
			t.Errorf("%.80q is an answer", text)
		}
		mustNotTell(t, err)
	}
}

// raw serves one connection with text, whatever is asked.
func raw(t *testing.T, text string) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 1<<16))
			_, _ = io.WriteString(conn, text)
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() {
		_ = listener.Close()
		<-done
	})
	return listener.Addr().String()
}

func TestThePrincipalIsTheUserOrAPseudonym(t *testing.T) {
	const service = `"DuoWorkflow":{"Service":{"URI":"a:1","Headers":{"X-Gitlab-Global-User-Id":"global"}}}`
	for body, want := range map[string]string{
		`{"GL_ID":"user-1","GL_USERNAME":"alice",` + service + `}`: "user-1",
		`{"GL_ID":"","gl_username":"alice",` + service + `}`:       "alice",
		`{` + service + `}`: "global",
	} {
		server := answering(t, 200, "application/json", body)
		g, err := forward(t, auth.ForwardOptions{URL: server.URL, Base: base()}).Authorize(upgrade())
		if err != nil || g.Principal != want {
			t.Errorf("%s: got %v, %v", body, g, err)
		}
	}

	server := answering(t, 200, "application/json", smallest)
	options := auth.ForwardOptions{URL: server.URL, Base: base()}
	f, other := forward(t, options), forward(t, options)
	principal := func(f *auth.Forward, authorization ...string) string {
		g, err := f.Authorize(get(authorization...))
		if err != nil {
			t.Fatal(err)
		}
		return g.Principal
	}
	one := principal(f, "Bearer "+canary)
	if !strings.HasPrefix(one, "client-") || len(one) != len("client-")+16 || strings.Contains(one, canary) {
		t.Errorf("got %q", one)
	}
	if again := principal(f, "bearer   "+canary+" "); again != one {
		t.Errorf("got %q and %q for the same credentials", one, again)
	}
	if bare := principal(f, canary); bare != one {
		t.Errorf("got %q and %q for the same credentials", one, bare)
	}
	if two := principal(f, "Bearer 2"); two == one {
		t.Error("two clients are one")
	}
	if principal(other, "Bearer "+canary) == one {
		t.Error("the pseudonym can be computed by others")
	}
	if nobody := principal(f); nobody != "" {
		t.Errorf("nobody is %q", nobody)
	}
}

func TestNothingThatPrintsTellsASecret(t *testing.T) {
	server := answering(t, 200, "application/json", `{"DuoWorkflow":{"Service":{"URI":"a:1","Headers":{"x-gitlab-oauth-token":"`+canary+`"}},
		"McpServers":{"m":{"URL":"https://mcp.example/?key=`+canary+`","Headers":{"Authorization":"`+canary+`"}}}}}`)
	f := forward(t, auth.ForwardOptions{URL: server.URL, Secret: key(), Base: base()})
	g, err := f.Authorize(upgrade())
	if err != nil || g.API.Token != canary {
		t.Fatalf("got %v, %v", g, err)
	}
	mustNotTell(t, f, g, struct{ grant.Authorizer }{f})
}

func TestBadOptionsAreRefused(t *testing.T) {
	const good = "https://gitlab.example"
	for name, options := range map[string]auth.ForwardOptions{
		"nothing":        {},
		"no scheme":      {URL: "gitlab.example/" + canary},
		"other scheme":   {URL: "ftp://gitlab.example/" + canary},
		"no host":        {URL: "http:///" + canary},
		"only a port":    {URL: "http://:80/" + canary},
		"a password":     {URL: "http://u:" + canary + "@gitlab.example"},
		"a fragment":     {URL: good + "#" + canary},
		"not a URL":      {URL: "http://%zz" + canary},
		"bad API URL":    {URL: good, APIURL: "http://u:" + canary + "@gitlab.example"},
		"short secret":   {URL: good, Secret: key()[:31]},
		"empty secret":   {URL: good, Secret: auth.Secret{}},
		"negative delay": {URL: good, Timeout: -1},
	} {
		f, err := auth.NewForward(options)
		if f != nil || err == nil {
			t.Errorf("%s: accepted", name)
		}
		mustNotTell(t, err)
	}
}

func TestTheAPIIsTheEndpointsOrTheGivenOne(t *testing.T) {
	server := answering(t, 200, "application/json", `{"DuoWorkflow":{"Service":{"URI":"a:1","Headers":{"X-GitLab-OAuth-Token":"t"}},"McpServers":{"gitlab":{}}}}`)
	for given, want := range map[string]string{"": server.URL, "https://api.example/gitlab": "https://api.example/gitlab"} {
		g, err := forward(t, auth.ForwardOptions{URL: server.URL + "/auth?x=1", APIURL: given}).Authorize(upgrade())
		if err != nil {
			t.Fatal(err)
		}
		if g.API != (grant.API{URL: want, Token: "t"}) || g.MCPServers["gitlab"].URL != want+"/api/v4/mcp" {
			t.Errorf("%s: got %+v, %s", cmp.Or(given, "default"), g.API, g.MCPServers["gitlab"].URL)
		}
	}
}
