package grant

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
)

var (
	errIncomplete = errors.New("address incomplete")
	errNoPort     = errors.New("no such port")
	errNoTarget   = errors.New("no gRPC target: want host:port, or one of dns, ipv4, ipv6, unix and passthrough before a colon")
)

// defaultPort is gRPC's, for an address without one.
const defaultPort = 443

// CheckAddress reports whether a gRPC client can make something of an address: host:port, or with a
// name of gRPC before a colon, such as dns:///host:port, ipv4:10.0.0.1:443,10.0.0.2:443 or
// unix:/run/agent. It resolves no host. The error doesn't quote the address.
func CheckAddress(address string) error {
	scheme, rest, _ := strings.Cut(address, ":")
	switch scheme {
	case "dns":
		return checkHost(endpointOf(rest))
	case "ipv4", "ipv6":
		_, err := Addresses(scheme, endpointOf(rest))
		return err
	case "unix", "unix-abstract", "passthrough":
		if endpointOf(rest) == "" {
			return errIncomplete
		}
		return nil
	}
	return checkHost(address)
}

// endpointOf cuts the authority, such as a DNS server, off the part of a target behind its scheme.
func endpointOf(rest string) string {
	if behind, ok := strings.CutPrefix(rest, "//"); ok {
		_, endpoint, _ := strings.Cut(behind, "/")
		return endpoint
	}
	return rest
}

// checkHost checks a host with a port or without. gRPC takes nearly everything for the name of a
// host, and says otherwise only when the first stream is opened.
func checkHost(address string) error {
	switch {
	case net.ParseIP(address) != nil:
		return nil
	case address == "" || strings.HasSuffix(address, ":"):
		return errIncomplete
	case strings.ContainsAny(address, "/,@ "):
		return errNoTarget
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		if _, _, err := net.SplitHostPort(address + ":443"); err == nil {
			return nil // gRPC's default port
		}
		return errNoTarget
	}
	if _, err = net.LookupPort("tcp", port); err != nil {
		return errNoPort
	}
	return nil
}

// Addresses returns the addresses of a target ipv4:a,b or ipv6:a,b, each with a port. list is the
// part behind the colon, scheme the part before it.
func Addresses(scheme, list string) ([]string, error) {
	var addresses []string
	for one := range strings.SplitSeq(list, ",") {
		parsed, err := parseAddress(one)
		if err != nil || parsed.Port() == 0 || parsed.Addr().Is4() != (scheme == "ipv4") {
			return nil, fmt.Errorf("want %s addresses with ports, and commas between them", scheme)
		}
		addresses = append(addresses, parsed.String())
	}
	return addresses, nil
}

func parseAddress(text string) (netip.AddrPort, error) {
	if address, err := netip.ParseAddr(strings.Trim(text, "[]")); err == nil {
		return netip.AddrPortFrom(address, defaultPort), nil
	}
	return netip.ParseAddrPort(text)
}
