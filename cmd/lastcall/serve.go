package main

import (
	"cmp"
	"errors"
	"time"

	"github.com/lastcall-go/lastcall/actors"
)

// serveCmd is the gateway's flags.
type serveCmd struct {
	Listen string `default:"127.0.0.1:8080" placeholder:"ADDR" help:"Where clients open sessions (default ${default})."`
	Admin  string `default:"127.0.0.1:8081" placeholder:"ADDR" help:"Where health, metrics, the operator's page and its API are served (default ${default})."`
	Path   string `default:"/api/v4/ai/duo_workflows/ws" help:"Path of the WebSocket (default ${default})."`

	Agent          string        `placeholder:"TARGET" help:"gRPC target of the agent, such as agent.example:50052, or several as ipv4:10.0.0.1:50052,10.0.0.2:50052. Without it a scripted agent runs in process."`
	AgentStreams   int           `default:"100" placeholder:"N" help:"Streams that share a connection to the agent, or as many as the agent takes if that is less (default ${default})."`
	AgentKeepalive time.Duration `default:"6m" placeholder:"D" help:"Silence after which a connection to the agent is pinged. A stock gRPC server permits no less than 5m, the Duo service 20s (default ${default})."`

	StartTimeout    time.Duration  `default:"2m" placeholder:"D" help:"What a client has until its startRequest: editors open the connection and then start their MCP servers (default ${default})."`
	ShutdownTimeout time.Duration  `default:"25s" placeholder:"D" help:"From the signal to the deadline of the drain (default ${default})."`
	DrainDelay      time.Duration  `default:"0s" placeholder:"D" help:"Go on admitting this long after the signal, not ready any more, while load balancers notice (default ${default})."`
	DrainGrace      time.Duration  `default:"0s" placeholder:"D" help:"Let running workflows go on this long before they are stopped (default ${default})."`
	StopTimeout     *time.Duration `placeholder:"D" help:"What an agent gets to end a stopped workflow (default 10s, or what --shutdown-timeout leaves)."`
	CloseTimeout    *time.Duration `placeholder:"D" help:"What a client gets to answer the close frame, at most 5s (default 5s, or what --shutdown-timeout leaves)."`
	BatchSize       int            `default:"0" aliases:"wave-size" env:"LASTCALL_BATCH_SIZE,LASTCALL_WAVE_SIZE" placeholder:"N" help:"Drain this many sessions at a time; 0 is all at once."`
	BatchInterval   time.Duration  `default:"1s" aliases:"wave-interval" env:"LASTCALL_BATCH_INTERVAL,LASTCALL_WAVE_INTERVAL" placeholder:"D" help:"Time between two batches (default ${default})."`
	MaxSessions     int            `default:"0" placeholder:"N" help:"Sessions at a time; 0 is as many as the limit on open files allows."`
	MaxSessionAge   time.Duration  `default:"0s" placeholder:"D" help:"Drain a session alone when it gets this old, or up to a tenth less; 0s is never."`

	LogFormat string `default:"auto" enum:"auto,text,json" placeholder:"FORMAT" help:"text, json, or auto: text on a terminal, else json."`
	LogLevel  string `default:"info" enum:"debug,info,warn,error" placeholder:"LEVEL" help:"debug, info, warn or error (default ${default})."`
	Report    string `type:"path" placeholder:"FILE" help:"Write the drain's report to this file, as JSON. A place where it can't be written is refused at start."`

	OTLPEndpoint string `name:"otlp-endpoint" placeholder:"URL" help:"Send traces to this OpenTelemetry collector, by OTLP over gRPC: http://host:4317, or https://."`

	agentTLSFlags
	contractFlags
	authFlags
	proxyFlags
	toolFlags
	leaseFlags

	services []extraService // besides the gateway's own
}

type extraService struct {
	name  string
	stage actors.Stage
	run   actors.Service
}

// Help is shown by "lastcall serve --help".
func (*serveCmd) Help() string {
	return `The first SIGTERM or SIGINT drains: running workflows are stopped at their agents, clients
are told 1001, and the process ends when the last session has, at --shutdown-timeout at the latest.
A second signal makes the deadline now, a third exits at once.

Exit codes: 0 drained; 1 the server failed, or its report was not written; 2 nothing was started;
3 somebody had to be killed.

Nothing waits for whoever reads the log: records that find no room are dropped, counted in
lastcall_log_records_dropped_total, and told of once they flow again.

Every flag is an environment variable too: --stop-timeout is LASTCALL_STOP_TIMEOUT.

Example:
  lastcall serve --listen 0.0.0.0:8080 --auth tokens --auth-tokens tokens --agent agent.example:50052 --agent-tls --drain-grace 5s`
}

// Run implements the command. Nothing of it waits for a reader of the standard error.
func (c *serveCmd) Run(std streams) error {
	signals := watchSignals(c.Auth != "tokens" && c.Contract == "") // before anybody can know that there is a process to signal
	defer signals.stop()
	log := openLog(std.err, c.LogFormat, c.LogLevel)
	deadline, err := c.serve(log, signals)
	code := exitCode(err, log.console)
	log.close(deadline)
	return exited(code)
}

// serve returns the deadline of the process with how it went. Zero: there is none.
func (c *serveCmd) serve(log *serverLog, signals *signals) (deadline time.Time, err error) {
	gateway, err := c.prepare(log)
	if err != nil {
		return time.Time{}, usageError{err}
	}
	return gateway.run(signals)
}

// prepare opens the gateway, or tells why it can't be.
func (c *serveCmd) prepare(log *serverLog) (*gateway, error) {
	limits, err := c.fit()
	if err != nil {
		return nil, err
	}
	if err := cmp.Or(checkPath(c.Path), c.agentTLSFlags.check(c.Agent), c.contractFlags.check(c.Agent), c.proxyFlags.check(), c.toolFlags.check()); err != nil {
		return nil, err
	}
	passed, err := inherited()
	if err != nil {
		return nil, err
	}
	gateway, err := c.open(limits, passed, log)
	if err != nil {
		return nil, errors.Join(err, passed.close())
	}
	return gateway, nil
}

// options are the supervisor's.
func (c *serveCmd) options(limits actors.Budget) actors.Options {
	return actors.Options{
		MaxSessions:             c.MaxSessions,
		MaxSessionsPerPrincipal: c.MaxSessionsPerPrincipal,
		StopTimeout:             limits.Stop,
		CloseTimeout:            limits.Close,
		MaxSessionAge:           c.MaxSessionAge,
		AgeGrace:                c.DrainGrace,
	}
}
