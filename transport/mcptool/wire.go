package mcptool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync/atomic"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/lastcall-go/lastcall/transport/httptool"
)

// What a server may send in bytes: what it has to say before its tools are known, and in one call.
// Text of MaxText bytes fits, escaped, or an image.
const (
	maxListing = 4 << 20
	maxReply   = 8 << 20
	maxWords   = 4 << 10 // of a server's error
)

var (
	errElsewhere = errors.New("redirected to another host")
	errTooLarge  = errors.New("answer too large")
	errBadURL    = errors.New("not a URL")
)

// statusError is an answer that is no MCP.
type statusError int

func (e statusError) Error() string {
	return fmt.Sprintf("answered %d %s", int(e), http.StatusText(int(e)))
}

// exchange is what goes over the wire for one purpose: a call, or the listing. It is in the context
// of its requests.
type exchange struct {
	left     atomic.Int64 // bytes that it may still receive
	tooLarge atomic.Bool
	notFound atomic.Bool // it was answered 404, which means that the MCP session is not known
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

// wire carries the requests of one MCP session. It adds the grant's headers, and sees to it that
// they go to the server alone, that answers are bounded, and that all ends with life.
type wire struct {
	transport http.RoundTripper
	endpoint  *url.URL
	headers   map[string]string
	userAgent string
	life      context.Context
}

// RoundTrip implements [http.RoundTripper]. The HTTP client above calls it for each redirect too.
func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	if !httptool.SameOrigin(r.URL, w.endpoint) {
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
	for name, value := range w.headers {
		r.Header.Set(name, value)
	}
	response, err := w.transport.RoundTrip(r)
	if err != nil {
		done()
		return nil, err
	}
	x := exchangeOf(ctx)
	response.Body = &body{response.Body, x, done}
	if err := check(response, x); err != nil {
		return nil, err
	}
	return response, nil
}

// check turns the statuses whose body can't be MCP into errors that can be told; the SDK needs the
// others as they are.
func check(response *http.Response, x *exchange) error {
	switch status := response.StatusCode; {
	case status == http.StatusNotFound:
		x.notFound.Store(true)
	case status == http.StatusUnauthorized, status == http.StatusForbidden,
		status == http.StatusTooManyRequests, status >= http.StatusInternalServerError:
		_ = response.Body.Close()
		return statusError(status)
	}
	return nil
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

// explain says what went wrong in words that can be told: the SDK's errors quote URLs and the ID of
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
		return errors.New(httptool.Reason(ctx.Err()))
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
		return errors.New(httptool.Reason(failed))
	case errors.As(err, &refused):
		return errors.New(httptool.Text(refused.Message, maxWords))
	case errors.Is(err, mcp.ErrConnectionClosed), errors.Is(err, mcp.ErrSessionMissing):
		return errors.New("connection lost")
	}
	return errors.New("no valid MCP answer")
}
