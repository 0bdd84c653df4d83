package tlsconfig_test

import (
	"crypto/tls"
	"encoding/pem"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lastcall-go/lastcall/transport/tlsconfig"
	"github.com/lastcall-go/lastcall/transport/tlsconfig/tlstest"
)

// pemFile writes a file in PEM and returns its path.
func pemFile(t *testing.T, kind string, der []byte) string {
	t.Helper()
	f := &certificateFiles{t: t}
	path := filepath.Join(t.TempDir(), "file.pem")
	f.put(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	return path
}

// meet does a handshake over TCP: both sides may write at once. It returns the client's error.
func meet(t *testing.T, server, client *tls.Config) error {
	t.Helper()
	listener, err := tls.Listen("tcp", "127.0.0.1:0", server)
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	defer serving.Wait()
	defer listener.Close()
	serving.Go(func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "ok") // after the handshake
	})
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 10 * time.Second}, "tcp", listener.Addr().String(), client)
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = io.ReadFull(conn, make([]byte, 2)) // in TLS 1.3 a refused certificate shows here
	return err
}

func TestAServerOfAnAuthorityOfItsOwnIsTrustedAndShownACertificate(t *testing.T) {
	servers, clients := tlstest.NewAuthority(t), tlstest.NewAuthority(t)
	server := &tls.Config{
		Certificates: []tls.Certificate{servers.Issue(t, 1)},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    clients.Pool(),
	}
	own := newCertificateFiles(t, clients.Issue(t, 7))
	foreign := newCertificateFiles(t, servers.Issue(t, 8))
	ca := pemFile(t, "CERTIFICATE", servers.Certificate.Raw)
	for name, c := range map[string]struct {
		given tlsconfig.Client
		ok    bool
	}{
		"all":                         {tlsconfig.Client{CA: ca, Cert: own.cert, Key: own.key, ServerName: "127.0.0.1"}, true},
		"no authority":                {tlsconfig.Client{Cert: own.cert, Key: own.key, ServerName: "127.0.0.1"}, false},
		"no certificate":              {tlsconfig.Client{CA: ca, ServerName: "127.0.0.1"}, false},
		"a certificate of another CA": {tlsconfig.Client{CA: ca, Cert: foreign.cert, Key: foreign.key, ServerName: "127.0.0.1"}, false},
		"another name":                {tlsconfig.Client{CA: ca, Cert: own.cert, Key: own.key, ServerName: "other.example"}, false},
	} {
		config, err := c.given.Config()
		if err != nil {
			t.Fatal(err)
		}
		if err := meet(t, server, config); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAClientCertificateIsReadAgainWhenItsFilesChange(t *testing.T) {
	a := tlstest.NewAuthority(t)
	files := newCertificateFiles(t, a.Issue(t, 1))
	config, err := tlsconfig.Client{Cert: files.cert, Key: files.key}.Config()
	if err != nil {
		t.Fatal(err)
	}
	files.write(a.Issue(t, 2))
	shown, err := config.GetClientCertificate(nil)
	if err != nil || shown.Leaf.SerialNumber.Int64() != 2 {
		t.Errorf("shown %v, %v", shown, err)
	}
}

func TestFilesOfAClientsTLSThatCannotBeUsedAreErrors(t *testing.T) {
	a := tlstest.NewAuthority(t)
	good := newCertificateFiles(t, a.Issue(t, 1))
	for want, given := range map[string]tlsconfig.Client{
		"absent.pem":               {CA: "absent.pem"},
		"no certificate in PEM":    {CA: good.key},
		"go together":              {Cert: good.cert},
		"it and its key":           {Key: good.key},
		"client certificate":       {Cert: good.key, Key: good.cert},
		`"server.example:443"`:     {ServerName: "server.example:443"},
		`"https://server.example"`: {ServerName: "https://server.example"},
	} {
		config, err := given.Config()
		if config != nil || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: got %v, %v, want %s", given, config, err, want)
		}
	}
}
