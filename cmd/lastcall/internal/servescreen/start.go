package servescreen

import (
	"fmt"
	"strings"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/operator"
	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/serveflags"
	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/terminal"
	adminapi "github.com/lastcall-go/lastcall/transport/admin"
)

// Start is what a person gets to see at the start: where all is, and what a drain will be by the gateway's flags.
func Start(version string, where serveflags.Listening, drain actors.Estimate) string {
	var text strings.Builder
	row := func(name, value string) { fmt.Fprintf(&text, "  %-9s %s\n", name, terminal.OneLine(value)) }
	fmt.Fprintf(&text, "lastcall %s serves\n", terminal.OneLine(version))
	row("sessions", where.Sessions)
	row("page", where.Admin+"/")
	row("agent", where.Agent)
	text.WriteString("  a drain, after Ctrl-C or SIGTERM:\n")
	e := adminapi.EstimateOf(drain)
	for _, line := range operator.Timeline(&e, true) {
		text.WriteString("  " + line + "\n")
	}
	return text.String()
}
