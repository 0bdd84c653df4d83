package fleet

import (
	"context"
	_ "embed"
	"encoding/json"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/operator"
	"github.com/lastcall-go/lastcall/transport/admin/page"
	"github.com/lastcall-go/lastcall/transport/httpserver"

	adminapi "github.com/lastcall-go/lastcall/transport/admin"
)

//go:embed fleet.html
var document []byte

//go:embed fleet.js
var script []byte

//go:embed fleet.css
var style []byte

// pageSessions is how many sessions of each instance the page shows.
const pageSessions = 20

// Serve serves a page with all instances, until ctx is done. It changes nothing at them. Each
// reader of the listener sees what the fleet's token may see: it must be one that only this machine reaches.
func Serve(ctx context.Context, fleet Fleet, listener net.Listener) error {
	server := &httpserver.Server{Listener: listener, Handler: pageOf(fleet)}
	return server.Serve(ctx)
}

// pageOf answers with the page, its files, and GET /fleet, which the page reads.
func pageOf(fleet Fleet) http.Handler {
	shown := &shownFleet{fleet: fleet}
	mux := http.NewServeMux()
	mux.Handle("GET /{$}", file("text/html; charset=utf-8", document))
	mux.Handle("GET /assets/fleet.js", file("text/javascript; charset=utf-8", script))
	mux.Handle("GET /assets/fleet.css", file("text/css; charset=utf-8", style))
	mux.Handle("GET /assets/", page.Handler())
	mux.Handle("GET /fleet", shown)
	return page.Guard(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !httpserver.IsLocal(r.Host) {
			http.Error(w, "this page is for localhost alone", http.StatusForbidden)
			return
		}
		mux.ServeHTTP(w, r)
	}))
}

func file(contentType string, content []byte) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.Header().Set("Cache-Control", "no-store")
		_, _ = w.Write(content)
	})
}

// shownFleet answers with how the fleet stands. All readers share one look a second.
type shownFleet struct {
	fleet Fleet

	mu   sync.Mutex
	at   time.Time
	text []byte
}

// instanceView is one instance, as the page gets it.
type instanceView struct {
	Name     string             `json:"name"`
	Error    string             `json:"error,omitempty"`
	Sessions *adminapi.Sessions `json:"sessions,omitempty"`
	State    *adminapi.State    `json:"state,omitempty"`
}

// ServeHTTP implements [http.Handler].
func (s *shownFleet) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	if time.Since(s.at) >= operator.WatchPause {
		s.text = encoded(s.fleet.Look(context.Background(), pageSessions)) // bounded in time, and for all readers
		s.at = time.Now()
	}
	text := s.text
	s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(text)
}

func encoded(all []Standing) []byte {
	views := make([]instanceView, len(all))
	for i, s := range all {
		views[i] = instanceView{Name: s.Name, Sessions: s.Sessions, State: s.State}
		if s.Err != nil {
			views[i].Error = s.Err.Error()
		}
	}
	text, _ := json.Marshal(views) // of plain values: it can't fail
	return text
}
