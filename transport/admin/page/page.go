// Package page is the operator's page of the admin listener: a few files that are embedded, and
// need nothing from elsewhere. What the page shows and does, it does through the admin API of its
// own origin.
package page

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"net/http"
	"time"
)

//go:embed index.html
var index []byte

//go:embed app.js
var script []byte

//go:embed history.js
var historyScript []byte

//go:embed style.css
var style []byte

//go:embed icon.svg
var icon []byte

// policy lets the page have its own files and speak to its own origin, and nothing else: neither
// inline scripts nor styles, no frame around it, no form that goes anywhere.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// Handler serves the page at / and its files under /assets/; anything else is 404, and a method
// other than GET and HEAD 405. Authorization is the caller's.
func Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /{$}", document())
	mux.Handle("GET /assets/app.js", asset("text/javascript; charset=utf-8", script))
	mux.Handle("GET /assets/history.js", asset("text/javascript; charset=utf-8", historyScript))
	mux.Handle("GET /assets/style.css", asset("text/css; charset=utf-8", style))
	mux.Handle("GET /assets/icon.svg", asset("image/svg+xml", icon))
	for state, colour := range map[string]string{"draining": "#b26a00", "drained": "#6b7280", "lost": "#b3261e"} {
		mux.Handle("GET /assets/icon-"+state+".svg", asset("image/svg+xml", bytes.Replace(icon, []byte("#1d5bb8"), []byte(colour), 1)))
	}
	return Guard(mux)
}

// Guard sets the headers of every answer, errors included, that let a page have files of its own origin and nothing
// else.
func Guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Content-Security-Policy", policy)
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Referrer-Policy", "no-referrer")
		header.Set("X-Frame-Options", "DENY")
		next.ServeHTTP(w, r)
	})
}

// document is the page. It is stored nowhere: another process may bring another.
func document() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		serve(w, r, "text/html; charset=utf-8", index)
	})
}

// asset is a file that a browser keeps, and asks about each time: another process may bring another.
func asset(contentType string, content []byte) http.Handler {
	sum := sha256.Sum256(content)
	tag := `"` + hex.EncodeToString(sum[:16]) + `"`
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-cache")
		w.Header().Set("ETag", tag)
		serve(w, r, contentType, content)
	})
}

func serve(w http.ResponseWriter, r *http.Request, contentType string, content []byte) {
	w.Header().Set("Content-Type", contentType)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
}
