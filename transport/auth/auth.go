// Package auth decides which requests become sessions, and with which grant. It has three kinds of
// [grant.Authorizer]:
//
//   - [None] gives each request the same grant. It is for loopback addresses, and for gateways behind a
//     server that authorizes.
//   - [Tokens] knows clients by bearer tokens, whose SHA-256 are in a file.
//   - [Forward] asks an HTTP endpoint for each request, as nginx's auth_request and GitLab Workhorse
//     do, and takes the grant from its answer.
//
// None of them:
//
//	authorizer := &auth.None{Base: grant.Grant{Lock: true}}
//
// Tokens, read again on SIGHUP; a file that can't be read changes nothing:
//
//	tokens, err := auth.OpenTokens("/etc/lastcall/tokens", grant.Grant{})
//	...
//	if err := tokens.Reload(); err != nil {
//		log.Error("tokens not reloaded", "error", err)
//	}
//
// A line for that file, and the token for its owner, which is stored nowhere else:
//
//	token, line, err := auth.NewToken("alice")
//
// An endpoint that expects signed requests:
//
//	secret, err := auth.ReadSecret("/etc/lastcall/secret")
//	...
//	forward, err := auth.NewForward(auth.ForwardOptions{URL: "https://gitlab.example", Secret: secret})
//
// # A grant
//
// The endpoint gets the method, path, query and headers of each request. It answers 401, 403, 404 or 429,
// which are passed on with their Retry-After, or 200 and a grant: the agent and its headers, the API and its
// token, MCP servers, whether to lease the workflow, and the principal, whose number of sessions can be
// limited (429 past the limit). Any server of JSON will do, to try it:
//
//	mkdir endpoint && cat > endpoint/grant.json <<'END'
//	{"DuoWorkflow": {
//	  "Service": {"URI": "127.0.0.1:50052", "Headers": {"x-gitlab-oauth-token": "the-api-token"}},
//	  "ServerCapabilities": ["tool_call_approval"],
//	  "LockConcurrentFlow": true
//	}}
//	END
//	python3 -m http.server 9000 --bind 127.0.0.1 --directory endpoint &
//	lastcall agent --scenario tools &
//	lastcall serve --auth forward --auth-url http://127.0.0.1:9000/grant.json &
//	lastcall connect
//
// The agent of this scenario asks for a page of the API, which is the same server: its log shows the request
// of the tool.
//
// All are safe for concurrent use. No error, and no value of this package printed by fmt, holds a
// token, a secret, a header or anything else of a request or of an endpoint's answer.
package auth

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"

	"github.com/lastcall-go/lastcall/transport/grant"
)

// None gives each request the same grant.
type None struct {
	Base grant.Grant // of each request. Its Principal is ignored
}

// Authorize implements [grant.Authorizer]. The grant's principal is empty.
// It never fails.
func (n *None) Authorize(*http.Request) (*grant.Grant, error) {
	return grantTo("", &n.Base), nil
}

// Format implements [fmt.Formatter]: it shows nothing of the grant.
func (n *None) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, "auth.None") }

// grantTo copies all of base, so that what a session changes in its grant is its own.
func grantTo(principal string, base *grant.Grant) *grant.Grant {
	g := *base
	g.Principal = principal
	g.Agent.Headers = maps.Clone(base.Agent.Headers)
	g.Tracking.Headers = maps.Clone(base.Tracking.Headers)
	g.Capabilities = slices.Clone(base.Capabilities)
	g.MCPServers = maps.Clone(base.MCPServers)
	for name, server := range g.MCPServers {
		server.Headers = maps.Clone(server.Headers)
		server.Tools = slices.Clone(server.Tools)
		server.PreApprovedTools = slices.Clone(server.PreApprovedTools)
		g.MCPServers[name] = server
	}
	return &g
}
