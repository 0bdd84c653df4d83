package httptool_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/lastcall-go/lastcall/proto/dap"
	"github.com/lastcall-go/lastcall/transport/codec"
	"github.com/lastcall-go/lastcall/transport/grant"
	"github.com/lastcall-go/lastcall/transport/httptool"
	"github.com/lastcall-go/lastcall/transport/toolhttp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const token = "glpat-secret"

// seen is what a request was when it reached the API.
type seen struct {
	Method, URI, Host, Body string
	Header                  http.Header
}

// echo answers with what it saw.
func echo(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(seen{r.Method, r.RequestURI, r.Host, string(body), r.Header})
}

// serve starts an API and returns a tool that calls it below prefix.
func serve(t *testing.T, prefix string, api http.HandlerFunc) (*httptool.Tool, *httptest.Server) {
	t.Helper()
	server := httptest.NewServer(api)
	t.Cleanup(server.Close)
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	tool, err := httptool.New(httptool.Options{
		API:          grant.API{URL: server.URL + prefix, Token: token},
		ForwardedFor: "203.0.113.7",
		RemoteAddr:   "[2001:db8::1]:4711",
		UserAgent:    "ide/1 lastcall/2",
		Transport:    transport,
	})
	if err != nil {
		t.Fatal(err)
	}
	return tool, server
}

func get(path string) *dap.RunHTTPRequest { return &dap.RunHTTPRequest{Method: "GET", Path: path} }

// run runs one action; the answer is always an httpResponse that fits a message and has no token.
func run(t *testing.T, ctx context.Context, tool *httptool.Tool, asked *dap.RunHTTPRequest) *dap.HttpResponse {
	t.Helper()
	action := &dap.Action{Action: &dap.Action_RunHTTPRequest{RunHTTPRequest: asked}}
	if !tool.Takes(action) {
		t.Fatal("the tool doesn't take a runHTTPRequest")
	}
	answer, err := tool.Run(ctx, action)
	if err != nil {
		t.Fatalf("failures are answered, not returned: %v", err)
	}
	response := answer.GetHttpResponse()
	if response == nil {
		t.Fatalf("answered with %v, want an httpResponse", answer)
	}
	wire, err := proto.Marshal(&dap.ClientEvent{Response: &dap.ClientEvent_ActionResponse{ActionResponse: answer}})
	if err != nil {
		t.Fatalf("the answer can't be sent: %v", err)
	}
	if len(wire) > codec.MaxMessage {
		t.Errorf("the answer has %d bytes", len(wire))
	}
	if strings.Contains(response.GetError(), token) {
		t.Errorf("the error names the token: %q", response.GetError())
	}
	return response
}

func echoed(t *testing.T, response *dap.HttpResponse) seen {
	t.Helper()
	var s seen
	if err := json.Unmarshal([]byte(response.GetBody()), &s); err != nil {
		t.Fatalf("%v: %v", response, err)
	}
	return s
}

func TestARequestReachesTheAPIWithTokenAndClient(t *testing.T) {
	tool, _ := serve(t, "", echo)
	response := run(t, t.Context(), tool, &dap.RunHTTPRequest{
		Method: "POST", Path: "/api/v4/projects/group%2Fproject/issues?labels=a%20b&x=1", Body: proto.String(`{"title": "t"}`),
	})
	if response.GetStatusCode() != 200 || response.GetError() != "" || response.GetHeaders()["Content-Type"] != "application/json" {
		t.Errorf("answered %v", response)
	}
	got := echoed(t, response)
	if got.Method != "POST" || got.URI != "/api/v4/projects/group%2Fproject/issues?labels=a%20b&x=1" || got.Body != `{"title": "t"}` {
		t.Errorf("the API saw %+v", got)
	}
	for name, want := range map[string]string{
		"Authorization":   "Bearer " + token,
		"X-Forwarded-For": "203.0.113.7, 2001:db8::1",
		"User-Agent":      "ide/1 lastcall/2",
		"Content-Type":    "application/json",
	} {
		if got := got.Header.Get(name); got != want {
			t.Errorf("the API saw %s %q, want %q", name, got, want)
		}
	}
}

