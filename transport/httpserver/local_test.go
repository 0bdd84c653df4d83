package httpserver_test

import (
	"testing"

	"github.com/lastcall-go/lastcall/transport/httpserver"
)

func TestLocalNames(t *testing.T) {
	for host, local := range map[string]bool{
		"localhost": true, "LocalHost": true, "localhost:8080": true, "127.0.0.1": true, "127.8.9.1:80": true, "[::1]": true, "[::1]:8080": true, "::1": true,
		"": false, ":8080": false, "0.0.0.0:80": false, "[::]:80": false, "localhost.evil.example": false, "evil.example:80": false, "10.0.0.1:80": false, "127.0.0.1.evil.example": false,
	} {
		if got := httpserver.IsLocal(host); got != local {
			t.Errorf("%q: %v, want %v", host, got, local)
		}
	}
}
