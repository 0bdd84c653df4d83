package main

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/creack/pty"
)

// commands is a grammar with the commands of this file's neighbours, some that have many flags, and one
// for what none of them has: an argument beside an address and a switch.
type commands struct {
	Serve       serveCmd       `cmd:"" help:"Run the gateway."`
	Agent       agentCmd       `cmd:"" help:"Run the scripted agent alone."`
	Token       tokenCmd       `cmd:"" help:"Make a bearer token for --auth-tokens."`
	Report      reportCmd      `cmd:"" help:"Sum up the report of a drain."`
	Healthcheck healthcheckCmd `cmd:"" help:"Ask a gateway whether it is ready."`
	Completion  completionCmd  `cmd:"" help:"Print a completion script for a shell."`

	Probe struct {
		Admin string
		Live  bool
		File  string `arg:"" type:"path"`
	} `cmd:""`
}

// command runs one of them, with this input.
func command(t *testing.T, input string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	std := streams{strings.NewReader(input), &out, &err}
	parser := kong.Must(new(commands), kong.Name("lastcall"), kong.DefaultEnvars("LASTCALL"), kong.Bind(std))
	ended := make(chan int, 1)
	go func() {
		parsed, problem := parser.Parse(args)
		if problem != nil {
			problem = usageError{problem}
		} else {
			problem = parsed.Run()
		}
		ended <- exitCode(problem, std.err)
	}()
	select {
	case code = <-ended:
		return code, out.String(), err.String()
	case <-time.After(patience):
		t.Fatalf("%q goes on", args)
		return 0, "", ""
	}
}

