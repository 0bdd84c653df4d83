package transport

import "slices"

// DefaultClientCapabilities returns what a client may say it can do and the agent is told.
func DefaultClientCapabilities() []string {
	return []string{
		"incremental_streaming", "shell_command", "read_file_chunked", "command_timeout", "web_search",
		"tool_call_streaming", "schedule_notification", "grep_fixed_strings", "read_file_image", "auto_mode",
	}
}

// DefaultServerCapabilities returns what a grant may say the server can do and the agent is told.
func DefaultServerCapabilities() []string {
	return []string{
		"advanced_search", "tool_call_approval", "tool_call_pattern_approval", "job_trace_pagination",
		"incremental_checkpoints", "incremental_checkpoints_only",
	}
}

// Capabilities returns what the agent is told: those of the client that are known, in the client's
// order, then the server's that are known. None is named twice.
func Capabilities(client, server, knownClient, knownServer []string) []string {
	return appendKnown(appendKnown(nil, client, knownClient), server, knownServer)
}

func appendKnown(told, said, known []string) []string {
	for _, capability := range said {
		if slices.Contains(known, capability) && !slices.Contains(told, capability) {
			told = append(told, capability)
		}
	}
	return told
}
