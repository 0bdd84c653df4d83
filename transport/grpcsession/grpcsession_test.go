package grpcsession_test

import (
	"context"
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/actors/actorstest"
	"github.com/lastcall-go/lastcall/transport/grpcsession"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must come.
const patience = 20 * time.Second

// house is a gRPC server with one method, which is what a test makes of it.
type house struct {
	*actors.Supervisor
	t    *testing.T
	conn *grpc.ClientConn
}

func serve(t *testing.T, limits actors.Options, handle func(grpc.ServerStream) error) *house {
	t.Helper()
	supervisor := actorstest.New(t, limits).Supervisor
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.StreamInterceptor(grpcsession.StreamInterceptor(grpcsession.Options{
		Supervisor: supervisor, Kind: "stream", Principal: func(context.Context) string { return "ada" },
		Authorized: func(ctx context.Context) context.Context {
			if len(metadata.ValueFromIncomingContext(ctx, "withdrawn")) == 0 {
				return nil
			}
			withdrawn, withdraw := context.WithCancel(context.Background())
			withdraw()
			return withdrawn
		},
	})))
	server.RegisterService(&grpc.ServiceDesc{ServiceName: "test", HandlerType: (*any)(nil), Streams: []grpc.StreamDesc{{
		StreamName: "Watch", ServerStreams: true, ClientStreams: true,
		Handler: func(_ any, stream grpc.ServerStream) error { return handle(stream) },
	}}}, struct{}{})
	if err := supervisor.Add("grpc server", actors.AfterSessions, &grpcsession.Server{Server: server, Listener: listener}); err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		supervisor.Close()
	})
	return &house{Supervisor: supervisor, t: t, conn: conn}
}

// open opens a stream, and waits for its first message.
func (h *house) open() (grpc.ClientStream, error) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	h.t.Cleanup(cancel)
	stream, err := h.conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/test/Watch")
	if err != nil {
		return nil, err
	}
	return stream, stream.RecvMsg(new(emptypb.Empty))
}

func greet(stream grpc.ServerStream) error { return stream.SendMsg(new(emptypb.Empty)) }

func (h *house) drain(within time.Duration) *actors.Report {
	report, _ := h.Drain(context.Background(), actors.Drain{Deadline: time.Now().Add(within), Reason: "new version"})
	return report
}

// wantRetry wants a status with a retry delay.
func wantRetry(t *testing.T, err error, code codes.Code, text string, delay time.Duration) {
	t.Helper()
	got := status.Convert(err)
	var retry *errdetails.RetryInfo
	for _, detail := range got.Details() {
		retry, _ = detail.(*errdetails.RetryInfo)
	}
	if got.Code() != code || got.Message() != text || retry.GetRetryDelay().AsDuration() != delay {
		t.Errorf("%v, retry %v; want %v %s, retry in %v", err, retry, code, text, delay)
	}
}

func TestAStreamIsDrained(t *testing.T) {
	h := serve(t, actors.Options{}, func(stream grpc.ServerStream) error {
		if err := greet(stream); err != nil {
			return err
		}
		<-stream.Context().Done()
		if err := greet(stream); err != nil { // a last word
			return err
		}
		return stream.Context().Err()
	})
	stream, err := h.open()
	if err != nil {
		t.Fatal(err)
	}
	report := h.drain(patience)
	if len(report.Sessions) != 1 || report.Sessions[0].Outcome != actors.Drained || report.Sessions[0].Workflow != "/test/Watch" || report.Services[0].Outcome != actors.Drained {
		t.Errorf("%+v", report)
	}
	if err := stream.RecvMsg(new(emptypb.Empty)); err != nil {
		t.Errorf("the last word: %v", err)
	}
	wantRetry(t, stream.RecvMsg(new(emptypb.Empty)), codes.Unavailable, "new version", time.Second)
}

