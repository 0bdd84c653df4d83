package transport

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/lastcall-go/lastcall/transport/requestid"
)

// BearerSubprotocol begins the subprotocol that brings a bearer token: a page's WebSocket can't set
// Authorization.
//
//	new WebSocket(url, ["dap", "lastcall.bearer." + token])
//
// It stands for "Authorization: Bearer TOKEN", and takes the place of an Authorization of another scheme,
// which is the browser's own. It is never answered with, so that the token is in no response. Browsers
// close a connection that is answered with none of what they offered: a page must offer another one
// beside it. A subprotocol has letters, digits and characters of !#$%&'*+-.^_`|~, and so must the token.
const BearerSubprotocol = "lastcall.bearer."

// subprotocolHeader is where a client offers its subprotocols.
const subprotocolHeader = "Sec-Websocket-Protocol"

// maxSubprotocol is how many bytes a subprotocol has that is answered with.
const maxSubprotocol = 128

// CheckSubprotocol says why [Handler].Subprotocols can't hold a name. Nil: it can.
func CheckSubprotocol(name string) error {
	switch {
	case name == "" || strings.ContainsFunc(name, func(c rune) bool { return !isTokenChar(c) }):
		return errors.New("a subprotocol has letters, digits and characters of !#$%&'*+-.^_`|~")
	case len(name) > maxSubprotocol:
		return fmt.Errorf("a subprotocol has %d characters at most", maxSubprotocol)
	case isBearer(name):
		return fmt.Errorf("%s brings a token and is never answered with", BearerSubprotocol)
	}
	return nil
}

func isTokenChar(c rune) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.ContainsRune("!#$%&'*+-.^_`|~", c)
}

// isBearer heeds no case: what is meant to be a token must not be answered with.
func isBearer(name string) bool {
	return len(name) >= len(BearerSubprotocol) && strings.EqualFold(name[:len(BearerSubprotocol)], BearerSubprotocol)
}

var errTwoTokens = errors.New("two bearer tokens were sent: want one, in Authorization or as a subprotocol")

// takeBearer makes an Authorization of the token among the subprotocols that a client offers. Nothing
// after it sees it there. The request itself is not changed.
func takeBearer(r *http.Request) (*http.Request, error) {
	offered := offeredSubprotocols(r)
	others := slices.DeleteFunc(slices.Clone(offered), isBearer)
	switch len(offered) - len(others) {
	case 0:
		return r, nil
	case 1:
	default:
		return nil, errTwoTokens
	}
	if slices.ContainsFunc(r.Header.Values("Authorization"), isBearerAuthorization) {
		return nil, errTwoTokens
	}
	bearer := offered[slices.IndexFunc(offered, isBearer)]
	taken := r.WithContext(r.Context())
	taken.Header = r.Header.Clone()
	taken.Header.Set("Authorization", "Bearer "+bearer[len(BearerSubprotocol):])
	taken.Header.Set(subprotocolHeader, strings.Join(others, ", "))
	return taken, nil
}

func isBearerAuthorization(value string) bool {
	scheme, _, _ := strings.Cut(value, " ")
	return strings.EqualFold(scheme, "Bearer")
}

func offeredSubprotocols(r *http.Request) (all []string) {
	for _, list := range r.Header.Values(subprotocolHeader) {
		for name := range strings.SplitSeq(list, ",") {
			if name = strings.TrimSpace(name); name != "" {
				all = append(all, name)
			}
		}
	}
	return all
}

// selectable returns the subprotocols that the answer may have: the wanted ones, or if none is wanted the first
// that the client offers.
func selectable(r *http.Request, wanted []string) []string {
	if len(wanted) > 0 {
		return wanted
	}
	for _, name := range offeredSubprotocols(r) {
		if CheckSubprotocol(name) == nil {
			return []string{name}
		}
	}
	return nil
}

// warnPage logs a page whose browser closes the connection: it offered subprotocols, and the answer has
// none.
func (h *Handler) warnPage(r *http.Request, client *wsClient) {
	if h.Log == nil || client.ws.Subprotocol() != "" || r.Header.Get("Origin") == "" || r.Header.Values(subprotocolHeader) == nil {
		return
	}
	h.Log.WarnContext(r.Context(), "a page offered no subprotocol that can be answered with, so that its browser closes the connection: beside a token it must offer another one",
		"origin", shown(r.Header.Get("Origin")), "remote", r.RemoteAddr, "request_id", requestid.Of(r.Context()))
}
