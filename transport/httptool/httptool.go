// Package httptool runs the agent's runHTTPRequest actions against the platform's REST API.
//
// An answer over [toolhttp.MaxText] is never cut: the agent gets an error that contains "exceeded size limit",
// and can ask for less.
package httptool

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/actors/relay"
	"github.com/lastcall-go/lastcall/proto/dap"
	"github.com/lastcall-go/lastcall/transport/grant"
	"github.com/lastcall-go/lastcall/transport/toolhttp"
)

const (
	// MaxHeaders is how many bytes of the API's headers are passed on, names and values together.
	MaxHeaders = 32 << 10

	maxRedirects = 5
)

// The agent looks for these words: it asks for half as much, or tries again.
var (
	errTooLarge = fmt.Errorf("response body exceeded size limit (%d bytes)", toolhttp.MaxText)
	errTimedOut = errors.New("request timed out")
)

// failedRoundTrip is the status of a call that got no answer, or half of one. The agent tries again
// on a 5xx.
const failedRoundTrip = http.StatusBadGateway

// Options say which API is called, and for which session.
type Options struct {
	// API is the API's base URL, http or https, the token that each request carries, and the time
	// that each call has.
	API grant.API

	// ForwardedFor is the X-Forwarded-For that the client's own request came with, and RemoteAddr
	// the address it came from, with or without a port; the API gets both. May be empty.
	ForwardedFor string
	RemoteAddr   string

	// UserAgent is sent with each request, such as the client's and then the gateway's. Empty:
	// "lastcall".
	UserAgent string

	// Transport carries the requests; sessions should share one, and with it its connections,
	// which it closes when they have idled. Nil: [http.DefaultTransport].
	Transport http.RoundTripper
}

// Tool calls the API for one session. It takes every runHTTPRequest, and holds nothing between
// calls but the workflow's ID, which each request carries as X-Gitlab-Duo-Workflow-Id.
//
// A request never leaves the scheme, host and port of the base URL, nor the path below it: an
// action that tries is answered with an error. A redirect is followed within the same scheme, host
// and port, at most five times; any other is the answer, with its 3xx status. The token goes
// nowhere else, and is in no error.
type Tool struct {
	base      *url.URL
	token     string
	timeout   time.Duration
	forwarded string
	userAgent string
	workflow  string // written by Open
	client    *http.Client
}

var _ relay.Tool = (*Tool)(nil)

// New checks the base URL. The error names neither the URL nor the token.
func New(o Options) (*Tool, error) {
	base, err := parseBase(o.API.URL)
	if err != nil {
		return nil, fmt.Errorf("base URL of the API: %w", err)
	}
	t := &Tool{
		base:      base,
		token:     o.API.Token,
		timeout:   o.API.Timeout,
		forwarded: forwardedFor(o.ForwardedFor, o.RemoteAddr),
		userAgent: cmp.Or(o.UserAgent, "lastcall"),
	}
	t.client = &http.Client{Transport: o.Transport, CheckRedirect: t.checkRedirect}
	return t, nil
}

// Open implements [relay.Tool]: it keeps the workflow's ID for the requests. There is nothing to
// open.
func (t *Tool) Open(_ context.Context, start *dap.StartWorkflowRequest) error {
	t.workflow = start.GetWorkflowID()
	return nil
}

// Close implements [relay.Tool]: the connections belong to the transport.
func (t *Tool) Close(context.Context) error { return nil }

// Takes reports whether action is a runHTTPRequest.
func (t *Tool) Takes(action *dap.Action) bool { return action.GetRunHTTPRequest() != nil }

// Run calls the API and answers with its response, whatever the status, or with the reason why there
// is none: the error of the answer, never that of Run. The headers are cut at [MaxHeaders], without
// Set-Cookie; bytes that are not UTF-8 are replaced.
//
// The answer's error is in the words that the agent knows. A body over [toolhttp.MaxText] bytes is never cut:
// it is an error that it "exceeded size limit", without a status. A call that got no complete
// response has the status 502; its error says that it "timed out", "connection refused",
// "connection reset" or what else happened. A call that takes longer than the grant's timeout is
// answered with "request timed out". Run returns once ctx is done.
func (t *Tool) Run(ctx context.Context, action *dap.Action) (*dap.ActionResponse, error) {
	return &dap.ActionResponse{ResponseType: &dap.ActionResponse_HttpResponse{
		HttpResponse: t.call(ctx, action.GetRunHTTPRequest()),
	}}, nil
}

