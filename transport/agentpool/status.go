package agentpool

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

// noCredits returns the reason of a status with which the service says that the user has no credits,
// or "". The service puts a word of its own into the message.
func noCredits(s *status.Status) string {
	switch s.Code() {
	case codes.ResourceExhausted:
		if strings.Contains(s.Message(), "USAGE_QUOTA_EXCEEDED") {
			return "usage quota exceeded"
		}
	case codes.PermissionDenied:
		for _, word := range []string{"USAGE_QUOTA_NOT_ENTITLED", "USAGE_BILLING_FORBIDDEN"} {
			if strings.Contains(s.Message(), word) {
				return word
			}
		}
	}
	return ""
}

// tooBig reports whether a status says that a message was over the limit, in the words of grpc-go or of
// gRPC's C core, on which the agent may run. Its code is used for more than that.
func tooBig(s *status.Status) bool {
	message := strings.ToLower(s.Message())
	return s.Code() == codes.ResourceExhausted &&
		(strings.Contains(message, "received message larger than max") || strings.Contains(message, "send message larger than max"))
}

// closeError returns the close code and reason for the end of an agent's stream. io.EOF, an end in order, is
// passed on. The status' message reaches the client only with INVALID_ARGUMENT, where the protocol
// means it for the user.
func closeError(err error) error {
	if err == io.EOF {
		return err
	}
	s := status.Convert(err)
	if reason := noCredits(s); reason != "" {
		return &actors.CloseError{Code: actors.ClosePolicy, Reason: reason, Err: err, Side: actors.SideAgent}
	}
	switch {
	case s.Code() == codes.Unavailable:
		return relay.AgentUnavailable(err)
	case s.Code() == codes.InvalidArgument:
		return &actors.CloseError{Code: actors.CloseInvalidInput, Reason: s.Message(), Err: err, Side: actors.SideAgent}
	case tooBig(s):
		return &actors.CloseError{Code: actors.CloseTooBig, Reason: codec.ErrTooBig.Error(), Err: err, Side: actors.SideAgent}
	}
	// The names of the codes as the gRPC specification spells them, not as Go does.
	return &actors.CloseError{Code: actors.CloseInternal, Reason: "agent error: " + code.Code(s.Code()).String(), Err: err, Side: actors.SideAgent}
}
