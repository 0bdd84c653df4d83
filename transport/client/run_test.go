package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/lastcall-go/lastcall/proto/dap"
	"github.com/lastcall-go/lastcall/transport/client"
	"github.com/lastcall-go/lastcall/transport/codec"
)

func TestAWorkflowRunsToItsEnd(t *testing.T) {
	g := &gateway{t: t, script: func(p *peer) {
		if start := p.started(); start.GetWorkflowID() != "w1" || start.GetGoal() != "a goal" {
			t.Errorf("started with %v", start)
		}
		p.act(checkpoint())
		p.act(mkdir("r1"))
		if err := p.send(websocket.MessageText, mkdir("r2")); err != nil {
			t.Error(err)
		}
		for _, id := range []string{"r1", "r2"} {
			if answer := p.answered(); answer.GetRequestID() != id || answer.GetPlainTextResponse().GetResponse() != "made "+id {
				t.Errorf("the answer to %s is %v", id, answer)
			}
		}
		p.close(1000, "bye")
	}}
	cfg := overSockets(t, g)
	var seen record
	cfg.Observe = seen.observe
	cfg.Handle = func(_ context.Context, action *dap.Action) *dap.ActionResponse {
		return plain("made " + action.GetMkdir().GetDirectoryPath())
	}
	if err := client.Run(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, event := range seen.events {
		kinds = append(kinds, fmt.Sprintf("%T", event))
	}
	if want := []string{"client.Connected", "client.Received", "client.Received", "client.Received", "client.Closed"}; !slices.Equal(kinds, want) {
		t.Errorf("told %v, want %v", kinds, want)
	}
	if last := seen.events[4]; last != (client.Closed{Code: 1000, Reason: "bye"}) {
		t.Errorf("the last event is %v", last)
	}
}

func TestAWorkflowIsResumedAfterAnEndThatPasses(t *testing.T) {
	for name, end := range map[string]func(p *peer){
		"1001": func(p *peer) { p.close(1001, "server shutdown") },
		"1012": func(p *peer) { p.close(1012, "") },
		"1013": func(p *peer) { p.close(1013, "workflow is running elsewhere") },
		"lost": func(p *peer) { _ = p.CloseNow() },
	} {
		t.Run(name, func(t *testing.T) {
			var started names
			g := &gateway{t: t, script: func(p *peer) {
				started.add(p.started().GetWorkflowID())
				if p.n == 3 {
					p.close(1000, "")
					return
				}
				end(p)
			}}
			if err := client.Run(t.Context(), overSockets(t, g)); err != nil {
				t.Error(err)
			}
			if got := started.list(); !slices.Equal(got, []string{"w1", "w1", "w1"}) {
				t.Errorf("started %q", got)
			}
		})
	}
}

func TestAnEndThatStaysIsReturnedAndNotTriedAgain(t *testing.T) {
	for _, code := range []int{1002, 1007, 1008, 1009, 1011, 3000, 3003, 4400} {
		t.Run(strconv.Itoa(code), func(t *testing.T) {
			g := &gateway{t: t, script: func(p *peer) {
				p.started()
				p.close(code, "no way")
			}}
			wantCode(t, client.Run(t.Context(), overSockets(t, g)), code, "no way")
			if n := g.dials.Load(); n != 1 {
				t.Errorf("dialled %d times", n)
			}
		})
	}
}

func TestARefusalByStatus(t *testing.T) {
	for status, again := range map[int]bool{
		200: false, 302: false, 400: false, 401: false, 403: false, 404: false, 429: true, 500: false, 502: true, 503: true, 504: true,
	} {
		t.Run(strconv.Itoa(status), func(t *testing.T) {
			var dials atomic.Int32
			workflow := &gateway{t: t, script: func(p *peer) { p.started(); p.close(1000, "") }}
			cfg := overSockets(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if dials.Add(1) > 1 {
					workflow.ServeHTTP(w, r)
					return
				}
				w.Header().Set("Location", "/elsewhere")
				http.Error(w, "not\x1b[2J now", status)
			}))
			err := client.Run(t.Context(), cfg)
			if again {
				if err != nil || dials.Load() != 2 {
					t.Errorf("%v after %d dials", err, dials.Load())
				}
				return
			}
			var refused *client.RefusedError
			if !errors.As(err, &refused) || refused.Status != status || dials.Load() != 1 {
				t.Fatalf("%v after %d dials", err, dials.Load())
			}
			if strings.Contains(err.Error(), "\x1b") || !strings.Contains(err.Error(), "now") {
				t.Errorf("the error says %q", err)
			}
		})
	}
}

