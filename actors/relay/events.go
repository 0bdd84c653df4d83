package relay

import "context"

// ToolUnavailable says that a tool, or a part of it, could not be opened. The session goes on
// without.
type ToolUnavailable struct {
	Session  string
	Workflow string
	Err      error
	Context  context.Context // carries [Session].Context's values, and never ends
}
