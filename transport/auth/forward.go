package auth

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lastcall-go/lastcall/transport/grant"
)

// DefaultTimeout is how long a pre-authorization endpoint gets to answer.
const DefaultTimeout = 10 * time.Second

const (
	maxAnswer        = 1 << 20  // of the endpoint, a grant
	maxDiscard       = 64 << 10 // read of any other answer, so that the connection can be used again
	maxAnswerHeader  = 64 << 10
	maxChallenges    = 8
	maxChallengeSize = 1 << 10

	// Of the client made where none is given. net/http dials on after a request has given up.
	dialTimeout = 10 * time.Second
	idleTimeout = 90 * time.Second
	idleConns   = 32
)

// ForwardOptions say which endpoint is asked, and how.
type ForwardOptions struct {
	// URL is the endpoint, http or https. Without a path (or with "/") it is asked for the path and
	// query of the client's request, as GitLab Workhorse does. With a path or a query it is asked as
	// it is, and gets the client's in the headers X-Original-URI and X-Original-Method, as is usual
	// with nginx's auth_request.
	URL string

	// APIURL is the base of the API for runHTTPRequest. Empty: the scheme and host of URL.
	APIURL string

	// Secret signs each request: a header Gitlab-Workhorse-Api-Request with a JWT, HS256, of the
	// issuer gitlab-workhorse, that expires in 5 min. It has 32 bytes. Nil: requests aren't signed.
	Secret Secret

	// Timeout is for the whole answer. 0: 10 s.
	Timeout time.Duration

	// HTTPClient carries the requests, on its Transport and within its Timeout; it follows no
	// redirects and keeps no cookies, whatever it says. Nil: one of its own.
	HTTPClient *http.Client

	// Base is what a grant has where the answer says nothing. Sessions are locked if Base or the
	// answer says so. Its Principal and Agent are ignored.
	Base grant.Grant
}

// Format implements [fmt.Formatter]: it shows nothing of the options.
func (ForwardOptions) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, "auth.ForwardOptions") }

// Forward asks a pre-authorization endpoint.
type Forward struct {
	endpoint *url.URL
	verbatim bool // the endpoint is asked as it is
	api      *url.URL
	secret   Secret
	timeout  time.Duration
	client   http.Client
	base     grant.Grant
	key      []byte // of pseudonyms; random
}

// NewForward checks the options; it doesn't connect.
func NewForward(options ForwardOptions) (*Forward, error) {
	endpoint, err := parseURL(options.URL)
	if err != nil {
		return nil, fmt.Errorf("authorization endpoint: %w", err)
	}
	api := &url.URL{Scheme: endpoint.Scheme, Host: endpoint.Host}
	if options.APIURL != "" {
		if api, err = parseURL(options.APIURL); err != nil {
			return nil, fmt.Errorf("API URL: %w", err)
		}
	}
	if options.Secret != nil && len(options.Secret) != secretBytes {
		return nil, fmt.Errorf("secret has %d bytes, want %d", len(options.Secret), secretBytes)
	}
	if options.Timeout < 0 {
		return nil, fmt.Errorf("timeout of the authorization endpoint is negative: %v", options.Timeout)
	}
	f := &Forward{
		endpoint: endpoint,
		verbatim: strings.Trim(endpoint.Path, "/") != "" || endpoint.RawQuery != "",
		api:      api,
		secret:   slices.Clone(options.Secret),
		timeout:  cmp.Or(options.Timeout, DefaultTimeout),
		client:   endpointClient(options.HTTPClient),
		base:     *grantTo("", &options.Base),
		key:      make([]byte, sha256.Size),
	}
	_, _ = rand.Read(f.key) // never fails
	return f, nil
}

// endpointClient follows no redirects: they would take the client's credentials elsewhere. It has
// no jar, which would give one client's cookies to another.
func endpointClient(given *http.Client) http.Client {
	var client http.Client
	if given != nil {
		client = *given
	} else {
		client.Transport = &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            (&net.Dialer{Timeout: dialTimeout}).DialContext,
			TLSHandshakeTimeout:    dialTimeout,
			ForceAttemptHTTP2:      true,
			MaxIdleConnsPerHost:    idleConns,
			IdleConnTimeout:        idleTimeout,
			MaxResponseHeaderBytes: maxAnswerHeader,
		}
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	client.Jar = nil
	return client
}

// Authorize implements [grant.Authorizer]. The endpoint gets the request's method, host and
// headers, without those that belong to one connection or to a body, X-Forwarded-For extended by
// the peer's address, and no body.
//
// It grants with 200, a content type of application/vnd.gitlab-workhorse+json or application/json,
// and the JSON that GitLab Workhorse takes, 1 MiB at most. Its 401, 403, 404 and 429 are a
// [*grant.RefusedError] with its WWW-Authenticate, or the Retry-After of a 429, and nothing of its body.
// Everything else (a redirect, no
// answer in time, a grant that can't be used) is an error without a word of the request or of the
// answer; it is [context.DeadlineExceeded] where the endpoint took too long.
//
// The principal is the answer's GL_ID or GL_USERNAME, or the agent's header
// x-gitlab-global-user-id, the first that is there. Without any, it is a pseudonym made from the
// request's credentials with a random key: the same for the same credentials as long as the process
// lives. Without credentials it is empty.
func (f *Forward) Authorize(r *http.Request) (*grant.Grant, error) {
	ctx, cancel := context.WithTimeout(r.Context(), f.timeout)
	defer cancel()
	g, err := f.ask(ctx, r)
	var refused *grant.RefusedError
	switch {
	case errors.As(err, &refused):
		return nil, refused
	case err != nil:
		return nil, fmt.Errorf("authorization endpoint: %w", err)
	}
	if g.Principal == "" {
		g.Principal = f.pseudonym(r)
	}
	return g, nil
}

