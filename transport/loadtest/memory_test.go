package loadtest_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/lastcall-go/lastcall/transport/loadtest"
)

// memoryOf asks an admin listener that answers these to the bearer token.
func memoryOf(t *testing.T, answers map[string]func(w http.ResponseWriter, r *http.Request)) *loadtest.Memory {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer secret" {
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		answer := answers[r.Method+" "+r.URL.RequestURI()]
		if answer == nil {
			t.Errorf("asked for %s %s", r.Method, r.URL)
			return
		}
		answer(w, r)
	}))
	t.Cleanup(server.Close)
	root, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	return &loadtest.Memory{Admin: root, Token: "secret"}
}

func saying(text string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, text) }
}

func TestResidentMemoryIsReadFromTheMetrics(t *testing.T) {
	for metrics, want := range map[string]int64{
		"# TYPE process_resident_memory_bytes gauge\nprocess_resident_memory_bytes 2.6918912e+07\nx 1\n": 26918912,
		"process_resident_memory_bytes 4096":                                    4096,
		"process_resident_memory_bytes_2 1\nprocess_resident_memory_bytes 4096": 4096,
		"process_resident_memory_bytes_total 1\n":                               0,
		"":                                     0,
		"process_resident_memory_bytes many\n": 0,
		"x " + strings.Repeat("y", 1<<20):      0,
		"x 1\ny{a=\"process_resident_memory_bytes 7\"} 2\n# comment": 0,
	} {
		memory := memoryOf(t, map[string]func(http.ResponseWriter, *http.Request){"GET /metrics": saying(metrics)})
		if got, err := memory.Resident(t.Context()); got != want || (err != nil) != (want == 0) {
			t.Errorf("%.60q: %d, %v; want %d", metrics, got, err, want)
		}
	}
}

func TestCollectingAsksSeveralTimes(t *testing.T) {
	var asked atomic.Int32
	memory := memoryOf(t, map[string]func(http.ResponseWriter, *http.Request){
		"GET /debug/pprof/heap?gc=1": func(http.ResponseWriter, *http.Request) { asked.Add(1) },
	})
	if err := memory.Collect(t.Context()); err != nil || asked.Load() < 2 {
		t.Errorf("asked %d times, %v", asked.Load(), err)
	}
}

func TestARefusalIsTold(t *testing.T) {
	memory := memoryOf(t, nil)
	memory.Token = "wrong"
	if _, err := memory.Resident(t.Context()); err == nil || err.Error() != "GET "+memory.Admin.String()+"/metrics: 401 Unauthorized" {
		t.Errorf("%v", err)
	}
}

// An admin listener that sends on and on must not be listened to for ever.
func TestAnAnswerIsBounded(t *testing.T) {
	endless := func(w http.ResponseWriter, r *http.Request) {
		line := []byte(strings.Repeat("x 1\n", 1<<14))
		for r.Context().Err() == nil {
			if _, err := w.Write(line); err != nil {
				return
			}
		}
	}
	memory := memoryOf(t, map[string]func(http.ResponseWriter, *http.Request){"GET /metrics": endless})
	if _, err := memory.Resident(t.Context()); err == nil || !strings.Contains(err.Error(), "no process_resident_memory_bytes") {
		t.Errorf("%v", err)
	}
}
