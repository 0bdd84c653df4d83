package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/lastcall-go/lastcall/proto/dap"
	"github.com/lastcall-go/lastcall/transport/client"
)

// futurist is an agent of a contract to come: its first action is not in this one.
type futurist struct {
	dap.UnimplementedDuoWorkflowServer
}

func (futurist) ExecuteWorkflow(stream dap.DuoWorkflow_ExecuteWorkflowServer) error {
	if _, err := stream.Recv(); err != nil {
		return err
	}
	for _, id := range []string{"r1", "r2"} {
		action := &dap.Action{RequestID: id}
		action.ProtoReflect().SetUnknown(protowire.AppendBytes(protowire.AppendTag(nil, 99, protowire.BytesType), nil))
		if err := stream.Send(action); err != nil {
			return err
		}
		event, err := stream.Recv()
		if err != nil {
			return err
		}
		answer := event.GetActionResponse()
		if text := answer.GetPlainTextResponse().GetError(); answer.GetRequestID() != id || !strings.Contains(text, "99") {
			return status.Errorf(codes.InvalidArgument, "answered %v", event)
		}
	}
	return nil
}

// serveAgent serves an agent for as long as the test lasts, and returns its address.
func serveAgent(t *testing.T, agent dap.DuoWorkflowServer) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.WaitForHandlers(true))
	dap.RegisterDuoWorkflowServer(server, agent)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		<-served
	})
	return listener.Addr().String()
}

func TestServeAnswersAnActionNewerThanTheContractAndLogsItOnceASession(t *testing.T) {
	p := startServe(t, "no daemon", "--log-sessions", "--agent", serveAgent(t, futurist{}))
	conn, err := client.Dial(t.Context(), client.Config{URL: p.url, Start: &dap.StartWorkflowRequest{WorkflowID: "w1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Cut()
	ends := make(chan error, 1)
	go func() {
		action, err := conn.Receive(context.Background())
		if err == nil {
			t.Errorf("the client got %v", action)
		}
		ends <- err
	}()
	wantClose(t, ends, 1000, "")

	run := "http" + strings.TrimPrefix(strings.Replace(p.url, "/ws", "/workflows/w2/execute", 1), "ws")
	answer, err := http.Post(run, "application/json", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if body, err := io.ReadAll(answer.Body); answer.StatusCode != http.StatusOK || strings.TrimSpace(string(body)) != "" || err != nil {
		t.Errorf("without a client: %s %q %v", answer.Status, body, err)
	}
	http.DefaultClient.CloseIdleConnections()

	if stopped := p.record("session stopped"); fmt.Sprint(stopped["bad_input"]) != "map[unknown_action:2]" {
		t.Errorf("the log says %v", stopped)
	}
	p.drain(syscall.SIGTERM, 0)
	told := make(map[string]int)
	for _, line := range p.lines {
		var record struct{ Msg, Workflow string }
		if json.Unmarshal([]byte(line), &record) == nil && record.Msg == "action unknown" {
			told[record.Workflow]++
		}
	}
	if told["w1"] != 1 || told["w2"] != 1 || len(told) != 2 {
		t.Errorf("the log tells of them %v", told)
	}
}

func TestServeWaitsForTheStartRequestAsLongAsItsFlagSays(t *testing.T) {
	p := startServe(t, "no daemon", "--start-timeout", "50ms")
	conn, err := client.Dial(t.Context(), client.Config{URL: p.url})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Cut()
	ends := make(chan error, 1)
	go func() {
		_, err := conn.Receive(context.Background())
		ends <- err
	}()
	wantClose(t, ends, 4400, "start request expected")
	stopped := p.record("session stopped")
	if stopped["code"] != 4400.0 || stopped["outcome"] != "refused" {
		t.Errorf("the log says %v", stopped)
	}
	p.drain(syscall.SIGTERM, 0)
}
