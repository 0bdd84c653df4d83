package gateway

import (
	"cmp"
	"context"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/actors/relay"
	"github.com/lastcall-go/lastcall/transport/grant"
	"github.com/lastcall-go/lastcall/transport/httpserver"
	"github.com/lastcall-go/lastcall/transport/httptool"
	"github.com/lastcall-go/lastcall/transport/mcptool"
	"github.com/lastcall-go/lastcall/transport/tracktool"
)

// toolConnections is what the tools of all sessions share of HTTP. Connections leave so many descriptors
// free: tools can have more than all else, and a failed call is reported to its agent.
func toolConnections(keepFree int) *http.Transport {
	shared := http.DefaultTransport.(*http.Transport).Clone()
	dialer := net.Dialer{Timeout: 30 * time.Second, Control: httpserver.LeaveFree(keepFree)} // as the default one's
	shared.DialContext = dialer.DialContext
	shared.MaxIdleConnsPerHost = 100
	shared.IdleConnTimeout = time.Minute
	shared.MaxResponseHeaderBytes = 64 << 10
	return shared
}

// closeIdle is the service that closes connections in the end.
func closeIdle(shared *http.Transport) actors.Service {
	return actors.ServiceFunc(func(ctx context.Context) error {
		<-ctx.Done()
		shared.CloseIdleConnections()
		return nil
	})
}

// tools makes the tools of a session, and shows what they do. It is nil where there are to be none.
func (g *Gateway) tools(shared http.RoundTripper) func(*grant.Grant, *http.Request) []relay.Tool {
	if g.options.NoTools {
		return nil
	}
	granted := g.toolbox(shared)
	return func(of *grant.Grant, r *http.Request) []relay.Tool {
		tools := granted(of, r)
		if g.traces != nil {
			tools = g.traces.Tools(tools)
		}
		return g.metrics.Tools(tools)
	}
}

// toolbox makes the tools of a session from its grant.
func (g *Gateway) toolbox(shared http.RoundTripper) func(*grant.Grant, *http.Request) []relay.Tool {
	return func(granted *grant.Grant, r *http.Request) (tools []relay.Tool) {
		userAgent := r.UserAgent() + " " + g.userAgent()
		if granted.API.URL != "" {
			api, err := httptool.New(httptool.Options{
				API:          granted.API,
				ForwardedFor: strings.Join(r.Header.Values("X-Forwarded-For"), ", "),
				RemoteAddr:   r.RemoteAddr,
				UserAgent:    cmp.Or(g.options.APIUserAgent, userAgent),
				Transport:    shared,
			})
			if err != nil {
				g.options.Log.Warn("runHTTPRequest is left to the client", "error", err)
			} else {
				tools = append(tools, api)
			}
		}
		if len(granted.MCPServers) > 0 {
			tools = append(tools, mcptool.New(mcptool.Options{Servers: granted.MCPServers, UserAgent: userAgent, Transport: shared}))
		}
		if granted.Tracking.Address != "" {
			open := g.agents.Tracking(granted.Tracking, r.UserAgent())
			tools = append(tools, tracktool.New(open, granted.Tracking.Headers))
		}
		return tools
	}
}
