package page_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"testing"

	"github.com/lastcall-go/lastcall/transport/admin/page"
)

func get(method, path string, header ...string) *http.Response {
	r := httptest.NewRequest(method, path, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	page.Handler().ServeHTTP(w, r)
	return w.Result()
}

func TestEveryAnswerIsGuarded(t *testing.T) {
	for _, path := range []string{"/", "/assets/app.js", "/assets/style.css", "/nothing"} {
		header := get(http.MethodGet, path).Header
		for name, want := range map[string]string{
			"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; " +
				"base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
			"X-Content-Type-Options": "nosniff",
			"Referrer-Policy":        "no-referrer",
			"X-Frame-Options":        "DENY",
		} {
			if got := header.Get(name); got != want {
				t.Errorf("%s: %s is %q", path, name, got)
			}
		}
	}
}

func TestOnlyThePageIsServedAndOnlyRead(t *testing.T) {
	for _, c := range []struct {
		method, path string
		status       int
	}{
		{http.MethodGet, "/", 200},
		{http.MethodHead, "/", 200},
		{http.MethodGet, "/assets/app.js", 200},
		{http.MethodGet, "/assets/style.css", 200},
		{http.MethodGet, "/index.html", 404},
		{http.MethodGet, "/assets/", 404},
		{http.MethodGet, "/assets/page.go", 404},
		{http.MethodGet, "/assets/index.html", 404},
		{http.MethodPost, "/", 405},
		{http.MethodDelete, "/assets/app.js", 405},
		{http.MethodPut, "/assets/style.css", 405},
	} {
		if got := get(c.method, c.path).StatusCode; got != c.status {
			t.Errorf("%s %s: %d", c.method, c.path, got)
		}
	}
}

func TestThePageIsNotStored(t *testing.T) {
	answer := get(http.MethodGet, "/")
	if got := answer.Header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control: %q", got)
	}
	if got := answer.Header.Get("Content-Type"); got != "text/html; charset=utf-8" {
		t.Errorf("Content-Type: %q", got)
	}
}

func TestAssetsAreAskedAboutAndSentOnlyWhenChanged(t *testing.T) {
	for path, kind := range map[string]string{"/assets/app.js": "text/javascript; charset=utf-8", "/assets/style.css": "text/css; charset=utf-8", "/assets/icon.svg": "image/svg+xml"} {
		answer := get(http.MethodGet, path)
		tag := answer.Header.Get("ETag")
		if tag == "" || answer.Header.Get("Cache-Control") != "no-cache" || answer.Header.Get("Content-Type") != kind {
			t.Errorf("%s: %v", path, answer.Header)
		}
		if got := get(http.MethodGet, path, "If-None-Match", tag).StatusCode; got != http.StatusNotModified {
			t.Errorf("%s, known: %d", path, got)
		}
	}
	if get(http.MethodGet, "/assets/app.js").Header.Get("ETag") == get(http.MethodGet, "/assets/style.css").Header.Get("ETag") {
		t.Error("two files have one tag")
	}
}

func TestTheFilesNeedNothingFromElsewhereAndNothingInline(t *testing.T) {
	forbidden := map[string][]string{
		"index.html": {`(?i)\bhttps?:`, `(?i)["'=(]//`, `(?i)\son\w+\s*=`, `(?i)\sstyle\s*=`, `(?i)<style`, `(?i)<script(?:[^>]*)>[^<]`, `(?i)javascript:`},
		"app.js":     {`(?i)\bhttps?:`, `["'(]//`, `innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|setAttribute\("(style|on)`},
		"style.css":  {`(?i)\bhttps?:`, `(?i)@import`, `(?i)url\(`},
	}
	for name, patterns := range forbidden {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, pattern := range patterns {
			if found := regexp.MustCompile(pattern).Find(content); found != nil {
				t.Errorf("%s has %q", name, found)
			}
		}
	}
}
