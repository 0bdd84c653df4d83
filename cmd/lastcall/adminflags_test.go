package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alecthomas/kong"

	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/operator/operatortest"
)

// adminCommands are the commands that ask an admin listener.
type adminCommands struct {
	Sessions sessionsCmd `cmd:""`
	Drain    drainCmd    `cmd:""`
	Resume   resumeCmd   `cmd:""`
	Top      topCmd      `cmd:""`
	Fleet    fleetCmd    `cmd:""`
}

func parseAdmin(args ...string) (*adminCommands, *kong.Context, error) {
	grammar := new(adminCommands)
	parser := kong.Must(grammar, kong.DefaultEnvars("LASTCALL"), kong.Exit(func(int) {}), kong.Writers(io.Discard, io.Discard))
	command, err := parser.Parse(args)
	return grammar, command, err
}

// adminRun runs a command until it ends by itself, or ctx ends, which is as if Ctrl-C was pressed.
func adminRun(ctx context.Context, std streams, args ...string) int {
	grammar, command, err := parseAdmin(args...)
	if err != nil {
		return exitCode(usageError{err}, std.err)
	}
	switch command.Selected().Name {
	case "sessions":
		err = grammar.Sessions.run(ctx, std)
	case "drain":
		err = grammar.Drain.run(ctx, std)
	case "top":
		err = grammar.Top.run(ctx, std)
	case "fleet":
		err = grammar.Fleet.run(ctx, std)
	default:
		err = command.Run(std)
	}
	return exitCode(err, std.err)
}

// adminOutput runs a command that ends by itself, away from any terminal.
func adminOutput(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var out, err bytes.Buffer
	code = adminRun(ctx, streams{strings.NewReader(""), &out, &err}, args...)
	if ctx.Err() != nil {
		t.Fatalf("%q goes on", args)
	}
	return code, out.String(), err.String()
}

// lockedBuffer is an output that is read while it is written.
type lockedBuffer struct {
	mu   sync.Mutex
	data bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.data.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.data.String()
}

// eventually waits for what should come at once.
func eventually(t *testing.T, what func() string, is func(string) bool) string {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		got := what()
		if is(got) {
			return got
		}
		if time.Now().After(deadline) {
			t.Fatalf("never came to it:\n%s", got)
		}
	}
}

func TestAdminCommandsExplainWhyTheyCannotAsk(t *testing.T) {
	g := operatortest.New(t)
	g.Close()
	refuses := admin(t, func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "a token is needed", http.StatusUnauthorized)
	})
	for _, command := range []string{"sessions", "sessions --watch", "sessions --json", "drain --yes", "drain x7", "resume"} {
		code, stdout, stderr := adminOutput(t, append(strings.Fields(command), "--admin", g.Address)...)
		if code != 1 || stdout != "" || !strings.Contains(stderr, "is the gateway running, and is --admin right?") {
			t.Errorf("%s: exit code %d, %q, %q", command, code, stdout, stderr)
		}
		code, stdout, stderr = adminOutput(t, append(strings.Fields(command), "--admin", refuses)...)
		if code != 1 || stdout != "" || !strings.Contains(stderr, "a token is needed: set LASTCALL_TOKEN (or --token)") {
			t.Errorf("%s: exit code %d, %q, %q", command, code, stdout, stderr)
		}
		code, _, stderr = adminOutput(t, append(strings.Fields(command), "--admin", "nowhere")...)
		if code != 2 || !strings.Contains(stderr, "--admin") {
			t.Errorf("%s: exit code %d, %q", command, code, stderr)
		}
	}
}

// What was set for "lastcall serve" must not choose what is drained.
func TestOnlyAdminAndTokenComeFromTheEnvironment(t *testing.T) {
	for _, name := range []string{"AGENT", "BATCH_SIZE", "SESSIONS", "YES", "PHASE", "WORKFLOW", "JSON", "WATCH", "GRACE", "REASON"} {
		t.Setenv("LASTCALL_"+name, "serving")
	}
	t.Setenv("LASTCALL_ADMIN", "192.0.2.1:1")
	t.Setenv("LASTCALL_TOKEN", "secret")
	for _, command := range []string{"sessions", "drain", "resume", "top"} {
		grammar, parsed, err := parseAdmin(command)
		if err != nil {
			t.Fatal(err)
		}
		for _, flag := range parsed.Selected().Flags {
			if isShared := flag.Name == "admin" || flag.Name == "token"; isShared != (len(flag.Envs) > 0) {
				t.Errorf("%s --%s: environment %q", command, flag.Name, flag.Envs)
			}
		}
		if command == "drain" && (!grammar.Drain.everything() || grammar.Drain.Admin != "192.0.2.1:1" || grammar.Drain.Token != "secret") {
			t.Errorf("%+v", grammar.Drain)
		}
	}
}

func TestHelpOfTheAdminCommandsHasExamplesThatAreRight(t *testing.T) {
	helps := map[string]string{
		"sessions": (*sessionsCmd)(nil).Help(), "drain": (*drainCmd)(nil).Help(),
		"resume": (*resumeCmd)(nil).Help(), "top": (*topCmd)(nil).Help(), "fleet": (*fleetCmd)(nil).Help(),
	}
	for command, help := range helps {
		_, example, _ := strings.Cut(help, "Example:\n")
		for line := range strings.Lines(example) {
			args := strings.Fields(strings.ReplaceAll(line, `"moving to another host"`, "moving"))
			if args[0] != "lastcall" || args[1] != command {
				t.Errorf("%s: %q", command, line)
			}
			if _, _, err := parseAdmin(args[1:]...); err != nil {
				t.Errorf("%s: %v", line, err)
			}
		}
		if example == "" || !strings.Contains(help, "Exit codes: 0") {
			t.Errorf("%s: no example, or no exit codes", command)
		}
	}
}
