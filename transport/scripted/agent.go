// Package scripted is an agent that follows a script: a DuoWorkflow server that plays a small
// scenario instead of thinking. It is the other end of the gateway in a demonstration and in tests.
//
// # What it plays
//
// A stream begins with a startRequest. The agent then takes the steps of its scenario in order: it
// sends a checkpoint, or an action for the client and waits for its answer. After the last step
// it sends a checkpoint with the status FINISHED and ends the stream with OK. A checkpoint's text
// is a JSON object:
//
//	{"workflowID": "17", "step": 4, "steps": 9, "message": "Read the README"}
//
// # What it remembers
//
// The last checkpoint of each workflow, by ID: a later stream with that ID carries on after it, and
// asks again for the actions that followed it. A finished workflow that is started again sends its
// final checkpoint and ends. Nothing keeps one workflow from being played by two streams at once;
// [Options.Observe] shows it.
//
// # How it stops
//
//	what happened                                   the stream ends with        resumable
//	stopWorkflow WORKHORSE_SERVER_SHUTDOWN          checkpoint, UNAVAILABLE     yes
//	stopWorkflow WORKHORSE_WEBSOCKET_PING_FAILED    OK                          yes
//	stopWorkflow, any other reason                  OK                          no
//	the client closes its side                      OK                          yes
//	the client cancels, or its connection is lost   CANCELLED                   yes
//	the agent shuts down                            checkpoint, UNAVAILABLE     yes
//
// That last checkpoint has the status INTERRUPTED. [Options.Misbehave] makes the agent break these
// rules on purpose.
package scripted

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/lastcall-go/lastcall/proto/dap"
)

// Options says what an Agent plays. The zero value is the default scenario, without pauses.
type Options struct {
	// Pace is the pause before each step and before the end.
	Pace time.Duration

	// Steps is the scenario. Nil means DefaultScenario().
	Steps []Step

	// MaxWorkflows is how many workflows are remembered; past it the one that was least recently
	// started or saved is forgotten, and starts over. Zero means 10,000.
	MaxWorkflows int

	// Misbehave chooses what the agent does wrong in a stream of this workflow. Nil means nothing.
	Misbehave func(workflowID string) Misbehaviour

	// Observe is called with what happens on each stream: in order, and for several streams at once. The
	// stream waits while it runs: Ended is observed before the client can see the end. Nil means
	// it is not called.
	Observe func(Event)
}

const defaultMaxWorkflows = 10_000

// Agent is the DuoWorkflow service. Run it with Serve, or register it on a gRPC server of your own.
// It has no other calls than ExecuteWorkflow: the rest of the contract is UNIMPLEMENTED.
type Agent struct {
	dap.UnimplementedDuoWorkflowServer

	options     Options
	checkpoints *checkpoints
	streams     atomic.Uint64
	embedded    host
}

var _ dap.DuoWorkflowServer = (*Agent)(nil)

// New returns an agent that remembers no workflow yet.
func New(options Options) *Agent {
	if options.Steps == nil {
		options.Steps = DefaultScenario()
	}
	if options.MaxWorkflows == 0 {
		options.MaxWorkflows = defaultMaxWorkflows
	}
	if options.Misbehave == nil {
		options.Misbehave = func(string) Misbehaviour { return Misbehaviour{} }
	}
	if options.Observe == nil {
		options.Observe = func(Event) {}
	}
	return &Agent{options: options, checkpoints: newCheckpoints(options.MaxWorkflows)}
}

// ExecuteWorkflow plays the scenario on one stream, for a gRPC server that the agent is registered on.
func (a *Agent) ExecuteWorkflow(stream dap.DuoWorkflow_ExecuteWorkflowServer) error {
	return a.execute(&a.embedded, stream)
}

// Wait returns when no goroutine of the agent's streams is left on servers that it was registered
// on. Call it after such a server has stopped and its handlers have returned (grpc.WaitForHandlers).
// Serve needs no Wait.
func (a *Agent) Wait() {
	a.embedded.readers.Wait()
}

// host is the server that streams arrive on, and outlives them.
type host struct {
	stopping <-chan struct{} // closed when streams must end; nil if the server can't tell
	readers  sync.WaitGroup
}