func TestACertificateThatIsNotTrustedIsNotTriedAgain(t *testing.T) {
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	err := client.Run(t.Context(), configFor(strings.Replace(server.URL, "https", "wss", 1)))
	if err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("got %v", err)
	}
}

func TestTheHeadersGoWithEveryUpgrade(t *testing.T) {
	g := &gateway{t: t, script: func(p *peer) { p.started(); p.close(1000+p.n%2, "") }}
	cfg := overSockets(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if got := r.Header.Get("Authorization"); got != "Bearer x" || r.URL.Path != "/ws" {
			t.Errorf("%s with authorization %q", r.URL, got)
		}
		g.ServeHTTP(w, r)
	}))
	cfg.Header = http.Header{"Authorization": {"Bearer x"}}
	if err := client.Run(t.Context(), cfg); err != nil || g.dials.Load() != 2 {
		t.Errorf("%v after %d dials", err, g.dials.Load())
	}
}

func TestAWorkflowWithoutAnIDGetsOneAndKeepsIt(t *testing.T) {
	var started names
	g := &gateway{t: t, script: func(p *peer) {
		started.add(p.started().GetWorkflowID())
		p.close(1000+p.n%2, "")
	}}
	cfg := overSockets(t, g)
	var seen record
	cfg.Observe = seen.observe
	cfg.Start = &dap.StartWorkflowRequest{Goal: "a goal"}
	for range 2 {
		if err := client.Run(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
		g.dials.Store(0)
	}
	ids := started.list()
	if len(ids) != 4 || ids[0] == "" || ids[0] != ids[1] || ids[0] == ids[2] {
		t.Errorf("started %q", ids)
	}
	if told := seen.events[0].(client.Connected).WorkflowID; told != ids[0] {
		t.Errorf("told %q of %q", told, ids)
	}
	if !proto.Equal(cfg.Start, &dap.StartWorkflowRequest{Goal: "a goal"}) {
		t.Errorf("the caller's start request is now %v", cfg.Start)
	}
	cfg.Start = nil
	if err := client.Run(t.Context(), cfg); err != nil {
		t.Errorf("without a start request: %v", err)
	}
}

func TestABadConfigurationIsToldAtOnce(t *testing.T) {
	for name, spoil := range map[string]func(*client.Config){
		"no URL":           func(c *client.Config) { c.URL = "" },
		"http":             func(c *client.Config) { c.URL = "http://gateway/ws" },
		"no host":          func(c *client.Config) { c.URL = "ws:///ws" },
		"bad URL":          func(c *client.Config) { c.URL = "ws://[" },
		"negative backoff": func(c *client.Config) { c.MinBackoff = -1 },
		"crossed backoff":  func(c *client.Config) { c.MinBackoff, c.MaxBackoff = 2, 1 },
		"negative beat":    func(c *client.Config) { c.Heartbeat = -1 },
		"start not UTF-8":  func(c *client.Config) { c.Start = &dap.StartWorkflowRequest{Goal: "\xff"} },
		"start over 4 MiB": func(c *client.Config) { c.Start = &dap.StartWorkflowRequest{Goal: strings.Repeat("x", 4<<20)} },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := configFor("ws://gateway/ws")
			cfg.HTTPClient = &http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
				t.Error("dialled")
				return nil, net.ErrClosed
			}}}
			spoil(&cfg)
			if err := client.Run(t.Context(), cfg); err == nil {
				t.Error("no error")
			}
		})
	}
}

