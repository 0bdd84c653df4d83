package admin

import (
	"context"
	"net/http"
	"strconv"
)

// maxProfile is how many seconds a profile or a trace may take.
const maxProfile = 600

// getProfiles has [Options].Profiles answer. What takes some time ends with the handler: its context is
// done then, and what is left of the response has lastWriteTimeout to be taken.
func (h *Handler) getProfiles(w http.ResponseWriter, r *http.Request) {
	if seconds, err := strconv.ParseFloat(r.URL.Query().Get("seconds"), 64); err == nil && !(seconds <= maxProfile) {
		http.Error(w, "seconds must be "+strconv.Itoa(maxProfile)+" at most", http.StatusBadRequest)
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	out := newStream(w)
	defer out.end()
	defer context.AfterFunc(h.closing, func() {
		out.hurry()
		cancel()
	})()
	h.profiles.ServeHTTP(w, r.WithContext(ctx))
}