// script is the file with a shell's completion script.
func script(t *testing.T, shell string) string {
	t.Helper()
	code, stdout, stderr := command(t, "", "completion", shell)
	if code != 0 || stderr != "" {
		t.Fatalf("completion %s: exit code %d, %q", shell, code, stderr)
	}
	path := filepath.Join(t.TempDir(), "_lastcall")
	if err := os.WriteFile(path, []byte(stdout), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// bashOffers are bash's candidates for the last of these words, which are what readline makes of a
// command line: it parts "--flag=value" in three.
func bashOffers(t *testing.T, folder, script string, words ...string) string {
	t.Helper()
	bash := exec.Command("bash", "--norc", "--noprofile", "-c", `source "$1" && shift &&
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) && _lastcall && printf '%s\n' "${COMPREPLY[@]}"`, "bash", script, "lastcall")
	bash.Args = append(bash.Args, words...)
	bash.Dir = folder
	var stderr bytes.Buffer
	bash.Stderr = &stderr
	offers, err := bash.Output()
	if err != nil || stderr.Len() > 0 {
		t.Errorf("%q: %v, %s", words, err, &stderr)
	}
	return strings.Join(strings.Fields(string(offers)), " ")
}

func TestBashCompletes(t *testing.T) {
	folder := t.TempDir()
	for _, name := range []string{"report.json", "tokens"} {
		if err := os.WriteFile(filepath.Join(folder, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	path := script(t, "bash")
	for _, test := range []struct{ words, offers string }{
		{"|", "serve agent token report healthcheck completion probe"},
		{"|se", "serve"},
		{"|bogus", ""},
		{"|--h", "--help"},
		{"serve|--dr", "--drain-delay --drain-grace"},
		{"agent|", "--help -h --listen --pace --scenario"},
		{"agent|--dr", ""},
		{"serve|--log-format|", "auto text json"},
		{"serve|--log-format|j", "json"},
		{"serve|--log-format|=", "auto text json"},
		{"serve|--log-format|=|te", "text"},
		{"serve|--log-format=te", "--log-format=text"}, // where COMP_WORDBREAKS has no =
		{"serve|--auth|", "none tokens forward"},       // the empty word is a value too
		{"serve|--listen|", ""},
		{"serve|--listen|serve|--log-l", "--log-level"},
		{"serve|--listen|0.0.0.0|:|8080|--log-l", "--log-level"},
		{"serve|--listen|=|0.0.0.0|:|8080|--log-l", "--log-level"},
		{"serve|--lock|--log-l", "--log-level"},
		{"serve|--lock|=|true|--log-l", "--log-level"},
		{"serve|--report|", "report.json tokens"},
		{"serve|--report|=|to", "tokens"},
		{"serve|--report=to", "--report=tokens"},
		{"report|", "report.json tokens"},
		{"report|--slowest|5|rep", "report.json"},
		{"report|--json|rep", "report.json"},
		{"report|report.json|", "--help -h --drain --slowest --json --admin --token"},
		{"probe|--admin|0.0.0.0|:|8080|rep", "report.json"},
		{"probe|--live|=|true|rep", "report.json"},
		{"completion|", "bash zsh fish"},
		{"completion|z", "zsh"},
		{"token|", ""},
		{"healthcheck|--l", "--live"},
	} {
		if got := bashOffers(t, folder, path, strings.Split(test.words, "|")...); got != test.offers {
			t.Errorf("%s: offers %q, want %q", test.words, got, test.offers)
		}
	}
}

// The scripts are made of the grammar: whatever is added to it is completed.
func TestCompletionCoversEveryCommandFlagAndWord(t *testing.T) {
	for _, model := range []*kong.Node{parserOf(new(cli)).Model.Node, kong.Must(new(commands)).Model.Node} {
		for _, shell := range []string{"bash", "zsh", "fish"} {
			var out strings.Builder
			if err := writeCompletion(&out, shell, model); err != nil {
				t.Fatal(err)
			}
			if shell == "fish" && !strings.Contains(out.String(), `__lastcall_in ""' -l help `) {
				t.Error("fish: no --help before a command")
			}
			for _, command := range model.Children {
				if len(command.Children) > 0 {
					t.Errorf("%s has commands of its own, which no script knows", command.Name)
				}
				wantInScript(t, shell, out.String(), command)
			}
		}
	}
}

func wantInScript(t *testing.T, shell, script string, command *kong.Node) {
	t.Helper()
	offered := map[string]string{"bash": command.Name + " ", "zsh": "'" + command.Name + ":", "fish": " -a " + command.Name + " "}
	if !strings.Contains(script, offered[shell]) {
		t.Errorf("%s: no %s", shell, command.Name)
	}
	lines := slices.Collect(strings.Lines(script))
	for _, flag := range command.Flags {
		if flag.Negated || flag.Tag.Negatable != "" {
			t.Errorf("--%s can be negated, which no script knows", flag.Name)
		}
		if strings.Contains(flag.Help, `\`) {
			t.Errorf("the help of --%s has a backslash, which the shells read differently", flag.Name)
		}
		want := "--" + flag.Name
		if shell == "fish" {
			want = `__lastcall_in "` + command.Name + `"' -l ` + flag.Name + " "
		}
		words := strings.TrimSpace(strings.ReplaceAll(flag.Enum, ",", " "))
		has := func(line string) bool { return strings.Contains(line, want) && strings.Contains(line, words) }
		if !slices.ContainsFunc(lines, has) {
			t.Errorf("%s: no --%s of %s with the words %q", shell, flag.Name, command.Name, words)
		}
	}
}

// interactiveShell is how a shell is started that takes keys, and what it runs first: a lastcall that
// shows its arguments, and a prompt that shows when it is ready.
type interactiveShell struct {
	args []string
	rc   string
}

// rcName is where zsh looks for what to run first. The others get a flag.
const rcName = ".zshrc"

func interactiveShells() map[string]interactiveShell {
	return map[string]interactiveShell{
		"bash": {
			[]string{"--noprofile", "--rcfile", rcName, "-i"},
			`source ./_lastcall; PS1='ready> '; lastcall() { printf '<%s>' "$@"; echo '!'; }`,
		},
		"zsh": {
			[]string{"-d", "-i"},
			`autoload -Uz compinit; compinit -u -D; source ./_lastcall; PS1='ready> '; lastcall() { printf '<%s>' "$@"; echo '!'; }`,
		},
		"fish": {
			[]string{"--no-config", "-i", "-C", "source " + rcName},
			`source ./_lastcall; function fish_prompt; echo -n 'ready> '; end; function lastcall; printf '<%s>' $argv; echo '!'; end`,
		},
	}
}

// What a user gets for typing this, with the tabulator key, on a terminal.
func TestShellsCompleteWhatIsTyped(t *testing.T) {
	for name, shell := range interactiveShells() {
		if _, err := exec.LookPath(name); err != nil {
			// zsh and fish are rare on servers; their scripts are read by the test above in any case.
			if name == "bash" || os.Getenv("CI") == "true" || os.Getenv("LASTCALL_REQUIRE_SHELLS") == "1" {
				t.Errorf("%s is not installed", name)
			}
			continue
		}
		t.Run(name, func(t *testing.T) {
			folder := filepath.Dir(script(t, name))
			for file, text := range map[string]string{rcName: shell.rc + "\n", "report.json": "", "tokens": ""} {
				if err := os.WriteFile(filepath.Join(folder, file), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			typed := openTerminal(t, folder, name, shell.args...)
			for _, test := range []struct{ keys, want string }{
				{"lastcall --he\t", "<--help>"},
				{"lastcall compl\tz\t", "<completion><zsh>"},
				{"lastcall serve --log-fo\tjs\t", "<serve><--log-format><json>"},
				{"lastcall serve --drain-g\t5s", "<serve><--drain-grace><5s>"},
				{"lastcall serve --rep\ttok\t", "<serve><--report><tokens>"},
				{"lastcall rep\t--slo\t5 rep\t", "<report><--slowest><5><report.json>"},
				{"lastcall healthcheck --li\t", "<healthcheck><--live>"},
			} {
				typed.await("ready> ")
				typed.press(test.keys + "\r")
				shown := typed.await(">!")
				got := strings.ReplaceAll(shown[strings.LastIndex(shown, "\n")+1:], "=", "><") // one word or two
				if got != test.want+"!" {
					t.Errorf("%q: got %q, want %q of\n%s", test.keys, got, test.want, shown)
				}
			}
		})
	}
}

// shellTerminal is one that a program runs in.
type shellTerminal struct {
	t      *testing.T
	keys   io.Writer
	output chan string
	unread string
}

// openTerminal runs a program in a terminal, and in this folder, until the test is over.
func openTerminal(t *testing.T, folder, name string, args ...string) *shellTerminal {
	t.Helper()
	program := exec.Command(name, args...)
	program.Dir = folder
	program.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + folder, "ZDOTDIR=" + folder, "TERM=dumb", "LC_ALL=C.UTF-8"}
	file, err := pty.StartWithSize(program, &pty.Winsize{Rows: 50, Cols: 200})
	if err != nil {
		t.Fatal(err)
	}
	output := make(chan string, 1<<10)
	go func() {
		defer close(output)
		buffer := make([]byte, 1<<10)
		for {
			n, err := file.Read(buffer)
			if err != nil {
				return
			}
			output <- string(buffer[:n])
		}
	}()
	t.Cleanup(func() {
		_ = program.Process.Kill()
		_ = program.Wait()
		_ = file.Close()
		for range output { // until the reader has ended
		}
	})
	return &shellTerminal{t: t, keys: file, output: output}
}

func (term *shellTerminal) press(keys string) {
	term.t.Helper()
	if _, err := io.WriteString(term.keys, keys); err != nil {
		term.t.Fatal(err)
	}
}

// await is what the terminal shows up to this text.
func (term *shellTerminal) await(text string) string {
	term.t.Helper()
	late := time.After(patience)
	for !strings.Contains(term.unread, text) {
		select {
		case more, ok := <-term.output:
			if !ok {
				term.t.Fatalf("the program ended without %q: %s", text, term.unread)
			}
			term.unread += more
		case <-late:
			term.t.Fatalf("no %q: %q", text, term.unread)
		}
	}
	i := strings.Index(term.unread, text) + len(text)
	shown := term.unread[:i]
	term.unread = term.unread[i:]
	return shown
}