// CloseIdleConnections closes the idle connections to the endpoint.
func (f *Forward) CloseIdleConnections() { f.client.CloseIdleConnections() }

// Format implements [fmt.Formatter]: it shows the endpoint's host and nothing else.
func (f *Forward) Format(s fmt.State, _ rune) {
	_, _ = io.WriteString(s, "auth.Forward to "+f.endpoint.Host)
}

func (f *Forward) ask(ctx context.Context, r *http.Request) (*grant.Grant, error) {
	request, err := f.request(ctx, r)
	if err != nil {
		return nil, err
	}
	response, err := f.client.Do(request)
	if err != nil {
		return nil, failure(ctx, err)
	}
	defer func() {
		_, _ = io.CopyN(io.Discard, response.Body, maxDiscard)
		_ = response.Body.Close()
	}()
	switch response.StatusCode {
	case http.StatusOK:
		return f.read(ctx, response)
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusTooManyRequests:
		return nil, refusal(response)
	default:
		return nil, fmt.Errorf("answered %d", response.StatusCode)
	}
}

func (f *Forward) read(ctx context.Context, response *http.Response) (*grant.Grant, error) {
	switch kind, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type")); kind {
	case "application/vnd.gitlab-workhorse+json", "application/json":
	default:
		return nil, errors.New("answered with a content type that isn't JSON")
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if err != nil {
		return nil, failure(ctx, err)
	}
	if len(body) > maxAnswer {
		return nil, fmt.Errorf("answered with over %d bytes", maxAnswer)
	}
	g, err := parseGrant(body, &f.base, f.api)
	if err != nil {
		return nil, fmt.Errorf("grant can't be used: %w", err)
	}
	return g, nil
}

// refusal passes one of the endpoint on, with as much of its WWW-Authenticate as a client can be expected to
// read, and the time after which a client that was too fast may come back.
func refusal(response *http.Response) *grant.RefusedError {
	refused := &grant.RefusedError{
		Status: response.StatusCode,
		Header: make(http.Header),
		Reason: strings.ToLower(http.StatusText(response.StatusCode)),
	}
	if wait := response.Header.Get("Retry-After"); response.StatusCode == http.StatusTooManyRequests && isWait(wait) {
		refused.Header.Set("Retry-After", wait)
	}
	for _, challenge := range response.Header.Values("WWW-Authenticate") {
		if len(challenge) > maxChallengeSize || len(refused.Header["Www-Authenticate"]) == maxChallenges {
			continue
		}
		refused.Header.Add("WWW-Authenticate", challenge)
	}
	return refused
}

// isWait reports whether a text is a Retry-After: seconds, or a date.
func isWait(text string) bool {
	if _, err := strconv.ParseUint(text, 10, 31); err == nil {
		return true
	}
	_, err := http.ParseTime(text)
	return err == nil
}

// failure says why there is no answer. Most errors of net/http quote the URL, with its query, or
// what the endpoint sent; only those that can't are kept.
func failure(ctx context.Context, err error) error {
	var (
		timeout     net.Error
		operation   *net.OpError
		certificate *tls.CertificateVerificationError
	)
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return fmt.Errorf("request given up: %w", context.Canceled)
	case ctx.Err() != nil, errors.As(err, &timeout) && timeout.Timeout():
		return fmt.Errorf("no answer in time: %w", context.DeadlineExceeded)
	case errors.As(err, &operation):
		return operation
	case errors.As(err, &certificate):
		return certificate
	default:
		return errors.New("the connection broke, or the answer wasn't HTTP")
	}
}

// credentialsOf returns what a client shows of itself: the first of a bearer token or its like, a
// private token, and its cookies.
func credentialsOf(r *http.Request) string {
	credentials := strings.TrimSpace(r.Header.Get("Authorization"))
	if _, afterScheme, ok := strings.Cut(credentials, " "); ok {
		credentials = strings.TrimSpace(afterScheme)
	}
	return cmp.Or(credentials, r.Header.Get("Private-Token"), r.Header.Get("Cookie"))
}

// pseudonym keeps clients apart without naming them. A plain hash would do for
// a random token, but Basic credentials could be guessed from it.
func (f *Forward) pseudonym(r *http.Request) string {
	credentials := credentialsOf(r)
	if credentials == "" {
		return ""
	}
	mac := hmac.New(sha256.New, f.key)
	_, _ = io.WriteString(mac, credentials)
	return "client-" + hex.EncodeToString(mac.Sum(nil)[:8])
}
