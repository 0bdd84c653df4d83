package mcptool

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"unicode/utf8"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/proto/dap"
	"github.com/lastcall-go/lastcall/transport/toolhttp"
)

// answer makes a tool's result plain text: its pieces, one below the other.
func answer(result *mcp.CallToolResult) *dap.PlainTextResponse {
	var pieces []string
	for _, content := range result.Content {
		pieces = append(pieces, piece(content))
	}
	if structured := result.StructuredContent; structured != nil && !repeated(structured, pieces) {
		if text, err := json.Marshal(structured); err == nil {
			pieces = append(pieces, string(text))
		}
	}
	all := strings.ToValidUTF8(strings.Join(pieces, "\n"), string(utf8.RuneError))
	text := actors.CutText(all, toolhttp.MaxText)
	switch {
	case result.NeedsInput():
		return &dap.PlainTextResponse{Error: "the MCP tool asks for input, which is not supported"}
	case result.IsError && text == "":
		return &dap.PlainTextResponse{Error: "the MCP tool failed"}
	case result.IsError:
		return &dap.PlainTextResponse{Error: text}
	case len(text) < len(all): // the agent would take it for the whole
		return &dap.PlainTextResponse{Error: errTooLarge.Error()}
	}
	return &dap.PlainTextResponse{Response: text}
}

// repeated reports whether one of the pieces is the structured content as JSON: the protocol asks
// servers to send it as text too.
func repeated(structured any, pieces []string) bool {
	for _, text := range pieces {
		var same any
		if json.Unmarshal([]byte(text), &same) == nil && reflect.DeepEqual(same, structured) {
			return true
		}
	}
	return false
}

// piece is the text of a content, or a description of a content without text.
func piece(content mcp.Content) string {
	switch c := content.(type) {
	case *mcp.TextContent:
		return c.Text
	case *mcp.ImageContent:
		return fmt.Sprintf("[image %s, %d bytes]", c.MIMEType, len(c.Data))
	case *mcp.AudioContent:
		return fmt.Sprintf("[audio %s, %d bytes]", c.MIMEType, len(c.Data))
	case *mcp.ResourceLink:
		return fmt.Sprintf("[resource %s %s]", c.Name, c.URI)
	case *mcp.EmbeddedResource:
		return resource(c.Resource)
	}
	return "[unknown content]"
}

func resource(r *mcp.ResourceContents) string {
	switch {
	case r == nil:
		return "[empty resource]"
	case r.Text != "":
		return r.Text
	}
	return fmt.Sprintf("[resource %s %s, %d bytes]", r.URI, r.MIMEType, len(r.Blob))
}
