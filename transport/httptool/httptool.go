// Package httptool runs the agent's runHTTPRequest actions against the platform's REST API.
package httptool

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/proto/dap"
	"github.com/lastcall-go/lastcall/transport/grant"
)

const (
	// MaxText is how many bytes an answer's text has at most: a message's 4 MiB, less 64 KiB for
	// what is around it.
	MaxText = 4<<20 - 64<<10

	// MaxHeaders is how many bytes of the API's headers are passed on, names and values together.
	MaxHeaders = 32 << 10

	maxRedirects = 5
)

// Options say which API is called, and for whom.
type Options struct {
	// API is the API's base URL, http or https, and the token that each request carries.
	API grant.API

	// ForwardedFor is the X-Forwarded-For that the client's own request came with, and RemoteAddr
	// the address it came from, with or without a port; the API is told both. May be empty.
	ForwardedFor string
	RemoteAddr   string

	// UserAgent is the client's, then the gateway's. Empty: "lastcall".
	UserAgent string

	// Transport carries the requests; sessions should share one, and with it its connections,
	// which it closes when they have idled. Nil: [http.DefaultTransport].
	Transport http.RoundTripper
}

// Tool calls the API for one session. It takes every runHTTPRequest, and holds nothing between
// calls.
//
// A request never leaves the scheme, host and port of the base URL, nor the path below it: an
// action that tries is answered with an error. A redirect is followed within the same scheme, host
// and port, at most five times; any other is the answer, with its 3xx status. The token goes
// nowhere else, and is in no error.
type Tool struct {
	base      *url.URL
	token     string
	forwarded string
	userAgent string
	client    *http.Client
}

var _ actors.Tool = (*Tool)(nil)

// New checks the base URL. The error names neither the URL nor the token.
func New(o Options) (*Tool, error) {
	base, err := parseBase(o.API.URL)
	if err != nil {
		return nil, fmt.Errorf("base URL of the API: %w", err)
	}
	t := &Tool{
		base:      base,
		token:     o.API.Token,
		forwarded: forwardedFor(o.ForwardedFor, o.RemoteAddr),
		userAgent: cmp.Or(o.UserAgent, "lastcall"),
	}
	t.client = &http.Client{Transport: o.Transport, CheckRedirect: t.checkRedirect}
	return t, nil
}

// Open implements [actors.Tool]: there is nothing to open.
func (t *Tool) Open(context.Context, *dap.StartWorkflowRequest) error { return nil }

// Close implements [actors.Tool]: the connections belong to the transport.
func (t *Tool) Close(context.Context) error { return nil }

// Takes tells whether action is a runHTTPRequest.
func (t *Tool) Takes(action *dap.Action) bool { return action.GetRunHTTPRequest() != nil }

// Run calls the API and answers with what it said, whatever the status, or with why it said
// nothing: the error of the answer, never that of Run. The body is cut at [MaxText] bytes and the
// headers at [MaxHeaders], without Set-Cookie; what is not UTF-8 in them is replaced. It returns
// once ctx is done.
func (t *Tool) Run(ctx context.Context, action *dap.Action) (*dap.ActionResponse, error) {
	response, err := t.call(ctx, action.GetRunHTTPRequest())
	if err != nil {
		response = &dap.HttpResponse{Error: err.Error()}
	}
	return &dap.ActionResponse{ResponseType: &dap.ActionResponse_HttpResponse{HttpResponse: response}}, nil
}

func (t *Tool) call(ctx context.Context, asked *dap.RunHTTPRequest) (*dap.HttpResponse, error) {
	request, err := t.request(ctx, asked)
	if err != nil {
		return nil, err
	}
	response, err := t.client.Do(request)
	if err != nil {
		return nil, errors.New("API request failed: " + Reason(err))
	}
	defer response.Body.Close()
	// A few bytes more, so that a character on the limit is cut off whole.
	body, err := io.ReadAll(io.LimitReader(response.Body, MaxText+4))
	if err != nil {
		return nil, errors.New("API response incomplete: " + Reason(err))
	}
	return &dap.HttpResponse{
		StatusCode: int32(response.StatusCode),
		Headers:    headers(response.Header),
		Body:       Text(string(body), MaxText),
	}, nil
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
		return nil, fmt.Errorf("method %q is not allowed", Text(asked.GetMethod(), 32))
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
	return request, nil
}

// checkRedirect makes the redirect itself the answer where it isn't followed.
func (t *Tool) checkRedirect(next *http.Request, before []*http.Request) error {
	if len(before) > maxRedirects || next.URL.User != nil || !SameOrigin(next.URL, t.base) {
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
