package transport

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
)

// AgentTLS says how connections to the agent are encrypted. Its zero value trusts the system's
// authorities and has no certificate of its own.
type AgentTLS struct {
	// CA is a PEM file with the authorities of the agent's certificate. Empty: the system's.
	CA string

	// Cert and Key are PEM files with a certificate chain for the agent, and its key, read again when
	// they change. Empty: none.
	Cert, Key string

	// ServerName is in the agent's certificate. Empty: the name or address by which it is reached.
	ServerName string

	// Failed is told when Cert or Key can't be read again; the ones before then stay in use. Nil:
	// nothing is told.
	Failed func(error)
}

// Config reads the files. It is what [PoolOptions] want as their TLS.
func (a AgentTLS) Config() (*tls.Config, error) {
	if strings.ContainsAny(a.ServerName, ":/ ") && net.ParseIP(a.ServerName) == nil {
		return nil, fmt.Errorf("server name %q: want a host without a port", a.ServerName)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: a.ServerName}
	if a.CA != "" {
		authorities, err := readAuthorities(a.CA)
		if err != nil {
			return nil, fmt.Errorf("agent's authorities: %w", err)
		}
		config.RootCAs = authorities
	}
	if (a.Cert == "") != (a.Key == "") {
		return nil, errors.New("certificate for the agent: it and its key go together")
	}
	if a.Cert != "" {
		failed := a.Failed
		if failed == nil {
			failed = func(error) {}
		}
		certificate, err := NewCertificate(a.Cert, a.Key, failed)
		if err != nil {
			return nil, fmt.Errorf("for the agent: %w", err)
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
