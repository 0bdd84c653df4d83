package transport

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/proto/dap"
	"github.com/lastcall-go/lastcall/transport/grant"
)

// pooledAgent opens a client's streams on connections of the pool.
type pooledAgent struct {
	pool    *Pool
	route   route
	headers map[string]string
}

// Open implements [actors.Agent]. The stream counts on its connection until ctx is done.
func (a pooledAgent) Open(ctx context.Context) (actors.Stream, error) {
	conn, err := a.connect(ctx)
	if err != nil {
		return nil, actors.AgentUnavailable(err)
	}
	stream, err := dap.NewDuoWorkflowClient(conn).ExecuteWorkflow(metadata.NewOutgoingContext(ctx, metadata.New(a.headers)))
	if err != nil {
		return nil, fault(err)
	}
	return agentStream{stream}, nil
}

func (a pooledAgent) connect(ctx context.Context) (*grpc.ClientConn, error) {
	conn, err := a.pool.take(a.route)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { a.pool.giveBack(conn) })
	return conn.ClientConn, nil
}

// Tracking opens the streams on which model calls of a self-hosted installation are reported, on
// connections of the pool. The metadata is the caller's matter.
func (p *Pool) Tracking(granted grant.Target, userAgent string) func(context.Context) (dap.DuoWorkflow_TrackSelfHostedExecuteWorkflowClient, error) {
	agent := pooledAgent{pool: p, route: route{granted.Address, granted.TLS, cleanUserAgent(userAgent)}}
	return func(ctx context.Context) (dap.DuoWorkflow_TrackSelfHostedExecuteWorkflowClient, error) {
		conn, err := agent.connect(ctx)
		if err != nil {
			return nil, err
		}
		return dap.NewDuoWorkflowClient(conn).TrackSelfHostedExecuteWorkflow(ctx)
	}
}

// agentStream is a session's stream.
type agentStream struct {
	grpc.BidiStreamingClient[dap.ClientEvent, dap.Action]
}

// Receive implements [actors.Stream].
func (s agentStream) Receive() (*dap.Action, error) {
	action, err := s.Recv()
	if err != nil {
		return nil, fault(err)
	}
	return action, nil
}
