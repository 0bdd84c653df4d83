package main

import (
	"context"
	"errors"
	"net/http"
	"os/signal"
	"syscall"

	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/connectscreen"
	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/operator"
	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/terminal"
	"github.com/lastcall-go/lastcall/proto/dap"
	"github.com/lastcall-go/lastcall/transport/client"
	"github.com/lastcall-go/lastcall/transport/client/workdir"
)

// connectCmd is the client's flags.
type connectCmd struct {
	URL      string `default:"ws://127.0.0.1:8080/api/v4/ai/duo_workflows/ws" placeholder:"URL" help:"Where the gateway takes sessions (default ${default})."`
	Goal     string `default:"Look around and say what this project is." placeholder:"TEXT" help:"What the workflow is to do."`
	Token    string `placeholder:"TOKEN" help:"Bearer token for the gateway. Better set as LASTCALL_TOKEN: others can see a command line."`
	Workflow string `placeholder:"ID" help:"The workflow to start or resume (default: a new one)."`
	JSON     bool   `name:"json" env:"-" help:"Print each event as a line of JSON."`
}

// Help is shown by "lastcall connect --help".
func (*connectCmd) Help() string {
	return `It runs one workflow and shows each of the agent's actions as a line, with its result and how long it
took. What only reads the current folder is answered at once. What writes or runs is asked about first,
with the change or the command, and refused where there is no terminal to ask on. When the gateway shuts
down or the connection is lost, it connects again and resumes the workflow.

With --json each event is a line: {"event":"action","verb":"read","object":"main.go",...}. Questions are
asked on the standard error.

Exit codes: 0 the workflow is done; 1 it failed, or was interrupted; 2 a flag is wrong.

Example:
  lastcall connect --goal "Find the TODOs" --workflow w1
  lastcall connect --json`
}

// Run implements the command.
func (c *connectCmd) Run(std streams) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process, also where what it shows isn't read
	asked := std.out
	if c.JSON {
		asked = std.err
	}
	screen, prompt := connectscreen.New(std.out, c.JSON), terminal.NewPrompt(std.in, asked)
	folder, err := workdir.Open(".", workdir.Options{
		Ask: func(ctx context.Context, question workdir.Question) bool {
			return prompt.Ask(ctx, screen.Question(question))
		},
		Done: screen.Done,
	})
	if err != nil {
		return err
	}
	defer folder.Close()
	err = client.Run(ctx, client.Config{
		URL:     c.URL,
		Header:  c.header(),
		Start:   &dap.StartWorkflowRequest{ClientVersion: version(), WorkflowID: c.Workflow, Goal: c.Goal},
		Handle:  folder.Handle,
		Observe: screen.Event,
	})
	if errors.Is(err, context.Canceled) {
		return errors.New("interrupted: the workflow was stopped")
	}
	return operator.ExplainURL(err)
}

func (c *connectCmd) header() http.Header {
	header := http.Header{"User-Agent": {"lastcall-connect/" + version()}}
	if c.Token != "" {
		header.Set("Authorization", "Bearer "+c.Token)
	}
	return header
}
