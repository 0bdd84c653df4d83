package mcptool

import (
	"context"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/lastcall-go/lastcall/transport/grant"
	"github.com/lastcall-go/lastcall/transport/toolhttp"
)

// maxPages bounds how often a server is asked for more of its tools.
const maxPages = 100

// server is one MCP server, with the connection to it.
type server struct {
	name      string
	grant     grant.MCPServer
	client    *mcp.Client
	transport http.RoundTripper
	userAgent string
	workflow  string // written by Open

	turn chan struct{} // full while conn is used or changed; no sync.Mutex, as it is held for long
	conn *connection   // nil: none
	gone bool          // no more connections
}

// connection is an MCP session. As an [mcp.Transport] it keeps what the SDK's own one made: where
// that panics, nothing else would end it.
type connection struct {
	mcp.Transport
	client  *http.Client
	made    mcp.Connection     // nil: not yet
	session *mcp.ClientSession // nil: not begun, or failed to
	cut     context.CancelFunc // ends its requests at once, and with them its goroutines
}

// Connect implements [mcp.Transport].
func (c *connection) Connect(ctx context.Context) (made mcp.Connection, err error) {
	c.made, err = c.Transport.Connect(ctx)
	return c.made, err
}

func newServer(name string, g grant.MCPServer, transport http.RoundTripper, userAgent string) *server {
	return &server{
		name:  name,
		grant: g,
		client: mcp.NewClient(&mcp.Implementation{Name: "lastcall", Version: "1"}, &mcp.ClientOptions{
			Capabilities:   &mcp.ClientCapabilities{}, // no roots, and no user to ask
			MultiRoundTrip: &mcp.MultiRoundTripOptions{Disabled: true},
		}),
		transport: transport,
		userAgent: userAgent,
		turn:      make(chan struct{}, 1),
	}
}

// lock waits for the turn, or for ctx.
func (s *server) lock(ctx context.Context) error {
	if ctx.Err() != nil {
		return explain(ctx, ctx.Err())
	}
	select {
	case s.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return explain(ctx, ctx.Err())
	}
}

func (s *server) unlock() { <-s.turn }

// open connects and returns the tools.
func (s *server) open(ctx context.Context) ([]*mcp.Tool, error) {
	if err := s.lock(ctx); err != nil {
		return nil, err
	}
	defer s.unlock()
	return s.dial(ctx)
}

// dial connects and lists the tools. It is called in turn. After ctx is done the SDK would go on,
// telling the server with timeouts of its own; so its requests are cut.
func (s *server) dial(ctx context.Context) ([]*mcp.Tool, error) {
	if s.gone {
		return nil, errors.New("closed")
	}
	ctx, cancel := context.WithTimeout(ctx, ConnectTimeout)
	defer cancel()
	ctx = withExchange(ctx, maxListing)
	conn, err := s.newConnection()
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, conn.cut)
	tools, err := s.begin(ctx, conn)
	if !stop() && err == nil {
		err = ctx.Err() // which cut it
	}
	if err != nil {
		err = s.explainConnect(ctx, conn, err)
		_ = conn.end(ctx)
		return nil, err
	}
	s.conn = conn
	return tools, nil
}

// explainConnect is [explain] with what matters where a server is used for the first time: the status
// that it answered with, and whether it is a server of another transport.
func (s *server) explainConnect(ctx context.Context, conn *connection, err error) error {
	status, refused := exchangeOf(ctx).refusal()
	why := explain(ctx, err)
	switch {
	case ctx.Err() != nil || !refused:
		return why
	case isSSEServer(ctx, conn.client, s.grant.URL):
		return errSSEOnly
	case errors.As(why, new(statusError)):
		return why
	}
	return fmt.Errorf("%w: %w", status, why)
}

// isSSEServer reports whether an endpoint opens a stream for a GET outside of any MCP session. After a
// refused POST the protocol takes that for a server of its older transport.
func isSSEServer(ctx context.Context, client *http.Client, endpoint string) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, endpoint, nil)
	if err != nil {
		return false
	}
	request.Header.Set("Accept", eventStream)
	response, err := client.Do(request)
	if err != nil {
		return false
	}
	defer response.Body.Close()
	kind, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type"))
	return response.StatusCode == http.StatusOK && kind == eventStream
}

