// Package toolhttp holds what the tools share that answer the agent over HTTP.
package toolhttp

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
)

// MaxText is how many bytes an answer's text has at most: a message's 4 MiB, less 64 KiB for
// the fields around it.
const MaxText = 4<<20 - 64<<10

const maxWorkflowID = 256

// workflowHeader tells the platform for which workflow a request is made. The platform links what
// the request creates to that workflow.
const workflowHeader = "X-Gitlab-Duo-Workflow-Id"

// SetWorkflow tells the platform in a request's header for which workflow it is made. An ID that is
// empty, over 256 bytes or not printable ASCII is left out: no header can carry it.
func SetWorkflow(header http.Header, id string) {
	unprintable := func(r rune) bool { return r <= ' ' || r > '~' }
	if id == "" || len(id) > maxWorkflowID || strings.ContainsFunc(id, unprintable) {
		return
	}
	header.Set(workflowHeader, id)
}

// Reason says why an HTTP request failed. It names no address, URL or header, all of which the
// errors of net/http quote, so the agent may be told. It has the words on which the agent tries
// again where that makes sense: "timed out", "connection refused" or "connection reset".
func Reason(err error) string {
	var (
		timeout net.Error
		dns     *net.DNSError
		cert    *tls.CertificateVerificationError
		errno   syscall.Errno
	)
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		return "timed out"
	case errors.Is(err, context.Canceled):
		return "cancelled"
	case errors.As(err, &dns):
		return "host not found"
	case errors.As(err, &cert):
		return "certificate not trusted"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.EPIPE):
		return "connection reset before the answer was complete"
	case errors.As(err, &errno):
		return errno.Error()
	}
	return "no valid HTTP response"
}

// SameOrigin reports whether two URLs have the same scheme, host and port.
func SameOrigin(a, b *url.URL) bool {
	return strings.EqualFold(a.Scheme, b.Scheme) && strings.EqualFold(a.Hostname(), b.Hostname()) && port(a) == port(b)
}

func port(u *url.URL) string {
	switch {
	case u.Port() != "":
		return u.Port()
	case strings.EqualFold(u.Scheme, "https"):
		return "443"
	}
	return "80"
}
