package httptool

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"unicode/utf8"
)

// Text makes s fit for a message: UTF-8, with replacement characters for what is not, since
// protobuf refuses anything else, and cut to limit bytes at the end of a character.
func Text(s string, limit int) string {
	s = strings.ToValidUTF8(s, string(utf8.RuneError))
	if len(s) <= limit {
		return s
	}
	for !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit]
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

// headers passes the API's headers on, several of a name joined, in the order of their names until
// MaxHeaders is reached. Set-Cookie would be a credential of the gateway's.
func headers(all http.Header) map[string]string {
	passed, room := make(map[string]string), MaxHeaders
	for _, name := range slices.Sorted(maps.Keys(all)) {
		value := Text(strings.Join(all[name], ", "), MaxHeaders)
		if name == "Set-Cookie" || len(name)+len(value) > room {
			continue
		}
		room -= len(name) + len(value)
		passed[name] = value
	}
	return passed
}
