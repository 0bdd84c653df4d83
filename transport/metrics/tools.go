package metrics

import (
	"context"
	"errors"
	"time"

	"github.com/lastcall-go/lastcall/actors/relay"
	"github.com/lastcall-go/lastcall/proto/dap"
)

// Tools times and counts what a session's tools run. It changes neither the tools' answers nor their
// panics; without tools it makes none.
func (m *Metrics) Tools(tools []relay.Tool) []relay.Tool {
	var timed []relay.Tool
	for _, next := range tools {
		timed = append(timed, &tool{next, m})
	}
	return timed
}

type tool struct {
	relay.Tool
	metrics *Metrics
}

// Run implements [relay.Tool].
func (t *tool) Run(ctx context.Context, action *dap.Action) (answer *dap.ActionResponse, err error) {
	began, result := time.Now(), panicked // until it has returned
	defer func() {
		t.metrics.called(kind(action), result, time.Since(began))
		t.metrics.httpCalled(action, answer)
	}()
	answer, err = t.Tool.Run(ctx, action)
	result = callResult(ctx, answer, err)
	return answer, err
}

func (m *Metrics) called(kind, result string, took time.Duration) {
	m.toolCalls.with(kind, result).Inc()
	m.toolSeconds.with(kind).Observe(took.Seconds())
	if result == panicked {
		m.panics.with(whereTool).Inc()
	}
}

// callResult says which context it was that ended a call, as the session does.
func callResult(ctx context.Context, answer *dap.ActionResponse, err error) string {
	switch {
	case err == nil && answer != nil && answerError(answer) == "":
		return ok
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return timedOut
	case ctx.Err() != nil:
		return cancelled
	}
	return failed
}

// answerError is for tools that answer with what went wrong.
func answerError(answer *dap.ActionResponse) string {
	switch response := answer.GetResponseType().(type) {
	case *dap.ActionResponse_PlainTextResponse:
		return response.PlainTextResponse.GetError()
	case *dap.ActionResponse_HttpResponse:
		return response.HttpResponse.GetError()
	}
	return ""
}

// The actions that run here, by the names that the protocol gives them.
const (
	kindHTTP  = "runHTTPRequest"
	kindMCP   = "runMCPTool"
	kindTrack = "trackLlmCallForSelfHosted"
)

func kinds() label { return label{"kind", []string{kindHTTP, kindMCP, kindTrack, other}} }

func kind(action *dap.Action) string {
	switch action.GetAction().(type) {
	case *dap.Action_RunHTTPRequest:
		return kindHTTP
	case *dap.Action_RunMCPTool:
		return kindMCP
	case *dap.Action_TrackLlmCallForSelfHosted:
		return kindTrack
	}
	return other
}
