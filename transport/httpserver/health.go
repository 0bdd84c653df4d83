package httpserver

import (
	"errors"
	"net/http"

	"github.com/lastcall-go/lastcall/actors"
)

// Health answers GET /healthz with 200 as long as the process lives, and GET /readyz with 200
// until the first moment of a drain, then with 503. Each of conditions is asked by each GET /readyz
// too, must return at once, and makes the answer 503 with the text of its error, which is for
// all to see.
func Health(supervisor *actors.Supervisor, conditions ...func() error) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, "alive")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := ready(supervisor, conditions); err != nil {
			answer(w, http.StatusServiceUnavailable, err.Error())
			return
		}
		answer(w, http.StatusOK, "ready")
	})
	return mux
}

func ready(supervisor *actors.Supervisor, conditions []func() error) error {
	if !supervisor.Ready() {
		return errors.New("draining")
	}
	for _, condition := range conditions {
		if err := condition(); err != nil {
			return err
		}
	}
	return nil
}

func answer(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text + "\n"))
}
