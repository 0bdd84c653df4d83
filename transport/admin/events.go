package admin

import (
	"context"
	"net/http"
	"sync"
	"time"
)

const (
	// heartbeat is how often something is sent where nothing happens, so that a proxy between
	// takes the connection for alive.
	heartbeat = 15 * time.Second

	writeTimeout     = 10 * time.Second       // to take in what one write brings
	lastWriteTimeout = 250 * time.Millisecond // for all that is left once the handler was closed
)

// getEvents answers with server-sent events: the state, and then all that happens, until the client
// goes, takes nothing any more, or the handler is closed.
func (h *Handler) getEvents(w http.ResponseWriter, r *http.Request) {
	if p := queryParams(r); p.err != nil {
		writeError(w, p.err)
		return
	}
	if h.closing.Err() != nil {
		http.Error(w, "the server is shutting down", http.StatusServiceUnavailable)
		return
	}
	reader, err := h.events.join() // before the state, so that nothing is between them
	if err != nil {
		writeError(w, err)
		return
	}
	defer h.events.leave(reader)
	state, err := h.state(r.Context())
	if err != nil {
		writeError(w, err)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // nginx would keep events back
	if r.Method == http.MethodHead {
		return
	}
	out := newStream(w)
	defer out.end()
	defer context.AfterFunc(h.closing, out.hurry)()
	if out.write(encode(EventState, state)) == nil {
		h.send(r.Context(), reader, out)
	}
}

// send sends what comes, and at the end what has come until then.
func (h *Handler) send(client context.Context, reader *reader, out *stream) {
	pulse := time.NewTicker(heartbeat)
	defer pulse.Stop()
	for {
		var err error
		select {
		case <-reader.more:
			err = out.write(reader.take()...)
		case <-pulse.C:
			err = out.write([]byte(":\n\n"))
		case <-h.closing.Done():
			_ = out.write(reader.take()...)
			return
		case <-client.Done():
			return
		}
		if err != nil {
			return
		}
	}
}

// stream is a response without an end. A server's limit is on the whole of a response; here each
// write has one of its own. (One on reading is over: net/http lifts it where there is no body.)
type stream struct {
	w       http.ResponseWriter
	control *http.ResponseController

	mu      sync.Mutex
	hurried bool
	ended   bool // the controller must not be used any more
}

func newStream(w http.ResponseWriter) *stream {
	return &stream{w: w, control: http.NewResponseController(w)}
}

// write sends all, each piece within its time.
func (s *stream) write(pieces ...[]byte) error {
	for _, piece := range pieces {
		s.arm()
		if _, err := s.w.Write(piece); err != nil {
			return err
		}
	}
	s.arm()
	return s.control.Flush()
}

func (s *stream) arm() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.hurried {
		s.limit(writeTimeout)
	}
}

// hurry limits the write under way, and with it all that are still to come.
func (s *stream) hurry() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hurried = true
	if !s.ended {
		s.limit(lastWriteTimeout)
	}
}

func (s *stream) limit(timeout time.Duration) {
	_ = s.control.SetWriteDeadline(time.Now().Add(timeout)) // not supported: then there is none
}

func (s *stream) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
}
