package relay

import "context"

// ActionUnknown says that the agent has sent an action that is newer than the contract, the first one of
// its session. All of them are counted as [UnknownAction].
type ActionUnknown struct {
	Session  string
	Workflow string
	Fields   []int           // the numbers of the fields that the contract doesn't know
	Context  context.Context // carries [Session].Context's values, and never ends
}

// ToolUnavailable says that a tool, or a part of it, could not be opened. The session goes on
// without.
type ToolUnavailable struct {
	Session  string
	Workflow string
	Err      error
	Context  context.Context // carries [Session].Context's values, and never ends
}
