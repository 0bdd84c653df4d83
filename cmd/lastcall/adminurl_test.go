package main

import (
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/operator"
)

func TestAdminURL(t *testing.T) {
	tests := []struct{ admin, want string }{
		{"127.0.0.1:8081", "http://127.0.0.1:8081/readyz"},
		{"gateway.example:80", "http://gateway.example:80/readyz"},
		{"[::1]:8081", "http://[::1]:8081/readyz"},
		{"http://127.0.0.1:8081", "http://127.0.0.1:8081/readyz"},
		{"http://127.0.0.1:8081/", "http://127.0.0.1:8081/readyz"},
		{"https://gateway.example", "https://gateway.example/readyz"},
		{"https://gateway.example/ops/", "https://gateway.example/ops/readyz"},
		// What only a listener can use.
		{":8081", "http://127.0.0.1:8081/readyz"},
		{"0.0.0.0:8081", "http://127.0.0.1:8081/readyz"},
		{"[::]:8081", "http://127.0.0.1:8081/readyz"},
		{"[::ffff:0.0.0.0]:8081", "http://127.0.0.1:8081/readyz"},
		{"https://0.0.0.0:8081", "https://127.0.0.1:8081/readyz"},
		{"http://[::]/", "http://127.0.0.1/readyz"},
	}
	for _, test := range tests {
		u, err := operator.URL(test.admin)
		if err != nil {
			t.Errorf("%s: %v", test.admin, err)
			continue
		}
		if got := u.JoinPath("readyz").String(); got != test.want {
			t.Errorf("%s: got %s, want %s", test.admin, got, test.want)
		}
	}
}

func TestWhatIsNoAdminURLIsRefusedInOneLine(t *testing.T) {
	for _, admin := range []string{
		"", "nowhere", "8081", "127.0.0.1", "127.0.0.1:", "::1:8081", "127.0.0.1:0", "127.0.0.1:99999", "127.0.0.1:http",
		"127.0.0.1:8081/ops", "ws://127.0.0.1:8081", "http://127.0.0.1:8081?live", "http://127.0.0.1:8081#live", "http://%zz", "\n:1",
	} {
		u, err := operator.URL(admin)
		if err == nil {
			t.Errorf("%q: got %v, want an error", admin, u)
			continue
		}
		if line := err.Error(); !strings.HasPrefix(line, "--admin ") || strings.Contains(line, "\n") {
			t.Errorf("%q: %s", admin, line)
		}
	}
}

func TestAdminURLWithCredentialsIsRefusedWithoutShowingThem(t *testing.T) {
	for _, admin := range []string{"http://ada:secret@127.0.0.1:8081", "http://ada:secret@%zz", "ada:secret@127.0.0.1:8081"} {
		if u, err := operator.URL(admin); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: got %v, %v", admin, u, err)
		}
	}
}

// What a container's LASTCALL_ADMIN names for "serve" is where its health is asked.
func TestListenersOfEveryAddressAnswerAtTheAdminURL(t *testing.T) {
	for _, host := range []string{"", "0.0.0.0", "[::]"} {
		listener, err := net.Listen("tcp", host+":0")
		if err != nil {
			t.Fatal(err)
		}
		_, port, _ := net.SplitHostPort(listener.Addr().String())
		server := &http.Server{Handler: http.NotFoundHandler()}
		served := make(chan error, 1)
		go func() { served <- server.Serve(listener) }()

		code, _, stderr := healthcheck(t, "--admin", host+":"+port)
		if code != 1 || !strings.Contains(stderr, "404") {
			t.Errorf("%q: exit code %d, %q; want the listener's own answer", host, code, stderr)
		}
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		<-served
	}
}
