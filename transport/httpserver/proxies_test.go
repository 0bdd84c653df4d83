package httpserver_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"

	"github.com/lastcall-go/lastcall/transport/httpserver"
)

func proxies(t *testing.T, list ...string) httpserver.Proxies {
	t.Helper()
	p, err := httpserver.ParseProxies(list)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestAddressesOfProxies(t *testing.T) {
	for text, fine := range map[string]bool{
		"10.0.0.1": true, "10.0.0.0/8": true, "10.1.2.3/8": true, "::1": true, "fd00::/8": true, "::ffff:10.0.0.0/104": true, "unix": true,
		"": false, "proxy.example": false, "10.0.0.1:80": false, "10.0.0.0/33": false, "fe80::1%eth0": false,
		"0.0.0.0/0": false, "::/0": false, "::ffff:0.0.0.0/96": false, "::ffff:10.0.0.0/8": false,
	} {
		if _, err := httpserver.ParseProxies([]string{text}); (err == nil) != fine {
			t.Errorf("%q: %v", text, err)
		}
	}
	if (httpserver.Proxies{}).Some() || !proxies(t, "unix").Some() || !proxies(t, "::1").Some() {
		t.Error("Some is wrong")
	}
}

// asked is how a request looks to what is behind.
type asked struct{ remote, host, scheme, forwarded string }

func askedOf(r *http.Request) asked {
	others := r.Header.Values("X-Forwarded-For")
	for _, name := range []string{"Forwarded", "X-Real-Ip", "X-Forwarded-User"} {
		others = append(others, r.Header.Values(name)...)
	}
	if r.Header.Get("X-Forwarded-Host") != r.Host {
		others = append(others, "another host: "+r.Header.Get("X-Forwarded-Host"))
	}
	return asked{r.RemoteAddr, r.Host, r.Header.Get("X-Forwarded-Proto"), strings.Join(others, "; ")}
}

func TestWhatATrustedProxySaysOfAClient(t *testing.T) {
	trusted := proxies(t, "10.0.0.0/8", "::ffff:192.168.0.0/112", "fd00::/8")
	for name, test := range map[string]struct {
		from   string
		header http.Header
		want   asked
	}{
		"nothing": {"10.0.0.1:5", nil, asked{"10.0.0.1:5", "gateway", "http", ""}},
		"one client": {
			"10.0.0.1:5", http.Header{"X-Forwarded-For": {"203.0.113.7"}, "X-Forwarded-Proto": {"https"}, "X-Forwarded-Host": {"x.example"}},
			asked{"203.0.113.7", "x.example", "https", ""},
		},
		"a client's own invention before it": {
			"10.0.0.1:5", http.Header{"X-Forwarded-For": {"1.1.1.1, 2.2.2.2,203.0.113.7"}, "Forwarded": {"for=1.1.1.1"}, "X-Real-Ip": {"1.1.1.1"}},
			asked{"203.0.113.7", "gateway", "http", ""},
		},
		"several proxies, several headers": {
			"[fd00::1]:5", http.Header{"X-Forwarded-For": {"1.1.1.1", "2001:db8::1, 192.168.0.9", "[fd00::7]:80,10.3.3.3"}, "X-Forwarded-User": {"ada"}},
			asked{"2001:db8::1", "gateway", "http", "ada"},
		},
		"all of them proxies": {"10.0.0.1:5", http.Header{"X-Forwarded-For": {"10.0.0.3, 10.0.0.2"}}, asked{"10.0.0.3", "gateway", "http", ""}},
		"with a port":         {"10.0.0.1:5", http.Header{"X-Forwarded-For": {"203.0.113.7:1234"}}, asked{"203.0.113.7:1234", "gateway", "http", ""}},
		"IPv6 with a port":    {"10.0.0.1:5", http.Header{"X-Forwarded-For": {"[2001:db8::1]:1234"}}, asked{"[2001:db8::1]:1234", "gateway", "http", ""}},
		"IPv6 in brackets":    {"10.0.0.1:5", http.Header{"X-Forwarded-For": {"[2001:db8::1]"}}, asked{"2001:db8::1", "gateway", "http", ""}},
		"IPv4 as IPv6":        {"[::ffff:10.0.0.1]:5", http.Header{"X-Forwarded-For": {"203.0.113.7,::ffff:10.0.0.4"}}, asked{"203.0.113.7", "gateway", "http", ""}},
		"no address":          {"10.0.0.1:5", http.Header{"X-Forwarded-For": {"203.0.113.7, unknown, 10.0.0.2"}}, asked{"10.0.0.2", "gateway", "http", ""}},
		"no address at all":   {"10.0.0.1:5", http.Header{"X-Forwarded-For": {"<script>"}}, asked{"10.0.0.1:5", "gateway", "http", ""}},
		"empty":               {"10.0.0.1:5", http.Header{"X-Forwarded-For": {""}, "X-Forwarded-Host": {""}, "X-Forwarded-Proto": {""}}, asked{"10.0.0.1:5", "gateway", "http", ""}},
		"a zone":              {"10.0.0.1:5", http.Header{"X-Forwarded-For": {"fe80::1%" + strings.Repeat("x", 1000)}}, asked{"10.0.0.1:5", "gateway", "http", ""}},
		"too many hops":       {"10.0.0.1:5", http.Header{"X-Forwarded-For": {"203.0.113.7" + strings.Repeat(",10.0.0.9", 32)}}, asked{"10.0.0.9", "gateway", "http", ""}},
		"many hops":           {"10.0.0.1:5", http.Header{"X-Forwarded-For": {"203.0.113.7" + strings.Repeat(",10.0.0.9", 31)}}, asked{"203.0.113.7", "gateway", "http", ""}},
		"the nearest's word":  {"10.0.0.1:5", http.Header{"X-Forwarded-Proto": {"http, WSS"}, "X-Forwarded-Host": {"evil.example, x.example:8443"}}, asked{"10.0.0.1:5", "x.example:8443", "https", ""}},
		"no scheme and no host": {
			"10.0.0.1:5", http.Header{"X-Forwarded-Proto": {"gopher"}, "X-Forwarded-Host": {"u@x.example/y"}},
			asked{"10.0.0.1:5", "gateway", "http", ""},
		},
		"a host that is too long": {"10.0.0.1:5", http.Header{"X-Forwarded-Host": {strings.Repeat("x", 300)}}, asked{"10.0.0.1:5", "gateway", "http", ""}},
		"a stranger": {
			"203.0.113.9:5", http.Header{
				"X-Forwarded-For": {"10.0.0.1"}, "X-Forwarded-Proto": {"https"}, "X-Forwarded-Host": {"x.example"}, "X-Forwarded-User": {"ada"},
				"Forwarded": {"for=10.0.0.1"}, "X-Real-Ip": {"10.0.0.1"},
			},
			asked{"203.0.113.9:5", "gateway", "http", ""},
		},
		"a stranger without an address": {"@", http.Header{"X-Forwarded-For": {"10.0.0.1"}}, asked{"@", "gateway", "http", ""}},
	} {
		r := httptest.NewRequest("GET", "http://gateway/", nil)
		r.RemoteAddr = test.from
		if test.header != nil {
			r.Header = test.header
		}
		before := askedOf(r)
		if got := askedOf(trusted.Request(r)); got != test.want {
			t.Errorf("%s: %+v, want %+v", name, got, test.want)
		}
		if after := askedOf(r); after != before {
			t.Errorf("%s: the request itself is now %+v", name, after)
		}
		if none := (httpserver.Proxies{}).Request(r); none != r {
			t.Errorf("%s: without a trusted proxy the request is another one", name)
		}
	}
}

// front serves on a listener of its own kind, reports how each request looks, and ends with the test.
func front(t *testing.T, listener net.Listener, trusted httpserver.Proxies) <-chan asked {
	t.Helper()
	seen := make(chan asked, 100)
	server := &http.Server{Handler: trusted.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen <- askedOf(r) }))}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		_ = server.Close()
		<-served
	})
	return seen
}

