package admin

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/tmaxmax/go-sse"

	"github.com/lastcall-go/lastcall/transport/history"
	"github.com/lastcall-go/lastcall/transport/printable"
)

// Bounds of what a [Client] takes and waits for.
const (
	clientTimeout   = 10 * time.Second // an answer, whole. Of GET /events: its header
	clientSilence   = 45 * time.Second // between two lines of events: three of the server's comments
	maxClientAnswer = 64 << 20         // some 100,000 sessions
	maxClientEvent  = 4 << 20
	maxClientLine   = 1 << 10 // what an error says
)

// ErrStreamEnded says that the gateway ended its events: it stops, or shed its listeners.
var ErrStreamEnded = errors.New("the gateway ended the stream of events")

// StatusError is an answer that isn't 2xx.
type StatusError struct {
	Status int
	Line   string // the begin of what the gateway said, printable. Empty: nothing
}

func (e *StatusError) Error() string {
	if e.Line == "" {
		return fmt.Sprintf("the gateway answered %d %s", e.Status, http.StatusText(e.Status))
	}
	return fmt.Sprintf("the gateway answered %d: %s", e.Status, e.Line)
}

// Client asks a gateway's admin listener. Any number of goroutines may use it at once. An answer that
// isn't 2xx is a [*StatusError], a redirect too; an answer that is too large or takes longer than 10 s fails.
// A loopback address is asked directly, another one through the proxy that the environment names.
type Client struct {
	base    *url.URL
	bearer  string
	http    *http.Client
	silence time.Duration
}

