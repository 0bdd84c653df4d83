package gateway

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// Without --auth each program of this machine is admitted, but not a page in its browser.
func TestWithoutAuthorizationOnlyALocalNameIsServed(t *testing.T) {
	reached := false
	var log bytes.Buffer
	handler := onlyLoopback(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }), slog.New(slog.NewTextHandler(&log, nil)))
	for host, want := range map[string]bool{
		"localhost": true, "localhost:8080": true, "127.0.0.1:8080": true, "127.0.0.2": true, "[::1]:8080": true, "[::1]": true,
		"evil.example": false, "evil.example:8080": false, "127.0.0.1.evil.example": false, "192.0.2.1:8080": false, "": false,
	} {
		reached = false
		request := httptest.NewRequest("GET", "/", nil)
		request.Host = host
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, request)
		if reached != want || (answer.Code == http.StatusForbidden) == want {
			t.Errorf("Host %q: reached %v, %d", host, reached, answer.Code)
		}
		if !want && !strings.Contains(answer.Body.String(), "--auth none") {
			t.Errorf("Host %q: %s", host, answer.Body)
		}
	}
	if strings.Count(log.String(), "--auth tokens") != 1 {
		t.Errorf("the log says %s", log.String())
	}
}
