//go:build unix

package auth_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/lastcall-go/lastcall/transport/auth"
	"github.com/lastcall-go/lastcall/transport/grant"
)

func TestASlowReloadDoesNotUndoALaterOne(t *testing.T) {
	dir := t.TempDir()
	path := write(t, filepath.Join(dir, "tokens"), "")
	tokens, err := auth.OpenTokens(path, grant.Grant{})
	if err != nil {
		t.Fatal(err)
	}
	reload := func() chan error {
		done := make(chan error, 1)
		go func() { done <- tokens.Reload() }()
		return done
	}

	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	slow := reload()
	pipe, err := os.OpenFile(path, os.O_WRONLY, 0) // returns when the other end is open
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(write(t, filepath.Join(dir, "next"), line("new", "new")), path); err != nil {
		t.Fatal(err)
	}
	later := reload()
	select {
	case err := <-later:
		later <- err
	case <-time.After(50 * time.Millisecond): // it waits for its turn
	}
	_, _ = pipe.WriteString(line("old", "old"))
	_ = pipe.Close()
	for _, done := range []chan error{slow, later} {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if _, err := tokens.Authorize(get("Bearer new")); err != nil {
		t.Errorf("the file's token: %v", err)
	}
}
