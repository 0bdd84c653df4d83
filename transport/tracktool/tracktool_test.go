package tracktool_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"

	"github.com/lastcall-go/lastcall/proto/dap"
	"github.com/lastcall-go/lastcall/transport/tracktool"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type serverStream = grpc.BidiStreamingServer[dap.TrackSelfHostedClientEvent, dap.TrackSelfHostedAction]

// cloud is a tracking service that plays one function a stream.
type cloud struct {
	dap.UnimplementedDuoWorkflowServer
	play func(stream serverStream) error

	mu      sync.Mutex
	streams int
}

func (c *cloud) TrackSelfHostedExecuteWorkflow(stream serverStream) error {
	c.mu.Lock()
	c.streams++
	c.mu.Unlock()
	return c.play(stream)
}

func (c *cloud) opened() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.streams
}

// acknowledge answers each report until the tool ends the stream.
func acknowledge(stream serverStream) error {
	for {
		report, err := stream.Recv()
		if err != nil {
			return nil
		}
		if err := stream.Send(&dap.TrackSelfHostedAction{RequestID: report.GetRequestID()}); err != nil {
			return err
		}
	}
}

// hang reads nothing and answers nothing.
func hang(stream serverStream) error {
	<-stream.Context().Done()
	return nil
}

// beside runs test in a bubble, beside a tracking service, and closes the tool after it.
func beside(t *testing.T, play func(serverStream) error, test func(t *testing.T, tool *tracktool.Tool, c *cloud)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := &cloud{play: play}
		listener := bufconn.Listen(1 << 10)
		server := grpc.NewServer()
		dap.RegisterDuoWorkflowServer(server, c)
		go func() { _ = server.Serve(listener) }()
		conn, err := grpc.NewClient("passthrough:///cloud",
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }),
			grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		client := dap.NewDuoWorkflowClient(conn)
		tool := opened(t, func(ctx context.Context) (dap.DuoWorkflow_TrackSelfHostedExecuteWorkflowClient, error) {
			return client.TrackSelfHostedExecuteWorkflow(ctx)
		}, map[string]string{"Authorization": "Bearer secret"})
		test(t, tool, c)
		closeWithin(t, tool, time.Second)
		_ = conn.Close()
		server.Stop()
	})
}

type valueKey struct{}

// opened is a tool of a session whose context has a value, and has ended meanwhile.
func opened(t *testing.T, open tracktool.Opener, headers map[string]string) *tracktool.Tool {
	t.Helper()
	tool := tracktool.New(open, headers)
	ctx, cancel := context.WithCancel(context.WithValue(context.Background(), valueKey{}, "the session's"))
	if err := tool.Open(ctx, &dap.StartWorkflowRequest{}); err != nil {
		t.Fatal(err)
	}
	cancel()
	return tool
}

func closeWithin(t *testing.T, tool *tracktool.Tool, limit time.Duration) time.Duration {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	began := time.Now()
	if err := tool.Close(ctx); err != nil {
		t.Errorf("close: %v", err)
	}
	took := time.Since(began)
	if took > limit {
		t.Errorf("close took %v of %v", took, limit)
	}
	return took
}

func track(id string) *dap.Action {
	return &dap.Action{RequestID: id, Action: &dap.Action_TrackLlmCallForSelfHosted{
		TrackLlmCallForSelfHosted: &dap.TrackLlmCallForSelfHosted{WorkflowID: "w1", FeatureQualifiedName: "f", FeatureAiCatalogItem: true},
	}}
}

func run(t *testing.T, tool *tracktool.Tool, id string) error {
	t.Helper()
	answer, err := tool.Run(t.Context(), track(id))
	if err == nil && !proto.Equal(answer, &dap.ActionResponse{ResponseType: &dap.ActionResponse_PlainTextResponse{PlainTextResponse: &dap.PlainTextResponse{}}}) {
		t.Errorf("answered %v, want an empty text", answer)
	}
	return err
}

func TestAReportIsForwardedAsItIsWithTheHeaders(t *testing.T) {
	type seen struct {
		report  *dap.TrackSelfHostedClientEvent
		headers metadata.MD
	}
	saw := make(chan seen, 1)
	beside(t, func(stream serverStream) error {
		report, err := stream.Recv()
		if err != nil {
			return err
		}
		headers, _ := metadata.FromIncomingContext(stream.Context())
		saw <- seen{report, headers}
		return stream.Send(&dap.TrackSelfHostedAction{RequestID: report.GetRequestID()})
	}, func(t *testing.T, tool *tracktool.Tool, _ *cloud) {
		if err := run(t, tool, "r1"); err != nil {
			t.Fatal(err)
		}
		got := <-saw
		want := &dap.TrackSelfHostedClientEvent{RequestID: "r1", WorkflowID: "w1", FeatureQualifiedName: "f", FeatureAiCatalogItem: true}
		if !proto.Equal(got.report, want) {
			t.Errorf("the service got %v, want %v", got.report, want)
		}
		if got := got.headers.Get("authorization"); len(got) != 1 || got[0] != "Bearer secret" {
			t.Errorf("the service got the header %q", got)
		}
	})
}