func TestCancellingClosesWith1000(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var end error
	g := &gateway{t: t, script: func(p *peer) {
		p.started()
		p.act(mkdir("r1"))
		end = p.drained()
	}}
	cfg := overSockets(t, g)
	cfg.Handle = func(ctx context.Context, _ *dap.Action) *dap.ActionResponse {
		cancel()
		<-ctx.Done()
		return plain("late")
	}
	if err := client.Run(ctx, cfg); err != context.Canceled {
		t.Errorf("Run returned %v", err)
	}
	g.running.Wait()
	if websocket.CloseStatus(end) != 1000 {
		t.Errorf("the gateway saw %v", end)
	}
}

func TestRunReturnsAfterHandle(t *testing.T) {
	for name, end := range map[string]func(p *peer, cancel func()){
		"cancelled": func(_ *peer, cancel func()) { cancel() },
		"closed":    func(p *peer, _ func()) { p.close(4400, "") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				handling := make(chan struct{})
				g := &gateway{t: t, script: func(p *peer) {
					p.started()
					p.act(mkdir("r1"))
					<-handling
					end(p, cancel)
					_ = p.drained()
				}}
				cfg := inMemory(t, g)
				returned := false
				cfg.Handle = func(ctx context.Context, _ *dap.Action) *dap.ActionResponse {
					close(handling)
					<-ctx.Done()
					time.Sleep(time.Minute)
					returned = true
					return nil
				}
				if err := client.Run(ctx, cfg); err == nil || !returned {
					t.Errorf("Run returned %v; had Handle? %v", err, returned)
				}
			})
		})
	}
}

func TestCancellingEndsTheWaitForTheNextConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cfg := inMemory(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "50")
			w.WriteHeader(503)
		}))
		cfg.Observe = func(event client.Event) { time.AfterFunc(time.Second, cancel) }
		begun := time.Now()
		if err := client.Run(ctx, cfg); err != context.Canceled || time.Since(begun) != time.Second {
			t.Errorf("%v after %v", err, time.Since(begun))
		}
	})
}

// A gateway that neither answers the close nor reads costs ten seconds at most.
func TestCancellingIsBoundedWithAPeerThatIsStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		free := make(chan struct{})
		g := &gateway{t: t, script: func(p *peer) {
			p.started()
			p.act(mkdir("r1"))
			cancel()
			<-free
		}}
		cfg := inMemory(t, g)
		begun := time.Now()
		if err := client.Run(ctx, cfg); err != context.Canceled || time.Since(begun) > 10*time.Second {
			t.Errorf("%v after %v", err, time.Since(begun))
		}
		close(free)
		g.running.Wait()
	})
}

func TestALongActionKeepsNeitherPingsNorTheCloseWaiting(t *testing.T) {
	g := &gateway{t: t, script: func(p *peer) {
		p.started()
		p.act(mkdir("r1"))
		p.act(mkdir("r2"))
		reading := p.CloseRead(context.Background())
		for range 3 {
			if err := p.Ping(reading); err != nil {
				t.Errorf("ping: %v", err)
			}
		}
		p.close(4400, "enough")
	}}
	cfg := overSockets(t, g)
	handled := 0
	cfg.Handle = func(ctx context.Context, _ *dap.Action) *dap.ActionResponse {
		handled++
		<-ctx.Done()
		return nil
	}
	wantCode(t, client.Run(t.Context(), cfg), 4400, "enough")
	if handled != 1 {
		t.Errorf("%d actions were handled at a time", handled)
	}
}

func TestActionsThatWaitAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sent, answers := 0, 0
		g := &gateway{t: t, script: func(p *peer) {
			p.started()
			go func() {
				for range 100 {
					p.act(mkdir(strconv.Itoa(sent)))
					sent++
				}
			}()
			for ; answers < 100; answers++ {
				if got := p.answered().GetRequestID(); got != strconv.Itoa(answers) {
					t.Errorf("answer %d is to %s", answers, got)
				}
			}
			p.close(1000, "")
		}}
		cfg := inMemory(t, g)
		goOn := make(chan struct{})
		cfg.Handle = func(context.Context, *dap.Action) *dap.ActionResponse { <-goOn; return plain("") }
		done := make(chan error, 1)
		go func() { done <- client.Run(t.Context(), cfg) }()
		synctest.Wait()
		// One is handled, 16 wait, one is read and handed on. A pipe holds none.
		if sent != 18 {
			t.Errorf("%d actions were taken before one was answered", sent)
		}
		close(goOn)
		if err := <-done; err != nil || answers != 100 {
			t.Errorf("%v after %d answers", err, answers)
		}
	})
}

