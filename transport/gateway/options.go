package gateway

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/actors/relay"
	"github.com/lastcall-go/lastcall/transport"
	"github.com/lastcall-go/lastcall/transport/admin"
	"github.com/lastcall-go/lastcall/transport/agentpool"
	"github.com/lastcall-go/lastcall/transport/codec"
	"github.com/lastcall-go/lastcall/transport/grant"
	"github.com/lastcall-go/lastcall/transport/httpserver"
	"github.com/lastcall-go/lastcall/transport/redislease"
	"github.com/lastcall-go/lastcall/transport/tracing"
)

// Options configure a [Gateway]. Sessions is required, and an agent: Agent.Target or Agents.
type Options struct {
	// Sessions accepts the clients' connections. [httpserver.Listen] makes a listener that resets no connection
	// when it is closed; TLS goes around it.
	Sessions net.Listener

	// SessionsOutlive is true where the socket of Sessions belongs to a service manager, which hands it
	// to the next process. The gateway then accepts nothing more from the begin of its last drain on,
	// instead of refusing new clients. Zero: false.
	SessionsOutlive bool

	// Admin accepts the connections of the operator: health, metrics, the page and its API. On a loopback
	// address it asks for no authorization. Nil: there is no admin server.
	Admin net.Listener

	// Path is where clients open a WebSocket. Empty: [transport.DefaultPath].
	Path string

	// Proxies are the reverse proxies whose X-Forwarded headers are taken. Zero: none.
	Proxies httpserver.Proxies

	// Agent says where the agent is. With Tracing its Interceptor must be nil: it is the gateway's.
	Agent agentpool.Options

	// Agents are connections that are open already, instead of Agent. The gateway closes them. Their
	// Interceptor should be [tracing.Interceptor] where there is Tracing. Nil: Agent is used.
	Agents *agentpool.Pool

	// Authorizer decides which requests may open a session or use the admin server. Nil: both listeners
	// must have loopback addresses, and requests must name the host as a local one. auth.None lets
	// every request in.
	Authorizer grant.Authorizer

	// Leaser leases the workflows whose grants ask for it. Nil: LeaseStore, or leases of this process
	// alone where that has no URL.
	Leaser relay.Leaser

	// LeaseStore is a store of leases that several instances share. Its OnWarning may be nil: warnings
	// are logged. An empty URL: there is none.
	LeaseStore redislease.Options

	// LockAll leases all workflows.
	LockAll bool

	// NoTools leaves all actions to the client. False: requests to the API, calls of MCP servers and
	// tracking that a grant allows run here.
	NoTools bool

	// APIUserAgent is the user agent of requests to the API. Empty: the client's, and then the gateway's.
	APIUserAgent string

	// These are as in [transport.Handler].
	Contract           func() *codec.Contract
	ClientCapabilities []string
	ServerCapabilities []string
	AllowOrigins       []string
	Subprotocols       []string
	Limits             relay.Limits

	// Supervisor are the limits of all sessions. Stop and close timeouts of 0 become the defaults, or
	// less if Drain.Timeout is too short for them.
	Supervisor actors.Options

	// Drain has the times of a drain: of the last one, and of those that an operator begins without
	// saying else. See [admin.Defaults] for its zero values.
	Drain admin.Defaults

	// ReportPath is a file that the report of each drain of all sessions replaces, as JSON. The report
	// of a last drain that found no session does not replace that of an operator's drain. In a folder the reports of the
	// last 20 drains are kept, those of parts too, each in a file. Empty: none.
	ReportPath string

	// Tracing says where spans go. Its Version and OnError may be empty: Version is the gateway's, and
	// errors are logged. An empty Endpoint: there are no spans.
	Tracing tracing.Options

	// Log takes records of drains, failures, and sessions that ended by one. Nil: nothing is logged.
	Log *slog.Logger

	// LogSessions is that of [Observers].
	LogSessions bool

	// Profiles answers GET /debug/pprof/… of the admin listener, as the handlers of net/http/pprof do. Nil: there
	// are no profiles.
	Profiles http.Handler

	// LogDropped is how many records of the log were dropped, for the metrics; it only grows. Nil: none
	// ever is.
	LogDropped func() uint64

	// Version is the program's, for metrics, spans and user agents.
	Version string

	// Name says which instance of several this is, on the page. Empty: the host's name.
	Name string

	// TraceURL is where the page's links to traces lead: an http or https URL with {trace} for the trace's ID. Empty:
	// there are none.
	TraceURL string

	// Settings are shown on the page, such as the flags that differ from their defaults. They must hold no secret.
	Settings []string

	// Services run beside the gateway. Of the stage [actors.AfterSessions] they stop before the
	// sessions' listener is closed, the last one first; what must stop last is added to
	// [Gateway.Supervisor] before [Gateway.Run].
	Services []Service

	// Observers are called with the supervisor's events, each on a goroutine of its own: see
	// [actors.Supervisor.Listen].
	Observers []func(event any)

	// Progress: see [Observers]. Nil: all events of a drain are records.
	Progress func(event any) (shown bool)

	// Started is called when all listeners are served. Nil: nothing is.
	Started func()

	// Draining is called before the last drain begins, with its deadline. Nil: nothing is.
	Draining func(deadline time.Time)
}

