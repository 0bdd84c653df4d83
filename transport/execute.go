package transport

import (
	"errors"
	"net/http"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/lastcall-go/lastcall/actors/relay"
	"github.com/lastcall-go/lastcall/proto/dap"
	"github.com/lastcall-go/lastcall/transport/codec"
	"github.com/lastcall-go/lastcall/transport/httpsession"
	"github.com/lastcall-go/lastcall/transport/requestid"
)

// DefaultExecutePath is where workflows are run without a client.
const DefaultExecutePath = "/api/v4/ai/duo_workflows/workflows/{id}/execute"

// Execute runs workflows without a client: the request's body is the startRequest, the response a
// line of JSON for each checkpoint, with an empty line every 20 s. It belongs on a pattern with the
// wildcard {id}, such as [DefaultExecutePath]. Admission, tools, lease and drain are those of the
// handler's sessions. The request is held until the run has ended.
//
// Until the first line is written a failure is a status: 400 for a bad body or what the agent
// refuses, 403 without credits or for a workflow that isn't allowed, 409 for a workflow that runs
// elsewhere, 413 for a body over 4 MiB, 502 for an agent that can't be reached, 503 while draining.
func (h *Handler) Execute() http.Handler {
	return http.HandlerFunc(h.execute)
}

func (h *Handler) execute(w http.ResponseWriter, r *http.Request) {
	r = requestid.Give(w, r)
	if !allowsOrigin(r, h.AllowOrigins) {
		h.refuseOrigin(w, r)
		return
	}
	granted := h.authorize(w, r)
	if granted == nil {
		return // and has been answered
	}
	agreed := h.terms()
	start, size, err := readRun(r, agreed.contract) // before the ticket, which a drain waits for
	if err != nil {
		h.refused(httpsession.RefusedBody)
		refuseBody(w, err)
		return
	}
	ticket := h.admit(w, r, granted)
	if ticket == nil {
		return // and has been answered
	}
	defer ticket.Cancel()
	client := newRunClient(w, r, size, start, agreed)
	parts := h.parts(granted, r, agreed.contract)
	parts.Client, parts.Transport = client, "http"
	if _, err := relay.Start(ticket, parts); err != nil {
		h.refuse(w, err)
		return
	}
	client.serve()
}

// refuseBody says what is wrong with a body, if it is that, and nothing of the connection.
func refuseBody(w http.ResponseWriter, err error) {
	var syntax *codec.SyntaxError
	switch {
	case errors.Is(err, codec.ErrTooBig):
		http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
	case errors.As(err, &syntax), errors.Is(err, errOtherWorkflow):
		http.Error(w, err.Error(), http.StatusBadRequest)
	default:
		http.Error(w, "the body is incomplete", http.StatusBadRequest)
	}
}

// errOtherWorkflow refuses a body that names another workflow than the path.
var errOtherWorkflow = errors.New("the workflowID of the body is not that of the path")

// readRun reads what is to be run, and how many bytes that is. What only a client can bring is
// dropped: there is none.
func readRun(r *http.Request, contract *codec.Contract) (start relay.Message, size int, err error) {
	body := codec.NewBuffer()
	defer body.Free()
	if err := body.Fill(r.Body); err != nil {
		var limit *http.MaxBytesError
		if errors.As(err, &limit) {
			err = codec.ErrTooBig
		}
		return relay.Message{}, 0, err
	}
	request := new(dap.StartWorkflowRequest)
	wire, _, err := contract.Start.AppendWire(nil, body.Bytes)
	if err == nil {
		err = proto.Unmarshal(wire, request)
	}
	if err != nil {
		return relay.Message{}, 0, err
	}
	id := r.PathValue("id")
	if request.WorkflowID != "" && request.WorkflowID != id {
		return relay.Message{}, 0, errOtherWorkflow
	}
	request.WorkflowID = id
	request.ClientCapabilities, request.McpTools, request.PreapprovedTools = nil, nil, nil
	start, err = relay.MessageOf(&dap.ClientEvent{Response: &dap.ClientEvent_StartRequest{StartRequest: request}})
	return start, len(body.Bytes), err
}

// unlimited lifts the server's limits on the time of a request, which a run outlives. The limit on
// reading would end the request's context.
func unlimited(w http.ResponseWriter) *http.ResponseController {
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Time{}) // not supported: then there is none
	return control
}
