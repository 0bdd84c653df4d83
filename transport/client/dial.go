package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/coder/websocket"
)

const (
	dialTimeout    = 30 * time.Second
	maxRefusalText = 200 // bytes
)

// Dial opens one connection and sends cfg.Start, if there is one. It uses URL, Header, HTTPClient
// and Start. It takes at most 30 s; ctx can only make it shorter, and has no effect on the
// connection once Dial has returned.
//
// The error is a [*RefusedError] if the gateway answered, but not with a WebSocket; a [*CloseError]
// if it closed the connection before the start request was sent.
func Dial(ctx context.Context, cfg Config) (*Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	c := newConn()
	httpClient := cfg.HTTPClient
	if httpClient == nil {
		httpClient = defaultClient()
		// A request that gives up leaves its half-made connection to the transport, which goes on
		// with it for the sake of a later request. There is none.
		defer httpClient.CloseIdleConnections()
	}
	ws, answer, err := websocket.Dial(ctx, cfg.URL, &websocket.DialOptions{
		HTTPClient:     httpClient,
		HTTPHeader:     cfg.Header,
		OnPingReceived: c.pinged,
	})
	if err != nil {
		return nil, refusal(answer, err)
	}
	c.begin(ws)
	if cfg.Start == nil {
		return c, nil
	}
	if err := c.Send(ctx, startEvent(cfg.Start)); err != nil {
		c.Cut()
		return nil, err
	}
	return c, nil
}

// defaultClient keeps no connection of its own: an upgraded one is the caller's, one that was
// refused is closed. Redirects are not followed, as browsers don't for a WebSocket: the headers
// carry a token.
func defaultClient() *http.Client {
	var http1 http.Protocols
	http1.SetHTTP1(true)
	return &http.Client{
		Transport: &http.Transport{
			Proxy:             http.ProxyFromEnvironment,
			DialContext:       (&net.Dialer{}).DialContext,
			DisableKeepAlives: true,
			Protocols:         &http1,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// refusal turns what the websocket package returns for a failed dial into this package's errors.
func refusal(answer *http.Response, err error) error {
	if answer == nil {
		var request *url.Error // its text repeats the URL, with what the query may hold
		if errors.As(err, &request) {
			err = request.Err
		}
		return fmt.Errorf("connect to the gateway: %w", err)
	}
	if answer.StatusCode == http.StatusSwitchingProtocols {
		return &RefusedError{Status: answer.StatusCode, Message: err.Error()}
	}
	// The websocket package has read this body already, and keeps no more than 1 KiB of it.
	body, _ := io.ReadAll(answer.Body)
	return &RefusedError{
		Status:     answer.StatusCode,
		RetryAfter: retryAfter(answer.Header.Get("Retry-After"), time.Now()),
		Message:    cut(strings.ToValidUTF8(strings.TrimSpace(string(body)), "\uFFFD"), maxRefusalText),
	}
}

// retryAfter parses the header of that name, seconds or a date; zero if it says nothing useful.
func retryAfter(value string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if date, err := http.ParseTime(value); err == nil {
		return max(0, date.Sub(now))
	}
	return 0
}
