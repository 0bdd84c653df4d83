package admin

import (
	"net/http"
)

// getHistory answers with the last hour, and the drains that are over.
func (h *Handler) getHistory(r *http.Request) (any, error) {
	if p := queryParams(r); p.err != nil {
		return nil, p.err
	}
	return h.history.View(), nil
}

// getDrainReport answers with what became of one of these drains.
func (h *Handler) getDrainReport(r *http.Request) (any, error) {
	if p := queryParams(r); p.err != nil {
		return nil, p.err
	}
	if summary := h.history.Drain(r.PathValue("id")); summary != nil {
		return summary, nil
	}
	return nil, refuse(http.StatusNotFound, "no such drain: the last 20 that are over are kept")
}
