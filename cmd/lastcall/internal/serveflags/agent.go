package serveflags

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/test/bufconn"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/transport/agentpool"
	"github.com/lastcall-go/lastcall/transport/gateway"
	"github.com/lastcall-go/lastcall/transport/scripted"
	"github.com/lastcall-go/lastcall/transport/tlsconfig"
	"github.com/lastcall-go/lastcall/transport/tracing"
)

// agentTLSFlags say how the connections to the agent are encrypted.
type agentTLSFlags struct {
	AgentTLS        bool   `help:"Encrypt the connections to the agent."`
	AgentCA         string `name:"agent-ca" type:"path" placeholder:"FILE" help:"Authorities of the agent's certificate, in PEM, instead of the system's. Needs --agent-tls."`
	AgentCert       string `type:"path" placeholder:"FILE" help:"Certificate that the agent is shown, in PEM. Read again when it changes. Needs --agent-tls."`
	AgentKey        string `type:"path" placeholder:"FILE" help:"Its key, in PEM."`
	AgentServerName string `placeholder:"NAME" help:"Name in the agent's certificate, where it isn't that of --agent. Needs --agent-tls."`
}

// check wants the flags that go together.
func (f *agentTLSFlags) check(agent string) error {
	switch {
	case f.AgentTLS && agent == "":
		return errors.New("--agent-tls needs --agent: the scripted agent is in process")
	case !f.AgentTLS && f.AgentCA+f.AgentCert+f.AgentKey+f.AgentServerName != "":
		return errors.New("--agent-ca, --agent-cert, --agent-key and --agent-server-name need --agent-tls")
	case (f.AgentCert == "") != (f.AgentKey == ""):
		return errors.New("--agent-cert and --agent-key go together")
	}
	return nil
}

// config is nil where the connections are not encrypted.
func (f *agentTLSFlags) config(log *slog.Logger) (*tls.Config, error) {
	if !f.AgentTLS {
		return nil, nil
	}
	config, err := tlsconfig.Client{
		CA: f.AgentCA, Cert: f.AgentCert, Key: f.AgentKey, ServerName: f.AgentServerName,
		Failed: func(err error) {
			log.Error("certificate for the agent not read again, the one before stays in use", "error", err)
		},
	}.Config()
	if err != nil {
		return nil, fmt.Errorf("--agent-tls: %w", err)
	}
	return config, nil
}

// scriptedPace is how fast the scripted agent plays: slow enough to watch.
const scriptedPace = 2 * time.Second

// agents is the pool of connections to the agent, with the agent itself where none was named.
func (f *Flags) agents(version string, log *slog.Logger) (*agentpool.Pool, []gateway.Service, error) {
	security, err := f.agentTLSFlags.config(log)
	if err != nil {
		return nil, nil, err
	}
	options := agentpool.Options{
		Target:               f.Agent,
		TLS:                  security,
		StreamsPerConnection: f.AgentStreams,
		Keepalive:            f.AgentKeepalive,
		UserAgent:            "lastcall/" + version,
	}
	if f.OTLPEndpoint != "" {
		options.Interceptor = tracing.Interceptor
	}
	if f.Agent != "" {
		pool, err := agentpool.New(options)
		return pool, nil, err
	}
	inProcess := bufconn.Listen(1 << 20)
	agent := scripted.New(scripted.Options{Pace: scriptedPace})
	run := actors.ServiceFunc(func(ctx context.Context) error { return agent.Serve(ctx, inProcess) })
	options.Target, options.Name = "passthrough:///scripted", "scripted, in process"
	options.DialOptions = []grpc.DialOption{grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
		return inProcess.DialContext(ctx)
	})}
	pool, err := agentpool.New(options)
	return pool, []gateway.Service{{Name: "scripted agent", Stage: actors.AfterSessions, Run: run}}, err
}
