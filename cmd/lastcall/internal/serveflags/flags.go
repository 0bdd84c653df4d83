// Package serveflags makes a gateway's options of the flags of "lastcall serve", and says in the flags'
// words what is wrong with them.
package serveflags

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/actors/relay"
	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/systemd"
	"github.com/lastcall-go/lastcall/transport/admin"
	"github.com/lastcall-go/lastcall/transport/gateway"
	"github.com/lastcall-go/lastcall/transport/grant"
	"github.com/lastcall-go/lastcall/transport/tracing"
)

// Flags are those of the gateway.
type Flags struct {
	Listen string `group:"Listening" default:"127.0.0.1:8080" placeholder:"ADDR" help:"Where clients open sessions (default ${default})."`
	Admin  string `group:"Listening" default:"127.0.0.1:8081" placeholder:"ADDR" help:"Where health, metrics, the operator's page and its API are served (default ${default})."`
	Path   string `group:"Listening" default:"/api/v4/ai/duo_workflows/ws" help:"Path of the WebSocket (default ${default})."`

	Agent          string        `group:"Agent" placeholder:"TARGET" help:"gRPC target of the agent, such as agent.example:50052, or several as ipv4:10.0.0.1:50052,10.0.0.2:50052. Without it a scripted agent runs in process."`
	AgentStreams   int           `group:"Agent" default:"100" placeholder:"N" help:"Streams that share a connection to the agent, or as many as the agent takes if that is less (default ${default})."`
	AgentKeepalive time.Duration `group:"Agent" default:"6m" placeholder:"D" help:"Silence after which a connection to the agent is pinged. A stock gRPC server permits no less than 5m, the Duo service 20s (default ${default})."`

	StartTimeout    time.Duration  `group:"Listening" default:"2m" placeholder:"D" help:"What a client has until its startRequest: editors open the connection and then start their MCP servers (default ${default})."`
	ShutdownTimeout time.Duration  `group:"Drain" default:"25s" placeholder:"D" help:"From the signal to the deadline of the drain (default ${default})."`
	DrainDelay      time.Duration  `group:"Drain" default:"0s" placeholder:"D" help:"Go on admitting this long after the signal, not ready any more, while load balancers notice (default ${default})."`
	DrainGrace      time.Duration  `group:"Drain" default:"0s" placeholder:"D" help:"Let running workflows go on this long before they are stopped (default ${default})."`
	StopTimeout     *time.Duration `group:"Drain" placeholder:"D" help:"What an agent gets to end a stopped workflow (default 10s, or what --shutdown-timeout leaves)."`
	CloseTimeout    *time.Duration `group:"Drain" placeholder:"D" help:"What a client gets to answer the close frame, at most 5s (default 5s, or what --shutdown-timeout leaves)."`
	BatchSize       int            `group:"Drain" default:"0" aliases:"wave-size" env:"LASTCALL_BATCH_SIZE,LASTCALL_WAVE_SIZE" placeholder:"N" help:"Drain this many sessions at a time; 0 is all at once."`
	BatchInterval   time.Duration  `group:"Drain" default:"1s" aliases:"wave-interval" env:"LASTCALL_BATCH_INTERVAL,LASTCALL_WAVE_INTERVAL" placeholder:"D" help:"Time between two batches (default ${default})."`
	MaxSessions     int            `group:"Listening" default:"0" placeholder:"N" help:"Sessions at a time; 0 is as many as the limit on open files allows."`
	MaxSessionAge   time.Duration  `group:"Drain" default:"0s" placeholder:"D" help:"Drain a session alone when it gets this old, or up to a tenth less; 0s is never."`

	agentTLSFlags `group:"Agent"`
	contractFlags `group:"Agent"`
	authFlags     `group:"Auth"`
	proxyFlags    `group:"Listening"`
	toolFlags     `group:"Tools"`
	leaseFlags    `group:"Leases"`

	Name string `group:"Telemetry" placeholder:"NAME" help:"What this instance is called on the operator's page (default: the host's name)."`

	Report string `group:"Telemetry" type:"path" placeholder:"PATH" help:"Write the drain's report to this file, as JSON; in a folder keep a file of each of the last 20 drains. A place where it can't be written is refused at start."`

	TraceURL string `group:"Telemetry" name:"trace-url" placeholder:"URL" help:"Link sessions on the operator's page to their traces: a URL with {trace} for the trace's ID."`

	OTLPEndpoint string `group:"Telemetry" name:"otlp-endpoint" placeholder:"URL" help:"Send traces to this OpenTelemetry collector, by OTLP over gRPC: http://host:4317, or https://."`
}

