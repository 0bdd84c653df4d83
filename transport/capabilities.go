package transport

import "slices"

// DefaultClientCapabilities returns the capabilities of a client that are passed to the agent.
func DefaultClientCapabilities() []string {
	return []string{
		"incremental_streaming", "shell_command", "read_file_chunked", "command_timeout", "web_search",
		"tool_call_streaming", "schedule_notification", "grep_fixed_strings", "read_file_image", "auto_mode",
	}
}

// DefaultServerCapabilities returns the capabilities in a grant that are passed to the agent.
func DefaultServerCapabilities() []string {
	return []string{
		"advanced_search", "tool_call_approval", "tool_call_pattern_approval", "job_trace_pagination",
		"incremental_checkpoints", "incremental_checkpoints_only",
	}
}

// Capabilities returns what is passed to the agent: the client's capabilities that are known, in the client's
// order, then the server's that are known. None occurs twice.
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
