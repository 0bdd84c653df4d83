package agentpool

import (
	"context"
	"errors"
	"fmt"

	"github.com/jhump/protoreflect/v2/grpcreflect"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/lastcall-go/lastcall/transport/codec"
	"github.com/lastcall-go/lastcall/transport/grant"
)

// ErrNoReflection says that an agent has no gRPC reflection.
var ErrNoReflection = errors.New("the agent has no gRPC reflection")

// Contract asks an agent for its contract, by gRPC reflection of version 1 or 1alpha. It returns when ctx is
// done at the latest. It fails with [ErrNoReflection], as [codec.NewContract] does, or with the status of the
// call; [Unreachable] recognises the latter.
func (p *Pool) Contract(ctx context.Context, granted grant.Target) (*codec.Contract, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	return openStream(ctx, p, route{granted.Address, granted.TLS, ""}, reflect)
}

// Unreachable reports whether an error of [Pool.Contract] can pass by itself.
func Unreachable(err error) bool {
	switch status.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.ResourceExhausted:
		return true
	}
	return errors.Is(err, context.DeadlineExceeded)
}

func reflect(ctx context.Context, conn grpc.ClientConnInterface) (*codec.Contract, error) {
	client := grpcreflect.NewClientAuto(ctx, conn)
	defer client.Reset()
	file, err := client.FileContainingSymbol(codec.Service)
	switch {
	case status.Code(err) == codes.Unimplemented:
		return nil, ErrNoReflection
	case err != nil:
		return nil, fmt.Errorf("ask the agent for its contract: %w", err)
	}
	service := file.Services().ByName(codec.Service.Name())
	if service == nil {
		return nil, fmt.Errorf("the agent has no service %s", codec.Service)
	}
	return codec.NewContract(service)
}
