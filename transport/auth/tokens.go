package auth

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
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
//	# name          SHA-256 of the token
//	alice           9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
//
// Empty lines and those that begin with # are skipped. A name has 1 to 64 letters, digits and
// characters of ._@+:/- and occurs once, as does a token. The file has 1 MiB and 10,000 tokens at
// most; one without tokens admits no request.
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

	authorized context.Context // ends when the entry is no longer in the file
	withdraw   context.CancelFunc
}

// OpenTokens reads a file of tokens. Who has one gets base, with the token's name as principal, until the
// token is removed. An error names the line it is about, and nothing that is written there: it may be a
// token.
func OpenTokens(path string, base grant.Grant) (*Tokens, error) {
	t := &Tokens{path: path, base: *grantTo("", &base)}
	if err := t.Reload(); err != nil {
		return nil, err
	}
	return t, nil
}

// Reload reads the file again. Requests see the old tokens or the new ones, never some of each; on
// an error the old ones stay in force. A token that is gone, or has another name, withdraws its grants:
// their Authorized ends, and so does each session that began with one, also if its request was let in
// only a moment before.
func (t *Tokens) Reload() error {
	t.reload.Lock()
	defer t.reload.Unlock()
	entries, err := readTokens(t.path)
	if err != nil {
		return err
	}
	var before []entry
	if current := t.entries.Load(); current != nil {
		before = *current
	}
	gone := carryOver(before, entries)
	t.entries.Store(&entries)
	for _, e := range gone {
		e.withdraw()
	}
	return nil
}

// carryOver gives each entry of a new reading the authorization that it had before, or a new one. It
// returns those of before that are not there any more.
func carryOver(before, entries []entry) (gone []entry) {
	type identity struct {
		name string
		hash [sha256.Size]byte
	}
	known := make(map[identity]entry, len(before))
	for _, e := range before {
		known[identity{e.name, e.hash}] = e
	}
	for i := range entries {
		e := &entries[i]
		id := identity{e.name, e.hash}
		if had, ok := known[id]; ok {
			e.authorized, e.withdraw = had.authorized, had.withdraw
			delete(known, id)
			continue
		}
		e.authorized, e.withdraw = context.WithCancel(context.Background())
	}
	return slices.Collect(maps.Values(known))
}

// Authorize implements [grant.Authorizer]. Without a token of the file, sent as
// "Authorization: Bearer TOKEN", the error is a [*grant.RefusedError] with status 401, the same whatever
// was wrong.
func (t *Tokens) Authorize(r *http.Request) (*grant.Grant, error) {
	token, ok := bearer(r)
	if !ok {
		return nil, unauthorized()
	}
	e := find(*t.entries.Load(), sha256.Sum256([]byte(token)))
	if e == nil {
		return nil, unauthorized()
	}
	granted := grantTo(e.name, &t.base)
	granted.Authorized = e.authorized
	return granted, nil
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

// find compares with every entry, found or not, so that the time it takes says nothing about them
// but their number.
func find(entries []entry, hash [sha256.Size]byte) *entry {
	found := -1
	for i := range entries {
		equal := subtle.ConstantTimeCompare(entries[i].hash[:], hash[:])
		found = subtle.ConstantTimeSelect(equal, i, found)
	}
	if found < 0 {
		return nil
	}
	return &entries[found]
}

func unauthorized() *grant.RefusedError {
	return &grant.RefusedError{
		Status: http.StatusUnauthorized,
		Header: http.Header{"Www-Authenticate": {"Bearer"}},
		Reason: "a valid bearer token is required",
	}
}