func TestOnlyAWhitelistOfMethodsIsCalled(t *testing.T) {
	tool, _ := serve(t, "", func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Seen", r.Method) })
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "get"} {
		if response := run(t, t.Context(), tool, &dap.RunHTTPRequest{Method: method, Path: "/"}); response.GetHeaders()["Seen"] != strings.ToUpper(method) {
			t.Errorf("%s: %v", method, response)
		}
	}
	for _, method := range []string{"", "CONNECT", "TRACE", "OPTIONS", "GET ", "G\xffT", strings.Repeat("X", 1<<20)} {
		response := run(t, t.Context(), tool, &dap.RunHTTPRequest{Method: method, Path: "/"})
		if response.GetStatusCode() != 0 || !strings.Contains(response.GetError(), "not allowed") || len(response.GetError()) > 200 {
			t.Errorf("%.20q: %v", method, response)
		}
	}
}

func TestAPathStaysBelowTheBaseURL(t *testing.T) {
	tool, _ := serve(t, "/gitlab/", echo)
	for path, want := range map[string]string{
		"/api/v4/user":             "/gitlab/api/v4/user",
		"api/v4/user":              "/gitlab/api/v4/user",
		"":                         "/gitlab/",
		"?page=2":                  "/gitlab/?page=2",
		"/a%2Fb/c":                 "/gitlab/a%2Fb/c",
		"/a b/ä":                   "/gitlab/a%20b/%C3%A4",
		"/search?q=a b ä":          "/gitlab/search?q=a%20b%20%C3%A4",
		"/x?next=https://evil.com": "/gitlab/x?next=https://evil.com",
		"/files/..hidden/a...b":    "/gitlab/files/..hidden/a...b",
		"/user@evil.com":           "/gitlab/user@evil.com",
	} {
		if got := echoed(t, run(t, t.Context(), tool, get(path))); got.URI != want {
			t.Errorf("%q reached %q, want %q", path, got.URI, want)
		}
	}
}

func TestAPathThatCouldLeaveTheBaseURLIsRefused(t *testing.T) {
	asked := make(chan string, 100)
	tool, server := serve(t, "/gitlab", func(_ http.ResponseWriter, r *http.Request) { asked <- r.RequestURI })
	for _, path := range []string{
		"http://evil.com/", "https://evil.com", "HTTP://evil.com", "file:///etc/passwd", "evil.com:80/", server.URL + "/gitlab/api",
		"//evil.com/", "///evil.com", `/\evil.com`, `\\evil.com`, `/a\..\b`, "/%2Fevil.com", "%2f%2fevil.com", "/%5Cevil.com",
		"//user:pass@evil.com/", "http:evil.com", "http:/evil.com",
		"/..", "/../admin", "/a/../../admin", "/./a", "/%2e%2e/admin", "/.%2E/admin", "/a/..%2f..%2fadmin", "/%2e",
		"/a\r\nHost: evil.com", "/a%0d%0aHost:%20evil.com", "/a\x00", "/a%00", "/a%zz", "/a#b", "/a\t",
	} {
		response := run(t, t.Context(), tool, get(path))
		if !strings.HasPrefix(response.GetError(), "path refused") {
			t.Errorf("%q: %v", path, response)
		}
	}
	select {
	case uri := <-asked:
		t.Errorf("the API was asked for %q", uri)
	default:
	}
}

