package httpserver

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// maxHops is how many addresses of an X-Forwarded-For are looked at.
const maxHops = 32

// maxForwardedHost is how many bytes an X-Forwarded-Host has that is taken: a name, and a port.
const maxForwardedHost = 253 + len(":65535")

// Proxies are the reverse proxies in front of a server, whose word about clients is taken:
// [Proxies.Handler] takes it from the headers of requests, [ProxyListener] from the connections' own. The
// zero value trusts no proxy.
type Proxies struct {
	// Addresses are the addresses that the proxies connect from. Empty: none.
	Addresses []netip.Prefix

	// Unix trusts what connects to a Unix-domain socket.
	Unix bool
}

// unixProxies is the word for Proxies.Unix in [ParseProxies].
const unixProxies = "unix"

// ParseProxies reads addresses (10.0.0.1, ::1), blocks of them (10.0.0.0/8), and "unix" for whatever
// connects to a Unix-domain socket. It refuses what would trust all clients.
func ParseProxies(list []string) (Proxies, error) {
	var p Proxies
	for _, text := range list {
		if text == unixProxies {
			p.Unix = true
			continue
		}
		block, err := parseBlock(text)
		if err != nil {
			return Proxies{}, fmt.Errorf("%q: %w", text, err)
		}
		p.Addresses = append(p.Addresses, block)
	}
	return p, nil
}

func parseBlock(text string) (netip.Prefix, error) {
	block, err := netip.ParsePrefix(text)
	if err != nil {
		address, err := netip.ParseAddr(text)
		if err != nil || address.Zone() != "" {
			return netip.Prefix{}, errors.New("want an address, a block of addresses such as 10.0.0.0/8, or unix")
		}
		block = netip.PrefixFrom(address, address.BitLen())
	}
	if block.Addr().Is4In6() {
		block = netip.PrefixFrom(block.Addr().Unmap(), block.Bits()-96)
	}
	if block.Bits() <= 0 {
		return netip.Prefix{}, errors.New("it would trust all clients")
	}
	return block.Masked(), nil
}

// Some reports whether any proxy is trusted.
func (p Proxies) Some() bool { return p.Unix || len(p.Addresses) > 0 }

// Handler serves requests as their clients made them: see [Proxies.Request]. Without a trusted proxy it
// returns next.
func (p Proxies) Handler(next http.Handler) http.Handler {
	if !p.Some() {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { next.ServeHTTP(w, p.Request(r)) })
}

// Request returns a request as its client made it. For a request of a trusted proxy, RemoteAddr is the
// client: from the right, the first address in X-Forwarded-For that is no trusted proxy's, of 32 at most,
// without a port where there is none. Host is that of X-Forwarded-Host where there is one. What other
// peers say of this in X-Forwarded headers is their own invention, and dropped.
//
// Whoever handles the request, and what it is handed on to, finds X-Forwarded-Proto (http or https) and
// X-Forwarded-Host as they are, and X-Forwarded-For, X-Real-IP and Forwarded not at all: RemoteAddr is what
// they would say. Without a trusted proxy the request is returned as it is.
//
// A check of the Host that is to hold whatever a proxy lets through, such as [IsLocal], must be made of
// both requests.
func (p Proxies) Request(r *http.Request) *http.Request {
	if !p.Some() {
		return r
	}
	seen := r.WithContext(r.Context())
	seen.Header = r.Header.Clone()
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	if p.trusts(peerOf(r)) {
		seen.RemoteAddr = p.client(r)
		seen.Host = cmp.Or(forwardedHost(r), r.Host)
		scheme = cmp.Or(forwardedScheme(r), scheme)
	} else {
		dropForwarded(seen.Header)
	}
	for _, name := range []string{"X-Forwarded-For", "X-Real-Ip", "Forwarded"} {
		seen.Header.Del(name)
	}
	seen.Header.Set("X-Forwarded-Proto", scheme)
	seen.Header.Set("X-Forwarded-Host", seen.Host)
	return seen
}

// dropForwarded removes what only a proxy can know.
func dropForwarded(header http.Header) {
	for name := range header {
		if strings.HasPrefix(name, "X-Forwarded-") {
			delete(header, name)
		}
	}
}

// peerOf is what a request's connection comes from.
func peerOf(r *http.Request) net.Addr {
	if local, known := r.Context().Value(http.LocalAddrContextKey).(net.Addr); known && local.Network() == "unix" {
		return &net.UnixAddr{Net: "unix"}
	}
	if from, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		return net.TCPAddrFromAddrPort(from)
	}
	return nil
}

// trusts reports whether a peer is a trusted proxy.
func (p Proxies) trusts(peer net.Addr) bool {
	switch from := peer.(type) {
	case *net.UnixAddr:
		return p.Unix
	case *net.TCPAddr:
		return p.contain(from.AddrPort().Addr())
	}
	return false
}

func (p Proxies) contain(address netip.Addr) bool {
	address = address.Unmap().WithZone("")
	return slices.ContainsFunc(p.Addresses, func(block netip.Prefix) bool { return block.Contains(address) })
}

// client is the address of the client that a trusted proxy names. What is no address ends the search: the
// proxy that wrote it is the last known one.
func (p Proxies) client(r *http.Request) string {
	client := r.RemoteAddr
	hops := lastOf(r.Header.Values("X-Forwarded-For"), maxHops)
	for _, hop := range slices.Backward(hops) {
		address, shown, known := parseHop(hop)
		if !known {
			break
		}
		client = shown
		if !p.contain(address) {
			break
		}
	}
	return client
}

// parseHop reads an address, with a port or without.
func parseHop(hop string) (address netip.Addr, shown string, known bool) {
	if with, err := netip.ParseAddrPort(hop); err == nil {
		return with.Addr(), with.String(), with.Addr().Zone() == ""
	}
	address, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(hop, "["), "]"))
	return address, address.String(), err == nil && address.Zone() == ""
}

// forwardedHost is the host that the nearest proxy was asked for, if it says so in a way that can be taken
// for one.
func forwardedHost(r *http.Request) string {
	for _, host := range lastOf(r.Header.Values("X-Forwarded-Host"), 1) {
		parsed, err := url.Parse("//" + host)
		if err == nil && parsed.Host == host && len(host) <= maxForwardedHost {
			return host
		}
	}
	return ""
}

// forwardedScheme is what the nearest proxy was asked by.
func forwardedScheme(r *http.Request) string {
	for _, scheme := range lastOf(r.Header.Values("X-Forwarded-Proto"), 1) {
		switch strings.ToLower(scheme) {
		case "http", "ws":
			return "http"
		case "https", "wss":
			return "https"
		}
	}
	return ""
}

// lastOf are the last elements of a header that is a list, that many at most.
func lastOf(values []string, most int) []string {
	var last []string
	for rest := strings.Join(values, ","); rest != "" && len(last) < most; {
		comma := strings.LastIndexByte(rest, ',')
		last = append(last, strings.TrimSpace(rest[comma+1:]))
		rest = rest[:max(comma, 0)]
	}
	slices.Reverse(last)
	return last
}
