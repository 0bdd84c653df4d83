package main

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/test/bufconn"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/actors/relay"
	"github.com/lastcall-go/lastcall/transport"
	"github.com/lastcall-go/lastcall/transport/grant"
	"github.com/lastcall-go/lastcall/transport/httptool"
	"github.com/lastcall-go/lastcall/transport/mcptool"
	"github.com/lastcall-go/lastcall/transport/scripted"
	"github.com/lastcall-go/lastcall/transport/tracing"
	"github.com/lastcall-go/lastcall/transport/tracktool"
)

// toolFlags are for the actions that run here.
type toolFlags struct {
	ToolConcurrency    int           `default:"8" placeholder:"N" help:"Tool calls of a session at a time (default ${default})."`
	ToolTimeout        time.Duration `default:"60s" placeholder:"D" help:"What a tool call has (default ${default})."`
	APIUserAgent       string        `name:"api-user-agent" placeholder:"NAME" help:"User agent of requests to the API, for platforms that count by it (default: the client's, then the gateway's)."`
	ClientCapabilities []string      `placeholder:"NAME" help:"Capabilities of clients that the agent is told of (default: those of the protocol)."`
	ServerCapabilities []string      `placeholder:"NAME" help:"Capabilities of the server that the agent is told of (default: those of the protocol)."`
}

func (f *toolFlags) check() error {
	switch {
	case f.ToolConcurrency < 1:
		return fmt.Errorf("--tool-concurrency %d: must be at least 1", f.ToolConcurrency)
	case f.ToolTimeout < time.Millisecond || f.ToolTimeout > maxDuration:
		return fmt.Errorf("--tool-timeout %v: must be from 1ms to %v", f.ToolTimeout, maxDuration)
	case strings.ContainsFunc(f.APIUserAgent, func(r rune) bool { return r < ' ' || r > '~' }):
		return fmt.Errorf("--api-user-agent %q: must be printable ASCII", f.APIUserAgent)
	}
	return nil
}

// scriptedPace is how fast the scripted agent plays: slow enough to watch.
const scriptedPace = 2 * time.Second

// agent is the pool of connections to the agent, with the agent itself where none was named.
func (c *serveCmd) agent(log *slog.Logger) ([]extraService, *transport.Pool, error) {
	security, err := c.agentTLSFlags.config(log)
	if err != nil {
		return nil, nil, err
	}
	options := transport.PoolOptions{
		Target:               c.Agent,
		TLS:                  security,
		StreamsPerConnection: c.AgentStreams,
		Keepalive:            c.AgentKeepalive,
		UserAgent:            gatewayName(),
	}
	if c.OTLPEndpoint != "" {
		options.Interceptor = tracing.Interceptor
	}
	if c.Agent != "" {
		pool, err := transport.NewPool(options)
		return nil, pool, err
	}
	inProcess := bufconn.Listen(1 << 20)
	agent := scripted.New(scripted.Options{Pace: scriptedPace})
	run := actors.ServiceFunc(func(ctx context.Context) error { return agent.Serve(ctx, inProcess) })
	options.Target, options.Name = "passthrough:///scripted", "scripted, in process"
	options.DialOptions = []grpc.DialOption{grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
		return inProcess.DialContext(ctx)
	})}
	pool, err := transport.NewPool(options)
	return []extraService{{"scripted agent", actors.AfterSessions, run}}, pool, err
}

// toolConnections is what the tools of all sessions share of HTTP. Connections leave so many descriptors
// free: tools can have more than all else, and a call that fails is told to its agent.
func toolConnections(keepFree int) (*http.Transport, extraService) {
	shared := http.DefaultTransport.(*http.Transport).Clone()
	dialer := net.Dialer{Timeout: 30 * time.Second, Control: transport.LeaveFree(keepFree)} // as the default one's
	shared.DialContext = dialer.DialContext
	shared.MaxIdleConnsPerHost = 100
	shared.IdleConnTimeout = time.Minute
	shared.MaxResponseHeaderBytes = 64 << 10
	run := actors.ServiceFunc(func(ctx context.Context) error {
		<-ctx.Done()
		shared.CloseIdleConnections()
		return nil
	})
	return shared, extraService{"connections of tools", actors.AfterSessions, run}
}

// toolbox makes the tools of a session from its grant.
func (f *toolFlags) toolbox(pool *transport.Pool, shared http.RoundTripper, log *slog.Logger) toolMaker {
	return func(granted *grant.Grant, r *http.Request) (tools []relay.Tool) {
		userAgent := r.UserAgent() + " " + gatewayName()
		if granted.API.URL != "" {
			api, err := httptool.New(httptool.Options{
				API:          granted.API,
				ForwardedFor: strings.Join(r.Header.Values("X-Forwarded-For"), ", "),
				RemoteAddr:   r.RemoteAddr,
				UserAgent:    cmp.Or(f.APIUserAgent, userAgent),
				Transport:    shared,
			})
			if err != nil {
				log.Warn("runHTTPRequest is left to the client", "error", err)
			} else {
				tools = append(tools, api)
			}
		}
		if len(granted.MCPServers) > 0 {
			tools = append(tools, mcptool.New(mcptool.Options{Servers: granted.MCPServers, UserAgent: userAgent, Transport: shared}))
		}
		if granted.Tracking.Address != "" {
			open := pool.Tracking(granted.Tracking, r.UserAgent())
			tools = append(tools, tracktool.New(open, granted.Tracking.Headers))
		}
		return tools
	}
}

func gatewayName() string { return "lastcall/" + version() }
