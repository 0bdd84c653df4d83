package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"

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
}

// Help is shown by "lastcall connect --help".
func (*connectCmd) Help() string {
	return `It runs one workflow and shows each of the agent's actions as a line. What only reads the
current folder is answered at once; what writes or runs is asked about first, and refused where there
is no terminal to ask on. When the gateway shuts down or the connection is lost, it connects again and
resumes the workflow.

Exit codes: 0 the workflow is done; 1 it failed, or was interrupted; 2 a flag is wrong.

Example:
  lastcall connect --goal "Find the TODOs" --workflow w1`
}

// Run implements the command.
func (c *connectCmd) Run(std streams) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process, also where what it shows isn't read
	folder, err := workdir.Open(".", terminal.NewPrompt(std.in, std.out).Ask)
	if err != nil {
		return err
	}
	defer folder.Close()
	err = client.Run(ctx, client.Config{
		URL:     c.URL,
		Header:  c.header(),
		Start:   &dap.StartWorkflowRequest{ClientVersion: version(), WorkflowID: c.Workflow, Goal: c.Goal},
		Handle:  folder.Handle,
		Observe: func(event client.Event) { show(std.out, event) },
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

// show writes what happened as one line.
func show(w io.Writer, event client.Event) {
	switch e := event.(type) {
	case client.Connected:
		fmt.Fprintln(w, "connected, workflow", e.WorkflowID)
	case client.Received:
		fmt.Fprintln(w, actionLine(e.Action))
	case client.Closed:
		fmt.Fprintln(w, strings.TrimSpace(fmt.Sprintf("closed: %d %s", e.Code, terminal.OneLine(e.Reason))))
	case client.Reconnecting:
		fmt.Fprintf(w, "connecting again in %v (attempt %d): %s\n", e.Delay.Round(time.Millisecond), e.Attempt, terminal.OneLine(operator.ExplainURL(e.Cause).Error()))
	}
}

// actionLine is an action's name and its fields: "  grep  search_directory=. pattern=TODO".
func actionLine(action *dap.Action) string {
	message := action.ProtoReflect()
	field := message.WhichOneof(message.Descriptor().Oneofs().ByName("action"))
	if field == nil {
		return "  an action that this client doesn't know"
	}
	line := "  " + string(field.Name()) + " "
	inner := message.Get(field).Message()
	fields := inner.Descriptor().Fields()
	for i := range fields.Len() {
		if f := fields.Get(i); inner.Has(f) && !f.IsMap() {
			line += " " + string(f.Name()) + "=" + fieldText(f, inner.Get(f))
		}
	}
	return line
}

func fieldText(f protoreflect.FieldDescriptor, value protoreflect.Value) string {
	if !f.IsList() {
		return terminal.OneLine(value.String())
	}
	var items []string
	for i := range value.List().Len() {
		items = append(items, value.List().Get(i).String())
	}
	return terminal.OneLine(strings.Join(items, ","))
}
