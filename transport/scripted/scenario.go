package scripted

import "github.com/lastcall-go/lastcall/proto/dap"

// Step is one move of a scenario: Checkpoint, Ask or Wait.
type Step struct {
	kind    kind
	message string
	action  *dap.Action
}

type kind int

const (
	sayCheckpoint kind = iota
	askClient
	waitForStop
)

// Checkpoint saves how far the workflow has come, and sends the client this message.
func Checkpoint(message string) Step {
	return Step{kind: sayCheckpoint, message: message}
}

// Ask sends the action with a fresh requestID and waits for the response that carries it. Other
// responses and heartbeats change nothing.
func Ask(action *dap.Action) Step {
	return Step{kind: askClient, action: action}
}

// Wait does nothing until the stream is stopped or cancelled: an idle session.
func Wait() Step {
	return Step{kind: waitForStop}
}

// DefaultScenario looks around in the client's folder and changes nothing there.
func DefaultScenario() []Step {
	return []Step{
		Checkpoint("Looking around the project"),
		Ask(&dap.Action{Action: &dap.Action_ListDirectory{ListDirectory: &dap.ListDirectory{Directory: "."}}}),
		Ask(&dap.Action{Action: &dap.Action_RunReadFile{RunReadFile: &dap.ReadFile{Filepath: "README.md"}}}),
		Checkpoint("Read the README"),
		Ask(&dap.Action{Action: &dap.Action_FindFiles{FindFiles: &dap.FindFiles{NamePattern: "*.go"}}}),
		Checkpoint("Found the Go files"),
		Ask(&dap.Action{Action: &dap.Action_Grep{Grep: &dap.Grep{SearchDirectory: ".", Pattern: "TODO|FIXME"}}}),
		Checkpoint("Found what was left to do"),
		Checkpoint("Writing the summary"),
	}
}

// ToolScenario asks for what a gateway runs itself, and the client sees nothing of: a page of the
// platform's API.
func ToolScenario() []Step {
	return []Step{
		Checkpoint("Asking the platform"),
		Ask(&dap.Action{Action: &dap.Action_RunHTTPRequest{RunHTTPRequest: &dap.RunHTTPRequest{Method: "GET", Path: "/"}}}),
		Checkpoint("The platform has answered"),
	}
}