func FuzzPath(f *testing.F) {
	for _, seed := range []string{"/api/v4/user", "//evil.com", `/\evil.com`, "/%2e%2e/x", "http://evil.com", "/a%2Fb?c=d", "a b?c d", "/@evil.com", "/:80"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, path string) {
		transport := roundTripper(func(r *http.Request) (*http.Response, error) {
			decoded, err := url.PathUnescape(r.URL.EscapedPath())
			if r.URL.Scheme != "https" || r.URL.Host != "api.example" || r.Host != "api.example" || r.URL.User != nil || err != nil {
				t.Errorf("%q reached %v", path, r.URL)
			}
			if !strings.HasPrefix(r.URL.EscapedPath(), "/base/") || strings.Contains(decoded+"/", "/../") {
				t.Errorf("%q left the base: %v", path, r.URL)
			}
			if strings.ContainsAny(r.URL.RequestURI(), " \r\n\x00") {
				t.Errorf("%q makes a bad request line: %q", path, r.URL.RequestURI())
			}
			return nil, errors.New("seen")
		})
		tool, err := httptool.New(httptool.Options{API: grant.API{URL: "https://api.example/base"}, Transport: transport})
		if err != nil {
			t.Fatal(err)
		}
		run(t, t.Context(), tool, get(path))
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestARedirectIsFollowedOnTheSameHostAlone(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("another host was asked for %q", r.RequestURI)
	}))
	defer elsewhere.Close()
	tool, server := serve(t, "", func(w http.ResponseWriter, r *http.Request) {
		if to := r.URL.Query().Get("to"); to != "" {
			w.Header().Set("Location", to)
			w.WriteHeader(http.StatusTemporaryRedirect)
			return
		}
		echo(w, r)
	})
	host := strings.TrimPrefix(server.URL, "http://")
	for _, to := range []string{"/b", server.URL + "/b"} {
		got := echoed(t, run(t, t.Context(), tool, get("/a?to="+url.QueryEscape(to))))
		if got.URI != "/b" || got.Header.Get("Authorization") != "Bearer "+token {
			t.Errorf("a redirect to %q: the API saw %+v", to, got)
		}
	}
	for _, to := range []string{
		elsewhere.URL + "/b", strings.Replace(elsewhere.URL, "http:", "", 1), "https://" + host + "/b", "http://u:p@" + host + "/b",
	} {
		response := run(t, t.Context(), tool, get("/a?to="+url.QueryEscape(to)))
		if response.GetStatusCode() != http.StatusTemporaryRedirect || response.GetHeaders()["Location"] != to {
			t.Errorf("a redirect to %q was answered %v, want the redirect", to, response)
		}
	}
}

func TestRedirectsEndAfterFive(t *testing.T) {
	var requests atomic.Int32
	tool, _ := serve(t, "", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, fmt.Sprintf("/%d", requests.Add(1)), http.StatusFound)
	})
	response := run(t, t.Context(), tool, get("/"))
	if got := requests.Load(); response.GetStatusCode() != http.StatusFound || got != 6 {
		t.Errorf("%d requests, answered %v", got, response)
	}
}

func TestAStatusIsAnAnswer(t *testing.T) {
	tool, _ := serve(t, "", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "gone", http.StatusNotFound) })
	response := run(t, t.Context(), tool, get("/"))
	if response.GetStatusCode() != 404 || response.GetBody() != "gone\n" || response.GetError() != "" {
		t.Errorf("answered %v", response)
	}
}

// A cut answer of the API reads as an empty one to the agent, which would lose its state.
func TestAnAnswerOverTheLimitIsAnErrorAndNeverCut(t *testing.T) {
	tool, _ := serve(t, "", func(w http.ResponseWriter, r *http.Request) {
		size, _ := strconv.Atoi(r.URL.Query().Get("size"))
		_, _ = io.WriteString(w, strings.Repeat(r.URL.Query().Get("of"), size))
	})
	for _, fits := range []string{"/?of=x&size=" + strconv.Itoa(toolhttp.MaxText), "/?of=%ff.&size=" + strconv.Itoa(toolhttp.MaxText/4)} {
		response := run(t, t.Context(), tool, get(fits))
		if response.GetStatusCode() != 200 || response.GetError() != "" || len(response.GetBody()) != toolhttp.MaxText {
			t.Errorf("%s: answered %d, %q, %d bytes", fits, response.GetStatusCode(), response.GetError(), len(response.GetBody()))
		}
	}
	for _, over := range []string{
		"/?of=x&size=" + strconv.Itoa(toolhttp.MaxText+1), "/?of=x&size=" + strconv.Itoa(5<<20),
		"/?of=%ff.&size=" + strconv.Itoa(toolhttp.MaxText/4+1), // two bytes become four
	} {
		response := run(t, t.Context(), tool, get(over))
		if !strings.Contains(response.GetError(), "exceeded size limit") || response.GetStatusCode() != 0 || response.GetBody() != "" {
			t.Errorf("%s: answered %d, %q, %d bytes", over, response.GetStatusCode(), response.GetError(), len(response.GetBody()))
		}
	}
}

