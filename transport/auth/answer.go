package auth

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/lastcall-go/lastcall/transport/grant"
)

// Bounds of what an endpoint can grant.
const (
	maxHeaders      = 64
	maxHeaderName   = 256
	maxHeaderValue  = 32 << 10
	maxServers      = 32
	maxTools        = 1000 // of a server
	maxCapabilities = 256
	maxAddress      = 1 << 10
	maxURL          = 2 << 10
	maxName         = 256 // of a principal, a workflow, a server, a tool, a capability

	// apiTimeout is for each call of the API where the answer has TimeoutHTTPRequests.
	apiTimeout = 5 * time.Second
)

// Headers that mean something here, among those for the agent.
const (
	apiTokenHeader = "x-gitlab-oauth-token"
	userHeader     = "x-gitlab-global-user-id"
)

// ofConnection are the headers that say something of one connection, or of one request's body. HTTP/2
// forbids the most, and a server that sees one fails the stream or the request.
var ofConnection = map[string]bool{
	"connection":        true,
	"content-length":    true,
	"host":              true,
	"keep-alive":        true,
	"proxy-connection":  true,
	"te":                true,
	"trailer":           true,
	"transfer-encoding": true,
	"upgrade":           true,
}

// ownServers are the MCP servers of the platform itself. They come without a URL: theirs is below
// the API's.
var ownServers = map[string]string{"gitlab": "api/v4/mcp", "orbit": "api/v4/orbit/mcp"}

// answer is what we read of the endpoint's JSON. Its names are those of GitLab Workhorse's
// pre-authorization; encoding/json matches them without regard to case, and skips others.
type answer struct {
	UserID      string `json:"GL_ID"`
	Username    string `json:"GL_USERNAME"`
	DuoWorkflow *struct {
		Service                   *service
		CloudServiceForSelfHosted *service
		LockConcurrentFlow        bool
		TimeoutHTTPRequests       bool
		ServerCapabilities        []string
		McpServers                map[string]mcpServer
		WorkflowID                json.RawMessage // a string or a number
	}
}

type service struct {
	URI     string
	Headers map[string]string
	Secure  bool
}

type mcpServer struct {
	URL              string
	Headers          map[string]string
	Tools            []string // null, and missing: all; [] is none
	PreApprovedTools []string
	Trusted          bool
}

// parseGrant makes a grant of the endpoint's JSON, or says what is wrong with it without quoting
// any of it.
func parseGrant(body []byte, base *grant.Grant, api *url.URL) (*grant.Grant, error) {
	var a answer
	if err := json.Unmarshal(body, &a); err != nil {
		return nil, jsonError(err)
	}
	if a.DuoWorkflow == nil {
		return nil, errors.New("DuoWorkflow is missing")
	}
	g := grantTo("", base)
	for _, part := range []struct {
		name string
		read func(*answer, *grant.Grant, *url.URL) error
	}{
		{"Service", readService},
		{"CloudServiceForSelfHosted", readTracking},
		{"WorkflowID", readWorkflow},
		{"McpServers", readServers},
		{"ServerCapabilities", readCapabilities},
		{"principal", readPrincipal},
	} {
		if err := part.read(&a, g, api); err != nil {
			return nil, fmt.Errorf("%s: %w", part.name, err)
		}
	}
	g.Lock = g.Lock || a.DuoWorkflow.LockConcurrentFlow
	if a.DuoWorkflow.TimeoutHTTPRequests {
		g.API.Timeout = apiTimeout
	}
	return g, nil
}

// jsonError keeps of an error where it is: the text of some quotes the input.
func jsonError(err error) error {
	var (
		syntax *json.SyntaxError
		kind   *json.UnmarshalTypeError
	)
	switch {
	case errors.As(err, &syntax):
		return fmt.Errorf("not JSON at byte %d", syntax.Offset)
	case errors.As(err, &kind):
		return fmt.Errorf("value of an unexpected type before byte %d", kind.Offset)
	default:
		return errors.New("not JSON")
	}
}

func readService(a *answer, g *grant.Grant, api *url.URL) error {
	if a.DuoWorkflow.Service == nil {
		return errors.New("missing")
	}
	var err error
	if g.Agent, err = a.DuoWorkflow.Service.target(); err != nil {
		return err
	}
	if token := g.Agent.Headers[apiTokenHeader]; token != "" {
		g.API.URL, g.API.Token = api.String(), token
	}
	return nil
}

func readTracking(a *answer, g *grant.Grant, _ *url.URL) error {
	cloud := a.DuoWorkflow.CloudServiceForSelfHosted
	if cloud == nil || cloud.URI == "" {
		return nil
	}
	var err error
	g.Tracking, err = cloud.target()
	return err
}

func readWorkflow(a *answer, g *grant.Grant, _ *url.URL) error {
	raw := a.DuoWorkflow.WorkflowID
	if len(raw) == 0 || string(raw) == "null" {
		return nil
	}
	id := string(raw) // of a number, its digits
	if raw[0] == '"' {
		if err := json.Unmarshal(raw, &id); err != nil {
			return jsonError(err)
		}
	} else if strings.Trim(id, "0123456789") != "" {
		return errors.New("neither a string nor a whole number")
	}
	if id != "" && !plain(id) {
		return errText
	}
	if id != "" {
		g.WorkflowID = id
	}
	return nil
}

