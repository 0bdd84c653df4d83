package serveflags

import (
	"log/slog"
	"math"
	"sort"

	"github.com/lastcall-go/lastcall/transport/httpserver"
)

// ownDescriptors is how many descriptors a gateway without sessions has open, and some more.
const ownDescriptors = 16

// SessionsIn is how many sessions fit into a limit on descriptors. A session has one for its client, and
// shares one for its agent with streams others. streams is 0 where the agent needs none.
func SessionsIn(limit, streams int) int {
	room := max(0, limit-httpserver.KeptFree(limit)-ownDescriptors)
	if streams == 0 {
		return room
	}
	return room * streams / (streams + 1)
}

// DescriptorsFor is the lowest limit on descriptors into which so many sessions fit.
func DescriptorsFor(sessions, streams int) int {
	return sort.Search(math.MaxInt32, func(limit int) bool { return SessionsIn(limit, streams) >= sessions })
}

// WarnOfLimit says at start that --max-sessions can't be reached.
func (f *Flags) WarnOfLimit(log *slog.Logger) {
	streams := f.AgentStreams
	if f.Agent == "" {
		streams = 0 // it is in process
	}
	limit, known := httpserver.DescriptorLimit()
	if fit := SessionsIn(limit, streams); known && f.MaxSessions > fit {
		log.Warn("--max-sessions is more than the limit on open files allows: raise it (ulimit -n, LimitNOFILE=), or more sessions than fit are refused",
			"max_sessions", f.MaxSessions, "limit", limit, "fit", fit, "needed", DescriptorsFor(f.MaxSessions, streams))
	}
}