func TestBytesThatAreNotUTF8AreReplaced(t *testing.T) {
	tool, _ := serve(t, "", func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["X-Latin"] = []string{"caf\xe9"}
		_, _ = io.WriteString(w, "\xff.")
	})
	response := run(t, t.Context(), tool, get("/"))
	if response.GetBody() != "\uFFFD." || response.GetHeaders()["X-Latin"] != "caf\uFFFD" {
		t.Errorf("answered %v", response)
	}
}

func TestEachRequestTellsTheWorkflow(t *testing.T) {
	for id, want := range map[string]string{
		"77": "77", "gid://gitlab/7": "gid://gitlab/7", "": "", "7\r\nX-Evil: 1": "", "ü": "", strings.Repeat("7", 257): "",
	} {
		tool, _ := serve(t, "", echo)
		if err := tool.Open(t.Context(), &dap.StartWorkflowRequest{WorkflowID: id}); err != nil {
			t.Fatal(err)
		}
		got := echoed(t, run(t, t.Context(), tool, get("/"))).Header
		if got.Get("X-Gitlab-Duo-Workflow-Id") != want || got.Get("X-Evil") != "" {
			t.Errorf("workflow %.20q: the API saw %q", id, got)
		}
	}
}

func TestHeadersAreJoinedAndBoundedAndWithoutCookies(t *testing.T) {
	tool, _ := serve(t, "", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Add("Set-Cookie", "session=1")
		w.Header()["Link"] = []string{"a", "b"}
		for i := range 100 {
			w.Header().Set(fmt.Sprintf("X-Filler-%d", i), strings.Repeat("x", 1<<10))
		}
	})
	headers := run(t, t.Context(), tool, get("/")).GetHeaders()
	size := 0
	for name, value := range headers {
		size += len(name) + len(value)
	}
	if size > httptool.MaxHeaders || headers["Link"] != "a, b" || headers["Set-Cookie"] != "" {
		t.Errorf("%d headers of %d bytes, Link %q, Set-Cookie %q", len(headers), size, headers["Link"], headers["Set-Cookie"])
	}
}

func TestACallEndsWithItsContext(t *testing.T) {
	for name, begin := range map[string]func(http.ResponseWriter){
		"before the headers": func(http.ResponseWriter) {},
		"within the body":    func(w http.ResponseWriter) { _ = http.NewResponseController(w).Flush() },
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			tool, _ := serve(t, "", func(w http.ResponseWriter, r *http.Request) {
				begin(w)
				cancel()
				<-r.Context().Done()
			})
			if response := run(t, ctx, tool, get("/")); !strings.HasSuffix(response.GetError(), "cancelled") {
				t.Errorf("answered %v", response)
			}
		})
	}
}

func TestATimeoutIsAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hung := roundTripper(func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		})
		tool, err := httptool.New(httptool.Options{API: grant.API{URL: "https://api.example"}, Transport: hung})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if response := run(t, ctx, tool, get("/")); response.GetError() != "request timed out" || response.GetStatusCode() != 502 {
			t.Errorf("answered %v", response)
		}
	})
}

func TestACallHasTheTimeThatTheGrantGivesIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := func(duration time.Duration) roundTripper {
			return func(r *http.Request) (*http.Response, error) {
				body, feed := io.Pipe()
				go func() {
					select {
					case <-time.After(duration):
						_ = feed.Close()
					case <-r.Context().Done():
						_ = feed.CloseWithError(r.Context().Err())
					}
				}()
				return &http.Response{StatusCode: 200, Body: body, Request: r}, nil
			}
		}
		for _, c := range []struct {
			limit, takes time.Duration
			want         string
		}{
			{5 * time.Second, 6 * time.Second, "request timed out"},
			{5 * time.Second, 4 * time.Second, ""},
			{0, 50 * time.Second, ""},
		} {
			tool, err := httptool.New(httptool.Options{API: grant.API{URL: "https://api.example", Timeout: c.limit}, Transport: slow(c.takes)})
			if err != nil {
				t.Fatal(err)
			}
			begun := time.Now()
			response := run(t, t.Context(), tool, get("/"))
			if response.GetError() != c.want || c.want != "" && (response.GetStatusCode() != 502 || time.Since(begun) != c.limit) {
				t.Errorf("with %v for a call of %v: answered %v after %v", c.limit, c.takes, response, time.Since(begun))
			}
		}
	})
}

