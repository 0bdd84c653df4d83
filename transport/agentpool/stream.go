package agentpool

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strconv"

	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/lastcall-go/lastcall/actors/relay"
	"github.com/lastcall-go/lastcall/proto/dap"
	"github.com/lastcall-go/lastcall/transport/codec"
	"github.com/lastcall-go/lastcall/transport/grant"
	"github.com/lastcall-go/lastcall/transport/requestid"
)

// pooledAgent opens a client's streams on connections of the pool.
type pooledAgent struct {
	pool    *Pool
	route   route
	headers map[string]string
}

// requestIDMetadata are the names under which the agent looks for the ID of the client's request.
var requestIDMetadata = []string{"x-request-id", "x-gitlab-correlation-id"}

// FencingTokenMetadata is the name under which the agent gets the fencing token of the workflow's
// lease, a decimal number. It is not there if the workflow is not leased. An agent that has seen a
// larger one for the same workflow should refuse the stream: another session has resumed the workflow
// since.
const FencingTokenMetadata = "x-lastcall-fencing-token"

// Open implements [relay.Agent]. The stream counts on its connection until ctx is done. The agent
// gets the granted headers, the request ID of ctx ([requestid.Of]) where they have none, and the fencing token.
func (a pooledAgent) Open(ctx context.Context) (relay.Stream, error) {
	ctx = metadata.NewOutgoingContext(ctx, a.metadata(requestid.Of(ctx), relay.FencingToken(ctx)))
	stream, err := openStream(ctx, a.pool, a.route, func(ctx context.Context, conn grpc.ClientConnInterface) (dap.DuoWorkflow_ExecuteWorkflowClient, error) {
		return dap.NewDuoWorkflowClient(conn).ExecuteWorkflow(ctx, grpc.ForceCodecV2(asBytes{}))
	})
	if errors.Is(err, errPoolClosed) {
		return nil, relay.AgentUnavailable(err)
	}
	if err != nil {
		return nil, openError(err)
	}
	return agentStream{stream}, nil
}

// openError is [closeError] for errors that are the agent's. Any other, such as a target that is none, is an
// internal one: the client would come back in vain.
func openError(err error) error {
	if _, ofAgent := status.FromError(err); !ofAgent {
		return err
	}
	return closeError(err)
}

func (a pooledAgent) metadata(requestID string, fencingToken uint64) metadata.MD {
	headers := metadata.New(a.headers)
	for _, name := range requestIDMetadata {
		if requestID != "" && len(headers.Get(name)) == 0 {
			headers.Set(name, requestID)
		}
	}
	if fencingToken != 0 {
		headers.Set(FencingTokenMetadata, strconv.FormatUint(fencingToken, 10))
	}
	return headers
}

// Tracking opens the streams on which model calls of a self-hosted installation are reported, on
// connections of the pool. The metadata is the caller's matter.
func (p *Pool) Tracking(granted grant.Target, userAgent string) func(context.Context) (dap.DuoWorkflow_TrackSelfHostedExecuteWorkflowClient, error) {
	to := route{granted.Address, granted.TLS, cleanUserAgent(userAgent)}
	return func(ctx context.Context) (dap.DuoWorkflow_TrackSelfHostedExecuteWorkflowClient, error) {
		return openStream(ctx, p, to, func(ctx context.Context, conn grpc.ClientConnInterface) (dap.DuoWorkflow_TrackSelfHostedExecuteWorkflowClient, error) {
			return dap.NewDuoWorkflowClient(conn).TrackSelfHostedExecuteWorkflow(ctx)
		})
	}
}

// agentStream is a session's stream. Its messages are bytes of protobuf.
type agentStream struct{ grpc.ClientStream }

// Send implements [relay.Stream].
func (s agentStream) Send(message relay.Message) error { return s.SendMsg(&message) }

// Receive implements [relay.Stream].
func (s agentStream) Receive() (relay.Message, error) {
	var message relay.Message
	if err := s.RecvMsg(&message); err != nil {
		return relay.Message{}, closeError(err)
	}
	return message, nil
}

// asBytes is the codec of these streams: it leaves messages as they are.
type asBytes struct{}

// Name implements [encoding.CodecV2]. It is part of the content type, and what the bytes are.
func (asBytes) Name() string { return "proto" }

// Marshal implements [encoding.CodecV2]. gRPC keeps what it returns until that is written, so it is a copy.
// The copies here and in Unmarshal are in buffers of package codec: gRPC's own pool has none between 32 KiB
// and 1 MiB, and clears all of one each time.
func (asBytes) Marshal(v any) (mem.BufferSlice, error) {
	message := v.(*relay.Message).Bytes
	if mem.IsBelowBufferPoolingThreshold(len(message)) {
		return mem.BufferSlice{mem.SliceBuffer(bytes.Clone(message))}, nil
	}
	buffer := codec.NewBuffer()
	buffer.Bytes = append(buffer.Bytes, message...)
	return mem.BufferSlice{mem.NewBuffer(&buffer.Bytes, lent{buffer})}, nil
}

// Unmarshal implements [encoding.CodecV2]. A message that came in one piece is not copied.
func (asBytes) Unmarshal(data mem.BufferSlice, v any) error {
	message := v.(*relay.Message)
	if len(data) == 1 {
		data[0].Ref()
		*message = relay.Message{Bytes: data[0].ReadOnlyData(), Owner: data[0]}
		return nil
	}
	buffer := codec.NewBuffer()
	buffer.Bytes = slices.Grow(buffer.Bytes, data.Len())[:data.Len()]
	data.CopyTo(buffer.Bytes)
	*message = relay.Message{Bytes: buffer.Bytes, Owner: buffer}
	return nil
}

// lent is the pool to which gRPC gives back one buffer.
type lent struct{ *codec.Buffer }

// Get implements [mem.BufferPool]. gRPC has no reason to call it.
func (lent) Get(length int) *[]byte { return mem.DefaultBufferPool().Get(length) }

// Put implements [mem.BufferPool].
func (l lent) Put(*[]byte) { l.Free() }
