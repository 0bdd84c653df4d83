package client_test

import (
	"context"
	"log"
	"os/signal"
	"syscall"

	"github.com/lastcall-go/lastcall/proto/dap"
	"github.com/lastcall-go/lastcall/transport/client"
)

// A client that starts a workflow, refuses every action, and connects again after a drain.
func ExampleRun() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT)
	defer stop()
	err := client.Run(ctx, client.Config{
		URL:   "ws://127.0.0.1:8080/ws",
		Start: &dap.StartWorkflowRequest{WorkflowID: "wf-1", Goal: "say hello"},
		Handle: func(_ context.Context, action *dap.Action) *dap.ActionResponse {
			return &dap.ActionResponse{ResponseType: &dap.ActionResponse_PlainTextResponse{
				PlainTextResponse: &dap.PlainTextResponse{Error: "not here"},
			}}
		},
		Observe: func(event client.Event) { log.Printf("%+v", event) },
	})
	if err != nil {
		log.Print(err)
	}
}
