package transport

import (
	"io"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/actors/relay"
	"github.com/lastcall-go/lastcall/transport/codec"
)

// agentError begins the reason of what failed in the agent, and not here.
const agentError = "agent error: "

// quotaExceeded is how the service says in a status that there are no credits.
const quotaExceeded = "USAGE_QUOTA_EXCEEDED"

// receivedTooBig is how grpc-go says that a message was over the limit of this side.
const receivedTooBig = "received message larger than max"

// fault tells how the end of an agent's stream is told to the client. io.EOF, an end in order, is
// passed on. The status' message reaches the client only with INVALID_ARGUMENT, where the protocol
// means it for the user.
func fault(err error) error {
	if err == io.EOF {
		return err
	}
	s := status.Convert(err)
	switch {
	case s.Code() == codes.Unavailable:
		return relay.AgentUnavailable(err)
	case s.Code() == codes.InvalidArgument:
		return &actors.Fault{Code: actors.CloseInvalidInput, Reason: s.Message(), Err: err}
	case s.Code() == codes.ResourceExhausted && strings.Contains(s.Message(), quotaExceeded):
		return &actors.Fault{Code: actors.ClosePolicy, Reason: "usage quota exceeded", Err: err}
	}
	if s.Code() == codes.ResourceExhausted && strings.Contains(s.Message(), receivedTooBig) {
		return &actors.Fault{Code: actors.CloseTooBig, Reason: codec.ErrTooBig.Error(), Err: err}
	}
	// The names of the codes as the gRPC specification spells them, not as Go does.
	return &actors.Fault{Code: actors.CloseInternal, Reason: agentError + code.Code(s.Code()).String(), Err: err}
}
