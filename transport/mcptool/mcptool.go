// Package mcptool offers the tools of MCP servers to the agent, and runs them.
//
// The servers are those of a session's grant, spoken to over streamable HTTP. [Tool.Open] connects
// to them and adds their tools to the startRequest; [Tool.Run] calls them; [Tool.Close] ends the
// MCP sessions.
//
// A result that is too large for a message is never cut: the agent gets an error that contains
// "exceeded size limit", and can ask for less.
package mcptool

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/actors/relay"
	"github.com/lastcall-go/lastcall/proto/dap"
	"github.com/lastcall-go/lastcall/transport/grant"
)

// ConnectTimeout is how long a server has to accept a session and list its tools. One that takes
// longer is left out.
const ConnectTimeout = 10 * time.Second

// Options say which servers are used.
type Options struct {
	// Servers are the grant's, by the name that their tools get as a prefix.
	Servers map[string]grant.MCPServer

	// UserAgent is sent with each request. Empty: "lastcall".
	UserAgent string

	// Transport carries the requests; sessions should share one, and with it its connections,
	// which it closes when they have idled. Nil: [http.DefaultTransport].
	Transport http.RoundTripper
}

// Tool is one session's use of its MCP servers. Each request carries the workflow's ID as
// X-Gitlab-Duo-Workflow-Id. A server's headers are sent to that server's
// scheme, host and port and nowhere else: a redirect off it fails. No error names an address, a
// header, or an MCP session.
//
// No stream stays open to an idle server: it costs one goroutine. What a server would say or ask
// unasked isn't heard; a tool that asks for more while it runs fails.
type Tool struct {
	servers []*server        // in the order of their names
	offered map[string]offer // written by Open
	closing context.Context  // calls end with it
	close   context.CancelFunc
}

// offer is a tool as the agent knows it.
type offer struct {
	server *server
	name   string // the server's
}

var _ relay.Tool = (*Tool)(nil)

// New makes a tool that isn't connected yet.
func New(o Options) *Tool {
	t := &Tool{}
	t.closing, t.close = context.WithCancel(context.Background())
	if o.Transport == nil {
		o.Transport = http.DefaultTransport
	}
	for _, name := range slices.Sorted(maps.Keys(o.Servers)) {
		t.servers = append(t.servers, newServer(name, o.Servers[name], o.Transport, cmp.Or(o.UserAgent, "lastcall")))
	}
	return t
}

// Open connects to all servers beside each other and adds their tools to start: as server_tool in
// mcpTools, and those that need no approval in preapproved_tools too. What the client offers itself
// keeps its name: a tool of the same one is left out, and so is that of the server later in the
// alphabet where two would make the same name.
//
// It takes [ConnectTimeout] at most and returns once ctx is done. The error, for the log, tells
// what was left out: servers that failed, and tools over the bounds of [MaxTools], [MaxName],
// [MaxSchema] and [MaxOffer]. The rest is offered all the same.
func (t *Tool) Open(ctx context.Context, start *dap.StartWorkflowRequest) error {
	ctx, cancel := t.until(ctx)
	defer cancel()
	found, errs := make([][]*mcp.Tool, len(t.servers)), make([]error, len(t.servers))
	var servers sync.WaitGroup
	for i, s := range t.servers {
		s.workflow = start.GetWorkflowID()
		servers.Go(func() { found[i], errs[i] = s.open(ctx) })
	}
	servers.Wait()
	o := newOffers(start)
	for i, s := range t.servers {
		if errs[i] == nil {
			errs[i] = o.add(s, found[i])
		}
		if errs[i] != nil {
			errs[i] = fmt.Errorf("MCP server %q: %w", s.name, errs[i])
		}
	}
	t.offered = o.offered
	return errors.Join(errs...)
}

// Takes reports whether action is for a tool that Open offered.
func (t *Tool) Takes(action *dap.Action) bool {
	_, offered := t.offered[action.GetRunMCPTool().GetName()]
	return offered
}

// Run calls the tool and answers with its result as text. A result over [toolhttp.MaxText] bytes is
// never cut: the answer is an error that it "exceeded size limit". A result that is an error is the
// error of the answer, and is cut there. A server that has forgotten its MCP session
// gets a new one, and the call again; a call that may have been carried out is never sent twice.
//
// An error of Run says why there is no result, and may be sent to the agent. It returns once ctx is
// done.
func (t *Tool) Run(ctx context.Context, action *dap.Action) (*dap.ActionResponse, error) {
	asked := action.GetRunMCPTool()
	offered, ok := t.offered[asked.GetName()]
	if !ok {
		return nil, errors.New("unknown MCP tool")
	}
	args, err := arguments(asked.GetArgs())
	if err != nil {
		return nil, err
	}
	ctx, cancel := t.until(ctx)
	defer cancel()
	result, err := offered.server.call(ctx, &mcp.CallToolParams{Name: offered.name, Arguments: args})
	if err != nil {
		return nil, err
	}
	return &dap.ActionResponse{ResponseType: &dap.ActionResponse_PlainTextResponse{PlainTextResponse: answer(result)}}, nil
}

// Close ends what runs, and then the MCP sessions, beside each other. It returns once ctx is done,
// without having ended the MCP sessions of servers that hang; nothing of the tool is left then either.
func (t *Tool) Close(ctx context.Context) error {
	t.close()
	errs := make([]error, len(t.servers))
	var servers sync.WaitGroup
	for i, s := range t.servers {
		servers.Go(func() { errs[i] = s.close(ctx) })
	}
	servers.Wait()
	return errors.Join(errs...)
}

// until is a context that ends with ctx or when the tool is closed.
func (t *Tool) until(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(t.closing, cancel)
	return ctx, func() { stop(); cancel() }
}

// arguments checks what the agent sends a tool: a JSON object, or nothing.
func arguments(raw string) (map[string]json.RawMessage, error) {
	args := make(map[string]json.RawMessage)
	if raw == "" || raw == "null" {
		return args, nil
	}
	if err := json.Unmarshal([]byte(raw), &args); err != nil {
		return nil, fmt.Errorf("args are no JSON object: %s", actors.CutText(err.Error(), maxWords))
	}
	return args, nil
}
