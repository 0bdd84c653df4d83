package mcptool_test

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"go.uber.org/goleak"

	"github.com/lastcall-go/lastcall/proto/dap"
	"github.com/lastcall-go/lastcall/transport/grant"
	"github.com/lastcall-go/lastcall/transport/toolhttp"
)

func TestAToolIsCalledWithItsArguments(t *testing.T) {
	for kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			e := newEndpoint(t, kind)
			e.handle("a", args)
			tool := openOne(t, e)
			for given, want := range map[string]string{
				"":                                 `{}`,
				"null":                             `{}`,
				` {"n": 12345678901234567890.10} `: `{"n":12345678901234567890.10}`,
				`{"s":"€"}`:                        `{"s":"€"}`,
			} {
				wantText(t, tool, "s_a", given, want)
			}
		})
	}
}

func TestArgumentsThatAreNoObjectAreAnError(t *testing.T) {
	e := newEndpoint(t, "without sessions")
	e.handle("a", func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		t.Error("the tool was called")
		return text(""), nil
	})
	tool := openOne(t, e)
	for _, given := range []string{"{", "[]", `"a"`, "1", "{} {}", strings.Repeat(`{"a":`, 1<<20)} {
		_, err := run(t, tool, "s_a", given)
		wantError(t, err, "args are no JSON object")
	}
}

func TestResultsAreText(t *testing.T) {
	for name, c := range map[string]struct {
		result          *mcp.CallToolResult
		response, error string
	}{
		"texts": {
			result:   &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: "a"}, &mcp.TextContent{Text: "b"}}},
			response: "a\nb",
		},
		"nothing": {result: &mcp.CallToolResult{Content: []mcp.Content{}}},
		"structured": {
			result:   &mcp.CallToolResult{StructuredContent: map[string]any{"a": 1}},
			response: `{"a":1}`,
		},
		"structured, and as text too": {
			result:   &mcp.CallToolResult{StructuredContent: map[string]any{"a": 1}, Content: text(`{ "a": 1.0 }`).Content},
			response: `{ "a": 1.0 }`,
		},
		"structured, and another text": {
			result:   &mcp.CallToolResult{StructuredContent: map[string]any{"a": 1}, Content: text("one").Content},
			response: "one\n" + `{"a":1}`,
		},
		"media": {
			result: &mcp.CallToolResult{Content: []mcp.Content{
				&mcp.ImageContent{MIMEType: "image/png", Data: []byte("1234")}, &mcp.AudioContent{MIMEType: "audio/wav", Data: []byte("1")},
			}},
			response: "[image image/png, 4 bytes]\n[audio audio/wav, 1 bytes]",
		},
		"resources": {
			result: &mcp.CallToolResult{Content: []mcp.Content{
				&mcp.ResourceLink{Name: "n", URI: "file:///a"},
				&mcp.EmbeddedResource{Resource: &mcp.ResourceContents{URI: "file:///b", Text: "inside"}},
				&mcp.EmbeddedResource{Resource: &mcp.ResourceContents{URI: "file:///c", MIMEType: "x/y", Blob: []byte("12")}},
			}},
			response: "[resource n file:///a]\ninside\n[resource file:///c x/y, 2 bytes]",
		},
		"error":             {result: &mcp.CallToolResult{IsError: true, Content: text("it broke").Content}, error: "it broke"},
		"error without why": {result: &mcp.CallToolResult{IsError: true, Content: []mcp.Content{}}, error: "the MCP tool failed"},
		"invalid UTF-8":     {result: text("a\xffb"), response: "a\uFFFDb"},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEndpoint(t, "without sessions")
			e.handle("a", returns(c.result))
			got, err := run(t, openOne(t, e), "s_a", "")
			if err != nil || got.GetResponse() != c.response || got.GetError() != c.error {
				t.Errorf("answered %q, %q, %v, want %q, %q", got.GetResponse(), got.GetError(), err, c.response, c.error)
			}
		})
	}
}

