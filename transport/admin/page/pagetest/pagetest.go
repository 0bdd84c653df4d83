// Package pagetest opens pages in a real browser: a Chromium without a window, driven by chromedp.
package pagetest

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

const (
	testTime = 2 * time.Minute  // a browser's life
	quitTime = 10 * time.Second // what it has to close
)

// Browser starts a Chromium with an empty profile and one tab, and gives the context that chromedp's
// actions run in. It ends with the test, or after two minutes. Whatever the page's console shows as
// an error fails the test, and so do exceptions that nothing caught and breaches of the content
// security policy; messages that contain one of expected don't.
//
// Without a Chromium the test is skipped, or fails where LASTCALL_REQUIRE_BROWSER is set.
func Browser(t testing.TB, expected ...string) context.Context {
	t.Helper()
	bounded, cancelTime := context.WithTimeout(context.Background(), testTime)
	t.Cleanup(cancelTime)
	allocator, stop := chromedp.NewExecAllocator(bounded, options(t, chromium(t))...)
	t.Cleanup(stop)
	ctx, cancel := chromedp.NewContext(allocator)
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil { // starts it, in the context that it lives as long as
		t.Fatalf("start chromium: %v", err)
	}
	watched := watch(ctx, t, expected)
	t.Cleanup(func() {
		quit(ctx, t)
		<-watched
	})
	return ctx
}

// Screenshot saves what the tab shows as name.png: under the test's temporary folder, or in the
// folder that LASTCALL_SCREENSHOTS names.
func Screenshot(ctx context.Context, t testing.TB, name string) {
	t.Helper()
	picture, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	if err != nil {
		t.Fatalf("take screenshot %s: %v", name, err)
	}
	folder := os.Getenv("LASTCALL_SCREENSHOTS")
	if folder == "" {
		folder = t.TempDir()
	}
	path := filepath.Join(folder, name+".png")
	if err := os.WriteFile(path, picture, 0o644); err != nil {
		t.Fatalf("save screenshot: %v", err)
	}
	t.Logf("screenshot: %s", path)
}

func chromium(t testing.TB) string {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil && os.Getenv("LASTCALL_REQUIRE_BROWSER") != "" {
		t.Fatalf("LASTCALL_REQUIRE_BROWSER is set, and there is no browser: %v", err)
	}
	if err != nil {
		t.Skipf("no browser: %v", err)
	}
	return path
}

// options make a browser that connects only to the test, and leaves nothing behind.
func options(t testing.TB, path string) []chromedp.ExecAllocatorOption {
	home := t.TempDir()
	own := []chromedp.ExecAllocatorOption{
		chromedp.ExecPath(path),
		chromedp.UserDataDir(filepath.Join(home, "profile")),
		chromedp.Env("HOME="+home, "XDG_CONFIG_HOME="+home, "XDG_CACHE_HOME="+home),
		chromedp.NoSandbox, // containers have no user namespaces to give
		chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.WindowSize(1360, 900),
	}
	return append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]), own...)
}

// watch fails the test for what the console shows. The channel closes when the browser has gone.
func watch(ctx context.Context, t testing.TB, expected []string) <-chan struct{} {
	messages := chromedp.Console(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for message, err := range messages {
			if err != nil {
				return
			}
			if wrong(message, expected) {
				t.Errorf("the page's console: %v (%s, %s:%d)", message, message.Source, message.URL, message.Line+1)
			}
		}
	}()
	return done
}

func wrong(message chromedp.ConsoleMessage, expected []string) bool {
	bad := message.IsException() || message.Type == chromedp.ConsoleError || message.Source == "security"
	return bad && !slices.ContainsFunc(expected, func(part string) bool { return strings.Contains(message.Text, part) })
}

// quit closes the browser as a user would, so that it has written its profile when that is removed.
func quit(ctx context.Context, t testing.TB) {
	bounded, cancel := context.WithTimeout(ctx, quitTime)
	defer cancel()
	if err := chromedp.Cancel(bounded); err != nil && !errors.Is(err, context.Canceled) {
		t.Logf("close chromium: %v", err)
	}
}
