package pagetest

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// recorder is a test that keeps what would have failed it.
type recorder struct {
	testing.TB
	mu     sync.Mutex
	errors []string
}

func (r *recorder) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.errors = append(r.errors, fmt.Sprintf(format, args...))
}

func (r *recorder) all() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.errors, "\n")
}

const broken = `<!doctype html><link rel="icon" href="/icon"><script src="/script"></script><script>inline()</script><img src="/missing">`

const script = `console.log("harmless"); console.error("an error"); console.error("a known error");
setTimeout(() => { throw new Error("nobody caught this") });`

func TestWhatTheConsoleShowsFailsTheTest(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/":
			w.Header().Set("Content-Security-Policy", "script-src 'self'")
			_, _ = w.Write([]byte(broken))
		case "/script":
			_, _ = w.Write([]byte(script))
		case "/missing":
			http.NotFound(w, r)
		}
	}))
	defer server.Close()
	rec := &recorder{TB: t}
	ctx := Browser(rec, "a known error")
	if err := chromedp.Do(ctx, chromedp.Navigate(server.URL)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"an error", "nobody caught this", "Content Security Policy", "404"} {
		for began := time.Now(); !strings.Contains(rec.all(), want); time.Sleep(10 * time.Millisecond) {
			if time.Since(began) > 15*time.Second {
				t.Fatalf("%q didn't fail the test, only:\n%s", want, rec.all())
			}
		}
	}
	for _, fine := range []string{"harmless", "known"} {
		if strings.Contains(rec.all(), fine) {
			t.Errorf("%q failed the test", fine)
		}
	}
}
