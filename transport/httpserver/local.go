package httpserver

import (
	"net"
	"strings"
)

// IsLocal reports whether a host, with or without a port, is a name that this machine has for itself.
//
// It is for listeners without authorization, which only this machine reaches. A browser on it can be led there by
// another site's name, whose pages are then of the listener's own origin (DNS rebinding). So the Host of each
// request must be local.
func IsLocal(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.Trim(host, "[]")
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}