func TestOneStreamIsOpenedByTheFirstCallAndKept(t *testing.T) {
	beside(t, acknowledge, func(t *testing.T, tool *tracktool.Tool, c *cloud) {
		if c.opened() != 0 {
			t.Errorf("before the first call: %d streams", c.opened())
		}
		for i := range 3 {
			if err := run(t, tool, fmt.Sprint(i)); err != nil {
				t.Error(err)
			}
		}
		if c.opened() != 1 {
			t.Errorf("%d streams for three calls", c.opened())
		}
	})
}

func TestConcurrentCallsGetTheirOwnAnswers(t *testing.T) {
	const calls = 8
	beside(t, func(stream serverStream) error {
		var ids []string
		for range calls {
			report, err := stream.Recv()
			if err != nil {
				return err
			}
			ids = append(ids, report.GetRequestID())
		}
		for i := range ids { // the last asked is the first answered, a second later each
			time.Sleep(time.Second)
			if err := stream.Send(&dap.TrackSelfHostedAction{RequestID: ids[len(ids)-1-i]}); err != nil {
				return err
			}
		}
		return nil
	}, func(t *testing.T, tool *tracktool.Tool, _ *cloud) {
		began := time.Now()
		var wg sync.WaitGroup
		for i := range calls {
			wg.Go(func() {
				if err := run(t, tool, fmt.Sprint(i)); err != nil {
					t.Error(err)
				}
				if took := time.Since(began); took != time.Duration(calls-i)*time.Second {
					t.Errorf("call %d was answered after %v", i, took)
				}
			})
			synctest.Wait() // they are asked in order
		}
		wg.Wait()
	})
}

func TestARequestIDInUseIsRefusedAndCanBeUsedAgainAfterwards(t *testing.T) {
	beside(t, func(stream serverStream) error {
		for {
			report, err := stream.Recv()
			if err != nil {
				return nil
			}
			time.Sleep(time.Second)
			if err := stream.Send(&dap.TrackSelfHostedAction{RequestID: report.GetRequestID()}); err != nil {
				return err
			}
		}
	}, func(t *testing.T, tool *tracktool.Tool, _ *cloud) {
		first := make(chan error)
		go func() { first <- run(t, tool, "r1") }()
		synctest.Wait()
		if err := run(t, tool, "r1"); err == nil {
			t.Error("a second call with the same requestID was accepted")
		}
		if err := <-first; err != nil {
			t.Errorf("the first call: %v", err)
		}
		if err := run(t, tool, "r1"); err != nil {
			t.Errorf("a later call: %v", err)
		}
	})
}

func TestAFailedStreamFailsItsCallsAndIsOpenedAnew(t *testing.T) {
	failing := true
	beside(t, func(stream serverStream) error {
		if !failing {
			return acknowledge(stream)
		}
		if _, err := stream.Recv(); err != nil {
			return err
		}
		time.Sleep(time.Second)
		return status.Error(codes.PermissionDenied, "no license for 10.0.0.1")
	}, func(t *testing.T, tool *tracktool.Tool, c *cloud) {
		var wg sync.WaitGroup
		for i := range 2 {
			wg.Go(func() {
				if err := run(t, tool, fmt.Sprint(i)); err == nil || err.Error() != "tracking failed: PERMISSION_DENIED" {
					t.Errorf("got %v, want the code and no more", err)
				}
			})
		}
		wg.Wait()
		failing = false
		if err := run(t, tool, "again"); err != nil || c.opened() != 2 {
			t.Errorf("after the failure: %v, %d streams", err, c.opened())
		}
	})
}

func TestAStreamThatEndsInOrderLeavesNobodyWaiting(t *testing.T) {
	beside(t, func(stream serverStream) error {
		_, err := stream.Recv()
		return err
	}, func(t *testing.T, tool *tracktool.Tool, _ *cloud) {
		if err := run(t, tool, "r1"); err == nil || !strings.Contains(err.Error(), "ended the stream") {
			t.Errorf("got %v", err)
		}
	})
}

func TestAnUnreachableServiceIsAnErrorWithoutItsAddress(t *testing.T) {
	tool := opened(t, func(context.Context) (dap.DuoWorkflow_TrackSelfHostedExecuteWorkflowClient, error) {
		return nil, status.Error(codes.Unavailable, "dial tcp 10.0.0.1:443: connection refused")
	}, nil)
	if err := run(t, tool, "r1"); err == nil || err.Error() != "tracking failed: UNAVAILABLE" {
		t.Errorf("got %v", err)
	}
	closeWithin(t, tool, time.Second)
}

