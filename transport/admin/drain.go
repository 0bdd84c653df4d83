package admin

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/lastcall-go/lastcall/actors"
)

// drainParams returns the parameters of every drain.
func drainParams() []string {
	return []string{"deadline", "grace", "batch-size", "batch-interval", "reason"}
}

func (h *Handler) getDrain(r *http.Request) (any, error) {
	if p := queryParams(r); p.err != nil {
		return nil, p.err
	}
	return h.state(r.Context())
}

// partParams select a part of the sessions.
func partParams() []string { return []string{"sessions", "older-than", "agent", "kind", "principal"} }

// getEstimate says what postDrain, or postSessionDrain with id=, would take.
func (h *Handler) getEstimate(r *http.Request) (any, error) {
	p := queryParams(r, slices.Concat(drainParams(), partParams(), []string{"id"})...)
	only := readSelection(p)
	if p.has("id") {
		only = &actors.Selection{IDs: []string{p.text("id")}}
	}
	d := h.readDrain(p, only)
	if p.err != nil {
		return nil, p.err
	}
	ctx, cancel := context.WithTimeout(r.Context(), askTimeout)
	defer cancel()
	estimate, err := h.supervisor.Estimate(ctx, d)
	if err != nil {
		return nil, err
	}
	return EstimateOf(estimate), nil
}

// postDrain drains everything, and leaves the process up; or the part that is selected.
func (h *Handler) postDrain(r *http.Request) (any, error) {
	p := postParams(r, slices.Concat(drainParams(), partParams())...)
	only := readSelection(p)
	d := h.readDrain(p, only)
	if p.err != nil {
		return nil, p.err
	}
	return h.begin(r, d)
}

// postSessionDrain drains one session.
func (h *Handler) postSessionDrain(r *http.Request) (any, error) {
	p := postParams(r, drainParams()...)
	d := h.readDrain(p, &actors.Selection{IDs: []string{r.PathValue("id")}})
	if p.err != nil {
		return nil, p.err
	}
	if _, err := h.session(r); err != nil { // else a drain of no session would be remembered
		return nil, err
	}
	return h.begin(r, d)
}

// postResume admits again after a drain of everything.
func (h *Handler) postResume(r *http.Request) (any, error) {
	if p := postParams(r); p.err != nil {
		return nil, p.err
	}
	ctx, cancel := context.WithTimeout(r.Context(), askTimeout)
	defer cancel()
	if err := h.supervisor.Resume(ctx); err != nil {
		return nil, err
	}
	h.log.Info("resume asked for", "remote", r.RemoteAddr, "principal", principal(r))
	return h.state(r.Context())
}

// readSelection returns nil where nothing is selected, which means everything.
func readSelection(p *params) *actors.Selection {
	if !p.has("sessions") && !p.has("older-than") && !p.has("agent") && !p.has("kind") && !p.has("principal") {
		return nil
	}
	return &actors.Selection{
		Most:      p.number("sessions", 1, 0),
		OlderThan: p.duration("older-than", 1, 0),
		Agent:     p.text("agent"),
		Kind:      p.text("kind"),
		Principal: p.text("principal"),
	}
}

// readDrain reads what every drain takes. Where a longer grace than by default is all that is said,
// the deadline is later by as much, so that agents and clients still have their time.
func (h *Handler) readDrain(p *params, only *actors.Selection) actors.Drain {
	d := actors.Drain{
		Delay:         h.defaults.Delay,
		Grace:         p.duration("grace", 0, h.defaults.Grace),
		BatchSize:     p.number("batch-size", 0, h.defaults.BatchSize),
		BatchInterval: p.duration("batch-interval", 0, h.defaults.BatchInterval),
		Reason:        p.printable("reason", actors.MaxReason),
		Standby:       only == nil,
		Only:          only,
	}
	byDefault := actors.Budget{Total: h.defaults.Timeout, Grace: h.defaults.Grace}.WithGrace(d.Grace)
	timeout := p.duration("deadline", 1, byDefault.Total)
	if p.has("grace") && d.Grace > timeout {
		p.fail("grace %v does not fit into deadline %v", d.Grace, timeout)
	}
	d.Deadline = time.Now().Add(timeout)
	return d
}

func (h *Handler) begin(r *http.Request, d actors.Drain) (any, error) {
	ctx, cancel := context.WithTimeout(r.Context(), askTimeout)
	defer cancel()
	asked := time.Now()
	status, err := h.supervisor.Begin(ctx, d)
	if err != nil {
		return nil, err
	}
	if status.Over && d.Standby && status.Began.Before(asked) {
		return nil, refuse(http.StatusConflict, "everything is drained already: POST /resume admits again")
	}
	h.log.Info("drain asked for", "drain", status.ID, "part", status.Part, "sessions", status.Sessions,
		"reason", status.Reason, "remote", r.RemoteAddr, "principal", principal(r))
	return DrainOf(status), nil
}
