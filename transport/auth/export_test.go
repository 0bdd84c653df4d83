package auth

import (
	"crypto/sha256"
	"net/url"

	"github.com/lastcall-go/lastcall/transport/grant"
)

// ParseGrant reads an endpoint's answer.
func ParseGrant(body []byte) (*grant.Grant, error) {
	return parseGrant(body, &grant.Grant{}, &url.URL{Scheme: "https", Host: "api.example"})
}

// ParseTokens reads a token file's text and returns the names.
func ParseTokens(text string) ([]string, error) {
	entries, err := parseTokens(text)
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.name)
	}
	return names, err
}

// Find looks for a token among those of owners, which come in pairs of a name and a token.
func Find(token string, owners ...string) (string, bool) {
	var entries []entry
	for i := 0; i < len(owners); i += 2 {
		entries = append(entries, entry{name: owners[i], hash: sha256.Sum256([]byte(owners[i+1]))})
	}
	e := find(entries, sha256.Sum256([]byte(token)))
	if e == nil {
		return "", false
	}
	return e.name, true
}
