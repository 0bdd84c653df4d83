package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/lastcall-go/lastcall/proto/dap"
	"github.com/lastcall-go/lastcall/transport/client"
	"github.com/lastcall-go/lastcall/transport/scripted"
)

// through opens a session whose connection begins with a text, and whose request has these headers.
func (p *process) through(text string, header http.Header) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		if err == nil {
			_, err = io.WriteString(conn, text)
		}
		return conn, err
	}}
	conn, err := client.Dial(ctx, client.Config{
		URL: p.url, Header: header, HTTPClient: &http.Client{Transport: transport}, Start: &dap.StartWorkflowRequest{WorkflowID: "w1"},
	})
	if err != nil {
		return err
	}
	_, err = conn.Receive(ctx)
	var reading sync.WaitGroup
	reading.Go(func() {
		for err := error(nil); err == nil; {
			_, err = conn.Receive(context.Background())
		}
	})
	p.t.Cleanup(func() { conn.Cut(); reading.Wait() })
	return err
}

func TestTheClientBehindAProxyIsShown(t *testing.T) {
	forwarded := http.Header{"X-Forwarded-For": {"198.51.100.1, 203.0.113.7"}}
	const header = "PROXY TCP4 203.0.113.8 127.0.0.1 1234 443\r\n"
	for name, test := range map[string]struct {
		flags string
		text  string
		want  string
	}{
		"nothing is trusted":     {"", "", "127.0.0.1:"},
		"another one is trusted": {"--trusted-proxies 10.0.0.0/8", "", "127.0.0.1:"},
		"this one is trusted":    {"--trusted-proxies 10.0.0.0/8,127.0.0.0/8", "", "203.0.113.7"},
		"the PROXY protocol":     {"--trusted-proxies 127.0.0.1 --proxy-protocol", header, "203.0.113.8:1234"},
	} {
		t.Run(name, func(t *testing.T) {
			p := startServe(t, "no daemon", append(strings.Fields(test.flags), "--log-sessions", "--agent", startAgent(t, scripted.Wait()).address)...)
			if err := p.through(test.text, forwarded); err != nil {
				t.Fatal(err)
			}
			if remote, _ := p.record("session started")["remote"].(string); !strings.HasPrefix(remote, test.want) {
				t.Errorf("the log has the client %q, want %q", remote, test.want)
			}
			if code, out, _ := lastcall(t, "sessions", "--json", "--admin", p.record("listening")["admin"].(string)); code != 0 || !strings.Contains(out, test.want) {
				t.Errorf("exit code %d, the sessions are %s", code, out)
			}
			p.drain(syscall.SIGTERM, 0)
		})
	}
}

// Without --auth the names count by which the proxy was asked, and it asks.
func TestAProxyMakesNoHostLocal(t *testing.T) {
	p := startServe(t, "no daemon", "--trusted-proxies", "127.0.0.1", "--agent", startAgent(t, scripted.Wait()).address)
	for host, forwarded := range map[string]string{"evil.example": "localhost", "localhost": "evil.example"} {
		for _, url := range []string{"http" + strings.TrimPrefix(p.url, "ws"), p.record("listening")["admin"].(string) + "/drain"} {
			request, err := http.NewRequest("GET", url, nil)
			if err != nil {
				t.Fatal(err)
			}
			request.Host = host
			request.Header.Set("X-Forwarded-Host", forwarded)
			answer, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(request)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(answer.Body)
			answer.Body.Close()
			if answer.StatusCode != http.StatusForbidden || !strings.Contains(string(body), "--auth") {
				t.Errorf("%s, Host %s, X-Forwarded-Host %s: %s %s", url, host, forwarded, answer.Status, body)
			}
		}
	}
	p.drain(syscall.SIGTERM, 0)
}
