package measure

import (
	"bytes"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/terminal"
)

// What is measured are the defaults, whatever the shell is set up for.
func TestBenchStartsItsGatewayWithoutOurEnvironment(t *testing.T) {
	all := []string{"PATH=/bin", "LASTCALL_MAX_SESSIONS=1", "LASTCALL_TOKEN=secret", "NOTIFY_SOCKET=/run/x", "LISTEN_FDS=1", "WATCHDOG_USEC=1", "OTEL_SDK=1", "HOME=/", "LISTENER=x"}
	if got, want := cleanEnvironment(all), []string{"PATH=/bin", "HOME=/", "LISTENER=x"}; !slices.Equal(got, want) {
		t.Errorf("kept %q, want %q", got, want)
	}
	command, err := Launch("serve")
	if err != nil || command.Env == nil {
		t.Errorf("environment %q, %v; want one of its own", command.Env, err)
	}
}

func TestBenchProgressOnATerminalIsOneLineThatGoes(t *testing.T) {
	var shown bytes.Buffer
	p := progressLine{console: terminal.NewConsole(&shown, true)}
	asked := make(chan struct{}, 1)
	p.during("connecting", func() string {
		select {
		case asked <- struct{}{}:
		default:
		}
		return "5 open"
	}, func() { <-asked })
	if !strings.HasPrefix(shown.String(), "\r\x1b[K"+"connecting: 5 open") || strings.Contains(shown.String(), "\n") {
		t.Errorf("shown %q", &shown)
	}
	if !strings.HasSuffix(shown.String(), "\r\x1b[K") {
		t.Errorf("the line stays: %q", &shown)
	}
}

// The log of a gateway goes on for as long as the bench does, and a line may be as long as it likes.
func TestBenchLogKeepsLittle(t *testing.T) {
	l := &gatewayLog{listening: make(chan listening, 1)}
	long := strings.Repeat("x", 1<<20)
	for _, part := range []string{"{\"msg\":\"other\"}\n", `{"msg":"list`, `ening","sessions":"ws://a","admin":"http://b"}` + "\n", `{"msg":"listening","sessions":"ws://c"}` + "\n", long, long, "\nlastcall: the end\n"} {
		if n, err := io.WriteString(l, part); n != len(part) || err != nil {
			t.Fatal(n, err)
		}
		if cap(l.part) > 4*maxBenchLine {
			t.Fatalf("keeps %d bytes", cap(l.part))
		}
	}
	if at := <-l.listening; at.Sessions != "ws://a" || at.Admin != "http://b" || len(l.listening) > 0 {
		t.Errorf("listening %+v, want the first", at)
	}
	if l.lastLine() != "lastcall: the end" {
		t.Errorf("last line %q", l.lastLine())
	}
}