// The agent takes what was cut for the whole.
func TestAResultOverTheLimitIsAnErrorAndNeverCut(t *testing.T) {
	const limit = toolhttp.MaxText
	for _, kind := range []string{"with sessions", "with sessions and JSON"} { // an event, and a body
		t.Run(kind, func(t *testing.T) {
			e := newEndpoint(t, kind)
			fits, failed := strings.Repeat("x", limit), returns(text(strings.Repeat("€", limit/3+1)))
			e.handle("fits", returns(text(fits)))
			e.handle("over", returns(text(fits+"x")))
			e.handle("failed", func(ctx context.Context, r *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
				result, err := failed(ctx, r)
				result.IsError = true
				return result, err
			})
			tool := openOne(t, e)
			wantText(t, tool, "s_fits", "", fits)
			got, err := run(t, tool, "s_over", "")
			if err != nil || got.GetResponse() != "" || !strings.Contains(got.GetError(), "exceeded size limit") {
				t.Errorf("a result over the limit is answered with %d bytes, %.100q, %v", len(got.GetResponse()), got.GetError(), err)
			}
			got, err = run(t, tool, "s_failed", "") // the beginning of an error is one
			if err != nil || got.GetResponse() != "" || len(got.GetError()) < limit-3 || strings.ContainsRune(got.GetError(), utf8.RuneError) {
				t.Errorf("a failure is answered with %d bytes, and as error with %d: %v", len(got.GetResponse()), len(got.GetError()), err)
			}
		})
	}
}

func TestAHugeResultFailsAndTheNextCallWorks(t *testing.T) {
	for kind := range kinds {
		for contentType, begin := range map[string]string{"application/json": `{"a":"`, "text/event-stream": `data: {"a":"`} {
			t.Run(kind+" "+contentType, func(t *testing.T) {
				e := newEndpoint(t, kind)
				e.handle("a", args)
				tool := openOne(t, e)
				e.behave(func(next http.Handler) http.Handler {
					return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						if !isCall(r) {
							next.ServeHTTP(w, r)
							return
						}
						w.Header().Set("Content-Type", contentType)
						_, _ = io.WriteString(w, begin+strings.Repeat("x", 9<<20))
					})
				})
				_, err := run(t, tool, "s_a", "")
				wantError(t, err, "exceeded size limit")
				e.behave(nil)
				wantText(t, tool, "s_a", `{"b":1}`, `{"b":1}`)
			})
		}
	}
}

func TestTheServersErrorIsTold(t *testing.T) {
	e := newEndpoint(t, "with sessions")
	e.handle("a", func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return nil, &jsonrpc.Error{Code: jsonrpc.CodeInvalidParams, Message: "b is missing" + strings.Repeat("!", 1<<20)}
	})
	_, err := run(t, openOne(t, e), "s_a", "")
	wantError(t, err, "b is missing")
	if err != nil && len(err.Error()) > 4<<10 {
		t.Errorf("the error has %d bytes", len(err.Error()))
	}
}

func TestAToolThatAsksForInputFailsAtOnce(t *testing.T) {
	for kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			e := newEndpoint(t, kind)
			e.handle("a", func(ctx context.Context, r *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
				if kind == "without sessions" {
					return &mcp.CallToolResult{InputRequests: mcp.InputRequestMap{"q": &mcp.ElicitParams{Message: "?"}}}, nil
				}
				if _, err := r.Session.Elicit(ctx, &mcp.ElicitParams{Message: "?"}); err == nil {
					t.Error("somebody answered")
				}
				return &mcp.CallToolResult{IsError: true, Content: text("nobody to ask").Content}, nil
			})
			got, err := run(t, openOne(t, e), "s_a", "")
			if err != nil || got.GetError() == "" {
				t.Errorf("answered %v, %v", got, err)
			}
		})
	}
}

func TestCallsRunBesideEachOther(t *testing.T) {
	const calls = 8
	e := newEndpoint(t, "with sessions")
	var all sync.WaitGroup
	all.Add(calls)
	e.handle("a", func(_ context.Context, r *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		all.Done()
		all.Wait() // none is answered before all are asked
		return text(string(r.Params.Arguments)), nil
	})
	tool := openOne(t, e)
	var wg sync.WaitGroup
	for i := range calls {
		given := fmt.Sprintf(`{"i":%d}`, i)
		wg.Go(func() { wantText(t, tool, "s_a", given, given) })
	}
	wg.Wait()
}

func TestAServerThatForgotTheSessionGetsTheCallOnce(t *testing.T) {
	for _, kind := range []string{"with sessions", "with sessions and JSON"} {
		t.Run(kind, func(t *testing.T) {
			e := newEndpoint(t, kind)
			var calls atomic.Int32
			e.handle("a", func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
				return text(fmt.Sprint(calls.Add(1))), nil
			})
			tool := openOne(t, e)
			for want := range 3 {
				wantText(t, tool, "s_a", "", fmt.Sprint(want+1))
				e.forget()
			}
		})
	}
}

