package transport_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/coder/websocket"

	"github.com/lastcall-go/lastcall/transport"
	"github.com/lastcall-go/lastcall/transport/grant"
)

// keeper keeps the headers that an authorizer was shown.
type keeper struct{ seen []http.Header }

func (k *keeper) Authorize(r *http.Request) (*grant.Grant, error) {
	k.seen = append(k.seen, r.Header.Clone())
	return &grant.Grant{}, nil
}

// A page can't set Authorization. Its token comes among the subprotocols, and goes nowhere but to the
// authorizer.
func TestATokenMayComeAsASubprotocol(t *testing.T) {
	const token = "lct_s3cret-TOKEN.x_y"
	bearer := transport.BearerSubprotocol + token
	for _, test := range []struct {
		wanted, offered []string
		authorization   string // besides
		selected        string
		authorized      string
		status          int
		warned          bool
	}{
		{offered: []string{"dap", "other"}, selected: "dap"},
		{offered: []string{"no/token", "other"}, selected: "other"},
		{},
		{wanted: []string{"b", "a"}, offered: []string{"a", "b"}, selected: "b"},
		{wanted: []string{"b"}, offered: []string{"a"}, warned: true},
		{wanted: []string{"b"}},
		{offered: []string{"dap", bearer}, selected: "dap", authorized: "Bearer " + token},
		{offered: []string{bearer, "dap"}, selected: "dap", authorized: "Bearer " + token},
		{wanted: []string{"dap"}, offered: []string{bearer, "other", "dap"}, selected: "dap", authorized: "Bearer " + token},
		{offered: []string{strings.ToUpper(transport.BearerSubprotocol) + token, "dap"}, selected: "dap", authorized: "Bearer " + token},
		{offered: []string{bearer}, authorized: "Bearer " + token, warned: true},
		{offered: []string{bearer, "dap"}, authorization: "Basic dTpw", selected: "dap", authorized: "Bearer " + token},
		{offered: []string{bearer, "dap"}, authorization: "Bearer other", status: 400},
		{offered: []string{bearer, "dap"}, authorization: "bearer", status: 400},
		{offered: []string{bearer, bearer + "2", "dap"}, status: 400},
		{offered: []string{"dap"}, authorization: "Bearer other", selected: "dap", authorized: "Bearer other"},
	} {
		var log bytes.Buffer
		authorizer, contexts := &keeper{}, &keeper{}
		handler := func(h *transport.Handler) {
			h.Subprotocols, h.Authorizer, h.Log = test.wanted, authorizer, slog.New(slog.NewTextHandler(&log, nil))
			h.Context = func(r *http.Request) context.Context {
				_, _ = contexts.Authorize(r)
				return r.Context()
			}
		}
		name := fmt.Sprintf("%q, %q wanted, %q", test.offered, test.wanted, test.authorization)
		inGateway(t, setting{handler: handler}, func(t *testing.T, g *gateway) {
			header := http.Header{"Origin": {"https://gateway"}}
			if test.authorization != "" {
				header.Set("Authorization", test.authorization)
			}
			ws, answer, err := websocket.Dial(t.Context(), "ws://gateway/", &websocket.DialOptions{
				HTTPClient: g.clients.httpClient(nil), HTTPHeader: header, Subprotocols: test.offered,
			})
			if test.status != 0 {
				if answer == nil || answer.StatusCode != test.status || len(authorizer.seen) != 0 {
					t.Errorf("%s: %v, %v", name, answer, err)
				}
				return
			}
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			defer ws.CloseNow()
			synctest.Wait() // the session has begun
			if ws.Subprotocol() != test.selected || len(authorizer.seen) != 1 || authorizer.seen[0].Get("Authorization") != test.authorized {
				t.Errorf("%s: selected %q, authorized %v", name, ws.Subprotocol(), authorizer.seen)
			}
			for _, header := range append(authorizer.seen, contexts.seen...) {
				header.Del("Authorization")
				if strings.Contains(fmt.Sprint(header), token) {
					t.Errorf("%s: a token among %v", name, header)
				}
			}
			if strings.Contains(fmt.Sprint(answer.Header), token) {
				t.Errorf("%s: the answer is %v", name, answer.Header)
			}
		})
		if strings.Contains(log.String(), token) || strings.Contains(log.String(), "offered no subprotocol") != test.warned {
			t.Errorf("%s: the log says %s", name, log.String())
		}
	}
}

func TestNamesOfSubprotocols(t *testing.T) {
	for name, fine := range map[string]bool{
		"dap": true, "v1.dap~x": true, strings.Repeat("x", 128): true,
		"": false, "a b": false, "a/b": false, "é": false, strings.Repeat("x", 129): false, "lastcall.bearer.": false, "LASTCALL.bearer.x": false,
	} {
		if err := transport.CheckSubprotocol(name); (err == nil) != fine {
			t.Errorf("%q: %v", name, err)
		}
	}
}
