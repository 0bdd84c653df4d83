// Package tlsconfig makes TLS configurations from files, which are read again when they change.
package tlsconfig

import (
	"crypto/tls"
	"fmt"
	"os"
	"sync"
	"time"
)

// certificateCheck is how often, at most, the files of a certificate are looked at.
const certificateCheck = time.Second

// Certificate is a server's certificate, read again when its files change.
type Certificate struct {
	certFile, keyFile string
	failed            func(error)

	mu      sync.Mutex
	current *tls.Certificate
	stamp   [2]time.Time // when the files were last changed
	checked time.Time
}

// NewCertificate reads a certificate chain and its key, in PEM. failed is called when they can't be
// read again later; the ones before then stay in use.
func NewCertificate(certFile, keyFile string, failed func(error)) (*Certificate, error) {
	c := &Certificate{certFile: certFile, keyFile: keyFile, failed: failed}
	return c, c.read()
}

// ServerConfig is the TLS configuration of a listener. clientCA is a PEM file with the authorities
// of client certificates, which every client must then have; empty: none is asked for. HTTP/2 is
// not offered: a WebSocket needs a connection of its own.
func (c *Certificate) ServerConfig(clientCA string) (*tls.Config, error) {
	config := &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"http/1.1"},
		GetCertificate: c.get,
	}
	if clientCA == "" {
		return config, nil
	}
	authorities, err := readAuthorities(clientCA)
	if err != nil {
		return nil, fmt.Errorf("client authorities: %w", err)
	}
	config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, authorities
	return config, nil
}

func (c *Certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.checked) >= certificateCheck {
		c.checked = time.Now()
		if stamp, err := c.stat(); err != nil || stamp != c.stamp {
			if err := c.read(); err != nil {
				c.failed(err)
			}
		}
	}
	return c.current, nil
}

// read keeps the certificate that was read before if it fails.
func (c *Certificate) read() error {
	stamp, err := c.stat() // before the files are read: a change meanwhile is seen the next time
	if err != nil {
		return fmt.Errorf("certificate: %w", err)
	}
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return fmt.Errorf("certificate: %w", err)
	}
	c.current, c.stamp = &pair, stamp
	return nil
}

func (c *Certificate) stat() (stamp [2]time.Time, err error) {
	for i, name := range []string{c.certFile, c.keyFile} {
		info, err := os.Stat(name)
		if err != nil {
			return stamp, err
		}
		stamp[i] = info.ModTime()
	}
	return stamp, nil
}