func readServers(a *answer, g *grant.Grant, api *url.URL) error {
	granted := a.DuoWorkflow.McpServers
	if granted == nil {
		return nil
	}
	if len(granted) > maxServers {
		return fmt.Errorf("over %d", maxServers)
	}
	g.MCPServers = make(map[string]grant.MCPServer, len(granted))
	for name, server := range granted {
		if !plain(name) {
			return fmt.Errorf("name: %w", errText)
		}
		if path := ownServers[name]; path != "" && server.URL == "" {
			server.URL = api.JoinPath(path).String()
		}
		if err := server.check(); err != nil {
			return err
		}
		g.MCPServers[name] = grant.MCPServer(server)
	}
	return nil
}

func readCapabilities(a *answer, g *grant.Grant, _ *url.URL) error {
	granted := a.DuoWorkflow.ServerCapabilities
	if granted == nil {
		return nil
	}
	g.Capabilities = granted
	return checkNames(granted, maxCapabilities)
}

func readPrincipal(a *answer, g *grant.Grant, _ *url.URL) error {
	for _, name := range []string{a.UserID, a.Username, g.Agent.Headers[userHeader]} {
		if name == "" {
			continue
		}
		if !plain(name) {
			return errText
		}
		g.Principal = name
		return nil
	}
	return nil
}

// target checks a service and makes names of headers what gRPC makes of them: lower case.
func (s *service) target() (grant.Target, error) {
	if s.URI == "" {
		return grant.Target{}, errors.New("URI is missing")
	}
	if len(s.URI) > maxAddress || !printable(s.URI) || strings.ContainsAny(s.URI, " @") {
		return grant.Target{}, errors.New("URI is no gRPC target")
	}
	if err := grant.CheckAddress(s.URI); err != nil {
		return grant.Target{}, fmt.Errorf("URI: %w", err)
	}
	if len(s.Headers) > maxHeaders {
		return grant.Target{}, fmt.Errorf("over %d headers", maxHeaders)
	}
	headers := make(map[string]string, len(s.Headers))
	for name, value := range s.Headers {
		name = strings.ToLower(name)
		if _, twice := headers[name]; twice {
			return grant.Target{}, errors.New("header twice, in different case")
		}
		if ofConnection[name] {
			return grant.Target{}, fmt.Errorf("header %q belongs to the connection", name)
		}
		if !metadataName(name) {
			return grant.Target{}, errors.New("header's name is not for gRPC metadata")
		}
		if len(value) > maxHeaderValue || !printable(value) {
			return grant.Target{}, errors.New("header's value is not for gRPC metadata")
		}
		headers[name] = value
	}
	return grant.Target{Address: s.URI, TLS: s.Secure, Headers: headers}, nil
}

func (s *mcpServer) check() error {
	if _, err := parseURL(s.URL); err != nil {
		return err
	}
	if len(s.URL) > maxURL {
		return fmt.Errorf("URL over %d bytes", maxURL)
	}
	if len(s.Headers) > maxHeaders {
		return fmt.Errorf("over %d headers", maxHeaders)
	}
	for name, value := range s.Headers {
		if lower := strings.ToLower(name); ofConnection[lower] {
			return fmt.Errorf("header %q belongs to the connection", lower)
		}
		if !headerName(name) || len(value) > maxHeaderValue || !withoutControls(value) {
			return errors.New("header is not for HTTP")
		}
	}
	if err := checkNames(s.Tools, maxTools); err != nil {
		return fmt.Errorf("list of Tools: %w", err)
	}
	if err := checkNames(s.PreApprovedTools, maxTools); err != nil {
		return fmt.Errorf("list of PreApprovedTools: %w", err)
	}
	return nil
}

func checkNames(names []string, limit int) error {
	if len(names) > limit {
		return fmt.Errorf("over %d", limit)
	}
	for _, name := range names {
		if !plain(name) {
			return errText
		}
	}
	return nil
}

var errText = fmt.Errorf("empty, over %d bytes, or with control characters", maxName)

// plain reports whether a name can be sent, logged and compared.
func plain(name string) bool {
	return name != "" && len(name) <= maxName && withoutControls(name)
}

func withoutControls(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, unicode.IsControl)
}

// printable reports whether all is ASCII that can be seen, or spaces.
func printable(text string) bool {
	return !strings.ContainsFunc(text, func(c rune) bool { return c < ' ' || c > '~' })
}

// metadataName is for names in lower case. Those of gRPC itself are not the endpoint's to set.
func metadataName(name string) bool {
	other := func(c rune) bool {
		return c > '~' || !alphanumeric(byte(c)) && !strings.ContainsRune("-_.", c)
	}
	return name != "" && len(name) <= maxHeaderName && !strings.HasPrefix(name, "grpc-") && !strings.ContainsFunc(name, other)
}

// headerName reports whether net/http sends a header of this name.
func headerName(name string) bool {
	other := func(c rune) bool {
		return c > '~' || !alphanumeric(byte(c)) && !strings.ContainsRune("!#$%&'*+-.^_`|~", c)
	}
	return name != "" && len(name) <= maxHeaderName && !strings.ContainsFunc(name, other)
}
