package actorstest

import "github.com/lastcall-go/lastcall/proto/dap"

// StartRequest returns a client's first message, for a workflow of this ID.
func StartRequest(workflow string) *dap.ClientEvent {
	start := &dap.StartWorkflowRequest{WorkflowID: workflow}
	return &dap.ClientEvent{Response: &dap.ClientEvent_StartRequest{StartRequest: start}}
}

// Heartbeat returns a message that a client may send at any time after its first.
func Heartbeat(timestamp int64) *dap.ClientEvent {
	return &dap.ClientEvent{Response: &dap.ClientEvent_Heartbeat{Heartbeat: &dap.HeartbeatRequest{Timestamp: timestamp}}}
}

// Answer returns a client's answer to the action of this requestID.
func Answer(requestID string) *dap.ClientEvent {
	answer := &dap.ActionResponse{RequestID: requestID}
	return &dap.ClientEvent{Response: &dap.ClientEvent_ActionResponse{ActionResponse: answer}}
}

// Action returns an action of this requestID, of no kind, for the client.
func Action(requestID string) *dap.Action { return &dap.Action{RequestID: requestID} }