// Options opens what the flags name: the connections to the agent, the tokens, the contract and the
// listeners, but for the passed ones. log takes what goes wrong with them later. From its return
// on SIGHUP reads again what can be read again, where there is any.
//
// Where it fails, the caller closes passed; the rest is closed.
func (f *Flags) Options(passed systemd.Sockets, version string, log *slog.Logger) (gateway.Options, error) {
	limits, err := f.Fit()
	if err == nil {
		err = cmp.Or(f.checkPath(), f.agentTLSFlags.check(f.Agent), f.contractFlags.check(f.Agent), f.proxyFlags.check(), f.toolFlags.check())
	}
	if err != nil {
		return gateway.Options{}, err
	}
	authorizer, tokens, err := f.authorizer(addressOf(passed.Sessions, f.Listen), addressOf(passed.Admin, f.Admin))
	if err != nil {
		return gateway.Options{}, err
	}
	store, err := f.store(log)
	if err != nil {
		return gateway.Options{}, err
	}
	pool, services, err := f.agents(version, log)
	if err != nil {
		return gateway.Options{}, err
	}
	contract, contracts, err := f.contractFlags.open(pool, log)
	if err != nil {
		return gateway.Options{}, errors.Join(err, closePool(pool))
	}
	ports, err := f.ports(passed, log)
	if err != nil {
		return gateway.Options{}, errors.Join(err, closePool(pool))
	}
	trusted, _ := f.trusted() // has been checked
	return gateway.Options{
		Sessions:           ports.sessions,
		SessionsOutlive:    passed.Sessions != nil,
		Admin:              ports.admin,
		Path:               f.Path,
		Proxies:            trusted,
		Agents:             pool,
		Authorizer:         authorizer,
		LeaseStore:         store,
		LockAll:            f.Lock,
		APIUserAgent:       f.APIUserAgent,
		Contract:           contract.now.Load,
		ClientCapabilities: f.ClientCapabilities,
		ServerCapabilities: f.ServerCapabilities,
		AllowOrigins:       f.AllowOrigin,
		Subprotocols:       f.Subprotocol,
		Limits:             relay.Limits{StartTimeout: f.StartTimeout, ToolConcurrency: f.ToolConcurrency, ToolTimeout: f.ToolTimeout},
		Supervisor: actors.Options{
			MaxSessions:             f.MaxSessions,
			MaxSessionsPerPrincipal: f.MaxSessionsPerPrincipal,
			StopTimeout:             limits.Stop,
			CloseTimeout:            limits.Close,
			MaxSessionAge:           f.MaxSessionAge,
			AgeGrace:                f.DrainGrace,
		},
		Drain: admin.Defaults{
			Timeout:       f.ShutdownTimeout,
			Delay:         f.DrainDelay,
			Grace:         f.DrainGrace,
			BatchSize:     f.BatchSize,
			BatchInterval: f.BatchInterval,
		},
		ReportPath: f.Report,
		Name:       f.Name,
		TraceURL:   f.TraceURL,
		Tracing:    tracing.Options{Endpoint: f.OTLPEndpoint},
		Log:        log,
		Version:    version,
		Services:   append(reloadOnHangup(append(tokens, contracts...), log), services...),
	}, nil
}

func (f *Flags) checkPath() error {
	if err := gateway.CheckPath(f.Path); err != nil {
		return fmt.Errorf("--path %w", err)
	}
	return nil
}

// Error names the flag of an option that a gateway can't work with.
func Error(err error) error {
	flags := map[string]string{"ReportPath": "--report: ", "LeaseStore": "--lease-url: ", "Tracing": "--otlp-endpoint: ", "TraceURL": "--trace-url "}
	var wrong *gateway.OptionError
	if !errors.As(err, &wrong) || flags[wrong.Option] == "" {
		return err
	}
	return fmt.Errorf("%s%w", flags[wrong.Option], wrong.Err)
}

// HangupDrains reports whether SIGHUP drains, because there is nothing that it could read again.
func (f *Flags) HangupDrains() bool { return f.Auth != "tokens" && f.Contract == "" }

// Listening is where a gateway is reached.
type Listening struct{ Sessions, Admin, Agent string }

// Listening returns where the gateway of these options is reached.
func (f *Flags) Listening(o gateway.Options) Listening {
	return Listening{f.urlOf("ws", o.Sessions) + f.Path, f.urlOf("http", o.Admin), o.Agents.Name(grant.Target{})}
}
