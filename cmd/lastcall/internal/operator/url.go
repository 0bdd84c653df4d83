package operator

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// URL is where the admin listener of a gateway is asked, from what --admin says: host:port, as
// "lastcall serve" takes it, or an http or https URL, whose path goes before those of the admin API.
// A host that only a listener can use (none, 0.0.0.0, [::]) becomes 127.0.0.1, where such a listener
// answers too: Go has it take IPv4 and IPv6 alike. So one LASTCALL_ADMIN serves both ends of a
// container.
//
// Callers join paths to it: u.JoinPath("readyz").
func URL(s string) (*url.URL, error) {
	if strings.Contains(s, "@") { // an error that shows the URL would show them
		return nil, errors.New("--admin: no credentials can be in it")
	}
	isURL, text := strings.Contains(s, "://"), s
	if !isURL {
		text = "http://" + s
	}
	u, err := url.Parse(text)
	if err != nil || !isURL && (u.Port() == "" || u.Path != "") {
		return nil, fmt.Errorf("--admin %q: must be host:port or a URL", s)
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("--admin %q: must be http:// or https://, with no query", s)
	}
	if port, err := strconv.ParseUint(u.Port(), 10, 16); u.Port() != "" && (err != nil || port == 0) {
		return nil, fmt.Errorf("--admin %q: the port must be from 1 to 65535", s)
	}
	if host := u.Hostname(); host == "" || isUnspecified(host) {
		u.Host = strings.TrimSuffix(net.JoinHostPort("127.0.0.1", u.Port()), ":")
	}
	return u, nil
}

// isUnspecified reports whether an address means all of a machine's own.
func isUnspecified(host string) bool {
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsUnspecified()
}
