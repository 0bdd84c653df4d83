package metrics_test

import (
	"context"
	"errors"
	"testing"

	"github.com/lastcall-go/lastcall/actors/relay"
	"github.com/lastcall-go/lastcall/proto/dap"
)

// answering is a tool with one answer.
type answering struct {
	relay.Tool
	answer *dap.ActionResponse
	err    error
}

func (a answering) Run(context.Context, *dap.Action) (*dap.ActionResponse, error) {
	return a.answer, a.err
}

func TestHTTPCallsAreCountedByMethodAndStatus(t *testing.T) {
	m := open(t, quiet())
	call := func(method string, answer *dap.HttpResponse, err error) {
		action := &dap.Action{Action: &dap.Action_RunHTTPRequest{RunHTTPRequest: &dap.RunHTTPRequest{Method: method}}}
		response := &dap.ActionResponse{ResponseType: &dap.ActionResponse_HttpResponse{HttpResponse: answer}}
		if answer == nil {
			response = nil
		}
		_, _ = m.Tools([]relay.Tool{answering{answer: response, err: err}})[0].Run(t.Context(), action)
	}
	call("GET", &dap.HttpResponse{StatusCode: 200}, nil)
	call("get", &dap.HttpResponse{StatusCode: 299}, nil)
	call("POST", &dap.HttpResponse{StatusCode: 307}, nil)
	call("PATCH", &dap.HttpResponse{StatusCode: 404}, nil)
	call("DELETE", &dap.HttpResponse{StatusCode: 502}, nil)
	call("DELETE", &dap.HttpResponse{StatusCode: 502, Error: "the tool's own"}, nil)
	call("PUT", nil, errors.New("path refused"))
	call("HEAD", &dap.HttpResponse{StatusCode: 1000}, nil)
	call("HEAD", &dap.HttpResponse{StatusCode: -200}, nil)
	call("BREW", nil, errors.New("method not allowed"))
	_, _ = m.Tools([]relay.Tool{answering{answer: textAnswer("")}})[0].Run(t.Context(), runMCP("not HTTP"))
	panics(t, "in Tool.Run", func() { _, _ = m.Tools([]relay.Tool{tool{}})[0].Run(t.Context(), runHTTP("panics")) })

	const of = "lastcall_tool_http_calls_total"
	scraped(t, m).is(t, figures{
		of + `{method="GET",status="2xx"}`:     2,
		of + `{method="POST",status="3xx"}`:    1,
		of + `{method="PATCH",status="4xx"}`:   1,
		of + `{method="DELETE",status="5xx"}`:  1,
		of + `{method="DELETE",status="none"}`: 1,
		of + `{method="PUT",status="none"}`:    1,
		of + `{method="HEAD",status="other"}`:  2,
		of + `{method="other",status="none"}`:  2, // with the panic
	}, of)
}