func (t *Tool) call(ctx context.Context, asked *dap.RunHTTPRequest) *dap.HttpResponse {
	if t.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, t.timeout)
		defer cancel()
	}
	request, err := t.request(ctx, asked)
	if err != nil {
		return &dap.HttpResponse{Error: err.Error()}
	}
	response, err := t.client.Do(request)
	if err != nil {
		return failed(ctx, "API request failed", err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, toolhttp.MaxText+1)) // one more, to see that it is too much
	if err != nil {
		return failed(ctx, "API response incomplete", err)
	}
	text := strings.ToValidUTF8(string(body), string(utf8.RuneError))
	if len(text) > toolhttp.MaxText {
		return &dap.HttpResponse{Error: errTooLarge.Error()}
	}
	return &dap.HttpResponse{
		StatusCode: int32(response.StatusCode),
		Headers:    headers(response.Header),
		Body:       text,
	}
}

// failed answers for a round trip without a complete response.
func failed(ctx context.Context, what string, err error) *dap.HttpResponse {
	reason := errTimedOut.Error()
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		reason = what + ": " + toolhttp.Reason(err)
	}
	return &dap.HttpResponse{StatusCode: failedRoundTrip, Error: reason}
}

var methods = map[string]bool{
	http.MethodGet: true, http.MethodHead: true, http.MethodPost: true,
	http.MethodPut: true, http.MethodPatch: true, http.MethodDelete: true,
}

// request makes what goes out of what the agent asked for. Its errors quote the agent's own words
// at most.
func (t *Tool) request(ctx context.Context, asked *dap.RunHTTPRequest) (*http.Request, error) {
	method := strings.ToUpper(asked.GetMethod())
	if !methods[method] {
		return nil, fmt.Errorf("method %q is not allowed", actors.CutText(asked.GetMethod(), 32))
	}
	target, err := resolve(t.base, asked.GetPath())
	if err != nil {
		return nil, fmt.Errorf("path refused: %w", err)
	}
	var body io.Reader
	if asked.GetBody() != "" {
		body = strings.NewReader(asked.GetBody())
	}
	request, err := http.NewRequestWithContext(ctx, method, target.String(), body)
	if err != nil {
		return nil, errors.New("path refused: it makes no URL")
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if t.token != "" {
		request.Header.Set("Authorization", "Bearer "+t.token)
	}
	if t.forwarded != "" {
		request.Header.Set("X-Forwarded-For", t.forwarded)
	}
	request.Header.Set("User-Agent", t.userAgent)
	toolhttp.SetWorkflow(request.Header, t.workflow)
	return request, nil
}

// checkRedirect makes the redirect itself the answer where it isn't followed.
func (t *Tool) checkRedirect(next *http.Request, before []*http.Request) error {
	if len(before) > maxRedirects || next.URL.User != nil || !toolhttp.SameOrigin(next.URL, t.base) {
		return http.ErrUseLastResponse
	}
	return nil
}

// forwardedFor extends a client's X-Forwarded-For by the address that its request came from.
func forwardedFor(before, remote string) string {
	if host, _, err := net.SplitHostPort(remote); err == nil {
		remote = host
	}
	if before == "" || remote == "" {
		return before + remote
	}
	return before + ", " + remote
}

// headers passes the API's headers on, several of a name joined, in the order of their names until
// MaxHeaders is reached. Set-Cookie would be a credential of the gateway's.
func headers(all http.Header) map[string]string {
	passed, room := make(map[string]string), MaxHeaders
	for _, name := range slices.Sorted(maps.Keys(all)) {
		value := actors.CutText(strings.Join(all[name], ", "), MaxHeaders)
		if name == "Set-Cookie" || len(name)+len(value) > room {
			continue
		}
		room -= len(name) + len(value)
		passed[name] = value
	}
	return passed
}