func TestACallThatIsNotAnsweredEndsWithItsContextAndOthersGoOn(t *testing.T) {
	beside(t, func(stream serverStream) error {
		if _, err := stream.Recv(); err != nil {
			return err
		}
		return acknowledge(stream)
	}, func(t *testing.T, tool *tracktool.Tool, c *cloud) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := tool.Run(ctx, track("r1")); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		if err := run(t, tool, "r1"); err != nil || c.opened() != 1 {
			t.Errorf("the next call: %v, on stream %d", err, c.opened())
		}
	})
}

// block makes calls until one is stuck in sending, since the service reads nothing. They end with
// the test's stream.
func block(t *testing.T, tool *tracktool.Tool) *sync.WaitGroup {
	var calls sync.WaitGroup
	for _, id := range []string{"b1", "b2"} { // gRPC takes the first, however large
		action := track(id)
		action.GetTrackLlmCallForSelfHosted().FeatureQualifiedName = strings.Repeat("x", 1<<20)
		calls.Go(func() {
			if _, err := tool.Run(context.Background(), action); err == nil {
				t.Errorf("call %s was answered", id)
			}
		})
		synctest.Wait()
	}
	return &calls
}

func TestACallThatIsStuckEndsWithItsContext(t *testing.T) {
	beside(t, hang, func(t *testing.T, tool *tracktool.Tool, c *cloud) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		began := time.Now()
		var calls sync.WaitGroup
		for i := range 3 { // the first waits for its answer, the second sends, the third waits for its turn
			action := track(fmt.Sprint(i))
			action.GetTrackLlmCallForSelfHosted().FeatureQualifiedName = strings.Repeat("x", 1<<20)
			calls.Go(func() {
				if _, err := tool.Run(ctx, action); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Minute {
					t.Errorf("call %d: %v after %v", i, err, time.Since(began))
				}
			})
			synctest.Wait()
		}
		calls.Wait()
	})
}

func TestACallThatWaitsForItsTurnEndsAlone(t *testing.T) {
	beside(t, hang, func(t *testing.T, tool *tracktool.Tool, _ *cloud) {
		calls := block(t, tool)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		if _, err := tool.Run(ctx, track("r1")); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Second {
			t.Errorf("got %v after %v", err, time.Since(began))
		}
		closeWithin(t, tool, time.Second)
		calls.Wait()
	})
}

func TestAnOpenThatHangsEndsWithTheCallsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tool := opened(t, func(ctx context.Context) (dap.DuoWorkflow_TrackSelfHostedExecuteWorkflowClient, error) {
			if ctx.Value(valueKey{}) != "the session's" {
				t.Error("the stream hasn't the values of the session")
			}
			<-ctx.Done()
			return nil, ctx.Err()
		}, nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := tool.Run(ctx, track("r1")); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		closeWithin(t, tool, time.Second)
	})
}

func TestCloseEndsTheStreamInOrder(t *testing.T) {
	ended := make(chan error, 1)
	beside(t, func(stream serverStream) error {
		err := acknowledge(stream)
		ended <- stream.Context().Err()
		return err
	}, func(t *testing.T, tool *tracktool.Tool, _ *cloud) {
		if err := run(t, tool, "r1"); err != nil {
			t.Fatal(err)
		}
		if took := closeWithin(t, tool, time.Minute); took != 0 {
			t.Errorf("close took %v", took)
		}
		if err := <-ended; err != nil {
			t.Errorf("the service's stream ended with %v", err)
		}
		if err := run(t, tool, "r2"); err == nil {
			t.Error("a closed tool ran a call")
		}
	})
}

func TestACallDuringCloseFailsAtOnce(t *testing.T) {
	beside(t, func(stream serverStream) error {
		err := acknowledge(stream)
		time.Sleep(time.Second)
		return err
	}, func(t *testing.T, tool *tracktool.Tool, c *cloud) {
		if err := run(t, tool, "r1"); err != nil {
			t.Fatal(err)
		}
		began, closed := time.Now(), make(chan struct{})
		go func() {
			closeWithin(t, tool, time.Minute)
			close(closed)
		}()
		synctest.Wait()
		if err := run(t, tool, "r2"); err == nil || time.Since(began) != 0 || c.opened() != 1 {
			t.Errorf("got %v after %v, with %d streams", err, time.Since(began), c.opened())
		}
		<-closed
		if took := time.Since(began); took != time.Second {
			t.Errorf("close took %v", took)
		}
	})
}

func TestCloseCutsAServiceThatHangs(t *testing.T) {
	beside(t, hang, func(t *testing.T, tool *tracktool.Tool, _ *cloud) {
		calls := block(t, tool)
		if took := closeWithin(t, tool, 5*time.Second); took != 5*time.Second {
			t.Errorf("close took %v", took)
		}
		calls.Wait()
	})
}

func TestOtherActionsAreLeftToOthers(t *testing.T) {
	tool := tracktool.New(nil, nil)
	if !tool.Takes(track("r1")) || tool.Takes(&dap.Action{Action: &dap.Action_RunMCPTool{}}) || tool.Takes(&dap.Action{}) {
		t.Error("the tool takes a tracking call and nothing else")
	}
}
