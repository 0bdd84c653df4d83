package serveflags

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/lastcall-go/lastcall/transport/auth"
)

// A hangup may come before the service that waits for it runs. Without a listener, it would end
// this process.
func TestAHangupAtOnceIsNoEnd(t *testing.T) {
	ada, adasLine, err := auth.NewToken("ada")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	flags := authFlags{Auth: "tokens", AuthTokens: file}
	authorizer, tokens, err := flags.authorizer("127.0.0.1:0", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	services := reloadOnHangup(tokens, slog.New(slog.DiscardHandler))
	if len(services) != 1 {
		t.Fatal(services)
	}
	if err := os.WriteFile(file, []byte(adasLine+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- services[0].Run.Serve(ctx) }()
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Authorization", "Bearer "+ada)
	for late := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		if _, err := authorizer.Authorize(r); err == nil {
			break
		}
		if time.Now().After(late) {
			t.Fatal("the tokens weren't read again")
		}
	}
	stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil { // as in a drain
		t.Fatal(err)
	}
}