func TestEveryActionGetsAnAnswerThatCanBeSent(t *testing.T) {
	text := func(s string) func(context.Context, *dap.Action) *dap.ActionResponse {
		return func(context.Context, *dap.Action) *dap.ActionResponse { return plain(s) }
	}
	for name, test := range map[string]struct {
		handle func(context.Context, *dap.Action) *dap.ActionResponse
		want   string
	}{
		"no handler":      {nil, "this client answers no actions"},
		"not UTF-8":       {text("\xff"), "the answer can't be sent: "},
		"over 4 MiB":      {text(strings.Repeat("x", 4<<20)), "the answer can't be sent: message over 4 MiB"},
		"just under it":   {text(strings.Repeat("x", 4<<20-1024)), ""},
		"an empty answer": {func(context.Context, *dap.Action) *dap.ActionResponse { return &dap.ActionResponse{} }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			g := &gateway{t: t, script: func(p *peer) {
				p.started()
				p.act(mkdir("r1"))
				answer := p.answered()
				if answer.GetRequestID() != "r1" || !strings.HasPrefix(answer.GetPlainTextResponse().GetError(), test.want) {
					t.Errorf("got %.200v", answer)
				}
				p.close(1000, "")
			}}
			cfg := overSockets(t, g)
			cfg.Handle = test.handle
			if err := client.Run(t.Context(), cfg); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestHeartbeatsAreSentEveryMinuteWhateverGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gateway{t: t, script: func(p *peer) {
			begun := time.Now()
			p.started()
			p.act(mkdir("r1")) // which is never answered
			for i := range 5 {
				event, err := p.receive()
				if err != nil || event.GetHeartbeat().GetTimestamp() != time.Now().UnixMilli() {
					t.Errorf("got %v, %v", event, err)
				}
				if want := time.Duration(i+1) * time.Minute; time.Since(begun) != want {
					t.Errorf("heartbeat %d after %v", i, time.Since(begun))
				}
			}
			p.close(1000, "")
		}}
		cfg := inMemory(t, g)
		cfg.Handle = func(ctx context.Context, _ *dap.Action) *dap.ActionResponse { <-ctx.Done(); return nil }
		if err := client.Run(t.Context(), cfg); err != nil {
			t.Error(err)
		}
	})
}

func TestBackoffGrowsToItsBoundAndBeginsAnewAfterAnAction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gateway{t: t, script: func(p *peer) {
			p.started()
			switch p.n {
			case 20:
				p.act(checkpoint())
			case 30:
				p.close(1000, "")
				return
			}
			p.close(1001, "server shutdown")
		}}
		cfg := inMemory(t, g)
		var seen record
		cfg.Observe = seen.observe
		begun := time.Now()
		if err := client.Run(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
		var total time.Duration
		for i, again := range seen.reconnections() {
			attempt := i + 1
			if attempt >= 20 {
				attempt -= 19
			}
			bound := min(100*time.Millisecond<<(attempt-1), 10*time.Second)
			if again.Attempt != attempt || again.Delay < 0 || again.Delay > bound {
				t.Errorf("reconnection %d: attempt %d after %v, want attempt %d within %v", i, again.Attempt, again.Delay, attempt, bound)
			}
			wantCode(t, again.Cause, 1001, "server shutdown")
			total += again.Delay
		}
		if total != time.Since(begun) || total < 5*time.Second {
			t.Errorf("said to wait %v, waited %v", total, time.Since(begun))
		}
	})
}