// The agent calls again on the status 502 and on "connection refused" and "connection reset".
func TestFailuresAreAnsweredInWordsThatTheAgentKnowsWithoutAddresses(t *testing.T) {
	absent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	absent.Close()
	untrusted := httptest.NewUnstartedServer(http.NotFoundHandler())
	untrusted.Config.ErrorLog = log.New(io.Discard, "", 0)
	untrusted.StartTLS()
	defer untrusted.Close()
	_, broken := serve(t, "", func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) })
	_, partial := serve(t, "", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "half")
	})
	_, reset := serve(t, "", func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			_ = conn.(*net.TCPConn).SetLinger(0)
			_ = conn.Close()
		}
	})
	timeout := roundTripper(func(*http.Request) (*http.Response, error) { return nil, os.ErrDeadlineExceeded })
	pipe := roundTripper(func(*http.Request) (*http.Response, error) { return nil, syscall.EPIPE })
	for name, c := range map[string]struct {
		url, want string
		transport http.RoundTripper
	}{
		"refused":   {"http://" + absent.Addr().String(), "API request failed: connection refused", nil},
		"untrusted": {untrusted.URL, "API request failed: certificate not trusted", nil},
		"broken":    {broken.URL, "API request failed: connection reset before the answer was complete", nil},
		"partial":   {partial.URL, "API response incomplete: connection reset before the answer was complete", nil},
		"reset":     {reset.URL, "API request failed: connection reset by peer", nil},
		"hung":      {"http://api.example", "API request failed: timed out", timeout},
		"not taken": {"http://api.example", "API request failed: connection reset before the answer was complete", pipe},
	} {
		t.Run(name, func(t *testing.T) {
			connections := &http.Transport{}
			defer connections.CloseIdleConnections()
			if c.transport == nil {
				c.transport = connections
			}
			tool, err := httptool.New(httptool.Options{API: grant.API{URL: c.url, Token: token}, Transport: c.transport})
			if err != nil {
				t.Fatal(err)
			}
			if response := run(t, t.Context(), tool, get("/secret-path")); response.GetError() != c.want || response.GetStatusCode() != 502 {
				t.Errorf("answered %v, want %q", response, c.want)
			}
		})
	}
}

func TestABadBaseURLIsRefusedWithoutBeingQuoted(t *testing.T) {
	for _, raw := range []string{
		"", "api.example", "ftp://api.example", "http://", "http://:80", "https://u:hunter2@api.example",
		"https://api.example/?hunter2", "https://api.example/#hunter2", "https://hunter2\x7f",
	} {
		_, err := httptool.New(httptool.Options{API: grant.API{URL: raw, Token: token}})
		if err == nil || strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), token) {
			t.Errorf("%q: %v", raw, err)
		}
	}
}

func TestAConnectionIsSharedByCalls(t *testing.T) {
	tool, _ := serve(t, "", func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.RemoteAddr) })
	remotes := make(map[string]bool)
	for range 3 {
		remotes[run(t, t.Context(), tool, get("/")).GetBody()] = true
	}
	if len(remotes) != 1 {
		t.Errorf("three calls used %d connections", len(remotes))
	}
}

func TestOtherActionsAreLeftToOthers(t *testing.T) {
	tool, _ := serve(t, "", echo)
	if tool.Takes(&dap.Action{Action: &dap.Action_RunMCPTool{RunMCPTool: &dap.RunMCPTool{}}}) || tool.Takes(&dap.Action{}) {
		t.Error("the tool takes what it can't run")
	}
}
