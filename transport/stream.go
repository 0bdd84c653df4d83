package transport

import (
	"context"

	"google.golang.org/grpc"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/proto/dap"
)

// pooledAgent opens a client's streams on connections of the pool.
type pooledAgent struct {
	pool      *Pool
	userAgent string
}

// Open implements [actors.Agent]. The stream counts on its connection until ctx is done.
func (a pooledAgent) Open(ctx context.Context) (actors.Stream, error) {
	conn, err := a.pool.take(a.userAgent)
	if err != nil {
		return nil, actors.AgentUnavailable(err)
	}
	context.AfterFunc(ctx, func() { a.pool.giveBack(conn) })
	stream, err := dap.NewDuoWorkflowClient(conn).ExecuteWorkflow(ctx)
	if err != nil {
		return nil, fault(err)
	}
	return agentStream{stream}, nil
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