// When a lease runs out has nothing to do with how often it was tried.
func TestAWorkflowThatRunsElsewhereIsTriedEveryTwoSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gateway{t: t, script: func(p *peer) {
			p.started()
			if p.n == 40 {
				p.close(1000, "")
				return
			}
			p.close(1013, "workflow is running elsewhere")
		}}
		cfg := inMemory(t, g)
		var seen record
		cfg.Observe = seen.observe
		if err := client.Run(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
		longest := time.Duration(0)
		for _, again := range seen.reconnections() {
			longest = max(longest, again.Delay)
		}
		if longest > 2*time.Second || longest < time.Second {
			t.Errorf("waited up to %v", longest)
		}
	})
}

func TestRetryAfterIsHonouredWithinBounds(t *testing.T) {
	for value, want := range map[string]time.Duration{"7": 7 * time.Second, "3600": time.Minute, "": 0, "-1": 0, "soon": 0, "99999999999999999999": 0} {
		t.Run(value, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var dials atomic.Int32
				workflow := &gateway{t: t, script: func(p *peer) { p.started(); p.close(1000, "") }}
				cfg := inMemory(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if dials.Add(1) > 1 {
						workflow.ServeHTTP(w, r)
						return
					}
					w.Header().Set("Retry-After", value)
					w.WriteHeader(503)
				}))
				begun := time.Now()
				if err := client.Run(t.Context(), cfg); err != nil {
					t.Error(err)
				}
				if waited := time.Since(begun); waited < want || waited > want+100*time.Millisecond {
					t.Errorf("came back after %v, want %v and at most 100 ms", waited, want)
				}
			})
		})
	}
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{"Thu, 01 Jan 2026 00:00:09 GMT": 9 * time.Second, "Wed, 31 Dec 2025 00:00:09 GMT": 0} {
		if got := client.RetryAfter(value, now); got != want {
			t.Errorf("%s: %v", value, got)
		}
	}
}

func TestDelaysStayWithinTheirBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		low := time.Duration(rapid.Int64Range(1, 1<<62).Draw(t, "min"))
		high := time.Duration(rapid.Int64Range(int64(low), 1<<62).Draw(t, "max"))
		asked := time.Duration(rapid.Int64Range(0, 1<<62).Draw(t, "asked"))
		ceiling := float64(low)
		for i, delay := range client.Delays(low, high, asked, 70) {
			floor := min(asked, time.Minute)
			if delay < floor || delay-floor > high || float64(delay-floor) > ceiling {
				t.Fatalf("delay %d is %v", i, delay)
			}
			ceiling *= 2
		}
	})
}

func TestAGatewayThatIsNotThereIsTriedUntilItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gateway{t: t, script: func(p *peer) { p.started(); p.close(1000, "") }}
		cfg := inMemory(t, g)
		transport := cfg.HTTPClient.Transport.(*http.Transport)
		dial := transport.DialContext
		var dials atomic.Int32 // the transport dials on goroutines of its own
		transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			switch dials.Add(1) {
			case 1:
				return nil, errors.New("connection refused")
			case 2: // as a host that drops packets
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return dial(ctx, network, address)
		}
		var seen record
		cfg.Observe = seen.observe
		begun := time.Now()
		if err := client.Run(t.Context(), cfg); err != nil || dials.Load() != 3 {
			t.Errorf("%v after %d dials", err, dials.Load())
		}
		if took := time.Since(begun); took < 30*time.Second || took > 31*time.Second {
			t.Errorf("a dial that hangs cost %v, want 30s", took)
		}
		cfg.HTTPClient.CloseIdleConnections()
		if first := seen.reconnections()[0].Cause.Error(); first != "connect to the gateway: connection refused" {
			t.Errorf("the first failure reads %q", first)
		}
	})
}

func TestGivingUpInTheMiddleOfADialLeavesNothing(t *testing.T) {
	known := goleak.IgnoreCurrent()
	for _, scheme := range []string{"ws", "wss"} {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		accepted := make(chan net.Conn, 1)
		go func() {
			conn, err := listener.Accept()
			if err != nil {
				t.Error(err)
			}
			accepted <- conn
			cancel()
		}()
		if err := client.Run(ctx, configFor(scheme+"://"+listener.Addr().String())); err != context.Canceled {
			t.Errorf("%s: got %v", scheme, err)
		}
		goleak.VerifyNone(t, known) // while the gateway's end is still open
		_ = (<-accepted).Close()
		_ = listener.Close()
	}
}

