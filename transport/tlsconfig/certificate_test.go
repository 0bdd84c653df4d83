package tlsconfig_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lastcall-go/lastcall/transport/tlsconfig"
	"github.com/lastcall-go/lastcall/transport/tlsconfig/tlstest"
)

// certificateFiles are a certificate and its key on disk.
type certificateFiles struct {
	t         *testing.T
	cert, key string
	written   time.Time
}

func newCertificateFiles(t *testing.T, pair tls.Certificate) *certificateFiles {
	t.Helper()
	dir := t.TempDir()
	f := &certificateFiles{t: t, cert: filepath.Join(dir, "cert.pem"), key: filepath.Join(dir, "key.pem"), written: time.Unix(1e9, 0)}
	f.write(pair)
	return f
}

func (f *certificateFiles) write(pair tls.Certificate) {
	f.t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		f.t.Fatal(err)
	}
	f.put(f.cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]}))
	f.put(f.key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))
}

// put gives each file a time of its own, however coarse the file system's clock is.
func (f *certificateFiles) put(path string, data []byte) {
	f.t.Helper()
	f.written = f.written.Add(time.Second)
	if err := errors.Join(os.WriteFile(path, data, 0o600), os.Chtimes(path, f.written, f.written)); err != nil {
		f.t.Fatal(err)
	}
}

// shake does a handshake, and returns the serial number of the server's certificate.
func shake(server, client *tls.Config) (serial int64, protocol string, err error) {
	near, far := net.Pipe()
	var serving sync.WaitGroup
	serving.Go(func() {
		defer far.Close()
		conn := tls.Server(far, server)
		if conn.Handshake() == nil {
			_, _ = io.WriteString(conn, "ok")
		}
	})
	defer serving.Wait()
	defer near.Close()
	conn := tls.Client(near, client)
	// In TLS 1.3 a client knows only by the first byte that its certificate was taken.
	if _, err := io.ReadFull(conn, make([]byte, 2)); err != nil {
		return 0, "", err
	}
	state := conn.ConnectionState()
	return state.PeerCertificates[0].SerialNumber.Int64(), state.NegotiatedProtocol, nil
}

func TestACertificateIsReadAgainWhenItsFilesChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := tlstest.NewAuthority(t)
		files := newCertificateFiles(t, ca.Issue(t, 1))
		var failures []error
		certificate, err := tlsconfig.NewCertificate(files.cert, files.key, func(err error) { failures = append(failures, err) })
		if err != nil {
			t.Fatal(err)
		}
		server, err := certificate.ServerConfig("")
		if err != nil {
			t.Fatal(err)
		}
		want := func(what string, serial int64, failed int) {
			t.Helper()
			time.Sleep(time.Second)
			got, protocol, err := shake(server, &tls.Config{RootCAs: ca.Pool(), ServerName: "127.0.0.1", NextProtos: []string{"h2", "http/1.1"}})
			if err != nil || got != serial || protocol != "http/1.1" {
				t.Errorf("%s: certificate %d, %q, %v; want %d", what, got, protocol, err, serial)
			}
			if len(failures) != failed {
				t.Errorf("%s: failures %v, want %d", what, failures, failed)
			}
		}
		want("at first", 1, 0)
		want("unchanged", 1, 0)
		files.write(ca.Issue(t, 2))
		want("replaced", 2, 0)
		files.put(files.cert, []byte("no certificate"))
		want("broken", 2, 1)
		files.write(ca.Issue(t, 3))
		want("repaired", 3, 1)
		half := *files // which has the key of another certificate
		half.key = filepath.Join(t.TempDir(), "other.pem")
		half.write(ca.Issue(t, 4))
		files.written = half.written
		want("half replaced", 3, 2)
		files.write(ca.Issue(t, 5))
		want("whole", 5, 2)
		if err := os.Remove(files.key); err != nil {
			t.Fatal(err)
		}
		want("gone", 5, 3)
		for _, err := range failures {
			if !strings.HasPrefix(err.Error(), "certificate: ") {
				t.Errorf("failure %v", err)
			}
		}
	})
}

func TestACertificateIsCheckedAtMostOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := tlstest.NewAuthority(t)
		files := newCertificateFiles(t, ca.Issue(t, 1))
		failures := 0
		certificate, err := tlsconfig.NewCertificate(files.cert, files.key, func(error) { failures++ })
		if err != nil {
			t.Fatal(err)
		}
		server, _ := certificate.ServerConfig("")
		files.put(files.key, nil)
		var shaking sync.WaitGroup
		for range 20 {
			shaking.Go(func() {
				if serial, _, err := shake(server, &tls.Config{RootCAs: ca.Pool(), ServerName: "127.0.0.1"}); serial != 1 || err != nil {
					t.Errorf("certificate %d, %v", serial, err)
				}
			})
		}
		shaking.Wait()
		if failures != 1 {
			t.Errorf("%d failures", failures)
		}
	})
}

func TestClientsNeedACertificateOfTheAuthority(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, other := tlstest.NewAuthority(t), tlstest.NewAuthority(t)
		files := newCertificateFiles(t, ca.Issue(t, 1))
		authorities := filepath.Join(t.TempDir(), "ca.pem")
		files.put(authorities, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Certificate.Raw}))
		certificate, err := tlsconfig.NewCertificate(files.cert, files.key, nil)
		if err != nil {
			t.Fatal(err)
		}
		server, err := certificate.ServerConfig(authorities)
		if err != nil {
			t.Fatal(err)
		}
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			client := &tls.Config{RootCAs: ca.Pool(), ServerName: "127.0.0.1", MaxVersion: version}
			if _, _, err := shake(server, client); err == nil {
				t.Errorf("%x: without a certificate it is let in", version)
			}
			strange := other.Issue(t, 2)
			client.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &strange, nil }
			if _, _, err := shake(server, client); err == nil {
				t.Errorf("%x: with a stranger's it is let in", version)
			}
			own := ca.Issue(t, 3)
			client.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &own, nil }
			if serial, _, err := shake(server, client); serial != 1 || err != nil {
				t.Errorf("%x: with its own: %v", version, err)
			}
		}
	})
}

func TestCertificatesThatCanNotBeReadAreErrors(t *testing.T) {
	ca := tlstest.NewAuthority(t)
	files := newCertificateFiles(t, ca.Issue(t, 1))
	certificate, err := tlsconfig.NewCertificate(files.cert, files.key, nil)
	if err != nil {
		t.Fatal(err)
	}
	absent := filepath.Join(t.TempDir(), "absent.pem")
	for _, path := range []string{absent, files.key} {
		if _, err := certificate.ServerConfig(path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s as authorities: %v", path, err)
		}
	}
	for _, pair := range [][2]string{{absent, files.key}, {files.cert, absent}, {files.key, files.cert}} {
		if _, err := tlsconfig.NewCertificate(pair[0], pair[1], nil); err == nil {
			t.Errorf("%q is a certificate", pair)
		}
	}
}
