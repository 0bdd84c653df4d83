package mcptool

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync/atomic"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/transport/toolhttp"
)

// What a server may send in bytes: what it has to say before its tools are known, and in one call.
// Text of MaxText bytes fits, escaped, or an image.
const (
	maxListing = 4 << 20
	maxReply   = 8 << 20
	maxWords   = 4 << 10 // of a server's error
	maxRefusal = 8 << 10 // of a refusal that is looked into
)

// Of the protocol.
const (
	sessionHeader = "Mcp-Session-Id"
	eventStream   = "text/event-stream"

	// serverError is the JSON-RPC code with which the protocol's reference server refuses a session
	// that it doesn't know. The specification wants the status 404; this one comes with 400.
	serverError = -32000
)

var (
	errElsewhere = errors.New("redirected to another host")
	errTooLarge  = errors.New("answer exceeded size limit") // words that the agent looks for
	errBadURL    = errors.New("not a URL")
	errSSEOnly   = errors.New("speaks only HTTP+SSE, the protocol's older transport: want streamable HTTP")
)

// statusError is an answer that is no MCP.
type statusError int

func (e statusError) Error() string {
	return fmt.Sprintf("answered %d %s", int(e), http.StatusText(int(e)))
}

// exchange is what goes over the wire for one purpose: a call, or the listing. It is in the context
// of its requests.
type exchange struct {
	left      atomic.Int64 // bytes that it may still receive
	tooLarge  atomic.Bool
	forgotten atomic.Bool  // the server doesn't know the MCP session
	status    atomic.Int32 // of the last answer; 0: there was none
}

// panicError is a panic of the SDK's.
type panicError struct{ value any }

func (e panicError) Error() string { return fmt.Sprintf("panic: %v", e.value) }

type exchangeKey struct{}

// withExchange begins an exchange that may receive limit bytes.
func withExchange(ctx context.Context, limit int64) context.Context {
	x := &exchange{}
	x.left.Store(limit)
	return context.WithValue(ctx, exchangeKey{}, x)
}

// exchangeOf returns the exchange of ctx. Without one nothing may be received.
func exchangeOf(ctx context.Context) *exchange {
	if x, ok := ctx.Value(exchangeKey{}).(*exchange); ok {
		return x
	}
	return &exchange{}
}

// refusal is the status of the last answer where it was none of success.
func (x *exchange) refusal() (statusError, bool) {
	status := x.status.Load()
	return statusError(status), status >= http.StatusMultipleChoices
}

// wire carries the requests of one MCP session. It adds the grant's headers and the workflow, and
// sees to it that they go to the server alone, that answers are bounded, and that all ends with life.
type wire struct {
	transport http.RoundTripper
	endpoint  *url.URL
	headers   map[string]string
	userAgent string
	workflow  string
	life      context.Context
}

// RoundTrip implements [http.RoundTripper]. The HTTP client above calls it for each redirect too.
func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	if !toolhttp.SameOrigin(r.URL, w.endpoint) {
		if r.Body != nil {
			_ = r.Body.Close()
		}
		return nil, errElsewhere
	}
	ctx, cancel := context.WithCancel(r.Context())
	stop := context.AfterFunc(w.life, cancel)
	done := func() { stop(); cancel() }
	r = r.Clone(ctx)
	r.Header.Set("User-Agent", w.userAgent)
	toolhttp.SetWorkflow(r.Header, w.workflow)
	for name, value := range w.headers {
		r.Header.Set(name, value)
	}
	x := exchangeOf(ctx)
	x.status.Store(0)
	response, err := w.transport.RoundTrip(r)
	if err != nil {
		done()
		return nil, err
	}
	x.status.Store(int32(response.StatusCode))
	response.Body = &body{response.Body, x, done}
	if err := check(response, r.Header.Get(sessionHeader) != "", x); err != nil {
		return nil, err
	}
	return response, nil
}

// check turns the statuses whose body can't be MCP into errors without internals; the SDK needs the
// others as they are. It notes that the server doesn't know the MCP session, where the request was
// of one.
func check(response *http.Response, ofSession bool, x *exchange) error {
	switch status := response.StatusCode; {
	case status == http.StatusNotFound:
		x.forgotten.Store(true)
	case status == http.StatusBadRequest && ofSession:
		x.forgotten.Store(refusesSession(response))
	case status == http.StatusUnauthorized, status == http.StatusForbidden,
		status == http.StatusTooManyRequests, status >= http.StatusInternalServerError:
		_ = response.Body.Close()
		return statusError(status)
	}
	return nil
}

// refusesSession reports whether a 400 is the reference server's way to say that it doesn't know the
// MCP session. It leaves the body as it was.
func refusesSession(response *http.Response) bool {
	var refused struct{ Error struct{ Code int } }
	begin, _ := io.ReadAll(io.LimitReader(response.Body, maxRefusal)) // an error comes again when the rest is read
	response.Body = &restored{io.MultiReader(bytes.NewReader(begin), response.Body), response.Body}
	return json.Unmarshal(begin, &refused) == nil && refused.Error.Code == serverError
}

// restored is a body that was read in part.
type restored struct {
	io.Reader
	io.Closer
}

// body is bounded by its exchange, as it is after decompression.
type body struct {
	io.ReadCloser
	exchange *exchange
	done     func()
}

func (b *body) Read(p []byte) (int, error) {
	left := b.exchange.left.Load()
	if left < 0 {
		b.exchange.tooLarge.Store(true)
		return 0, errTooLarge
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), left+1)]) // one more, to see that it is too much
	b.exchange.left.Add(int64(-n))
	return n, err
}

func (b *body) Close() error {
	b.done()
	return b.ReadCloser.Close()
}

// explain says what went wrong without internals: the SDK's errors quote URLs and the ID of
// the MCP session.
func explain(ctx context.Context, err error) error {
	var (
		refused  *jsonrpc.Error
		status   statusError
		failed   *url.Error
		panicked panicError
	)
	switch {
	case ctx.Err() != nil: // whatever the SDK made of it
		return errors.New(toolhttp.Reason(ctx.Err()))
	case exchangeOf(ctx).tooLarge.Load():
		return errTooLarge
	case errors.Is(err, errBadURL):
		return errBadURL
	case errors.Is(err, errElsewhere):
		return errElsewhere
	case errors.As(err, &status):
		return status
	case errors.As(err, &panicked):
		return panicked
	case errors.As(err, &failed): // before refused, which the SDK wraps it in
		return errors.New(toolhttp.Reason(failed))
	case errors.As(err, &refused):
		return errors.New(actors.CutText(refused.Message, maxWords))
	}
	if status, refused := exchangeOf(ctx).refusal(); refused {
		return status
	}
	if errors.Is(err, mcp.ErrConnectionClosed) || errors.Is(err, mcp.ErrSessionMissing) {
		return errors.New("connection lost")
	}
	return errors.New("no valid MCP answer")
}
