package tracing

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/lastcall-go/lastcall/actors/relay"
	"github.com/lastcall-go/lastcall/proto/dap"
)

// Tools returns tools that do the same, each call with a span of its own. What a call was asked and
// answered is not in it, but for a status and an error of the tool's own.
func (t *Tracing) Tools(tools []relay.Tool) []relay.Tool {
	traced := make([]relay.Tool, len(tools))
	for i, next := range tools {
		traced[i] = &tool{next, t.tracer}
	}
	return traced
}

type tool struct {
	relay.Tool
	tracer trace.Tracer
}

// Run implements [relay.Tool].
func (t *tool) Run(ctx context.Context, action *dap.Action) (answer *dap.ActionResponse, err error) {
	kind := kindOf(action)
	ctx, span := t.tracer.Start(ctx, "tool "+kind, trace.WithAttributes(
		text("lastcall.tool.kind", kind),
		text("lastcall.tool.request_id", action.GetRequestID()),
	))
	returned := false
	defer func() { // not span.End itself, which would stop a panic and begin another
		if !returned {
			span.SetStatus(codes.Error, "panic")
		}
		span.End()
	}()
	answer, err = t.Tool.Run(ctx, action)
	returned = true
	tell(span, answer, err)
	return answer, err
}

// tell says what came of a call. An error in a plain answer is what a peer has said, and content.
func tell(span trace.Span, answer *dap.ActionResponse, err error) {
	http := answer.GetHttpResponse()
	if http.GetStatusCode() != 0 {
		span.SetAttributes(attribute.Int("http.response.status_code", int(http.GetStatusCode())))
	}
	switch {
	case err != nil:
		span.SetStatus(codes.Error, errorLine(err))
	case http.GetError() != "":
		span.SetStatus(codes.Error, firstLine(http.GetError()))
	case answer.GetPlainTextResponse().GetError() != "":
		span.SetStatus(codes.Error, "the answer is an error")
	}
}

// kindOf is the action's name in the contract.
func kindOf(action *dap.Action) string {
	message := action.ProtoReflect()
	field := message.WhichOneof(message.Descriptor().Oneofs().ByName("action"))
	if field == nil {
		return "unknown"
	}
	return field.JSONName()
}
