package auth

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/lastcall-go/lastcall/transport/grant"
)

// maxToken is the length of a token that is still looked at.
const maxToken = 512

// Tokens knows clients by bearer tokens. Its file has a line for each: a name, and the token's
// SHA-256 in hex.
//
//	# who           SHA-256 of the token
//	alice           9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
//
// Empty lines and those that begin with # are skipped. A name has 1 to 64 letters, digits and
// characters of ._@+:/- and occurs once, as does a token. The file has 1 MiB and 10,000 tokens at
// most; one without tokens admits nobody.
type Tokens struct {
	path string
	base grant.Grant

	reload  sync.Mutex // an older reading must not replace a newer one
	entries atomic.Pointer[[]entry]
}

// entry is a token that is known by its hash.
type entry struct {
	name string
	hash [sha256.Size]byte
}

// OpenTokens reads a file of tokens. Who has one gets base, with the token's name as principal. An
// error names the line it is about, and nothing that is written there: it may be a token.
func OpenTokens(path string, base grant.Grant) (*Tokens, error) {
	t := &Tokens{path: path, base: *grantTo("", &base)}
	if err := t.Reload(); err != nil {
		return nil, err
	}
	return t, nil
}

// Reload reads the file again. Requests see the old tokens or the new ones, never some of each; on
// an error the old ones stay in force. Sessions that are running are not ended.
func (t *Tokens) Reload() error {
	t.reload.Lock()
	defer t.reload.Unlock()
	entries, err := readTokens(t.path)
	if err != nil {
		return err
	}
	t.entries.Store(&entries)
	return nil
}

// Authorize implements [grant.Authorizer]. Without a token of the file, sent as
// "Authorization: Bearer TOKEN", the error is a [*grant.Denied] with status 401, the same whatever
// was wrong.
func (t *Tokens) Authorize(r *http.Request) (*grant.Grant, error) {
	token, ok := bearer(r)
	if !ok {
		return nil, unauthorized()
	}
	name, ok := find(*t.entries.Load(), sha256.Sum256([]byte(token)))
	if !ok {
		return nil, unauthorized()
	}
	return grantTo(name, &t.base), nil
}

// Format implements [fmt.Formatter]: it shows the file's path, and nothing of the tokens or the
// grant.
func (t *Tokens) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, "auth.Tokens of "+t.path) }

// bearer returns the one bearer token of a request. More than one is none: two readers could
// disagree about which one counts.
func bearer(r *http.Request) (string, bool) {
	values := r.Header.Values("Authorization")
	if len(values) != 1 {
		return "", false
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	token = strings.Trim(token, " ")
	return token, strings.EqualFold(scheme, "Bearer") && token != "" && len(token) <= maxToken
}

// find compares with every entry, found or not, so that the time it takes tells nothing about them
// but their number.
func find(entries []entry, hash [sha256.Size]byte) (string, bool) {
	found := -1
	for i := range entries {
		equal := subtle.ConstantTimeCompare(entries[i].hash[:], hash[:])
		found = subtle.ConstantTimeSelect(equal, i, found)
	}
	if found < 0 {
		return "", false
	}
	return entries[found].name, true
}

func unauthorized() *grant.Denied {
	return &grant.Denied{
		Status: http.StatusUnauthorized,
		Header: http.Header{"Www-Authenticate": {"Bearer"}},
		Reason: "a valid bearer token is required",
	}
}
