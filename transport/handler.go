package transport

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/actors/relay"
	"github.com/lastcall-go/lastcall/proto/dap"
	"github.com/lastcall-go/lastcall/transport/agentpool"
	"github.com/lastcall-go/lastcall/transport/codec"
	"github.com/lastcall-go/lastcall/transport/grant"
	"github.com/lastcall-go/lastcall/transport/httpsession"
	"github.com/lastcall-go/lastcall/transport/requestid"
)

// DefaultPath is where the platform's clients open their WebSocket.
const DefaultPath = "/api/v4/ai/duo_workflows/ws"

// Handler upgrades requests to sessions. It returns as soon as the session owns the connection.
// While the supervisor drains, or is full, the answer is 503 with Retry-After, and the connection
// is closed, so that a client which keeps it alive doesn't come back to an instance that goes.
//
// A middleware's ResponseWriter must have Unwrap, for [http.ResponseController], or Hijack; else the
// answer is 500. It doesn't see the status 101, which is written to the hijacked connection.
//
// Supervisor and Agents are required; the zero value of anything else means that there is none.
type Handler struct {
	Supervisor *actors.Supervisor
	Agents     *agentpool.Pool

	// Authorizer decides which requests become sessions, and with which grant. Nil: all do, with an empty grant.
	Authorizer grant.Authorizer

	// Tools are the tools of one session, made from its grant.
	Tools func(*grant.Grant, *http.Request) []relay.Tool

	// Leaser leases the workflows whose grant asks for it, or all if LockAll.
	Leaser  relay.Leaser
	LockAll bool

	// Limits bound each session, besides the supervisor's own. Zero: their defaults.
	Limits relay.Limits

	// ClientCapabilities and ServerCapabilities are the capabilities that may be passed to the agent. Nil:
	// [DefaultClientCapabilities] and [DefaultServerCapabilities].
	ClientCapabilities []string
	ServerCapabilities []string

	// Contract returns what is known of the messages of a session that begins. It is called once for each,
	// and must be fast. Nil: [codec.BuiltIn], always.
	Contract func() *codec.Contract

	// FieldDropped is called with each field of an agent's message that the contract doesn't have, and the
	// client therefore doesn't get. It must be fast. Nil: nothing is.
	FieldDropped codec.Unknown

	// AllowOrigins are the origins whose pages may connect from a browser, besides those of the host that
	// serves them: patterns of path.Match, for a host or for scheme://host. [CheckOrigin] says whether one
	// can match anything.
	AllowOrigins []string

	// Subprotocols are the WebSocket subprotocols that the gateway accepts, if the client offers one: the
	// first of these that it offers, in any case of letters. [CheckSubprotocol] says whether a name can be
	// one. Empty: the first that the client offers. See [BearerSubprotocol] for the token that may be among
	// its offers.
	Subprotocols []string

	// Context makes the context of a session, whose values its agent's stream, its tools and its events
	// get. It is called once a session is about to start. Nil: the request's own. In both cases
	// it has the request's ID, see [requestid.Of].
	Context func(*http.Request) context.Context

	// Refused is called for each request that doesn't become a session. It must be fast. Nil: it is not called.
	Refused func(httpsession.Refusal)

	// Log records authorizations that fail, origins that are refused, pages whose browsers won't
	// take the answer, and once if a middleware makes upgrades impossible. Nil: nothing is logged.
	Log *slog.Logger

	hidden sync.Once // logged
}

// ServeHTTP implements [http.Handler].
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r = requestid.Give(w, r)
	if !allowsOrigin(r, h.AllowOrigins) {
		h.refuseOrigin(w, r)
		return
	}
	r, err := takeBearer(r)
	if err != nil {
		h.refused(httpsession.RefusedHandshake)
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	granted := h.authorize(w, r)
	if granted == nil {
		return // and has been answered
	}
	ticket := h.admit(w, r, granted)
	if ticket == nil {
		return // and has been answered
	}
	defer ticket.Cancel()
	agreed := h.terms()
	client, err := accept(w, r, selectable(r, h.Subprotocols), agreed)
	if err != nil {
		h.notUpgraded(err)
		return // and has been answered
	}
	h.warnPage(r, client)
	parts := h.parts(granted, r, agreed.contract)
	parts.Client, parts.Transport = client, "websocket"
	if _, err := relay.Start(ticket, parts); err != nil {
		h.refused(httpsession.RefusedDraining)
		_ = client.Close(actors.CloseError{Code: actors.CloseGoingAway, Reason: actors.DefaultReason})
	}
}