// The handler is blocked in a receive, and heeds no context: its stream ends, and with it the receive.
func TestAStreamThatHangsIsCut(t *testing.T) {
	done := make(chan error, 1)
	h := serve(t, actors.Options{}, func(stream grpc.ServerStream) error {
		_ = greet(stream)
		err := stream.RecvMsg(new(emptypb.Empty))
		done <- err
		return err
	})
	stream, err := h.open()
	if err != nil {
		t.Fatal(err)
	}
	if report := h.drain(time.Second); report.Totals[actors.Killed] != 1 || report.Services[0].Outcome != actors.Drained {
		t.Errorf("%+v", report)
	}
	wantRetry(t, stream.RecvMsg(new(emptypb.Empty)), codes.Unavailable, "new version", time.Second)
	select {
	case err := <-done:
		if err == nil {
			t.Error("the receive gave a message")
		}
	case <-time.After(patience):
		t.Error("the handler still runs")
	}
}

func TestAStreamThatPanicsFailsAlone(t *testing.T) {
	h := serve(t, actors.Options{}, func(grpc.ServerStream) error { panic("in a handler") })
	if _, err := h.open(); status.Code(err) != codes.Internal || status.Convert(err).Message() != "internal error" {
		t.Errorf("%v", err)
	}
	if _, err := h.open(); status.Code(err) != codes.Internal {
		t.Errorf("%v", err)
	}
}

func TestAStreamWithoutASessionIsRefused(t *testing.T) {
	wait := func(stream grpc.ServerStream) error {
		_ = greet(stream)
		<-stream.Context().Done()
		return nil
	}
	for name, c := range map[string]struct {
		limits actors.Options
		code   codes.Code
		text   string
	}{
		"full":                   {actors.Options{MaxSessions: 1}, codes.Unavailable, "full, try again later"},
		"full for its principal": {actors.Options{MaxSessionsPerPrincipal: 1}, codes.ResourceExhausted, "too many sessions, try again later"},
	} {
		t.Run(name, func(t *testing.T) {
			h := serve(t, c.limits, wait)
			if _, err := h.open(); err != nil {
				t.Fatal(err)
			}
			_, err := h.open()
			wantRetry(t, err, c.code, c.text, 5*time.Second)
		})
	}
	t.Run("draining", func(t *testing.T) {
		h := serve(t, actors.Options{}, wait)
		if _, err := h.Drain(context.Background(), actors.Drain{Standby: true}); err != nil {
			t.Fatal(err)
		}
		_, err := h.open()
		wantRetry(t, err, codes.Unavailable, "draining, try again", time.Second)
	})
}

// GracefulStop alone would wait for a stream for ever.
func TestTheServerStopsByTheEndOfTheDrain(t *testing.T) {
	supervisor := actorstest.New(t, actors.Options{}).Supervisor
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		_ = greet(stream)
		<-stream.Context().Done()
		return nil
	}))
	if err := supervisor.Add("grpc server", actors.AfterSessions, &grpcsession.Server{Server: server, Listener: listener}); err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	h := &house{Supervisor: supervisor, t: t, conn: conn}
	if _, err := h.open(); err != nil { // of a stream that no interceptor knows
		t.Fatal(err)
	}
	begun := time.Now()
	report := h.drain(time.Second)
	if took := time.Since(begun); took > patience/2 || len(report.Services) != 1 {
		t.Errorf("%+v after %v", report, took)
	}
}

func TestAStreamWhoseAuthorizationIsWithdrawnIsUnauthenticated(t *testing.T) {
	h := serve(t, actors.Options{}, func(stream grpc.ServerStream) error {
		<-stream.Context().Done()
		return stream.Context().Err()
	})
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ctx = metadata.AppendToOutgoingContext(ctx, "withdrawn", "1")
	stream, err := h.conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/test/Watch")
	if err != nil {
		t.Fatal(err)
	}
	got := status.Convert(stream.RecvMsg(new(emptypb.Empty)))
	if got.Code() != codes.Unauthenticated || got.Message() != actors.ReasonRevoked || len(got.Details()) != 0 {
		t.Errorf("the client got %v", got)
	}
}
