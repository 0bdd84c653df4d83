package auth_test

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/lastcall-go/lastcall/transport/auth"
	"github.com/lastcall-go/lastcall/transport/grant"
)

func line(name, token string) string {
	return fmt.Sprintf("%s %x\n", name, sha256.Sum256([]byte(token)))
}

func write(t testing.TB, path, text string) string {
	t.Helper()
	if path == "" {
		path = filepath.Join(t.TempDir(), "file")
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func open(t *testing.T, text string) *auth.Tokens {
	t.Helper()
	tokens, err := auth.OpenTokens(write(t, "", text), base())
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}

func TestATokensOwnerGetsTheGrantInTheirName(t *testing.T) {
	tokens := open(t, "# people\n\n"+line("alice", "token-a")+"\r\n  "+strings.ToUpper(line("BOB@EXAMPLE.ORG", "token-b"))+line("carol", "token-c"))
	for authorization, name := range map[string]string{
		"Bearer token-a":  "alice",
		"bearer  token-b": "BOB@EXAMPLE.ORG",
		"BEARER token-c ": "carol",
	} {
		g, err := tokens.Authorize(get(authorization))
		if err != nil || g.Principal != name || g.Agent.Address != "agent.example:443" {
			t.Errorf("%s: got %v, %v", authorization, g, err)
		}
	}
	mustNotTell(t, tokens)
}

func TestWhoHasNoTokenIsDeniedAndNotToldWhy(t *testing.T) {
	long := strings.Repeat("x", 513)
	tokens := open(t, line("alice", "token-a")+line("long", long)+line("empty", ""))
	for _, authorization := range [][]string{
		nil, {""}, {"Bearer"}, {"Bearer "}, {"Bearer token-b"}, {"Bearer token-a" + canary}, {"Basic token-a"}, {"token-a"},
		{"Bearer alice"}, {"Bearer " + long}, {"Bearer token-a", "Bearer token-a"},
		{fmt.Sprintf("Bearer %x", sha256.Sum256([]byte("token-a")))},
	} {
		g, err := tokens.Authorize(get(authorization...))
		var denied *grant.RefusedError
		if g != nil || !errors.As(err, &denied) {
			t.Errorf("%q: got %v, %v", authorization, g, err)
			continue
		}
		if denied.Status != http.StatusUnauthorized || denied.Header.Get("WWW-Authenticate") != "Bearer" || denied.Reason != "a valid bearer token is required" {
			t.Errorf("%q: got %+v", authorization, *denied)
		}
		mustNotTell(t, err)
	}
}

func TestALookupGoesOnAfterAMatch(t *testing.T) {
	owners := []string{"first", "a", "second", "b", "third", "a", "fourth", "c"}
	for token, want := range map[string]string{"a": "third", "b": "second", "c": "fourth"} {
		if name, ok := auth.Find(token, owners...); !ok || name != want {
			t.Errorf("%s: got %q, %v, want %s", token, name, ok, want)
		}
	}
	if name, ok := auth.Find("d", owners...); ok {
		t.Errorf("an unknown token is %s's", name)
	}
	if _, ok := auth.Find("a"); ok {
		t.Error("found in nothing")
	}
}

func TestABadFileIsToldByLineAndNotByContent(t *testing.T) {
	hash := fmt.Sprintf("%x", sha256.Sum256(nil))
	for text, want := range map[string]string{
		"alice " + canary:                               "line 1: want a name and the token's SHA-256",
		"# x\n\nalice\n":                                "line 3: want a name and the token's SHA-256",
		"alice " + hash + " " + canary:                  "line 1: want a name and the token's SHA-256",
		"alice " + hash[:62]:                            "line 1: want a name and the token's SHA-256",
		"alice " + hash + "00":                          "line 1: want a name and the token's SHA-256",
		"alice " + hash[:63] + "g":                      "line 1: want a name and the token's SHA-256",
		"lct_" + canary + " " + hash:                    "line 1: a name has",
		canary + "\x00 " + hash:                         "line 1: a name has",
		"é " + hash:                                     "line 1: a name has",
		strings.Repeat("x", 65) + " " + hash:            "line 1: a name has",
		line(canary, "a") + line(canary, "b"):           "line 2: the same name as in line 1",
		"#\n" + line("a", canary) + line("bob", canary): "line 3: the same token as in line 2",
	} {
		_, err := auth.OpenTokens(write(t, "", text), grant.Grant{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", text, err, want)
			continue
		}
		mustNotTell(t, err)
		if strings.Contains(err.Error(), hash) {
			t.Errorf("tells a hash: %v", err)
		}
	}
	if _, err := auth.OpenTokens(filepath.Join(t.TempDir(), "none"), grant.Grant{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestTheFileIsBounded(t *testing.T) {
	var text strings.Builder
	for i := range 10_000 {
		text.WriteString(line(fmt.Sprintf("n%d", i), fmt.Sprint(i)))
	}
	if names, err := auth.ParseTokens(text.String()); err != nil || len(names) != 10_000 {
		t.Fatalf("got %d, %v", len(names), err)
	}
	if _, err := auth.ParseTokens(text.String() + line("more", "more")); err == nil || !strings.Contains(err.Error(), "line 10001: over 10000 tokens") {
		t.Errorf("got %v", err)
	}
	comment := "#" + strings.Repeat("x", 1<<20-1)
	if _, err := auth.OpenTokens(write(t, "", comment), grant.Grant{}); err != nil {
		t.Error(err)
	}
	if _, err := auth.OpenTokens(write(t, "", comment+"x"), grant.Grant{}); err == nil || !strings.Contains(err.Error(), "over 1048576 bytes") {
		t.Errorf("got %v", err)
	}
}

func TestAReloadTakesEffectOrChangesNothing(t *testing.T) {
	path := write(t, "", line("alice", "a"))
	tokens, err := auth.OpenTokens(path, grant.Grant{})
	if err != nil {
		t.Fatal(err)
	}
	admitted := func(token string) bool {
		_, err := tokens.Authorize(get("Bearer " + token))
		return err == nil
	}
	write(t, path, line("bob", "b"))
	if err := tokens.Reload(); err != nil || admitted("a") || !admitted("b") {
		t.Fatalf("got %v, a: %v, b: %v", err, admitted("a"), admitted("b"))
	}
	write(t, path, line("carol", "c")+"garbage\n")
	if err := tokens.Reload(); err == nil || admitted("c") || !admitted("b") {
		t.Errorf("got %v, c: %v, b: %v", err, admitted("c"), admitted("b"))
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := tokens.Reload(); err == nil || !admitted("b") {
		t.Errorf("got %v, b: %v", err, admitted("b"))
	}
	write(t, path, "")
	if err := tokens.Reload(); err != nil || admitted("b") {
		t.Errorf("got %v, b: %v", err, admitted("b"))
	}
}

// A grant ends with its token: when that is removed, replaced, or another user's.
func TestATokenThatIsRemovedWithdrawsItsGrants(t *testing.T) {
	path := write(t, filepath.Join(t.TempDir(), "tokens"), line("ada", "a")+line("bob", "b")+line("carol", "c")+line("dave", "d"))
	tokens, err := auth.OpenTokens(path, grant.Grant{})
	if err != nil {
		t.Fatal(err)
	}
	granted := make(map[string]*grant.Grant)
	grants := func(token string) *grant.Grant {
		g, err := tokens.Authorize(get("Bearer " + token))
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	for _, token := range []string{"a", "b", "c", "d"} {
		granted[token] = grants(token)
	}
	reload := func(text string) {
		t.Helper()
		write(t, path, text)
		_ = tokens.Reload()
	}
	wantEnded := func(want string) {
		t.Helper()
		ended := ""
		for _, token := range []string{"a", "b", "c", "d"} {
			if granted[token].Authorized.Err() != nil {
				ended += token
			}
		}
		if ended != want {
			t.Errorf("the grants of %q have ended, want %q", ended, want)
		}
	}
	reload("# others\n" + line("dave", "d") + line("carol", "c") + line("bob", "b") + line("ada", "a"))
	wantEnded("")
	reload("garbage")
	wantEnded("")
	reload(line("ada", "a") + line("bob", "b2") + line("eve", "c"))
	wantEnded("bcd")
	if g := grants("c"); g.Principal != "eve" || g.Authorized.Err() != nil || grants("b2").Authorized.Err() != nil {
		t.Error("the new grants have ended")
	}
	reload(line("bob", "b") + line("ada", "a"))
	if wantEnded("bcd"); grants("b").Authorized.Err() != nil {
		t.Error("a token that is back has no grant")
	}
}

func TestRequestsDuringAReloadSeeTheOldTokensOrTheNew(t *testing.T) {
	dir := t.TempDir()
	path := write(t, filepath.Join(dir, "tokens"), line("old", "always")+line("x", "x"))
	tokens, err := auth.OpenTokens(path, grant.Grant{})
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				g, err := tokens.Authorize(get("Bearer always"))
				if err != nil || g.Principal != "old" && g.Principal != "new" {
					t.Errorf("got %v, %v", g, err)
					return
				}
			}
		})
	}
	var writers sync.WaitGroup
	for range 2 {
		writers.Go(func() {
			for range 100 {
				if err := tokens.Reload(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for i := range 100 {
		next := write(t, filepath.Join(dir, "next"), line([]string{"old", "new"}[i%2], "always"))
		if err := os.Rename(next, path); err != nil {
			t.Fatal(err)
		}
	}
	writers.Wait()
	close(stop)
	readers.Wait()
}

func TestANewTokenLetsItsOwnerIn(t *testing.T) {
	token, line, err := auth.NewToken("alice")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(line, token) || strings.Contains(line, "\n") {
		t.Errorf("line %q of token %q", line, token)
	}
	g, err := open(t, line).Authorize(get("Bearer " + token))
	if err != nil || g.Principal != "alice" {
		t.Errorf("got %v, %v", g, err)
	}
	random, ok := strings.CutPrefix(token, "lct_")
	if bytes, err := base64.RawURLEncoding.DecodeString(random); !ok || err != nil || len(bytes) != 32 {
		t.Errorf("token %q has %d bytes, %v", token, len(bytes), err)
	}
	if again, _, _ := auth.NewToken("alice"); again == token {
		t.Error("the same token twice")
	}
	for _, name := range []string{"", "a b", "a\n", "#a", "lct_a", strings.Repeat("x", 65)} {
		if token, line, err := auth.NewToken(name); err == nil || token != "" || line != "" {
			t.Errorf("%q: got %q, %q, %v", name, token, line, err)
		}
	}
}

func FuzzTokens(f *testing.F) {
	hash := fmt.Sprintf("%x", sha256.Sum256(nil))
	for _, seed := range []string{
		"", "\n", "# comment\n\n", "alice " + hash, "alice " + hash + "\r\nbob " + strings.Repeat("0", 64) + "\n",
		"alice", "alice SECRET", "SECRET " + hash, "alice " + hash + " SECRET", "lct_SECRET " + hash,
		"alice " + hash + "\nalice " + hash, "\xef\xbb\xbfalice " + hash, "\x00", "a\u2028b " + hash, "alice " + hash[:63] + "g",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		text = strings.ReplaceAll(text, "SECRET", canary)
		names, err := auth.ParseTokens(text)
		if err != nil {
			if strings.Contains(err.Error(), canary) || len(err.Error()) > 256 {
				t.Errorf("error tells too much: %v", err)
			}
			return
		}
		seen := make(map[string]bool)
		for _, name := range names {
			if seen[name] || name == "" || len(name) > 64 || strings.ContainsAny(name, " \n\r\t#\x00") {
				t.Errorf("name %q", name)
			}
			seen[name] = true
		}
		if len(names) > strings.Count(text, "\n")+1 {
			t.Errorf("%d tokens in %d lines", len(names), strings.Count(text, "\n")+1)
		}
	})
}
