package auth

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// connectionHeaders belong to the client's connection, to its body, or to the answer's encoding,
// which is between the gateway and the endpoint.
var connectionHeaders = []string{
	"Accept-Encoding",
	"Connection",
	"Content-Disposition",
	"Content-Encoding",
	"Content-Length",
	"Content-Type",
	"Expect",
	"Keep-Alive",
	"Te",
	"Trailer",
	"Transfer-Encoding",
	"Upgrade",
}

// request asks the endpoint about r.
func (f *Forward) request(ctx context.Context, r *http.Request) (*http.Request, error) {
	request := &http.Request{Method: r.Method, URL: f.target(r), Host: r.Host, Header: forwarded(r)}
	if f.verbatim {
		request.Header.Set("X-Original-URI", requestURI(r))
		request.Header.Set("X-Original-Method", r.Method)
	}
	if f.secret != nil {
		signature, err := f.secret.sign(time.Now())
		if err != nil {
			return nil, fmt.Errorf("sign the request: %w", err)
		}
		request.Header.Set(signatureHeader, signature)
	}
	return request.WithContext(ctx), nil
}

func (f *Forward) target(r *http.Request) *url.URL {
	target := *f.endpoint
	if !f.verbatim {
		target.Path, target.RawPath, target.RawQuery = r.URL.Path, r.URL.RawPath, r.URL.RawQuery
	}
	return &target
}

// requestURI is what the client asked for, without a host.
func requestURI(r *http.Request) string {
	return (&url.URL{Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery}).RequestURI()
}

// forwarded returns the headers of r that are for the endpoint. A client's own signature is not: it
// would pass for the gateway's where that signs nothing.
func forwarded(r *http.Request) http.Header {
	header := r.Header.Clone()
	for _, list := range r.Header.Values("Connection") {
		for name := range strings.SplitSeq(list, ",") {
			header.Del(strings.TrimSpace(name))
		}
	}
	for _, name := range connectionHeaders {
		header.Del(name)
	}
	for name := range header {
		if strings.HasPrefix(name, "Proxy-") || strings.HasPrefix(name, "Sec-Websocket-") {
			delete(header, name)
		}
	}
	header.Del(signatureHeader)
	if header.Get("User-Agent") == "" {
		header.Set("User-Agent", "") // else net/http adds its own
	}
	if peer := peerOf(r); peer != "" {
		before := header.Values("X-Forwarded-For")
		header.Set("X-Forwarded-For", strings.Join(append(before, peer), ", "))
	}
	return header
}

// peerOf is the address that a request comes from. A proxy's word for it may have no port.
func peerOf(r *http.Request) string {
	if peer, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		return peer
	}
	if peer, err := netip.ParseAddr(r.RemoteAddr); err == nil {
		return peer.String()
	}
	return ""
}

var errURL = errors.New("want an http or https URL with a host, without credentials and fragment")

// parseURL doesn't quote what it refuses: it may have a password in it.
func parseURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.Fragment != "" {
		return nil, errURL
	}
	return u, nil
}
