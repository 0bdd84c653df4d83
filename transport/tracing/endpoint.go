package tracing

import (
	"errors"
	"net"
	"net/url"
)

// defaultPort is OTLP's over gRPC.
const defaultPort = "4317"

var errEndpoint = errors.New("the endpoint must be http://host:4317 (plaintext) or https://host:4317 (TLS)")

// parseEndpoint returns the receiver's URL with its port. Whether it is encrypted is never guessed. The
// error doesn't show the endpoint, which may contain a password.
func parseEndpoint(endpoint string) (string, error) {
	u, err := url.Parse(endpoint)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return "", errEndpoint
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Path != "" && u.Path != "/" {
		return "", errors.New("the endpoint has more than scheme, host and port: gRPC knows no path, and headers go into OTEL_EXPORTER_OTLP_HEADERS")
	}
	port := u.Port()
	if port == "" {
		port = defaultPort
	}
	if _, err := net.LookupPort("tcp", port); err != nil {
		return "", errEndpoint
	}
	return u.Scheme + "://" + net.JoinHostPort(u.Hostname(), port), nil
}
