package serveflags

import (
	"fmt"
	"strings"
	"time"
)

// toolFlags are for the actions that run here.
type toolFlags struct {
	ToolConcurrency    int           `default:"8" placeholder:"N" help:"Tool calls of a session at a time (default ${default})."`
	ToolTimeout        time.Duration `default:"60s" placeholder:"D" help:"What a tool call has (default ${default})."`
	APIUserAgent       string        `name:"api-user-agent" placeholder:"NAME" help:"User agent of requests to the API, for platforms that count by it (default: the client's, then the gateway's)."`
	ClientCapabilities []string      `placeholder:"NAME" help:"Capabilities of clients that are passed to the agent (default: those of the protocol)."`
	ServerCapabilities []string      `placeholder:"NAME" help:"Capabilities of the server that are passed to the agent (default: those of the protocol)."`
}

func (f *toolFlags) check() error {
	switch {
	case f.ToolConcurrency < 1:
		return fmt.Errorf("--tool-concurrency %d: must be at least 1", f.ToolConcurrency)
	case f.ToolTimeout < time.Millisecond || f.ToolTimeout > MaxDuration:
		return fmt.Errorf("--tool-timeout %v: must be from 1ms to %v", f.ToolTimeout, MaxDuration)
	case strings.ContainsFunc(f.APIUserAgent, func(r rune) bool { return r < ' ' || r > '~' }):
		return fmt.Errorf("--api-user-agent %q: must be printable ASCII", f.APIUserAgent)
	}
	return nil
}
