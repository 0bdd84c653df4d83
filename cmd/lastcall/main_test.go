package main

import (
	"bytes"
	"fmt"
	"net"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
)

// lastcall runs a command that is expected to end by itself.
func lastcall(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	ended := make(chan int, 1)
	go func() { ended <- run(args, streams{strings.NewReader(""), &out, &err}) }()
	select {
	case code = <-ended:
		return code, out.String(), err.String()
	case <-time.After(patience):
		t.Fatalf("lastcall %q goes on", args)
		return 0, "", ""
	}
}

// wantUsageError wants exit code 2 and one line that helps.
func wantUsageError(t *testing.T, helps string, args ...string) {
	t.Helper()
	code, stdout, stderr := lastcall(t, args...)
	if code != 2 {
		t.Errorf("exit code %d, want 2", code)
	}
	line, rest, _ := strings.Cut(stderr, "\n")
	if !strings.HasPrefix(line, "lastcall: ") || rest != "" || stdout != "" {
		t.Errorf("want one line on stderr, got\n%s%s", stdout, stderr)
	}
	if !strings.Contains(line, helps) {
		t.Errorf("%q doesn't say %q", line, helps)
	}
}

func TestUsageErrors(t *testing.T) {
	tests := []struct{ args, helps string }{
		{"bogus", "bogus"},
		{"serve bogus", "unexpected argument bogus"},
		{"serve --bogus", "unknown flag --bogus"},
		{"serve --stop-timeout 5", "--stop-timeout"},
		{"serve --max-sessions many", "--max-sessions"},
		{"serve --log-format xml", "--log-format"},
		{"serve --log-level loud", "--log-level"},
		{"serve --listen nowhere", "--listen nowhere"},
		{"serve --listen 127.0.0.1:99999", "--listen 127.0.0.1:99999"},
		{"serve --admin nowhere", "--admin nowhere"},
		{"serve --admin 0.0.0.0:0", "--admin 0.0.0.0:0 can be reached by others"},
		{"serve --max-session-age=-1s", "--max-session-age -1s"},
		{"serve --otlp-endpoint collector:4317", "--otlp-endpoint"},
		{"serve --agent %zz", "%zz"},
		{"serve --agent http://agent.example:50052", "http://agent.example:50052"},
		{"serve --agent ipv4:agent.example:50052", "want ipv4 addresses"},
		{"serve --agent-tls", "--agent-tls needs --agent"},
		{"serve --agent a:1 --agent-ca ca.pem", "need --agent-tls"},
		{"serve --agent a:1 --agent-tls --agent-ca absent.pem", "absent.pem"},
		{"serve --agent a:1 --agent-tls --agent-cert cert.pem", "--agent-cert and --agent-key go together"},
		{"serve --agent a:1 --agent-tls --agent-cert absent.pem --agent-key absent.pem", "absent.pem"},
		{"serve --agent a:1 --agent-tls --agent-server-name a:1", "host without a port"},
		{"serve --allow-origin https://x.example/", `--allow-origin "https://x.example/" matches no page: an origin ends with its host`},
		{"serve --allow-origin x.example,null", `--allow-origin "null"`},
		{"serve --proxy-protocol", "--proxy-protocol needs --trusted-proxies"},
		{"serve --trusted-proxies 10.0.0.1,proxy.example", `--trusted-proxies "proxy.example": want an address`},
		{"serve --trusted-proxies 0.0.0.0/0", `"0.0.0.0/0": it would trust all clients`},
		{"serve --subprotocol a,b/c", `--subprotocol "b/c": a subprotocol has`},
		{"serve --subprotocol Lastcall.Bearer.x", `never answered with`},
		{"serve --allow-origin [", `--allow-origin "["`},
		{"serve --api-user-agent=é", "--api-user-agent"},
		{"serve --path ws", `--path "ws"`},
		{"serve --path /ws//", `--path "/ws//"`},
		{"serve --path /{any}", `--path "/{any}"`},
		{"serve --path=", `--path ""`},
		{"serve --stop-timeout 20s --close-timeout 5s", "--shutdown-timeout 25s must be longer"},
		{"serve --shutdown-timeout 5s --drain-grace 5s", "--shutdown-timeout 5s must be longer"},
		{"serve --agent-streams 0", "--agent-streams 0"},
		{"agent --pace soon", "--pace"},
		{"agent --pace=-1s", "--pace -1s"},
		{"agent --listen nowhere", "--listen nowhere"},
	}
	for _, test := range tests {
		t.Run(test.args, func(t *testing.T) {
			// Ports of the system's choice, unless the test has one: the flag that comes last counts.
			args := strings.Fields(test.args)
			if args[0] == "serve" {
				args = append([]string{"serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"}, args[1:]...)
			}
			wantUsageError(t, test.helps, args...)
		})
	}
}

