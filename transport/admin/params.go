package admin

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lastcall-go/lastcall/transport/printable"
)

// maxDuration bounds every duration, so that no sum of a few overflows.
const maxDuration = 1000 * time.Hour

// params are the parameters of a request, each given once. Its methods keep the first error.
type params struct {
	values url.Values
	err    error
}

// queryParams are those of a GET. An empty one is as good as none.
func queryParams(r *http.Request, allowed ...string) *params {
	values, err := parseParams(r.URL.RawQuery)
	return newParams(values, err, allowed)
}

// postParams are those of a POST, from its query and its form. An empty one is refused: what it
// meant is unknown, and without it more might be drained than was meant.
func postParams(r *http.Request, allowed ...string) *params {
	values, err := parseParams(r.URL.RawQuery)
	if err != nil {
		return &params{err: err}
	}
	form, err := readForm(r)
	for name, given := range form {
		values[name] = append(values[name], given...)
	}
	p := newParams(values, err, allowed)
	for name, given := range values {
		if p.err == nil && given[0] == "" {
			p.fail("parameter %s is empty", name)
		}
	}
	return p
}

// formerNames are parameters that had another name, which is still taken.
var formerNames = map[string]string{"wave-size": "batch-size", "wave-interval": "batch-interval"}

func newParams(values url.Values, err error, allowed []string) *params {
	for former, name := range formerNames {
		if given, ok := values[former]; ok {
			values[name] = append(values[name], given...)
			delete(values, former)
		}
	}
	p := &params{values: values, err: err}
	for name, given := range values {
		switch {
		case p.err != nil:
		case !slices.Contains(allowed, name):
			p.fail("unknown parameter %.40q; there are: %s", name, strings.Join(allowed, ", "))
		case len(given) > 1:
			p.fail("parameter %s is given more than once", name)
		}
	}
	return p
}

func parseParams(text string) (url.Values, error) {
	values, err := url.ParseQuery(text)
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "the parameters are not of the form name=value&name=value")
	}
	return values, nil
}

// readForm reads the body, which has its limit from answering.
func readForm(r *http.Request) (url.Values, error) {
	body, err := io.ReadAll(r.Body)
	var limit *http.MaxBytesError
	switch {
	case errors.As(err, &limit):
		return nil, refuse(http.StatusRequestEntityTooLarge, "the body is over %d bytes", limit.Limit)
	case err != nil:
		return nil, refuse(http.StatusBadRequest, "the body is incomplete")
	case len(body) == 0:
		return nil, nil
	}
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind != "application/x-www-form-urlencoded" {
		return nil, refuse(http.StatusUnsupportedMediaType, "the body must be a form, application/x-www-form-urlencoded")
	}
	return parseParams(string(body))
}

func (p *params) fail(format string, args ...any) {
	if p.err == nil {
		p.err = refuse(http.StatusBadRequest, format, args...)
	}
}

func (p *params) has(name string) bool { return p.values.Get(name) != "" }

func (p *params) text(name string) string { return p.values.Get(name) }

// oneOf returns a parameter that has one of these values, or is not there.
func (p *params) oneOf(name string, allowed ...string) string {
	value := p.text(name)
	if value != "" && !slices.Contains(allowed, value) {
		p.fail("%s must be one of: %s", name, strings.Join(allowed, ", "))
	}
	return value
}

// number returns an integer parameter of at least this.
func (p *params) number(name string, least, byDefault int) int {
	if !p.has(name) {
		return byDefault
	}
	n, err := strconv.Atoi(p.text(name))
	if err != nil || n < least {
		p.fail("%s must be an integer of at least %d", name, least)
	}
	return n
}

// duration returns a parameter such as 90s or 1h30m, of at least this.
func (p *params) duration(name string, least, byDefault time.Duration) time.Duration {
	if !p.has(name) {
		return byDefault
	}
	d, err := time.ParseDuration(p.text(name))
	if err != nil || d < least || d > maxDuration {
		p.fail("%s must be a duration such as 90s or 1h30m, from %v to %v", name, least, maxDuration)
	}
	return d
}

// printable returns a text of at most so many bytes, without control characters.
func (p *params) printable(name string, most int) string {
	value := p.text(name)
	if len(value) > most || !printable.Is(value) {
		p.fail("%s must be printable, and %d bytes at most", name, most)
	}
	return value
}
