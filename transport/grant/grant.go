// Package grant holds what authorization gives a session: its principal, its agent, and
// what it may use there. It has no dependencies, so that authorizers and users of a grant
// need not know each other.
package grant

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// Authorizer decides which requests may open a session, and with what. It is asked before the upgrade.
type Authorizer interface {
	// Authorize returns the grant for a request, or an error: a [*RefusedError] is passed on to the
	// client, any other says that the decision could not be made. It must return once the request's
	// context is done, and may be called by many goroutines. The body is not read.
	Authorize(r *http.Request) (*Grant, error)
}

// Grant is what one session may have. Its tokens and headers must not be logged or sent to a client; no verb of
// package fmt shows them.
type Grant struct {
	Principal    string               // of the request; sessions are counted by it. Empty: none
	Agent        Target               // the agent. Without an address: the gateway's own
	Tracking     Target               // where model calls of a self-hosted installation are reported. May be empty
	WorkflowID   string               // the only workflow this session may run. Empty: any
	API          API                  // for runHTTPRequest. May be empty
	MCPServers   map[string]MCPServer // by name; their tools are offered to the agent as name_tool
	Capabilities []string             // the server's, added to the client's in startRequest
	Lock         bool                 // the workflow must run in one place at a time

	// Authorized ends when the grant is withdrawn, and with it the sessions that began with it. Nil: it
	// never is.
	Authorized context.Context
}

// Target is a gRPC service.
type Target struct {
	Address string            // a gRPC target; empty: none
	TLS     bool              // encrypt
	Headers map[string]string // sent as metadata with each stream
}

// API is the platform's REST API.
type API struct {
	URL     string        // its base; empty: none
	Token   string        // sent as a bearer token
	Timeout time.Duration // for each call, its answer included. 0: no limit but the session's own
}

// MCPServer is a streamable HTTP server of the Model Context Protocol.
type MCPServer struct {
	URL              string
	Headers          map[string]string // sent with each request
	Tools            []string          // the tools that are offered. Nil: all
	PreApprovedTools []string          // tools that need no approval by the user
	Trusted          bool              // said to the agent of each tool
}

// Format shows the principal and nothing else, whatever the verb. It implements [fmt.Formatter].
func (g Grant) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "grant for %q", g.Principal) }

// Format shows the address alone. It implements [fmt.Formatter].
func (t Target) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "target %q", t.Address) }

// Format shows the URL alone. It implements [fmt.Formatter].
func (a API) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "API %q", a.URL) }

// Format shows the URL alone. It implements [fmt.Formatter].
func (m MCPServer) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "MCP server %q", m.URL) }

// RefusedError is the decision not to let a request in. The client gets all of it.
type RefusedError struct {
	Status int         // an HTTP status, such as 401
	Header http.Header // to be sent with it, such as WWW-Authenticate. May be nil
	Reason string      // for the client; names nothing internal
}

func (r *RefusedError) Error() string { return fmt.Sprintf("refused with %d: %s", r.Status, r.Reason) }