func TestBadEnvironmentIsAUsageError(t *testing.T) {
	t.Setenv("LASTCALL_STOP_TIMEOUT", "soon")
	wantUsageError(t, "LASTCALL_STOP_TIMEOUT", "serve")
}

func TestPortInUseIsAUsageError(t *testing.T) {
	used, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer used.Close()
	port := used.Addr().String()
	wantUsageError(t, "--listen "+port, "serve", "--listen", port, "--admin", "127.0.0.1:0")
	wantUsageError(t, "--admin "+port, "serve", "--listen", "127.0.0.1:0", "--admin", port)
	wantUsageError(t, "--listen "+port, "agent", "--listen", port)
}

func TestHelp(t *testing.T) {
	for _, command := range []string{
		"serve", "agent", "connect", "token", "sessions", "drain", "resume", "top", "report", "bench", "healthcheck", "example", "completion",
	} {
		code, stdout, stderr := lastcall(t, command, "--help")
		if code != 0 || stderr != "" {
			t.Errorf("%s --help: exit code %d, stderr %q", command, code, stderr)
		}
		_, example, _ := strings.Cut(stdout, "Example:")
		if !strings.Contains(example, "lastcall "+command) {
			t.Errorf("%s --help has no example:\n%s", command, stdout)
		}
	}
	for _, args := range [][]string{{"--help"}, {}} {
		code, stdout, stderr := lastcall(t, args...)
		if code != 0 || stderr != "" || !strings.Contains(stdout, "Usage: lastcall") {
			t.Errorf("%q: exit code %d, stdout %q, stderr %q", args, code, stdout, stderr)
		}
	}
}

func TestExamplesOfHelpAreRight(t *testing.T) {
	words := regexp.MustCompile(`"[^"]*"|\S+`)
	for _, command := range parserOf(new(cli)).Model.Children {
		_, example, _ := strings.Cut(command.Detail, "Example:")
		for line := range strings.Lines(example) {
			line, _, _ = strings.Cut(line, ">") // what a shell does with the output
			args := words.FindAllString(strings.TrimSuffix(strings.TrimSpace(line), "&"), -1)
			if len(args) == 0 {
				continue
			}
			var grammar cli
			if _, err := parserOf(&grammar).Parse(args[1:]); args[0] != "lastcall" || err != nil {
				t.Errorf("%s: %v", line, err)
			}
		}
	}
}

