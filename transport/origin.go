package transport

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/transport/httpsession"
	"github.com/lastcall-go/lastcall/transport/requestid"
)

// maxShown is how many bytes of an origin or a host are shown.
const maxShown = 512

func shown(text string) string { return actors.CutText(text, maxShown) }

// CheckOrigin says why a pattern of [Handler].AllowOrigins can match no origin. Nil: it can match one.
//
// An origin is what a browser sends of a page: https://example.com, or http://example.com:8080. A
// pattern is one of [path.Match], for the host alone (*.example.com), or with a scheme
// (vscode-webview://*). A port that is the scheme's own may be there or not.
func CheckOrigin(pattern string) error {
	scheme, host, hasScheme := strings.Cut(strings.ToLower(pattern), "://")
	if !hasScheme {
		scheme, host = "", scheme
	}
	if host == "null" && !hasScheme {
		return errors.New("a page without an origin of its own (null) can't be let in")
	}
	if _, err := path.Match(escaped(pattern), ""); err != nil {
		return errors.New("not a pattern of path.Match")
	}
	return cmp.Or(checkScheme(scheme, hasScheme), checkHost(host, scheme))
}

func checkScheme(scheme string, given bool) error {
	if !given || strings.ContainsAny(scheme, wildcards) {
		return nil
	}
	if _, err := url.Parse(scheme + "://host"); err != nil || scheme == "" {
		return fmt.Errorf("%q is not a scheme", scheme)
	}
	return nil
}

// wildcards are what makes a text a pattern.
const wildcards = `*?[\`

func checkHost(host, scheme string) error {
	switch {
	case host == "" && (scheme == "" || scheme == "http" || scheme == "https"):
		return errors.New("it names no host")
	case strings.Contains(host, "/"):
		return errors.New("an origin ends with its host or port, without a slash or a path")
	case strings.ContainsAny(host, "#@"):
		return errors.New("an origin has no user and no fragment")
	case strings.ContainsFunc(host, func(c rune) bool { return c <= ' ' || c > '~' }):
		return errors.New("a browser sends a host without spaces and in ASCII, such as xn--bcher-kva.example for bücher.example")
	case strings.ContainsAny(host, wildcards) && escaped(host) == host:
		return nil
	case strings.Count(host, ":") > 1 && !strings.HasPrefix(host, "["):
		return errors.New("an IPv6 address is written in brackets")
	}
	if _, err := url.Parse("any://" + host); err != nil || !isPort(host) {
		return errors.New("it has no valid port, or a host that no browser sends")
	}
	return nil
}

// escaped is a pattern in which the brackets of an IPv6 address mean themselves, not a class of characters.
func escaped(pattern string) string {
	start := strings.Index(pattern, "[")
	if start < 0 {
		return pattern
	}
	inside, _, closed := strings.Cut(pattern[start+1:], "]")
	if _, err := netip.ParseAddr(inside); err != nil || !closed {
		return pattern
	}
	return pattern[:start] + `\` + pattern[start:]
}

// isPort reports whether a host has no port, or one as a browser writes it.
func isPort(host string) bool {
	port := (&url.URL{Host: host}).Port()
	if port == "" {
		return !strings.HasSuffix(host, ":")
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && strconv.FormatUint(n, 10) == port
}

// allowsOrigin reports whether a request comes from no page, from a page of the host that it goes to, or
// from one of these origins. It is asked of everything that a page could begin: without it any page
// could start a workflow, with the cookies of its user.
func allowsOrigin(r *http.Request, patterns []string) bool {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return true
	}
	page, err := url.Parse(strings.ToLower(origin))
	if err != nil || page.Scheme == "" {
		return false
	}
	hosts := spellings(page.Scheme, page.Host)
	if page.Host != "" && slices.ContainsFunc(spellings(page.Scheme, strings.ToLower(r.Host)), func(own string) bool { return slices.Contains(hosts, own) }) {
		return true
	}
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		return slices.ContainsFunc(hosts, func(host string) bool { return matches(pattern, page.Scheme, host) })
	})
}

func matches(pattern, scheme, host string) bool {
	pattern = escaped(strings.ToLower(pattern))
	if strings.Contains(pattern, "://") {
		host = scheme + "://" + host
	}
	matched, err := path.Match(pattern, host)
	return err == nil && matched && host != ""
}

// spellings are a host as it is, and with or without the port that is its scheme's own.
func spellings(scheme, host string) []string {
	port, known := map[string]string{"http": ":80", "https": ":443"}[scheme]
	if !known || host == "" {
		return []string{host}
	}
	if short, has := strings.CutSuffix(host, port); has {
		return []string{host, short}
	}
	if (&url.URL{Host: host}).Port() != "" {
		return []string{host}
	}
	return []string{host, host + port}
}

// refuseOrigin answers a request from a page that may not connect. The answer shows the origin as
// [Handler].AllowOrigins needs it.
func (h *Handler) refuseOrigin(w http.ResponseWriter, r *http.Request) {
	h.refused(httpsession.RefusedOrigin)
	origin := shown(r.Header.Get("Origin"))
	if h.Log != nil {
		h.Log.InfoContext(r.Context(), "origin refused", "origin", origin,
			"host", shown(r.Host), "remote", r.RemoteAddr, "request_id", requestid.Of(r.Context()))
	}
	http.Error(w, fmt.Sprintf("cross-origin request refused: origin %s is not allowed here", strconv.Quote(origin)), http.StatusForbidden)
}