// Service is a service with its place in a drain.
type Service struct {
	Name  string
	Stage actors.Stage
	Run   actors.Service
}

// OptionError is an option that [New] can't work with.
type OptionError struct {
	Option string // a field of [Options], such as "ReportPath"
	Err    error
}

func (e *OptionError) Error() string { return fmt.Sprintf("gateway option %s: %v", e.Option, e.Err) }

// Unwrap returns what is wrong with the option.
func (e *OptionError) Unwrap() error { return e.Err }

func wrong(option string, err error) error {
	if err == nil {
		return nil
	}
	return &OptionError{option, err}
}

// complete replaces zero values, and rejects what can't be served.
func (o *Options) complete() error {
	o.Path = cmp.Or(o.Path, transport.DefaultPath)
	o.Drain.Timeout = cmp.Or(o.Drain.Timeout, actors.DefaultDrain)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if err := cmp.Or(o.checkListeners(), wrong("Path", CheckPath(o.Path)), wrong("TraceURL", checkTraceURL(o.TraceURL))); err != nil {
		return err
	}
	switch {
	case o.Agents == nil && o.Agent.Target == "":
		return wrong("Agent", errors.New("no target: set Agent.Target to the address of the agent, or Agents"))
	case o.Leaser != nil && o.LeaseStore.URL != "":
		return wrong("Leaser", errors.New("set besides LeaseStore"))
	}
	d := o.Drain
	if min(d.Timeout, d.Delay, d.Grace, d.BatchInterval, time.Duration(d.BatchSize)) < 0 {
		return wrong("Drain", errors.New("a time or the size of batches is negative"))
	}
	fitted, err := actors.Budget{
		Total: d.Timeout, Delay: d.Delay, Grace: d.Grace,
		Stop: o.Supervisor.StopTimeout, Close: o.Supervisor.CloseTimeout,
	}.Fit()
	o.Supervisor.StopTimeout, o.Supervisor.CloseTimeout = fitted.Stop, fitted.Close
	return wrong("Drain", err)
}

// checkListeners rejects a gateway that would be open to all by mistake.
func (o *Options) checkListeners() error {
	const open = "%v can be reached by others, and Authorizer is nil: set one, or auth.None to admit every request"
	switch {
	case o.Sessions == nil:
		return wrong("Sessions", errors.New("no listener"))
	case o.Authorizer != nil:
	case !IsLoopback(o.Sessions.Addr().String()):
		return wrong("Sessions", fmt.Errorf(open, o.Sessions.Addr()))
	case o.Admin != nil && !IsLoopback(o.Admin.Addr().String()):
		return wrong("Admin", fmt.Errorf(open, o.Admin.Addr()))
	}
	return nil
}

// IsLoopback reports whether an address, host:port, can be reached from this machine alone.
func IsLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	return err == nil && httpserver.IsLocal(host)
}

// CheckPath rejects a path that an net/http.ServeMux would panic at, or take for a pattern of many paths.
func CheckPath(p string) error {
	if !strings.HasPrefix(p, "/") || p == "/" || p != path.Clean(p) || strings.ContainsAny(p, "{}?#% ") {
		return fmt.Errorf("%q: must be a plain absolute path, such as %s", p, transport.DefaultPath)
	}
	return nil
}

// checkTraceURL rejects a template that leads to no trace, or that a page must not link to.
func checkTraceURL(template string) error {
	if template == "" {
		return nil
	}
	u, err := url.Parse(strings.ReplaceAll(template, "{trace}", "0"))
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || !strings.Contains(template, "{trace}") {
		return fmt.Errorf("%q: must be an http or https URL with {trace} for the trace's ID", template)
	}
	return nil
}
