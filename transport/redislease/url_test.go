package redislease_test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/lastcall-go/lastcall/transport/lease/leasetest"
	"github.com/lastcall-go/lastcall/transport/redislease"
)

func TestNewRefusesWhatItCantKeep(t *testing.T) {
	for _, o := range []redislease.Options{
		{},
		{URL: "localhost:6379"},
		{URL: "http://localhost"},
		{URL: "redis://localhost/nowhere"},
		{URL: "redis://h1,"},
		{URL: "redis://h1,,h2"},
		{URL: "redis://h1,h2/1"},
		{URL: "redis+cluster://h1/1"},
		{URL: "redis+sentinel://h1"},
		{URL: "redis+sentinel://h1/"},
		{URL: "redis+sentinel://h1/master/db"},
		{URL: "redis+unix://host/redis.sock"},
		{URL: "rediss+unix:///redis.sock"},
		{URL: "unix://"},
		{URL: "redis+socket://h1"},
		{URL: "redis://localhost", Prefix: "{x}"},
		{URL: "redis://localhost", TTL: time.Millisecond},
		{URL: "redis://localhost", TTL: -time.Second},
		{URL: "redis://localhost", Renew: -time.Second},
		{URL: "redis://localhost", TTL: 10 * time.Second, Renew: 6 * time.Second},
		{URL: "redis://localhost", Renew: 16 * time.Second},
	} {
		if _, err := redislease.New(o); err == nil {
			t.Errorf("New(%+v) has no error", o)
		}
	}
}

func TestABadURLDoesNotShowItsPassword(t *testing.T) {
	for _, url := range []string{
		"redis//u:s3cret@h",
		"redis:u:s3cret@h",
		"htp://u:s3cret@h",
		"s3cret://u@h",
		"redis://u:s3cret/x@h",
		"redis://u:1/s3cret@h",
		"redis://u:s3cret%@h",
		"redis://u:s3cret@h:port",
		"redis://u:s3cret@h?s3cret=1",
		"redis://u:s3cret@h?db=s3cret",
		"redis://u:s3cret@h/1/s3cret",
		"redis://u:s3cret@h\x7f",
		"redis://u:s3cret@h1,h2,",
		"redis+sentinel://u:s3cret@h1,h2",
		"redis+sentinel://h1/master?sentinel_password=s3cret&more=1",
		"redis+unix://u:s3cret@h/redis.sock",
	} {
		_, err := redislease.New(redislease.Options{URL: url})
		if err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("New with the URL %q: %v", url, err)
		}
	}
}

// The way in which servers before Redis 6 answer HELLO, with its AUTH part.
func TestAServerThatQuotesThePasswordIsNotBelieved(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	group.Go(func() { quote(l, &group) })
	defer group.Wait()
	defer l.Close()

	for _, failure := range []redislease.Failure{redislease.FailOpen, redislease.FailClosed} {
		store, err := redislease.New(redislease.Options{URL: "redis://u:s3%63ret@" + l.Addr().String(), Failure: failure})
		if err != nil {
			t.Fatal(err)
		}
		_, acquired := store.Acquire(t.Context(), "w", nil)
		for _, err := range []error{acquired, store.Check(t.Context())} {
			if err == nil || !strings.Contains(err.Error(), "unknown command") || !strings.Contains(err.Error(), "[password]") || strings.Contains(err.Error(), "s3cret") {
				t.Errorf("error shown: %v", err)
			}
		}
		run(t, store)()
	}
}

func quote(l net.Listener, group *sync.WaitGroup) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		group.Go(func() {
			defer conn.Close()
			for lines := bufio.NewScanner(conn); lines.Scan(); {
				if strings.HasPrefix(lines.Text(), "*") {
					fmt.Fprint(conn, "-ERR unknown command, with args beginning with: `u` `s3cret`\r\n")
				}
			}
		})
	}
}

func TestURLsOfEachKind(t *testing.T) {
	web := httptest.NewTLSServer(nil) // for its certificate
	defer web.Close()
	roots := x509.NewCertPool()
	roots.AddCert(web.Certificate())
	plain, secure := miniredis.RunT(t), miniredis.NewMiniRedis()
	if err := secure.StartTLS(&tls.Config{Certificates: web.TLS.Certificates}); err != nil {
		t.Fatal(err)
	}
	defer secure.Close()
	plain.RequireUserAuth("u", "s3cret")
	secure.RequireAuth("s3cret")
	for url, server := range map[string]*miniredis.Miniredis{
		"redis://u:s3cret@" + plain.Addr():              plain,
		"valkey://u:s3cret@" + plain.Addr():             plain,
		"rediss://:s3cret@" + secure.Addr():             secure,
		"valkeys://:s3cret@" + secure.Addr() + "?db=3":  secure,
		"rediss://:s3cret@" + secure.Addr() + "/3":      secure,
		"redis://u:s3cret@" + plain.Addr() + "/3":       plain,
		"redis://u:s3cret@" + plain.Addr() + "?db=3":    plain,
		"redis://u:%733cret@" + plain.Addr() + "/3":     plain,
		"redis://u:s3cret@" + plain.Addr() + "?db=0":    plain,
		"redis://u:s3cret@" + plain.Addr() + "/?db=0":   plain,
		"rediss://:s3cret@" + secure.Addr() + "?db=0":   secure,
		"valkeys://:s3cret@" + secure.Addr() + "/0?db=": secure,
	} {
		store, err := redislease.New(redislease.Options{
			URL: url, TLS: &tls.Config{RootCAs: roots}, Failure: redislease.FailClosed, Prefix: "p:",
		})
		if err != nil {
			t.Fatal(err)
		}
		stop := run(t, store)
		lease := leasetest.Acquire(t, store, "w")
		db := 0
		if strings.Contains(url, "3") && (strings.HasSuffix(url, "/3") || strings.HasSuffix(url, "db=3")) {
			db = 3
		}
		if !server.DB(db).Exists("p:w") {
			t.Errorf("%s: no key in database %d", url, db)
		}
		leasetest.Release(t, lease)
		stop()
	}
}

func TestACertificateThatNobodyVouchesForIsRefused(t *testing.T) {
	web := httptest.NewTLSServer(nil)
	defer web.Close()
	server := miniredis.NewMiniRedis()
	if err := server.StartTLS(&tls.Config{Certificates: web.TLS.Certificates}); err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	store, err := redislease.New(redislease.Options{URL: "rediss://" + server.Addr(), Failure: redislease.FailClosed})
	if err != nil {
		t.Fatal(err)
	}
	run(t, store)
	_, err = store.Acquire(t.Context(), "w", nil)
	wantUnavailable(t, err)
}

func TestKeysAreShortWhateverAClientSends(t *testing.T) {
	server := miniredis.RunT(t)
	store, err := redislease.New(redislease.Options{URL: "redis://" + server.Addr()})
	if err != nil {
		t.Fatal(err)
	}
	run(t, store)
	long := strings.Repeat("x", 1<<20)
	ids := []string{long, long + "y", strings.Repeat("x", 64), strings.Repeat("x", 65), "w"}
	for _, id := range ids {
		defer leasetest.Release(t, leasetest.Acquire(t, store, id))
	}
	keys := leaseKeys(server)
	if len(keys) != len(ids) {
		t.Errorf("%d keys for %d workflows", len(keys), len(ids))
	}
	for _, key := range keys {
		if len(key) > len(redislease.DefaultPrefix)+71 {
			t.Errorf("a key of %d bytes", len(key))
		}
	}
}
