package grpcsession_test

import (
	"context"
	"fmt"
	"log"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/transport/grpcsession"
)

// watchServer has one server stream, which goes on until the client leaves or the server drains.
type watchServer struct {
	grpc_health_v1.UnimplementedHealthServer
}

// Watch says goodbye with a last message. The interceptor makes UNAVAILABLE of the context's error.
func (watchServer) Watch(_ *grpc_health_v1.HealthCheckRequest, stream grpc.ServerStreamingServer[grpc_health_v1.HealthCheckResponse]) error {
	if err := stream.Send(&grpc_health_v1.HealthCheckResponse{Status: grpc_health_v1.HealthCheckResponse_SERVING}); err != nil {
		return err
	}
	<-stream.Context().Done()
	_ = stream.Send(&grpc_health_v1.HealthCheckResponse{Status: grpc_health_v1.HealthCheckResponse_NOT_SERVING})
	return stream.Context().Err()
}

// Each stream of a gRPC server is a session, and the server stops after the sessions.
func Example() {
	supervisor, err := actors.NewSupervisor(actors.Options{})
	check(err)
	defer supervisor.Close()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	server := grpc.NewServer(grpc.StreamInterceptor(grpcsession.StreamInterceptor(grpcsession.Options{
		Supervisor: supervisor, Kind: "watch",
	})))
	grpc_health_v1.RegisterHealthServer(server, watchServer{})
	check(supervisor.Add("grpc server", actors.AfterSessions, &grpcsession.Server{Server: server, Listener: listener}))

	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	check(err)
	defer func() { _ = conn.Close() }()
	stream, err := grpc_health_v1.NewHealthClient(conn).Watch(context.Background(), &grpc_health_v1.HealthCheckRequest{})
	check(err)
	first, err := stream.Recv()
	check(err)
	fmt.Println(first.Status)

	report, err := supervisor.Drain(context.Background(), actors.Drain{Reason: "new version"})
	last, lost := stream.Recv()
	check(lost)
	fmt.Println(last.Status)
	_, ended := stream.Recv()
	fmt.Println(status.Code(ended), status.Convert(ended).Message())
	fmt.Println(report.Totals, err)
	for _, service := range report.Services {
		fmt.Println(service.Name, service.Outcome)
	}

	// Output:
	// SERVING
	// NOT_SERVING
	// Unavailable new version
	// map[drained:1] <nil>
	// grpc server drained
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
