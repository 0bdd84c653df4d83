package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/operator"
	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/serveflags"
	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/terminal"
)

// healthcheckCmd is the health check's flags. Only --admin has an environment variable: the others'
// would be names for anything.
type healthcheckCmd struct {
	Admin   string        `default:"127.0.0.1:8081" placeholder:"ADDR" help:"Admin listener of the gateway: host:port or a URL (default ${default})."`
	Live    bool          `env:"-" help:"Ask whether the gateway lives (/healthz), not whether it is ready (/readyz)."`
	Timeout time.Duration `env:"-" default:"2s" placeholder:"D" help:"What the answer may take in all (default ${default})."`
}

// Help is shown by "lastcall healthcheck --help".
func (*healthcheckCmd) Help() string {
	return `It is for images without curl: HEALTHCHECK CMD ["lastcall", "healthcheck"]. It asks with no
credentials, no proxy and no redirect. An address that only a listener can use, such as 0.0.0.0:8081,
means this machine's 127.0.0.1, so that LASTCALL_ADMIN can be the same as the gateway's. At a loopback
IP address any certificate will do: no other machine can answer there.

Exit codes: 0 the gateway is ready (or lives); 1 it is not, or didn't answer; 2 a flag is wrong.

Example:
  lastcall healthcheck --admin 127.0.0.1:8081 --timeout 1s`
}

// Run implements the command.
func (c *healthcheckCmd) Run(std streams) error {
	admin, err := operator.URL(c.Admin)
	if err != nil {
		return usageError{err}
	}
	if c.Timeout < time.Millisecond || c.Timeout > serveflags.MaxDuration {
		return usageError{fmt.Errorf("--timeout %v: must be from 1ms to %v", c.Timeout, serveflags.MaxDuration)}
	}
	path, good, bad := "readyz", "ready", "not ready"
	if c.Live {
		path, good, bad = "healthz", "alive", "not alive"
	}
	ctx, cancel := context.WithTimeout(context.Background(), c.Timeout)
	defer cancel()
	err = askHealth(ctx, admin.JoinPath(path))
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("no answer from %s within %v", admin.Host, c.Timeout)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", bad, err)
	}
	_, err = fmt.Fprintln(std.out, good)
	return err
}

// askHealth is nil if the answer is 200. The body of another answer says why.
func askHealth(ctx context.Context, u *url.URL) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return err
	}
	request.Header.Set("User-Agent", "lastcall-healthcheck/"+version())
	response, err := healthClient(u).Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusOK {
		return nil
	}
	why, _ := io.ReadAll(io.LimitReader(response.Body, 1<<10)) // what came of it will do
	return fmt.Errorf("%s answered %d%s", u, response.StatusCode, terminal.Suffix(": ", strings.TrimSpace(terminal.OneLine(string(why)))))
}

// healthClient makes one request, to the address itself. Where a loopback IP address is asked, only
// this machine can answer, and the request has no secret: the certificate, which is for
// the names that others use, needs no check. A name, localhost too, is checked: its resolver isn't
// known.
func healthClient(u *url.URL) *http.Client {
	ip, err := netip.ParseAddr(u.Hostname())
	return &http.Client{
		Transport: &http.Transport{
			DisableKeepAlives:      true,
			MaxResponseHeaderBytes: 64 << 10,
			TLSClientConfig:        &tls.Config{InsecureSkipVerify: err == nil && ip.IsLoopback()},
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