// likeReference makes the server refuse MCP sessions that it doesn't know as the protocol's reference
// server does, with 400 instead of 404.
func likeReference(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := httptest.NewRecorder()
		next.ServeHTTP(answer, r)
		if answer.Code == http.StatusNotFound {
			w.Header().Set("Content-Type", "application/json; charset=utf-8")
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"jsonrpc":"2.0","error":{"code":-32000,"message":"Bad Request: No valid session ID provided"}}`)
			return
		}
		maps.Copy(w.Header(), answer.Header())
		w.WriteHeader(answer.Code)
		_, _ = w.Write(answer.Body.Bytes())
	})
}

func TestAReferenceServerThatForgotTheSessionGetsTheCallOnce(t *testing.T) {
	e := newEndpoint(t, "with sessions")
	var calls atomic.Int32
	e.handle("a", func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return text(fmt.Sprint(calls.Add(1))), nil
	})
	e.behave(likeReference)
	tool := openOne(t, e)
	for want := range 3 {
		wantText(t, tool, "s_a", "", fmt.Sprint(want+1))
		e.forget()
	}
}

// Any other 400 is an answer: the call may have been carried out.
func TestAnyOtherBadRequestIsNotRepeated(t *testing.T) {
	for _, refusal := range []string{
		`{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"no such argument"}}`, "no such argument", "",
		`{"error":{"code":-32000,"message":"` + strings.Repeat("x", 100<<10) + `"}}`,
	} {
		e := newEndpoint(t, "with sessions")
		e.handle("a", args)
		tool := openOne(t, e)
		var calls atomic.Int32
		e.behave(func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if !isCall(r) {
					next.ServeHTTP(w, r)
					return
				}
				calls.Add(1)
				w.WriteHeader(http.StatusBadRequest)
				_, _ = io.WriteString(w, refusal)
			})
		})
		_, err := run(t, tool, "s_a", "")
		wantError(t, err, "")
		if calls.Load() != 1 {
			t.Errorf("refused with %.80q, the call was sent %d times", refusal, calls.Load())
		}
	}
}

func TestEachRequestTellsTheWorkflow(t *testing.T) {
	e := newEndpoint(t, "with sessions")
	e.handle("a", args)
	tool := newTool(t, map[string]grant.MCPServer{"s": e.grant()})
	if err := tool.Open(t.Context(), &dap.StartWorkflowRequest{WorkflowID: "77"}); err != nil {
		t.Fatal(err)
	}
	wantText(t, tool, "s_a", "", "{}")
	if err := tool.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, r := range e.seen() {
		if got := r.Header.Get("X-Gitlab-Duo-Workflow-Id"); got != "77" {
			t.Errorf("%s came for the workflow %q", r.Method, got)
		}
	}
}

func TestAForgottenSessionDoesNotWaitForCallsThatAreStuckOnIt(t *testing.T) {
	e := newEndpoint(t, "with sessions")
	e.handle("a", args)
	running := stuck(t, e)
	tool := openOne(t, e)
	ended := make(chan error)
	go func() {
		_, err := tool.Run(t.Context(), action("s_stuck", ""))
		ended <- err
	}()
	<-running
	var forgotten atomic.Bool
	e.behave(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if isCall(r) && !forgotten.Swap(true) { // with a body the SDK takes for an answer, not the end
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(http.StatusNotFound)
				_, _ = io.WriteString(w, `{"jsonrpc":"2.0","id":"1","error":{"code":-32001,"message":"Session not found"}}`)
				return
			}
			next.ServeHTTP(w, r)
		})
	})
	wantText(t, tool, "s_a", "", "{}")
	wantError(t, <-ended, "")
}

func TestAServerThatKeepsForgettingIsAskedTwiceACall(t *testing.T) {
	e := newEndpoint(t, "with sessions")
	e.handle("a", args)
	tool := openOne(t, e)
	var calls atomic.Int32
	e.behave(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if isCall(r) {
				calls.Add(1)
				http.NotFound(w, r)
				return
			}
			next.ServeHTTP(w, r)
		})
	})
	_, err := run(t, tool, "s_a", "")
	wantError(t, err, "answered 404 Not Found")
	if got := calls.Load(); got != 2 {
		t.Errorf("the call was sent %d times", got)
	}
}

func TestACallThatMayHaveRunIsNotRepeated(t *testing.T) {
	e := newEndpoint(t, "with sessions and JSON")
	var calls atomic.Int32
	e.handle("a", func(context.Context, *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		calls.Add(1)
		e.CloseClientConnections()
		return text(""), nil
	})
	_, err := run(t, openOne(t, e), "s_a", "")
	wantError(t, err, "")
	if got := calls.Load(); got != 1 {
		t.Errorf("the call was carried out %d times", got)
	}
}

// stuck is a tool that runs until its request is cancelled, or the test ends.
func stuck(t *testing.T, e *endpoint) (running chan struct{}) {
	running = make(chan struct{}, 1)
	over := make(chan struct{})
	t.Cleanup(func() { close(over) })
	e.handle("stuck", func(ctx context.Context, _ *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		running <- struct{}{}
		select {
		case <-ctx.Done():
		case <-over:
		}
		return text(""), nil
	})
	return running
}

func TestACallEndsWithItsContextAndOthersGoOn(t *testing.T) {
	for kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			e := newEndpoint(t, kind)
			e.handle("a", args)
			running := stuck(t, e)
			tool := openOne(t, e)
			ctx, cancel := context.WithCancel(t.Context())
			go func() {
				<-running
				cancel()
			}()
			_, err := tool.Run(ctx, action("s_stuck", ""))
			wantError(t, err, "cancelled")
			wantText(t, tool, "s_a", "", "{}")
		})
	}
}

func TestAnIdleSessionHasNoOpenStream(t *testing.T) {
	for kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			e := newEndpoint(t, kind)
			e.handle("a", args)
			wantText(t, openOne(t, e), "s_a", "", "{}")
			if got := e.count("GET"); got != 0 {
				t.Errorf("%d streams were asked for", got)
			}
		})
	}
}

func TestCloseEndsTheMCPSession(t *testing.T) {
	e := newEndpoint(t, "with sessions")
	e.handle("a", args)
	tool := openOne(t, e)
	if err := tool.Close(t.Context()); err != nil {
		t.Error(err)
	}
	for range e.mcp.Sessions() {
		t.Error("the server still has the MCP session")
	}
	_, err := run(t, tool, "s_a", "")
	wantError(t, err, "")
	if err := tool.Close(t.Context()); err != nil {
		t.Errorf("closed again: %v", err)
	}
}

// hangs makes a server hold requests of one method until they are given up.
func (e *endpoint) hangs(method string) (held chan struct{}) {
	held = make(chan struct{}, 10)
	e.behave(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == method {
				held <- struct{}{}
				<-r.Context().Done()
				return
			}
			next.ServeHTTP(w, r)
		})
	})
	return held
}

func TestCloseCutsAServerThatHangs(t *testing.T) {
	before := goleak.IgnoreCurrent()
	t.Run("session", func(t *testing.T) {
		e := newEndpoint(t, "with sessions")
		e.handle("a", args)
		tool := openOne(t, e)
		held := e.hangs("DELETE")
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			<-held
			cancel()
		}()
		began := time.Now()
		wantError(t, tool.Close(ctx), "cancelled")
		if took := time.Since(began); took > 4*time.Second { // the SDK's own limit is 5 s
			t.Errorf("close took %v after its context", took)
		}
	})
	goleak.VerifyNone(t, before)
}

func TestCloseEndsCallsThatHang(t *testing.T) {
	for kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			e := newEndpoint(t, kind)
			running := stuck(t, e)
			tool := openOne(t, e)
			ended := make(chan error)
			go func() {
				_, err := tool.Run(context.Background(), action("s_stuck", ""))
				ended <- err
			}()
			<-running
			e.behave(func(next http.Handler) http.Handler { // a DELETE of the SDK's waits for what runs
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.Method != http.MethodDelete {
						next.ServeHTTP(w, r)
					}
				})
			})
			if err := tool.Close(t.Context()); err != nil {
				t.Error(err)
			}
			wantError(t, <-ended, "cancelled")
		})
	}
}

func TestAStreamThatNeverEndsIsLetGo(t *testing.T) {
	before := goleak.IgnoreCurrent()
	t.Run("session", func(t *testing.T) {
		e := newEndpoint(t, "with sessions")
		e.handle("a", args)
		tool := openOne(t, e)
		left := make(chan struct{})
		e.behave(func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				call := isCall(r)
				next.ServeHTTP(w, r)
				if call {
					_ = http.NewResponseController(w).Flush()
					<-r.Context().Done() // after the answer, without an end
					close(left)
				}
			})
		})
		wantText(t, tool, "s_a", "", "{}")
		<-left
	})
	goleak.VerifyNone(t, before)
}

func TestAServerThatIsGoneIsAnError(t *testing.T) {
	e := newEndpoint(t, "with sessions")
	e.handle("a", args)
	tool := openOne(t, e)
	e.CloseClientConnections()
	e.Close()
	if _, err := run(t, tool, "s_a", ""); err == nil {
		t.Error("a server that is gone answered")
	}
}
