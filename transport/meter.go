package transport

import (
	"sync/atomic"
	"time"

	"github.com/lastcall-go/lastcall/actors"
)

// meter counts what passes between a client and its session, as JSON.
type meter struct {
	received, sent flow
	last           atomic.Int64 // in Unix nanoseconds; 0: nothing has passed
}

type flow struct {
	messages, bytes atomic.Uint64
}

// Traffic implements [relay.TrafficCounter].
func (m *meter) Traffic() actors.Traffic {
	traffic := actors.Traffic{Received: m.received.read(), Sent: m.sent.read()}
	if last := m.last.Load(); last != 0 {
		traffic.Last = time.Unix(0, last)
	}
	return traffic
}

func (m *meter) pass(way *flow, bytes int) {
	way.messages.Add(1)
	way.bytes.Add(uint64(bytes))
	m.last.Store(time.Now().UnixNano())
}

func (f *flow) read() actors.Flow {
	return actors.Flow{Messages: f.messages.Load(), Bytes: f.bytes.Load()}
}