func TestAMessageThatIsNoActionEndsTheRun(t *testing.T) {
	for _, test := range []struct {
		name, message, reason string
		code                  int
		cause                 error
	}{
		{"garbage", "hello", "message is no Action", 1007, new(codec.SyntaxError)},
		{"too big for JSON", `{` + strings.Repeat(" ", codec.MaxJSON) + `}`, "message over 4 MiB", 1009, codec.ErrTooBig},
		{"garbage of 4 MiB", `"` + strings.Repeat("x", codec.MaxMessage) + `"`, "message is no Action", 1007, new(codec.SyntaxError)},
		{"too big for an agent", `{"requestID": "` + strings.Repeat("x", codec.MaxMessage) + `"}`, "message over 4 MiB", 1009, codec.ErrTooBig},
	} {
		t.Run(test.name, func(t *testing.T) {
			var end error
			g := &gateway{t: t, script: func(p *peer) {
				p.started()
				_ = p.Write(context.Background(), websocket.MessageText, []byte(test.message))
				end = p.drained()
			}}
			err := client.Run(t.Context(), overSockets(t, g))
			wantCode(t, err, test.code, test.reason)
			target := reflect.New(reflect.TypeOf(test.cause)).Interface()
			if !errors.As(err, target) {
				t.Errorf("%v is not caused by a %T", err, test.cause)
			}
			g.running.Wait()
			if int(websocket.CloseStatus(end)) != test.code {
				t.Errorf("the gateway saw %v", end)
			}
		})
	}
}

func TestAGatewayThatPingsAndFallsSilentIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		free := make(chan struct{})
		g := &gateway{t: t, script: func(p *peer) {
			p.started()
			if p.n == 2 {
				p.close(1000, "")
				return
			}
			reading := p.CloseRead(context.Background())
			for range 10 {
				time.Sleep(50 * time.Second)
				if err := p.Ping(reading); err != nil {
					t.Errorf("a gateway that pings was left: %v", err)
				}
			}
			<-free
		}}
		cfg := inMemory(t, g)
		cfg.Heartbeat = time.Hour
		var seen record
		cfg.Observe = seen.observe
		begun := time.Now()
		if err := client.Run(t.Context(), cfg); err != nil {
			t.Error(err)
		}
		close(free)
		if took := time.Since(begun); took < 560*time.Second || took > 561*time.Second {
			t.Errorf("took %v, want 500s of pings and 60s of silence", took)
		}
		if cause := seen.reconnections()[0].Cause.Error(); cause != "connection lost: the gateway stopped pinging" {
			t.Errorf("reconnected because %q", cause)
		}
		g.running.Wait()
	})
}

func TestAGatewayThatNeverPingsIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gateway{t: t, script: func(p *peer) {
			p.started()
			time.AfterFunc(5*time.Hour, func() { p.close(1000, "") })
			_ = p.drained()
		}}
		if err := client.Run(t.Context(), inMemory(t, g)); err != nil || g.dials.Load() != 1 {
			t.Errorf("%v after %d dials", err, g.dials.Load())
		}
	})
}

func TestAnIdleClientCostsTwoGoroutines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const clients = 100
		g := &gateway{t: t, script: func(p *peer) { p.started(); _ = p.drained() }}
		cfg := inMemory(t, g)
		before := runtime.NumGoroutine()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, clients)
		for range clients {
			go func() { done <- client.Run(ctx, cfg) }()
		}
		synctest.Wait()
		// A third is the gateway's. The runtime may have begun some of its own meanwhile.
		if n := runtime.NumGoroutine() - before; n > 3*clients+clients/10 {
			t.Errorf("%d goroutines for %d clients and their gateway", n, clients)
		}
		cancel()
		for range clients {
			if err := <-done; err != context.Canceled {
				t.Error(err)
			}
		}
		g.running.Wait()
	})
}