func (s *server) newConnection() (*connection, error) {
	endpoint, err := url.Parse(s.grant.URL)
	if err != nil || endpoint.Host == "" {
		return nil, errBadURL
	}
	life, cut := context.WithCancel(context.Background())
	client := &http.Client{Transport: &wire{s.transport, endpoint, s.grant.Headers, s.userAgent, s.workflow, life}}
	return &connection{client: client, cut: cut, Transport: &mcp.StreamableClientTransport{
		Endpoint:             s.grant.URL,
		HTTPClient:           client,
		DisableStandaloneSSE: true, // an idle session would hold a stream
		MaxEventSize:         maxReply,
	}}, nil
}

// begin begins the MCP session and lists the tools. The SDK remembers the list, since a tool may
// want some of its arguments in headers. What it makes of a server's words may end no more than
// this.
func (s *server) begin(ctx context.Context, conn *connection) (tools []*mcp.Tool, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = panicError{v}
		}
	}()
	if conn.session, err = s.client.Connect(ctx, conn, nil); err != nil {
		return nil, err
	}
	return list(ctx, conn.session)
}

func list(ctx context.Context, session *mcp.ClientSession) ([]*mcp.Tool, error) {
	var tools []*mcp.Tool
	params := &mcp.ListToolsParams{}
	for range maxPages {
		page, err := session.ListTools(ctx, params)
		if err != nil {
			return nil, err
		}
		tools = append(tools, page.Tools...)
		if page.NextCursor == "" || len(tools) > MaxTools {
			break
		}
		params = &mcp.ListToolsParams{Cursor: page.NextCursor}
	}
	return tools, nil
}

// call runs a tool. Where the call surely hasn't reached it, because the connection was broken
// before or the server doesn't know the MCP session any more, it is made once again on a new one.
func (s *server) call(ctx context.Context, params *mcp.CallToolParams) (*mcp.CallToolResult, error) {
	for again := false; ; again = true {
		conn, err := s.connected(ctx)
		if err != nil {
			return nil, err
		}
		ctx := withExchange(ctx, maxReply)
		result, err := conn.session.CallTool(ctx, params)
		if err == nil {
			return result, nil
		}
		if again || !errors.Is(err, mcp.ErrConnectionClosed) && !exchangeOf(ctx).forgotten.Load() {
			return nil, explain(ctx, err)
		}
		if err := s.drop(ctx, conn); err != nil {
			return nil, err
		}
	}
}

// connected returns the connection, made anew if there is none.
func (s *server) connected(ctx context.Context) (*connection, error) {
	if err := s.lock(ctx); err != nil {
		return nil, err
	}
	defer s.unlock()
	if s.conn == nil {
		if _, err := s.dial(ctx); err != nil {
			return nil, err
		}
	}
	return s.conn, nil
}

// drop lets go of a connection that has broken. Other calls on it may be stuck; they fail.
func (s *server) drop(ctx context.Context, broken *connection) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	if s.conn == broken { // and not another call's new one
		s.conn = nil
	}
	s.unlock()
	broken.cut()
	_ = broken.end(ctx)
	return nil
}

// close ends the MCP session for good.
func (s *server) close(ctx context.Context) error {
	s.turn <- struct{}{} // soon: what holds it ends when the tool closes
	defer s.unlock()
	s.gone = true
	if s.conn == nil {
		return nil
	}
	conn := s.conn
	s.conn = nil
	if err := conn.end(ctx); err != nil {
		return fmt.Errorf("MCP server %q: end the session: %s", s.name, toolhttp.Reason(err))
	}
	return nil
}

// end ends the MCP session at the server, until ctx is done, and releases it.
func (c *connection) end(ctx context.Context) error {
	stop := context.AfterFunc(ctx, c.cut)
	defer stop()
	defer c.cut() // whatever is left of it
	switch {
	case c.session != nil:
		return c.session.Close()
	case c.made != nil:
		return c.made.Close()
	}
	return nil
}
