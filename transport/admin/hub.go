package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"

	"github.com/lastcall-go/lastcall/actors"
)

const (
	maxReaders = 64   // of events at a time
	maxBehind  = 1024 // events that a reader can be behind before it misses some
)

// hub hands events to their readers. It never waits for one.
type hub struct {
	state   func(context.Context) (State, error)
	mu      sync.Mutex
	readers map[*reader]struct{}
}

func newHub(state func(context.Context) (State, error)) *hub {
	return &hub{state: state, readers: make(map[*reader]struct{})}
}

// join adds a reader: it is handed all events from now on, until it leaves.
func (h *hub) join() (*reader, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.readers) == maxReaders {
		return nil, refuse(http.StatusServiceUnavailable, "the events have %d readers, and take no more", maxReaders)
	}
	r := &reader{more: make(chan struct{}, 1)}
	h.readers[r] = struct{}{}
	return r, nil
}

func (h *hub) leave(r *reader) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.readers, r)
}

func (h *hub) unread() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.readers) == 0
}

// hear takes each event, one after the other. It encodes it once for all readers.
func (h *hub) hear(event any) {
	if h.unread() {
		return
	}
	if missed, isNews := event.(actors.EventsMissed); isNews {
		h.miss(missed.Count)
		return
	}
	name, data := eventOf(event)
	if name == "" {
		return
	}
	var err error
	if name == EventResumed {
		data, err = h.state(context.Background())
	}
	if err != nil {
		h.miss(1)
		return
	}
	frame := encode(name, data)
	h.mu.Lock()
	defer h.mu.Unlock()
	for r := range h.readers {
		r.put(frame)
	}
}

// miss marks events as missed for all readers.
func (h *hub) miss(events int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for r := range h.readers {
		r.miss(events)
	}
}

// encode writes an event as the event-stream format of the HTML standard, section 9.2. JSON has no
// line breaks of its own.
func encode(name string, data any) []byte {
	text, err := json.Marshal(data)
	if err != nil { // none of the types can fail
		text = []byte("null")
	}
	return fmt.Appendf(nil, "event: %s\ndata: %s\n\n", name, text)
}

// reader is what one stream of events is still to be sent.
type reader struct {
	mu     sync.Mutex
	frames [][]byte
	missed int           // events after frames
	more   chan struct{} // has one where there is something to take
}

// put adds an event, or counts it as missed where the reader is too far behind.
func (r *reader) put(frame []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.frames) == maxBehind {
		r.missed++
	} else {
		r.frames = append(r.frames, frame)
	}
	r.tell()
}

// miss counts events as missed. Their number is sent after the frames.
func (r *reader) miss(events int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.missed += events
	r.tell()
}

func (r *reader) tell() {
	select {
	case r.more <- struct{}{}:
	default:
	}
}

// take returns all that is to be sent, in its order.
func (r *reader) take() [][]byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	frames := r.frames
	if r.missed > 0 {
		frames = append(frames, encode(EventLagged, Lagged{r.missed}))
	}
	r.frames, r.missed = nil, 0
	return frames
}
