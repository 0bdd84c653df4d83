package admin

import (
	"cmp"
	"net/http"
	"slices"
	"strings"

	"github.com/lastcall-go/lastcall/actors"
)

// getSessions answers with the sessions that match, sorted, and of those the page asked for.
func (h *Handler) getSessions(r *http.Request) (any, error) {
	q, err := readQuery(r)
	if err != nil {
		return nil, err
	}
	view, err := h.snapshot(r.Context())
	if err != nil {
		return nil, err
	}
	matching := q.filter(view.Sessions)
	slices.SortFunc(matching, q.order)
	return Sessions{
		Total:    len(matching),
		Phases:   countPhases(view.Sessions),
		Sessions: sessionsOf(q.page(matching)),
	}, nil
}

func (h *Handler) getSession(r *http.Request) (any, error) {
	if p := queryParams(r); p.err != nil {
		return nil, p.err
	}
	info, err := h.session(r)
	if err != nil {
		return nil, err
	}
	return sessionOf(info), nil
}

// session returns the session that the request's path names.
func (h *Handler) session(r *http.Request) (*actors.SessionInfo, error) {
	view, err := h.snapshot(r.Context())
	if err != nil {
		return nil, err
	}
	id := r.PathValue("id")
	at := slices.IndexFunc(view.Sessions, func(s actors.SessionInfo) bool { return s.ID == id })
	if at < 0 {
		return nil, refuse(http.StatusNotFound, "there is no such session")
	}
	return &view.Sessions[at], nil
}

// query is what GET /sessions was asked for.
type query struct {
	phase, workflow, agent, kind, principal string // empty: any
	part                                    string // of the ID, workflow, remote or agent; in lower case
	told                                    bool   // only sessions that were asked to stop
	order                                   compareSessions
	offset, limit                           int // limit -1: all
}

type compareSessions func(a, b *actors.SessionInfo) int

func readQuery(r *http.Request) (query, error) {
	p := queryParams(r, "phase", "workflow", "agent", "kind", "principal", "told", "q", "sort", "offset", "limit")
	q := query{
		phase:     p.oneOf("phase", phaseNames()...),
		workflow:  p.text("workflow"),
		agent:     p.text("agent"),
		kind:      p.text("kind"),
		principal: p.text("principal"),
		told:      p.oneOf("told", "true") != "",
		part:      strings.ToLower(p.text("q")),
		offset:    p.number("offset", 0, 0),
		limit:     p.number("limit", 0, -1),
	}
	key, reverse := strings.CutPrefix(p.text("sort"), "-")
	by := comparison(key)
	if by == nil {
		p.fail("sort must be one of: started, phase, workflow, agent, messages, bytes, last; or that after a -")
	}
	q.order = thenByAge(by, reverse)
	return q, p.err
}

// comparison is what a key sorts by, nil where there is no such key.
func comparison(key string) compareSessions {
	switch key {
	case "", "started":
		return byAge
	case "phase":
		return func(a, b *actors.SessionInfo) int { return cmp.Compare(a.Phase, b.Phase) }
	case "workflow":
		return func(a, b *actors.SessionInfo) int { return cmp.Compare(a.Workflow, b.Workflow) }
	case "agent":
		return func(a, b *actors.SessionInfo) int { return cmp.Compare(a.AgentName, b.AgentName) }
	case "messages":
		return func(a, b *actors.SessionInfo) int { return cmp.Compare(flow(a).Messages, flow(b).Messages) }
	case "bytes":
		return func(a, b *actors.SessionInfo) int { return cmp.Compare(flow(a).Bytes, flow(b).Bytes) }
	case "last":
		return func(a, b *actors.SessionInfo) int { return a.Traffic.Last.Compare(b.Traffic.Last) }
	}
	return nil
}

func byAge(a, b *actors.SessionInfo) int { return a.Started.Compare(b.Started) }

// flow is what has passed both ways.
func flow(s *actors.SessionInfo) Flow {
	return Flow{
		Messages: s.Traffic.Received.Messages + s.Traffic.Sent.Messages,
		Bytes:    s.Traffic.Received.Bytes + s.Traffic.Sent.Bytes,
	}
}

// thenByAge sorts what is equal by age, and that by ID, so that pages neither overlap nor leave
// a session out.
func thenByAge(by compareSessions, reverse bool) compareSessions {
	return func(a, b *actors.SessionInfo) int {
		order := by(a, b)
		if order == 0 {
			order = byAge(a, b)
		}
		if order == 0 {
			order = cmp.Compare(a.ID, b.ID)
		}
		if reverse {
			return -order
		}
		return order
	}
}

func (q *query) filter(all []actors.SessionInfo) []*actors.SessionInfo {
	matching := make([]*actors.SessionInfo, 0, len(all))
	for i := range all {
		if q.matches(&all[i]) {
			matching = append(matching, &all[i])
		}
	}
	return matching
}

func (q *query) matches(s *actors.SessionInfo) bool {
	return (q.phase == "" || q.phase == s.Phase.String()) &&
		(q.workflow == "" || q.workflow == s.Workflow) &&
		(q.agent == "" || q.agent == s.AgentName) &&
		(q.kind == "" || q.kind == s.Kind) &&
		(q.principal == "" || q.principal == s.Principal) &&
		(!q.told || !s.Told.IsZero()) &&
		(q.part == "" || slices.ContainsFunc([]string{s.ID, s.Workflow, s.Remote, s.AgentName}, q.contains))
}

func (q *query) contains(text string) bool { return strings.Contains(strings.ToLower(text), q.part) }

func (q *query) page(all []*actors.SessionInfo) []*actors.SessionInfo {
	all = all[min(q.offset, len(all)):]
	if q.limit >= 0 {
		all = all[:min(q.limit, len(all))]
	}
	return all
}

// phases are those of a session that is there.
func phases() []actors.Phase {
	return []actors.Phase{actors.PhaseOpening, actors.PhaseServing, actors.PhaseStopping, actors.PhaseClosing}
}

func phaseNames() (names []string) {
	for _, phase := range phases() {
		names = append(names, phase.String())
	}
	return names
}

func countPhases(all []actors.SessionInfo) map[string]int {
	counts := make(map[string]int)
	for _, name := range phaseNames() {
		counts[name] = 0
	}
	for i := range all {
		counts[all[i].Phase.String()]++
	}
	return counts
}

// withoutStopped leaves out sessions that have stopped, which the supervisor is still to hear of.
func withoutStopped(all []actors.SessionInfo) []actors.SessionInfo {
	return slices.DeleteFunc(all, func(s actors.SessionInfo) bool { return s.Phase == actors.PhaseStopped })
}
