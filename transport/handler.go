package transport

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/lastcall-go/lastcall/actors"
)

// DefaultPath is where the platform's clients open their WebSocket.
const DefaultPath = "/api/v4/ai/duo_workflows/ws"

// Seconds that a refused client is asked to wait: a draining instance is replaced at once, a full
// one takes a while.
const (
	retryAfterDraining = 1 * time.Second
	retryAfterFull     = 5 * time.Second
)

// Handler upgrades requests to sessions. It returns as soon as the session owns the connection.
// While the supervisor drains, or is full, the answer is 503 with Retry-After, and the connection
// is closed, so that a client which keeps it alive doesn't come back to an instance that goes.
type Handler struct {
	Supervisor *actors.Supervisor
	Agents     *Pool
}

// ServeHTTP implements [http.Handler].
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ticket, err := h.Supervisor.Admit(r.Context())
	if err != nil {
		refuse(w, err)
		return
	}
	defer ticket.Cancel()
	client, err := accept(w, r)
	if err != nil {
		return // and has been answered
	}
	parts := actors.Session{Client: client, Agent: h.Agents.Agent(r.UserAgent()), Remote: r.RemoteAddr}
	if _, err := ticket.Start(parts); err != nil {
		_ = client.Close(actors.CloseGoingAway, actors.DefaultReason)
	}
}

func refuse(w http.ResponseWriter, err error) {
	wait, text := retryAfterDraining, "draining, try again"
	if errors.Is(err, actors.ErrFull) {
		wait, text = retryAfterFull, "full, try again later"
	}
	w.Header().Set("Retry-After", strconv.Itoa(int(wait.Seconds())))
	w.Header().Set("Connection", "close")
	http.Error(w, text, http.StatusServiceUnavailable)
}

// Health answers GET /healthz with 200 as long as the process lives, and GET /readyz with 200
// until the first moment of a drain, then with 503.
func Health(supervisor *actors.Supervisor) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, "alive")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if supervisor.Ready() {
			answer(w, http.StatusOK, "ready")
			return
		}
		answer(w, http.StatusServiceUnavailable, "draining")
	})
	return mux
}

func answer(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text + "\n"))
}
