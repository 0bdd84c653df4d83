package mcptool

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"google.golang.org/protobuf/proto"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/proto/dap"
	"github.com/lastcall-go/lastcall/transport/codec"
)

// Bounds of what is offered to the agent.
const (
	MaxTools       = 500      // of a server
	MaxName        = 256      // bytes of a tool's name, with the server's
	MaxDescription = 16 << 10 // bytes of a tool's description; what is longer is cut
	MaxSchema      = 64 << 10 // bytes of a tool's input schema; a tool with a longer one is left out
	MaxOffer       = 1 << 20  // bytes of all tools together, and never more than startRequest has room for
)

// envelope is kept free in startRequest for what is around it.
const envelope = 64 << 10

// offers gathers tools in a startRequest.
type offers struct {
	start   *dap.StartWorkflowRequest
	taken   map[string]bool // names in use
	room    int             // bytes left
	offered map[string]offer
}

func newOffers(start *dap.StartWorkflowRequest) *offers {
	o := &offers{
		start:   start,
		taken:   make(map[string]bool),
		room:    min(MaxOffer, codec.MaxMessage-envelope-proto.Size(start)),
		offered: make(map[string]offer),
	}
	for _, own := range start.GetMcpTools() {
		o.taken[own.GetName()] = true
	}
	return o
}

// add offers the tools of one server. The error names those that were left out.
func (o *offers) add(s *server, tools []*mcp.Tool) error {
	var errs []error
	if len(tools) > MaxTools {
		tools = tools[:MaxTools]
		errs = append(errs, fmt.Errorf("has more than %d tools: the rest is left out", MaxTools))
	}
	for _, tool := range tools {
		if s.grant.Tools != nil && !slices.Contains(s.grant.Tools, tool.Name) {
			continue
		}
		if err := o.addTool(s, tool); err != nil {
			errs = append(errs, fmt.Errorf("tool %q left out: %w", actors.CutText(tool.Name, MaxName), err))
		}
	}
	return errors.Join(errs...)
}

func (o *offers) addTool(s *server, tool *mcp.Tool) error {
	known, err := describe(s, tool)
	if err != nil {
		return err
	}
	size := proto.Size(known) + len(known.GetName()) // the name again, if it is pre-approved
	switch {
	case o.taken[known.GetName()]:
		return errors.New("its name is in use")
	case size > o.room:
		return errors.New("no room in startRequest")
	}
	o.room -= size
	o.taken[known.GetName()] = true
	o.offered[known.GetName()] = offer{s, tool.Name}
	o.start.McpTools = append(o.start.McpTools, known)
	if slices.Contains(s.grant.PreApprovedTools, tool.Name) && !slices.Contains(o.start.PreapprovedTools, known.GetName()) {
		o.start.PreapprovedTools = append(o.start.PreapprovedTools, known.GetName())
	}
	return nil
}

// describe puts a tool into the contract's words.
func describe(s *server, tool *mcp.Tool) (*dap.McpTool, error) {
	name := s.name + "_" + tool.Name
	if len(name) > MaxName || name != actors.CutText(name, MaxName) {
		return nil, fmt.Errorf("its name is over %d bytes, or no text", MaxName)
	}
	schema, err := json.Marshal(tool.InputSchema)
	if err != nil {
		return nil, errors.New("its input schema is no JSON")
	}
	if len(schema) > MaxSchema {
		return nil, fmt.Errorf("its input schema is over %d bytes", MaxSchema)
	}
	return &dap.McpTool{
		Name:        name,
		Description: actors.CutText(tool.Description, MaxDescription),
		InputSchema: string(schema),
		Annotations: annotations(tool.Annotations),
		Trusted:     proto.Bool(s.grant.Trusted),
	}, nil
}

func annotations(a *mcp.ToolAnnotations) *dap.ToolAnnotations {
	if a == nil {
		return nil
	}
	hints := &dap.ToolAnnotations{
		ReadOnlyHint:    proto.Bool(a.ReadOnlyHint),
		DestructiveHint: a.DestructiveHint,
		IdempotentHint:  proto.Bool(a.IdempotentHint),
		OpenWorldHint:   a.OpenWorldHint,
	}
	if a.Title != "" {
		hints.Title = proto.String(actors.CutText(a.Title, MaxName))
	}
	return hints
}