// NewClient asks at base, to which paths are joined. The bearer token may be empty. The caller must
// call Close.
func NewClient(base *url.URL, bearer string) *Client {
	return &Client{
		base:    base,
		bearer:  bearer,
		silence: clientSilence,
		http: &http.Client{
			Transport: &http.Transport{
				Proxy:                  http.ProxyFromEnvironment, // which leaves loopback out
				DialContext:            (&net.Dialer{Timeout: clientTimeout}).DialContext,
				TLSHandshakeTimeout:    clientTimeout,
				ResponseHeaderTimeout:  clientTimeout,
				MaxResponseHeaderBytes: 64 << 10,
				IdleConnTimeout:        time.Minute,
				DisableCompression:     true, // an event must not wait for a block to be full
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// Close lets go of the connections that no call is using. The client can still be used.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Sessions asks for the sessions that match.
func (c *Client) Sessions(ctx context.Context, query Query) (*Sessions, error) {
	u := c.base.JoinPath("sessions")
	u.RawQuery = query.values().Encode()
	return clientAnswer[Sessions](ctx, c, http.MethodGet, u, nil)
}

// Session asks for one session.
func (c *Client) Session(ctx context.Context, id string) (*Session, error) {
	if err := checkID(id); err != nil {
		return nil, err
	}
	return clientAnswer[Session](ctx, c, http.MethodGet, c.base.JoinPath("sessions", id), nil)
}

// Ready returns nil if the gateway is ready: GET /readyz. A [*StatusError] says why it isn't.
func (c *Client) Ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, clientTimeout)
	defer cancel()
	response, err := c.do(ctx, http.MethodGet, c.base.JoinPath("readyz"), nil)
	if err != nil {
		return err
	}
	return response.Body.Close()
}

// State asks how the gateway stands, and for its drains.
func (c *Client) State(ctx context.Context) (*State, error) {
	return clientAnswer[State](ctx, c, http.MethodGet, c.base.JoinPath("drain"), nil)
}

// Estimate asks what a drain would take: of everything, or of a part. It drains nothing.
func (c *Client) Estimate(ctx context.Context, part Part, options DrainOptions) (*Estimate, error) {
	values := options.values()
	maps.Copy(values, part.values())
	return c.estimate(ctx, values)
}

// EstimateSession asks what the drain of one session would take. It drains nothing.
func (c *Client) EstimateSession(ctx context.Context, id string, options DrainOptions) (*Estimate, error) {
	values := options.values()
	values.Set("id", id)
	return c.estimate(ctx, values)
}

func (c *Client) estimate(ctx context.Context, values url.Values) (*Estimate, error) {
	u := c.base.JoinPath("drain", "estimate")
	u.RawQuery = values.Encode()
	return clientAnswer[Estimate](ctx, c, http.MethodGet, u, nil)
}

// History asks for the last hour, and the drains that are over.
func (c *Client) History(ctx context.Context) (*history.View, error) {
	return clientAnswer[history.View](ctx, c, http.MethodGet, c.base.JoinPath("history"), nil)
}

// DrainReport asks what became of a drain that is over.
func (c *Client) DrainReport(ctx context.Context, id string) (*history.Summary, error) {
	if err := checkID(id); err != nil {
		return nil, err
	}
	return clientAnswer[history.Summary](ctx, c, http.MethodGet, c.base.JoinPath("drains", id), nil)
}

// Drain begins a drain of everything, and doesn't wait for it. The gateway refuses new sessions until
// [Client.Resume].
func (c *Client) Drain(ctx context.Context, options DrainOptions) (*Drain, error) {
	return clientAnswer[Drain](ctx, c, http.MethodPost, c.base.JoinPath("drain"), options.values())
}

// DrainPart begins the drain of a part of the sessions, and doesn't wait for it. A part without a field is an
// error: it would be everything.
func (c *Client) DrainPart(ctx context.Context, part Part, options DrainOptions) (*Drain, error) {
	if part == (Part{}) {
		return nil, errors.New("the part of the sessions to drain is not given")
	}
	values := options.values()
	maps.Copy(values, part.values())
	return clientAnswer[Drain](ctx, c, http.MethodPost, c.base.JoinPath("drain"), values)
}

// DrainSession begins the drain of one session, and doesn't wait for it.
func (c *Client) DrainSession(ctx context.Context, id string, options DrainOptions) (*Drain, error) {
	if err := checkID(id); err != nil {
		return nil, err
	}
	return clientAnswer[Drain](ctx, c, http.MethodPost, c.base.JoinPath("sessions", id, "drain"), options.values())
}

// Resume has the gateway admit sessions again.
func (c *Client) Resume(ctx context.Context) (*State, error) {
	return clientAnswer[State](ctx, c, http.MethodPost, c.base.JoinPath("resume"), nil)
}

// checkID keeps an ID from being a path: "..", joined, would drain everything.
func checkID(id string) error {
	plain := func(r rune) bool {
		return r == '-' || r == '_' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
	}
	if id == "" || strings.ContainsFunc(id, func(r rune) bool { return !plain(r) }) {
		return fmt.Errorf("%q is no ID", id)
	}
	return nil
}

// clientAnswer makes one request whose answer is JSON.
func clientAnswer[T any](ctx context.Context, c *Client, method string, u *url.URL, params url.Values) (*T, error) {
	ctx, cancel := context.WithTimeout(ctx, clientTimeout)
	defer cancel()
	response, err := c.do(ctx, method, u, params)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	data, err := io.ReadAll(io.LimitReader(response.Body, maxClientAnswer+1))
	if err != nil {
		return nil, fmt.Errorf("read the answer to %s %s: %w", method, u.Path, err)
	}
	if len(data) > maxClientAnswer {
		return nil, fmt.Errorf("the answer to %s %s is larger than %d MiB", method, u.Path, maxClientAnswer>>20)
	}
	answer := new(T)
	if err := json.Unmarshal(data, answer); err != nil {
		return nil, fmt.Errorf("%s %s: not the answer of a lastcall gateway: %w", method, u.Path, err)
	}
	return answer, nil
}

// do makes a request; params are the form of a POST. If the answer isn't 2xx it is an error; otherwise the
// caller must close its body.
func (c *Client) do(ctx context.Context, method string, u *url.URL, params url.Values) (*http.Response, error) {
	var content io.Reader
	if method == http.MethodPost {
		content = strings.NewReader(params.Encode())
	}
	request, err := http.NewRequestWithContext(ctx, method, u.String(), content)
	if err != nil {
		return nil, err
	}
	request.Header.Set("User-Agent", "lastcall")
	if c.bearer != "" {
		request.Header.Set("Authorization", "Bearer "+c.bearer)
	}
	if method == http.MethodPost {
		request.Header.Set(adminHeader, "1")
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode/100 == 2 {
		return response, nil
	}
	defer response.Body.Close()
	why, _ := io.ReadAll(io.LimitReader(response.Body, maxClientLine)) // what came of it will do
	return nil, &StatusError{response.StatusCode, firstLine(why)}
}

// firstLine is a text's first line, safe to show.
func firstLine(text []byte) string {
	line, _, _ := bytes.Cut(bytes.TrimSpace(text), []byte("\n"))
	return strings.TrimSpace(printable.Line(string(line)))
}

// Events calls handle for each event, in their order, from the state that comes first. It returns
// handle's error if there is one, [ErrStreamEnded] when the gateway has ended the stream, and fails
// where nothing comes for 45 s. The gateway doesn't wait for a slow handle: see [EventLagged].
func (c *Client) Events(ctx context.Context, handle func(Event) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	response, err := c.do(ctx, http.MethodGet, c.base.JoinPath("events"), nil)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if kind, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type")); kind != "text/event-stream" {
		return fmt.Errorf("GET /events: not the answer of a lastcall gateway: its type is %q", kind)
	}
	silent := fmt.Errorf("nothing came from the gateway for %v", c.silence)
	watchdog := time.AfterFunc(c.silence, func() { cancel(silent) })
	defer watchdog.Stop()
	body := watched{response.Body, watchdog, c.silence}
	for event, err := range sse.Read(body, &sse.ReadConfig{MaxEventSize: maxClientEvent}) {
		switch cause := context.Cause(ctx); {
		case err != nil && cause != nil:
			return cause
		case errors.Is(err, bufio.ErrTooLong):
			return errEventTooLarge
		case err != nil:
			return fmt.Errorf("read events: %w", err)
		case event.Data == "":
			continue
		}
		if err := handle(Event{Name: event.Type, Data: json.RawMessage(event.Data)}); err != nil {
			return err
		}
	}
	return ErrStreamEnded
}

// errEventTooLarge bounds what an event takes of the memory.
var errEventTooLarge = fmt.Errorf("an event is larger than %d MiB", maxClientEvent>>20)

// watched is a body whose reads must each bring something in time. What comes between them may take its time.
type watched struct {
	io.Reader
	watchdog *time.Timer
	timeout  time.Duration
}

// Read implements [io.Reader].
func (w watched) Read(p []byte) (int, error) {
	w.watchdog.Reset(w.timeout)
	defer w.watchdog.Stop()
	return w.Reader.Read(p)
}