// say opens a connection, and returns what is answered to what is said.
func say(t *testing.T, network, address, text string) string {
	t.Helper()
	conn, err := net.Dial(network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	answer, _ := io.ReadAll(conn) // a reset is an answer too
	return string(answer)
}

const plainRequest = "GET / HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n"

func TestAUnixSocketsPeersCanBeTrusted(t *testing.T) {
	for _, trusted := range []bool{true, false} {
		path := filepath.Join(t.TempDir(), "socket")
		listener, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		list, want := []string{"10.0.0.1"}, "@"
		if trusted {
			list, want = []string{"unix"}, "203.0.113.7"
		}
		seen := front(t, listener, proxies(t, list...))
		say(t, "unix", path, strings.Replace(plainRequest, "\r\n", "\r\nX-Forwarded-For: 203.0.113.7\r\n", 1))
		if got := <-seen; got.remote != want && !(got.remote == "" && !trusted) {
			t.Errorf("trusted %v: the client is %q", trusted, got.remote)
		}
	}
}

func version2(t *testing.T, from string) string {
	t.Helper()
	source, err := net.ResolveTCPAddr("tcp", from)
	if err != nil {
		t.Fatal(err)
	}
	var header bytes.Buffer
	if _, err := proxyproto.HeaderProxyFromAddrs(2, source, &net.TCPAddr{IP: source.IP, Port: 443}).WriteTo(&header); err != nil {
		t.Fatal(err)
	}
	return header.String()
}

func proxyListener(t *testing.T, listener *httpserver.ProxyListener) *httpserver.ProxyListener {
	t.Helper()
	if listener.Listener == nil {
		plain, err := httpserver.Listen("127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		listener.Listener = plain
	}
	t.Cleanup(func() { _ = listener.Close() })
	return listener
}

func TestTheProxyProtocolNamesTheClient(t *testing.T) {
	trusted := proxies(t, "127.0.0.1")
	listener := proxyListener(t, &httpserver.ProxyListener{Trusted: trusted})
	seen := front(t, listener, trusted)
	for name, test := range map[string]struct{ header, want string }{
		"version 1":          {"PROXY TCP4 203.0.113.7 198.51.100.1 1234 443\r\n", "203.0.113.7:1234"},
		"version 1, IPv6":    {"PROXY TCP6 2001:db8::1 2001:db8::2 1234 443\r\n", "[2001:db8::1]:1234"},
		"version 2":          {version2(t, "203.0.113.7:1234"), "203.0.113.7:1234"},
		"version 2, IPv6":    {version2(t, "[2001:db8::1]:1234"), "[2001:db8::1]:1234"},
		"its own connection": {"\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00", "127.0.0.1:"},
	} {
		if answer := say(t, "tcp", listener.Addr().String(), test.header+plainRequest); !strings.HasPrefix(answer, "HTTP/1.1 200 ") {
			t.Fatalf("%s: %q", name, answer)
		}
		if got := <-seen; !strings.HasPrefix(got.remote, test.want) {
			t.Errorf("%s: the client is %s", name, got.remote)
		}
	}
	// An HTTP proxy behind one that speaks the protocol.
	say(t, "tcp", listener.Addr().String(), version2(t, "127.0.0.1:9")+strings.Replace(plainRequest, "\r\n", "\r\nX-Forwarded-For: 203.0.113.8\r\n", 1))
	if got := <-seen; got.remote != "203.0.113.8" {
		t.Errorf("behind two proxies the client is %s", got.remote)
	}
	// The client that the protocol names is no proxy.
	say(t, "tcp", listener.Addr().String(), version2(t, "203.0.113.7:9")+strings.Replace(plainRequest, "\r\n", "\r\nX-Forwarded-For: 203.0.113.8\r\n", 1))
	if got := <-seen; got.remote != "203.0.113.7:9" {
		t.Errorf("a client that invents a proxy is %s", got.remote)
	}
}

func TestTheProxyProtocolIsTakenFromTrustedProxiesAlone(t *testing.T) {
	var log bytes.Buffer
	stranger := proxyListener(t, &httpserver.ProxyListener{Trusted: proxies(t, "10.0.0.1"), Log: slog.New(slog.NewTextHandler(&log, nil))})
	seen := front(t, stranger, proxies(t, "10.0.0.1"))
	if answer := say(t, "tcp", stranger.Addr().String(), plainRequest); !strings.HasPrefix(answer, "HTTP/1.1 200 ") {
		t.Errorf("a stranger's plain request: %q", answer)
	}
	if got := <-seen; !strings.HasPrefix(got.remote, "127.0.0.1:") {
		t.Errorf("it came from %s", got.remote)
	}
	for _, header := range []string{"PROXY TCP4 203.0.113.7 198.51.100.1 1234 443\r\n", version2(t, "203.0.113.7:1234")} {
		if answer := say(t, "tcp", stranger.Addr().String(), header+plainRequest); !strings.HasPrefix(answer, "HTTP/1.1 400 ") {
			t.Errorf("a stranger's header: %q", answer)
		}
	}
	if len(seen) != 0 || log.Len() != 0 {
		t.Errorf("%d requests were served, the log says %s", len(seen), log.String())
	}
}

// lockedBuffer is a log that can be read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func (b *lockedBuffer) text() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.String()
}

// Silent proxies delay no connection, and not for long; wrong headers are logged once.
func TestAProxyWithoutAHeaderIsClosed(t *testing.T) {
	log := &lockedBuffer{}
	trusted := proxies(t, "127.0.0.1")
	listener := proxyListener(t, &httpserver.ProxyListener{Trusted: trusted, HeaderTimeout: time.Second, Log: slog.New(slog.NewTextHandler(log, nil))})
	seen := front(t, listener, trusted)
	silent := make([]net.Conn, 20)
	for i := range silent {
		conn, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		silent[i] = conn
		if i%2 == 0 {
			_, _ = io.WriteString(conn, "PROX")
		}
	}
	if answer := say(t, "tcp", listener.Addr().String(), version2(t, "203.0.113.7:1234")+plainRequest); !strings.HasPrefix(answer, "HTTP/1.1 200 ") {
		t.Errorf("beside silent ones: %q", answer)
	}
	<-seen
	for _, text := range []string{plainRequest, "PROXY nonsense\r\n" + plainRequest, "PROXY " + strings.Repeat("x", 200)} {
		if answer := say(t, "tcp", listener.Addr().String(), text); answer != "" {
			t.Errorf("%.20q: %q", text, answer)
		}
	}
	for _, conn := range silent {
		_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := bufio.NewReader(conn).ReadByte(); err == nil || isTimeout(err) {
			t.Errorf("a silent connection: %v", err)
		}
	}
	if len(seen) != 0 {
		t.Errorf("%d requests were served", len(seen))
	}
	if text := log.text(); strings.Count(text, "without a PROXY header") != 1 || !strings.Contains(text, "proxy=127.0.0.1:") {
		t.Errorf("the log says %s", text)
	}
}

func isTimeout(err error) bool {
	timeout, is := err.(net.Error)
	return is && timeout.Timeout()
}

func TestTheProxyProtocolIsUnderTLS(t *testing.T) {
	trusted := proxies(t, "127.0.0.1")
	unencrypted := httptest.NewUnstartedServer(nil)
	unencrypted.StartTLS()
	defer unencrypted.Close()
	listener := proxyListener(t, &httpserver.ProxyListener{Trusted: trusted})
	seen := front(t, tls.NewListener(listener, unencrypted.TLS), trusted)
	client := unencrypted.Client()
	client.Transport.(*http.Transport).DialContext = func(context.Context, string, string) (net.Conn, error) {
		conn, err := net.Dial("tcp", listener.Addr().String())
		if err == nil {
			_, err = io.WriteString(conn, version2(t, "203.0.113.7:1234"))
		}
		return conn, err
	}
	answer, err := client.Get("https://example.com/")
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	client.CloseIdleConnections()
	if got := <-seen; got != (asked{"203.0.113.7:1234", "example.com", "https", ""}) {
		t.Errorf("the request was %+v", got)
	}
}
