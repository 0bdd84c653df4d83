// Package grpcsession makes sessions of a gRPC server's streams, and stops the server in a drain's time.
package grpcsession

import (
	"context"
	"errors"
	"net"
	"runtime/debug"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/lastcall-go/lastcall/actors"
)

// Options say how [StreamInterceptor] makes sessions. Supervisor is required; the zero value of anything
// else is what the field names.
type Options struct {
	Supervisor *actors.Supervisor

	// Kind says what the streams are. Empty: [actors.DefaultKind].
	Kind string

	// Principal returns the principal of a stream, for limits by principal. Nil: no principal.
	Principal func(context.Context) string

	// Authorized returns what ends when the authorization is withdrawn that a stream came with: it is then
	// time to say goodbye, and its client gets UNAUTHENTICATED. Nil: it never is.
	Authorized func(context.Context) context.Context
}

// What the client of a refused stream is asked to wait: a draining instance is replaced at once, a full
// one takes a while.
const (
	retryDraining = 1 * time.Second
	retryFull     = 5 * time.Second
)

// StreamInterceptor runs each stream's handler as a session of the supervisor. A stream that doesn't
// become one gets UNAVAILABLE with a retry delay, or RESOURCE_EXHAUSTED where there are too many of its
// principal.
//
// The stream's context is done when it is time to say goodbye; see [actors.Ticket.Run] for its cause and
// for the time that the handler has. A handler that then returns the context's error ends the stream with
// UNAVAILABLE and the drain's reason, or with UNAUTHENTICATED. At a kill the stream ends at once, whatever the handler does: what it
// is blocked in returns. A panic becomes INTERNAL.
func StreamInterceptor(options Options) grpc.StreamServerInterceptor {
	return func(server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
		ctx := stream.Context()
		principal := ""
		if options.Principal != nil {
			principal = options.Principal(ctx)
		}
		ticket, err := options.Supervisor.AdmitAs(ctx, principal)
		if err != nil {
			return refused(err)
		}
		defer ticket.Cancel()
		connection := actors.Connection{Kind: options.Kind, Workflow: info.FullMethod, Transport: "grpc", Context: ctx}
		if options.Authorized != nil {
			connection.Authorized = options.Authorized(ctx)
		}
		if from, known := peer.FromContext(ctx); known {
			connection.Remote = from.Addr.String()
		}
		err = ticket.Run(connection, func(ctx context.Context) error {
			return run(ctx, func() error { return handle(server, &sessionStream{stream, ctx}) })
		})
		return ended(err)
	}
}

// run calls a handler, and returns when it does or when no time is left: then the stream ends with the
// return, and with it what the handler is blocked in.
func run(ctx context.Context, handle func() error) error {
	returned := make(chan error, 1)
	go func() {
		var err error
		defer func() {
			if v := recover(); v != nil {
				err = &actors.PanicError{Value: v, Stack: debug.Stack()}
			}
			returned <- err
		}()
		err = handle()
	}()
	select {
	case err := <-returned:
		if ctx.Err() != nil && (errors.Is(err, context.Canceled) || status.Code(err) == codes.Canceled) {
			return context.Cause(ctx)
		}
		return err
	case <-actors.OutOfTime(ctx).Done():
		return context.Cause(actors.OutOfTime(ctx))
	}
}

// refused is the status of a stream that doesn't become a session.
func refused(err error) error {
	code, wait, text := codes.Unavailable, retryDraining, "draining, try again"
	switch {
	case errors.Is(err, actors.ErrFull):
		wait, text = retryFull, "full, try again later"
	case errors.Is(err, actors.ErrPrincipalFull):
		code, wait, text = codes.ResourceExhausted, retryFull, "too many sessions, try again later"
	case !actors.IsRefused(err):
		return status.FromContextError(err).Err()
	}
	return retryLater(code, text, wait)
}

// ended is the status of a stream whose session has ended with this error.
func ended(err error) error {
	var stop *actors.Stop
	switch {
	case actors.IsRefused(err):
		return refused(err)
	case errors.As(err, new(*actors.PanicError)):
		return status.Error(codes.Internal, "internal error")
	case errors.As(err, &stop) && stop.Cause == actors.CauseRevoked:
		return status.Error(codes.Unauthenticated, stop.Reason)
	case errors.As(err, &stop):
		return retryLater(codes.Unavailable, stop.Reason, retryDraining)
	}
	return err
}

func retryLater(code codes.Code, text string, wait time.Duration) error {
	detailed, err := status.New(code, text).WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(wait)})
	if err != nil { // it can't be
		return status.Error(code, text)
	}
	return detailed.Err()
}

// sessionStream is a stream with its session's context.
type sessionStream struct {
	grpc.ServerStream
	ctx context.Context
}

// Context implements [grpc.ServerStream].
func (s *sessionStream) Context() context.Context { return s.ctx }

// Server runs a gRPC server as a service. It belongs to the stage [actors.AfterSessions]: while the
// sessions drain, [StreamInterceptor] refuses new streams in words. Told to stop, it lets calls under way
// finish with GracefulStop, which alone would wait for streams for ever, and at the end of the drain's time
// it calls Stop.
type Server struct {
	Server   *grpc.Server
	Listener net.Listener
}

// Serve implements [actors.Service]. It is called once.
func (s *Server) Serve(ctx context.Context) error {
	ended := make(chan error, 1)
	go func() { ended <- s.Server.Serve(s.Listener) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		s.Server.GracefulStop()
	}()
	select {
	case <-stopped:
	case <-actors.OutOfTime(ctx).Done():
		s.Server.Stop()
		<-stopped
	}
	return <-ended
}
