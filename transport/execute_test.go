package transport_test

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/proto/dap"
	"github.com/lastcall-go/lastcall/transport/codec"
	"github.com/lastcall-go/lastcall/transport/scripted"
)

// execute asks for a run and returns the response with its body unread.
func (g *gateway) execute(ctx context.Context, id, body string) *http.Response {
	g.t.Helper()
	request, err := http.NewRequestWithContext(ctx, "POST", "http://gateway/workflows/"+id+"/execute", strings.NewReader(body))
	if err != nil {
		g.t.Fatal(err)
	}
	response, err := g.clients.httpClient(nil).Do(request)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { response.Body.Close() })
	return response
}

// checkpoints reads a run's response to its end. Each line is a checkpoint, or empty.
func checkpoints(t *testing.T, response *http.Response) (statuses []string, empty int) {
	t.Helper()
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		if lines.Text() == "" {
			empty++
			continue
		}
		var action dap.Action
		if err := codec.Decode(lines.Bytes(), &action); err != nil || action.GetNewCheckpoint() == nil {
			t.Errorf("%q: %v", lines.Text(), err)
		}
		statuses = append(statuses, action.GetNewCheckpoint().GetStatus())
	}
	if lines.Err() != nil {
		t.Errorf("the response breaks off: %v", lines.Err())
	}
	return statuses, empty
}

func TestARunWithoutAClientStreamsItsCheckpoints(t *testing.T) {
	inGateway(t, setting{agent: scripted.Options{Pace: 15 * time.Second}}, func(t *testing.T, g *gateway) {
		response := g.execute(t.Context(), "w1", `{"goal": "look", "clientCapabilities": ["shell_command"], "mcpTools": [{"name": "x"}], "preapproved_tools": ["x"]}`)
		if response.StatusCode != 200 || response.Header.Get("Content-Type") != "application/x-ndjson" || response.Header.Get("X-Accel-Buffering") != "no" {
			t.Fatalf("%d %s", response.StatusCode, response.Header)
		}
		statuses, empty := checkpoints(t, response)
		if got := strings.Join(statuses, " "); got != "RUNNING RUNNING RUNNING RUNNING RUNNING FINISHED" || empty < 5 {
			t.Errorf("%s, and %d empty lines in 150 s", got, empty)
		}
		start := observed[scripted.Started](g)[0].Request
		if start.WorkflowID != "w1" || start.Goal != "look" || start.ClientCapabilities != nil || start.McpTools != nil || start.PreapprovedTools != nil {
			t.Errorf("the agent was started with %v", start)
		}
		for _, received := range observed[scripted.Received](g) {
			if answer := received.Event.GetActionResponse().GetPlainTextResponse(); !strings.Contains(answer.GetError(), "without a client") {
				t.Errorf("the agent was answered %v", received.Event)
			}
		}
		if end := <-g.stopped; end.Outcome != actors.Completed {
			t.Errorf("%+v", end)
		}
	})
}

func TestADrainEndsARunAfterItsLastCheckpoint(t *testing.T) {
	inGateway(t, setting{agent: scripted.Options{Steps: []scripted.Step{scripted.Checkpoint("begun"), scripted.Wait()}}}, func(t *testing.T, g *gateway) {
		response := g.execute(t.Context(), "w1", `{}`)
		go g.supervisor.Drain(context.Background(), actors.Drain{})
		statuses, _ := checkpoints(t, response)
		if got := strings.Join(statuses, " "); got != "RUNNING INTERRUPTED" {
			t.Errorf("got %s", got)
		}
		if end := <-g.stopped; end.Outcome != actors.Drained {
			t.Errorf("%+v", end)
		}
	})
}

func TestAFailureBeforeTheFirstLineIsAStatus(t *testing.T) {
	broken := func(code codes.Code, text string) scripted.Options {
		return scripted.Options{Misbehave: func(string) scripted.Misbehaviour {
			return scripted.Misbehaviour{BreakOff: status.New(code, text)}
		}}
	}
	for name, test := range map[string]struct {
		agent scripted.Options
		body  string
		want  int
	}{
		"not JSON":                {waits, `hello`, 400},
		"too deep":                {waits, strings.Repeat("[", 20_000), 400},
		"another workflow":        {waits, `{"workflowID": "w2"}`, 400},
		"a body over 4 MiB":       {waits, `{"goal": "` + strings.Repeat("x", 4<<20) + `"}`, 413},
		"what the agent refuses":  {broken(codes.InvalidArgument, "no such flow"), `{}`, 400},
		"no credits":              {broken(codes.ResourceExhausted, "USAGE_QUOTA_EXCEEDED"), `{}`, 403},
		"not entitled":            {broken(codes.PermissionDenied, "USAGE_BILLING_FORBIDDEN"), `{}`, 403},
		"an agent that is away":   {broken(codes.Unavailable, ""), `{}`, 502},
		"an agent that fails":     {broken(codes.Internal, "10.0.0.1 is down"), `{}`, 502},
		"an end without anything": {broken(codes.OK, ""), `{}`, 200},
	} {
		t.Run(name, func(t *testing.T) {
			inGateway(t, setting{agent: test.agent}, func(t *testing.T, g *gateway) {
				response := g.execute(t.Context(), "w1", test.body)
				body, _ := io.ReadAll(response.Body)
				if response.StatusCode != test.want || strings.Contains(string(body), "10.0.0.1") {
					t.Errorf("got %d %q, want %d", response.StatusCode, body, test.want)
				}
			})
		})
	}
}

func TestWhoeverAskedForARunMayLeave(t *testing.T) {
	inGateway(t, setting{agent: scripted.Options{Steps: []scripted.Step{scripted.Checkpoint("begun"), scripted.Wait()}}}, func(t *testing.T, g *gateway) {
		ctx, leave := context.WithCancel(t.Context())
		g.execute(ctx, "w1", `{}`)
		time.Sleep(time.Hour) // longer than any limit of the server's
		leave()
		if end := <-g.stopped; end.Outcome != actors.ClientGone {
			t.Errorf("%+v", end)
		}
		g.wantStop("WORKHORSE_WEBSOCKET_PING_FAILED") // the workflow can be resumed
	})
}
