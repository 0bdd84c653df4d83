package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/lastcall-go/lastcall/actors"
)

// maxBody is how many bytes of parameters a POST may have.
const maxBody = 4 << 10

// refusal is an error whose text is in the answer.
type refusal struct {
	status int
	text   string
}

func (r *refusal) Error() string { return r.text }

func refuse(status int, format string, args ...any) error {
	return &refusal{status, fmt.Sprintf(format, args...)}
}

// endpoint answers a request with a value, or an error.
type endpoint func(r *http.Request) (answer any, err error)

// answering has an endpoint's answer written as JSON with a status, and its error as text.
func answering(status int, answer endpoint) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		value, err := answer(r)
		if err != nil {
			writeError(w, err)
			return
		}
		body, err := json.Marshal(value)
		if err != nil {
			http.Error(w, "the answer can't be written as JSON", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = w.Write(append(body, '\n'))
	})
}

// writeError writes an endpoint's error. One that is nothing else is the supervisor's silence.
func writeError(w http.ResponseWriter, err error) {
	var refused *refusal
	switch {
	case errors.As(err, &refused):
		http.Error(w, refused.text, refused.status)
	case errors.Is(err, actors.ErrDraining):
		http.Error(w, "everything drains already", http.StatusConflict)
	case errors.Is(err, actors.ErrFinal):
		http.Error(w, "the process is ending", http.StatusConflict)
	default:
		http.Error(w, "the supervisor does not answer", http.StatusServiceUnavailable)
	}
}
