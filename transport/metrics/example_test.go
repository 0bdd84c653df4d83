package metrics_test

import (
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/transport/metrics"
)

// The metrics of your own supervisor. Observe gets its events.
func ExampleMetrics() {
	supervisor, err := actors.NewSupervisor(actors.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer supervisor.Close()
	figures, err := metrics.New(metrics.Options{Snapshot: supervisor.Snapshot})
	if err != nil {
		log.Fatal(err)
	}
	defer supervisor.Listen(figures.Observe)()

	mux := http.NewServeMux()
	mux.Handle("GET /metrics", figures.Handler())
	answer := httptest.NewRecorder()
	mux.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	fmt.Println(strings.Contains(answer.Body.String(), "lastcall_sessions"))

	// Output:
	// true
}