func TestVersion(t *testing.T) {
	code, stdout, stderr := lastcall(t, "version")
	if code != 0 || stderr != "" || stdout != "lastcall "+version()+"\n" || version() == "" {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
}

func TestEveryFlagIsAnEnvironmentVariable(t *testing.T) {
	values := map[string]string{ // none is a default
		"serve --listen":                     "127.0.0.1:1",
		"serve --admin":                      "127.0.0.1:2",
		"serve --path":                       "/ws",
		"serve --agent":                      "agent.example:50052",
		"serve --agent-tls":                  "true",
		"serve --agent-ca":                   "/tmp/agent-ca",
		"serve --agent-cert":                 "/tmp/agent-cert",
		"serve --agent-key":                  "/tmp/agent-key",
		"serve --agent-server-name":          "other.example",
		"serve --api-user-agent":             "Agent-Flow",
		"serve --agent-streams":              "7",
		"serve --agent-keepalive":            "20s",
		"serve --shutdown-timeout":           "11s",
		"serve --drain-delay":                "1s",
		"serve --drain-grace":                "2s",
		"serve --stop-timeout":               "3s",
		"serve --close-timeout":              "4s",
		"serve --batch-size":                 "8",
		"serve --batch-interval":             "5s",
		"serve --max-sessions":               "9",
		"serve --max-session-age":            "15s",
		"serve --otlp-endpoint":              "http://127.0.0.1:6",
		"serve --log-format":                 "text",
		"serve --log-level":                  "debug",
		"serve --report":                     "/tmp/report.json",
		"serve --name":                       "a",
		"serve --trace-url":                  "https://traces.example/{trace}",
		"serve --auth":                       "none",
		"serve --auth-tokens":                "/tmp/tokens",
		"serve --contract":                   "contract.binpb",
		"serve --auth-url":                   "http://127.0.0.1:4/",
		"serve --auth-secret":                "/tmp/secret",
		"serve --max-sessions-per-principal": "10",
		"serve --allow-origin":               "[*.example.com]",
		"serve --start-timeout":              "15s",
		"serve --subprotocol":                "[dap]",
		"serve --trusted-proxies":            "[10.0.0.0/8]",
		"serve --proxy-protocol":             "true",
		"serve --log-sessions":               "true",
		"serve --tls-cert":                   "/tmp/cert",
		"serve --tls-key":                    "/tmp/key",
		"serve --tls-client-ca":              "/tmp/ca",
		"serve --tool-concurrency":           "12",
		"serve --tool-timeout":               "13s",
		"serve --client-capabilities":        "[one]",
		"serve --server-capabilities":        "[two]",
		"serve --lock":                       "true",
		"serve --lease-url":                  "redis://127.0.0.1:5",
		"serve --lease-failure":              "closed",
		"serve --lease-ttl":                  "14s",
		"serve --lease-ca":                   "/tmp/lease-ca",
		"serve --lease-cert":                 "/tmp/lease-cert",
		"serve --lease-key":                  "/tmp/lease-key",
		"agent --listen":                     "127.0.0.1:3",
		"agent --pace":                       "6s",
		"agent --scenario":                   "tools",
	}
	var model cli
	for _, command := range parserOf(&model).Model.Children {
		if command.Name != "serve" && command.Name != "agent" {
			continue
		}
		for _, flag := range command.Flags {
			name := command.Name + " --" + flag.Name
			want, known := values[name]
			if !known {
				t.Errorf("this test has no value for %s", name)
			}
			t.Run(name, func(t *testing.T) {
				// A list is shown in brackets.
				t.Setenv("LASTCALL_"+strings.ToUpper(strings.ReplaceAll(flag.Name, "-", "_")), strings.Trim(want, "[]"))
				if got := parsed(t, command.Name, flag.Name, command.Name); got != want {
					t.Errorf("got %s from the environment, want %s", got, want)
				}
			})
		}
	}
}

func TestFlagPrecedesEnvironment(t *testing.T) {
	t.Setenv("LASTCALL_STOP_TIMEOUT", "3s")
	if got := parsed(t, "serve", "stop-timeout", "serve", "--stop-timeout", "4s"); got != "4s" {
		t.Errorf("got %s, want the flag's 4s", got)
	}
}

func parserOf(grammar *cli) *kong.Kong {
	return grammar.parser(streams{}, func(int) {})
}

// parsed is the value that a command's flag has after these arguments.
func parsed(t *testing.T, command, flag string, args ...string) string {
	t.Helper()
	var grammar cli
	parser := parserOf(&grammar)
	if _, err := parser.Parse(args); err != nil {
		t.Fatal(err)
	}
	for _, node := range parser.Model.Children {
		for _, f := range node.Flags {
			if node.Name == command && f.Name == flag {
				return fmt.Sprint(reflect.Indirect(f.Target).Interface())
			}
		}
	}
	t.Fatalf("%s has no --%s", command, flag)
	return ""
}
