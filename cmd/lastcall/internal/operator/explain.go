package operator

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"

	adminapi "github.com/lastcall-go/lastcall/transport/admin"
	"github.com/lastcall-go/lastcall/transport/client"
)

// NeedsToken says where a token comes from.
const NeedsToken = "set LASTCALL_TOKEN (or --token) to a token that the gateway knows; 'lastcall token --help' says how one is made"

// Explain says what may be wrong where a gateway can't be asked at --admin.
func Explain(err error) error { return explained(err, "--admin", statusOf(err)) }

// ExplainURL is Explain for a session at --url.
func ExplainURL(err error) error {
	refused := new(client.RefusedError)
	if !errors.As(err, &refused) {
		return explained(err, "--url", 0)
	}
	return explained(err, "--url", refused.Status)
}

func statusOf(err error) int {
	if status := new(adminapi.StatusError); errors.As(err, &status) {
		return status.Status
	}
	return 0
}

// explained adds a hint to an error, if there is one.
func explained(err error, flag string, status int) error {
	if hint := hintOf(err, flag, status); hint != "" {
		return fmt.Errorf("%w: %s", err, hint)
	}
	return err
}

// hintOf says by an error, or the status of an answer, what listens at the address. What net/http finds malformed it
// says in words alone.
func hintOf(err error, flag string, status int) string {
	if err == nil {
		return ""
	}
	text := err.Error()
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "is the gateway running, and is " + flag + " right?"
	case status == http.StatusUnauthorized:
		return NeedsToken
	case strings.Contains(text, "HTTP request to an HTTPS server"):
		return "it speaks TLS: write " + flag + " with https:// or wss://"
	case strings.Contains(text, "server gave HTTP response to HTTPS client"):
		return "it speaks no TLS: write " + flag + " with http:// or ws://"
	case errors.As(err, new(x509.UnknownAuthorityError)):
		return "SSL_CERT_FILE can name the file of its authority"
	case strings.Contains(text, `malformed HTTP response "\x00\x00`): // the SETTINGS of HTTP/2
		return "a gRPC server answers there, such as an agent: is " + flag + " right?"
	case strings.Contains(text, "malformed HTTP"):
		return "what answers there speaks no HTTP: is " + flag + " right?"
	case errors.Is(err, io.EOF):
		return "it was closed without an answer: if that goes on, what listens there speaks no HTTP; is " + flag + " right?"
	case status == http.StatusNotFound, strings.Contains(text, "not the answer of a lastcall gateway"):
		return "is " + flag + " right?"
	}
	return ""
}
