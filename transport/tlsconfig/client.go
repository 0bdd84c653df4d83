package tlsconfig

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
)

// Client says how connections to a server are encrypted: the agent, a lease store. Its zero value
// trusts the system's authorities and has no certificate of its own.
type Client struct {
	// CA is a PEM file with the authorities of the server's certificate. Empty: the system's.
	CA string

	// Cert and Key are PEM files with a certificate chain for the server, and its key, read again when
	// they change. Empty: none.
	Cert, Key string

	// ServerName is in the server's certificate. Empty: the name or address by which it is reached.
	ServerName string

	// Failed is called when Cert or Key can't be read again; the ones before then stay in use. Nil:
	// the error is dropped.
	Failed func(error)
}

// Config reads the files. It is what [PoolOptions] and redislease.Options want as their TLS.
func (c Client) Config() (*tls.Config, error) {
	if strings.ContainsAny(c.ServerName, ":/ ") && net.ParseIP(c.ServerName) == nil {
		return nil, fmt.Errorf("server name %q: want a host without a port", c.ServerName)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.ServerName}
	if c.CA != "" {
		authorities, err := readAuthorities(c.CA)
		if err != nil {
			return nil, fmt.Errorf("authorities: %w", err)
		}
		config.RootCAs = authorities
	}
	if (c.Cert == "") != (c.Key == "") {
		return nil, errors.New("client certificate: it and its key go together")
	}
	if c.Cert != "" {
		failed := c.Failed
		if failed == nil {
			failed = func(error) {}
		}
		certificate, err := NewCertificate(c.Cert, c.Key, failed)
		if err != nil {
			return nil, fmt.Errorf("client %w", err)
		}
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return certificate.get(nil) }
	}
	return config, nil
}

func readAuthorities(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate in PEM", file)
	}
	return pool, nil
}