// notUpgraded reports a request that didn't become a WebSocket. An error of the server's own is logged
// once: it meets every request.
func (h *Handler) notUpgraded(err error) {
	h.refused(httpsession.RefusedHandshake)
	if h.Log != nil && errors.Is(err, errHidden) {
		h.hidden.Do(func() { h.Log.Error("a WebSocket cannot be opened", "error", err) })
	}
}

// authorize returns the request's grant, or answers it and returns nil. It may take long, and so
// comes before the ticket, which a drain waits for.
func (h *Handler) authorize(w http.ResponseWriter, r *http.Request) *grant.Grant {
	if h.Authorizer == nil {
		return &grant.Grant{}
	}
	granted, err := h.Authorizer.Authorize(r)
	if err != nil {
		h.refuseUnauthorized(w, err)
		return nil
	}
	return granted
}

// admit returns a ticket, or answers the request and returns nil.
func (h *Handler) admit(w http.ResponseWriter, r *http.Request, granted *grant.Grant) *actors.Ticket {
	ticket, err := h.Supervisor.AdmitAs(r.Context(), granted.Principal)
	if err != nil {
		h.refuse(w, err)
		return nil
	}
	return ticket
}

// parts are those of a session but for its client.
func (h *Handler) terms() terms {
	if h.Contract == nil {
		return terms{codec.BuiltIn, h.FieldDropped}
	}
	return terms{h.Contract(), h.FieldDropped}
}

func (h *Handler) parts(granted *grant.Grant, r *http.Request, contract *codec.Contract) relay.Session {
	parts := relay.Session{
		HasAction: contract.HasAction,

		Agent:     h.Agents.Agent(granted.Agent, r.UserAgent()),
		AgentName: h.Agents.Name(granted.Agent),
		Remote:    r.RemoteAddr,
		Context:   r.Context(),

		Authorized: granted.Authorized,
		Limits:     h.Limits,
		Prepare:    func(start *dap.StartWorkflowRequest) error { return h.prepare(granted, start) },
	}
	if h.Context != nil {
		parts.Context = h.Context(r)
	}
	if h.Tools != nil {
		parts.Tools = h.Tools(granted, r)
	}
	if granted.Lock || h.LockAll {
		parts.Leaser = h.Leaser
	}
	return parts
}

// prepare checks a startRequest against the grant, adds the capabilities of both sides, and checks the size of
// the result.
func (h *Handler) prepare(granted *grant.Grant, start *dap.StartWorkflowRequest) error {
	switch {
	case granted.WorkflowID == "" || start.WorkflowID == granted.WorkflowID:
	case start.WorkflowID == "":
		start.WorkflowID = granted.WorkflowID
	default:
		return &actors.CloseError{Code: actors.CloseForbidden, Reason: "workflow not allowed", Side: actors.SideClient}
	}
	start.ClientCapabilities = Capabilities(start.ClientCapabilities, granted.Capabilities,
		orDefault(h.ClientCapabilities, DefaultClientCapabilities), orDefault(h.ServerCapabilities, DefaultServerCapabilities))
	if proto.Size(&dap.ClientEvent{Response: &dap.ClientEvent_StartRequest{StartRequest: start}}) > codec.MaxMessage {
		return &actors.CloseError{Code: actors.CloseTooBig, Reason: "start request over 4 MiB", Side: actors.SideClient}
	}
	return nil
}

func orDefault(list []string, byDefault func() []string) []string {
	if list == nil {
		return byDefault()
	}
	return list
}

// refuseUnauthorized answers a request for which the authorizer returned err.
func (h *Handler) refuseUnauthorized(w http.ResponseWriter, err error) {
	if errors.As(err, new(*grant.RefusedError)) {
		h.refused(httpsession.RefusedDenied)
	} else {
		h.refused(httpsession.RefusedUndecided)
		if h.Log != nil && !errors.Is(err, context.Canceled) {
			h.Log.Warn("authorization failed", "error", err)
		}
	}
	grant.Refuse(w, err)
}

// refuse answers a request that gets no ticket.
func (h *Handler) refuse(w http.ResponseWriter, err error) {
	h.refused(httpsession.RefusalOf(err))
	httpsession.Refuse(w, err)
}

func (h *Handler) refused(reason httpsession.Refusal) {
	if h.Refused != nil {
		h.Refused(reason)
	}
}
