package httptool

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// parseBase checks a base URL: http or https, a host, and nothing after the path.
func parseBase(raw string) (*url.URL, error) {
	base, err := url.Parse(raw)
	switch {
	case err != nil:
		return nil, errors.New("not a URL") // url.Parse would quote it
	case base.Scheme != "http" && base.Scheme != "https", base.Hostname() == "":
		return nil, errors.New("not http or https with a host")
	case base.User != nil, base.RawQuery != "", base.Fragment != "":
		return nil, errors.New("has a user, a query or a fragment")
	}
	return base, nil
}

// resolve returns the URL of path below base. Whatever could be read as another host, or as a way
// up, is refused; an encoded slash stays encoded, since the API has names with slashes.
func resolve(base *url.URL, path string) (*url.URL, error) {
	if strings.ContainsFunc(path, forbidden) {
		return nil, errors.New("it has a backslash or a control character")
	}
	asked, err := url.Parse(path)
	if err != nil {
		return nil, errors.New("it doesn't parse")
	}
	if asked.Scheme != "" || asked.Host != "" || asked.User != nil || asked.Opaque != "" {
		return nil, errors.New("it is no path below the API's base URL")
	}
	if asked.Fragment != "" || asked.RawFragment != "" {
		return nil, errors.New("it has a fragment") // cut off, it would name something else
	}
	if err := checkSegments(asked.Path); err != nil {
		return nil, err
	}
	below := strings.TrimSuffix(base.EscapedPath(), "/") + "/" + strings.TrimPrefix(asked.EscapedPath(), "/")
	target := &url.URL{Scheme: base.Scheme, Host: base.Host, RawPath: below, RawQuery: escapeQuery(asked.RawQuery)}
	if target.Path, err = url.PathUnescape(below); err != nil {
		return nil, errors.New("it doesn't parse")
	}
	return target, nil
}

func forbidden(r rune) bool { return r < ' ' || r == 0x7f || r == '\\' }

// checkSegments looks for ways up in a path whose escapes are undone, because a server may undo
// them before it splits the path.
func checkSegments(decoded string) error {
	if strings.ContainsFunc(decoded, forbidden) || strings.HasPrefix(decoded, "//") {
		return errors.New("it hides a host, a backslash or a control character")
	}
	segments := strings.Split(decoded, "/")
	for _, dots := range []string{".", ".."} {
		if slices.Contains(segments, dots) {
			return fmt.Errorf("it has a segment %q", dots)
		}
	}
	return nil
}

// escapeQuery makes a query fit for a request line, which net/http writes as it is.
func escapeQuery(raw string) string {
	var b strings.Builder
	for i := range len(raw) {
		if c := raw[i]; c > ' ' && c < 0x7f {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}
