package loadtest

import (
	"github.com/lastcall-go/lastcall/proto/dap"
	"github.com/lastcall-go/lastcall/transport/scripted"
)

// agentSteps is how many actions an agent of NewAgent asks of a session: more than a load test gets
// to, so that sessions aren't opened again in the midst of it.
const agentSteps = 100_000

// NewAgent returns an agent that asks for a file as soon as it has got the one before, and ends when
// it gets stopWorkflow.
func NewAgent() *scripted.Agent {
	ask := scripted.Ask(&dap.Action{Action: &dap.Action_RunReadFile{RunReadFile: &dap.ReadFile{Filepath: "src/main.go"}}})
	steps := make([]scripted.Step, agentSteps)
	for i := range steps {
		steps[i] = ask
	}
	return scripted.New(scripted.Options{Steps: steps})
}
