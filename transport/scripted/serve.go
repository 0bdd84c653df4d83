package scripted

import (
	"context"
	"fmt"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	"github.com/lastcall-go/lastcall/proto/dap"
	"github.com/lastcall-go/lastcall/transport/codec"
)

const (
	stopLimit      = 5 * time.Second // for streams to end by themselves once the agent ends
	connectTimeout = 5 * time.Second // for a connection to say that it speaks HTTP/2; a stop waits for it
)

// Serve answers on listener until ctx is done, and closes it. Then the streams that run are
// interrupted, those that can't be told within five seconds are cut, and Serve returns nil with no
// goroutine left. It returns an error only if the listener fails. An Agent may serve several
// listeners, at once or one after the other: they share what it remembers.
func (a *Agent) Serve(ctx context.Context, listener net.Listener) error {
	served := &service{agent: a, host: host{stopping: ctx.Done()}}
	server := grpc.NewServer(limits()...)
	dap.RegisterDuoWorkflowServer(server, served)

	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()

	var err error
	select {
	case <-ctx.Done():
		stop(server)
		<-failed
	case err = <-failed:
		server.Stop()
		err = fmt.Errorf("serve the scripted agent on %s: %w", listener.Addr(), err)
	}
	served.host.readers.Wait()
	return err
}

// service is the agent as one call of Serve shows it.
type service struct {
	dap.UnimplementedDuoWorkflowServer
	agent *Agent
	host  host
}

func (s *service) ExecuteWorkflow(stream dap.DuoWorkflow_ExecuteWorkflowServer) error {
	return s.agent.execute(&s.host, stream)
}

func limits() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.MaxRecvMsgSize(codec.MaxMessage),
		grpc.MaxHeaderListSize(64 << 10),
		grpc.ConnectionTimeout(connectTimeout),
		// A fixed window bounds what an unread stream can hold.
		grpc.StaticStreamWindowSize(64 << 10),
		// The gateway pings every 20 s, and a ping too many costs the connection and all its streams.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionIdle: 5 * time.Minute, Time: time.Minute}),
		// Stop cancels handlers without waiting for them, unless told to.
		grpc.WaitForHandlers(true),
	}
}

// stop returns when the handlers have, gracefully or else cut off.
func stop(server *grpc.Server) {
	graceful := make(chan struct{})
	go func() {
		server.GracefulStop()
		close(graceful)
	}()
	select {
	case <-graceful:
	case <-time.After(stopLimit):
		server.Stop()
		<-graceful
	}
}
