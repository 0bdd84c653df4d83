//go:build unix

package workdir_test

import (
	"context"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/lastcall-go/lastcall/proto/dap"
	"github.com/lastcall-go/lastcall/transport/client/workdir"
	"github.com/lastcall-go/lastcall/transport/codec"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bench is a folder with a Workdir on it; the folder beside it must not be reached.
type bench struct {
	*workdir.Workdir
	t         testing.TB
	path      string
	outside   string
	questions []string
	diffs     []string
	done      []workdir.Done
}

func open(t testing.TB, yes bool) *bench {
	t.Helper()
	parent := t.TempDir()
	b := &bench{t: t, path: filepath.Join(parent, "in"), outside: filepath.Join(parent, "out")}
	b.write("../out/secret.txt", "secret needle\n")
	b.write("main.go", "package main\n\nfunc main() {}\n")
	b.write("docs/deep/guide.md", "first Needle\nsecond\nthird needle\n")
	b.write(".git/config", "needle\n")
	dir, err := workdir.Open(b.path, workdir.Options{
		Ask: func(_ context.Context, question workdir.Question) bool {
			b.questions, b.diffs = append(b.questions, question.Text), append(b.diffs, question.Diff)
			return yes
		},
		Done: func(done workdir.Done) { b.done = append(b.done, done) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dir.Close() })
	b.Workdir = dir
	return b
}

func (b *bench) write(name, contents string) {
	b.t.Helper()
	name = filepath.Join(b.path, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(contents), 0o644); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) read(name string) string {
	contents, err := os.ReadFile(filepath.Join(b.path, name))
	if err != nil {
		return "no " + name
	}
	return string(contents)
}

// do returns the answer's text and error.
func (b *bench) do(action *dap.Action) (string, string) {
	b.t.Helper()
	return b.doWith(b.t.Context(), action)
}

func (b *bench) doWith(ctx context.Context, action *dap.Action) (string, string) {
	b.t.Helper()
	action.RequestID = "r7"
	answer := b.Handle(ctx, action)
	if answer.RequestID != "r7" {
		b.t.Errorf("the answer has requestID %q", answer.RequestID)
	}
	message, err := codec.Append(nil, &dap.ClientEvent{Response: &dap.ClientEvent_ActionResponse{ActionResponse: answer}})
	if err != nil || len(message) > codec.MaxMessage {
		b.t.Errorf("the answer can't be sent: %d bytes, %v", len(message), err)
	}
	return answer.GetPlainTextResponse().GetResponse(), answer.GetPlainTextResponse().GetError()
}

func list(name string) *dap.Action {
	return &dap.Action{Action: &dap.Action_ListDirectory{ListDirectory: &dap.ListDirectory{Directory: name}}}
}

func readFile(name string, offset, limit *int64) *dap.Action {
	return &dap.Action{Action: &dap.Action_RunReadFile{RunReadFile: &dap.ReadFile{Filepath: name, Offset: offset, Limit: limit}}}
}

func readFiles(names ...string) *dap.Action {
	return &dap.Action{Action: &dap.Action_RunReadFiles{RunReadFiles: &dap.ReadFiles{Filepaths: names}}}
}

func find(pattern string) *dap.Action {
	return &dap.Action{Action: &dap.Action_FindFiles{FindFiles: &dap.FindFiles{NamePattern: pattern}}}
}

func grep(folder, pattern string, anyCase bool) *dap.Action {
	return &dap.Action{Action: &dap.Action_Grep{Grep: &dap.Grep{SearchDirectory: folder, Pattern: pattern, CaseInsensitive: anyCase}}}
}

func write(name, contents string) *dap.Action {
	return &dap.Action{Action: &dap.Action_RunWriteFile{RunWriteFile: &dap.WriteFile{Filepath: name, Contents: contents}}}
}

func edit(name, from, to string) *dap.Action {
	return &dap.Action{Action: &dap.Action_RunEditFile{RunEditFile: &dap.EditFile{Filepath: name, OldString: from, NewString: to}}}
}

func mkdir(name string) *dap.Action {
	return &dap.Action{Action: &dap.Action_Mkdir{Mkdir: &dap.Mkdir{DirectoryPath: name}}}
}

func shell(line string, timeout int64) *dap.Action {
	return &dap.Action{Action: &dap.Action_RunShellCommand{RunShellCommand: &dap.RunShellCommand{Command: line, Timeout: &timeout}}}
}

func command(program string, flags, arguments []string) *dap.Action {
	return &dap.Action{Action: &dap.Action_RunCommand{RunCommand: &dap.RunCommandAction{Program: program, Flags: flags, Arguments: arguments}}}
}

func git(verb, arguments string) *dap.Action {
	return &dap.Action{Action: &dap.Action_RunGitCommand{RunGitCommand: &dap.RunGitCommand{Command: verb, Arguments: &arguments}}}
}

func TestReadingIsAnsweredWithoutAQuestion(t *testing.T) {
	b := open(t, false)
	one, two, zero, minus := int64(1), int64(2), int64(0), int64(-1)
	for _, test := range []struct {
		action *dap.Action
		want   string
	}{
		{list(""), ".git/\ndocs/\nmain.go\n"},
		{list("./docs"), "deep/\n"},
		{list(b.path + "/docs"), "deep/\n"},
		{readFile("main.go", nil, nil), "package main\n\nfunc main() {}\n"},
		{readFile(b.path+"/docs/deep/guide.md", &one, &one), "second\n"},
		{readFile("docs/deep/guide.md", &one, nil), "second\nthird needle\n"},
		{readFile("docs/deep/guide.md", nil, &two), "first Needle\nsecond\n"},
		{readFile("docs/deep/guide.md", &minus, &zero), "first Needle\nsecond\nthird needle\n"},
		{readFiles("main.go", "none"), "==> main.go <==\npackage main\n\nfunc main() {}\n\n==> none <==\n[error: openat none: no such file or directory]\n"},
		{find("*.md"), "docs/deep/guide.md\n"},
		{find("docs/*.md"), ""},
		{find("./docs/*/*.md"), "docs/deep/guide.md\n"},
		{find("**/*.go"), "main.go\n"},
		{find("docs/**"), "docs/deep/guide.md\n"},
		{grep("", "needle", false), "docs/deep/guide.md:3:third needle\n"},
		{grep("docs", "^first n", true), "docs/deep/guide.md:1:first Needle\n"},
		{grep("docs/deep/guide.md", "needle$", false), "docs/deep/guide.md:3:third needle\n"},
	} {
		if got, failed := b.do(test.action); got != test.want || failed != "" {
			t.Errorf("%v: got %q, error %q, want %q", test.action, got, failed, test.want)
		}
	}
	if len(b.questions) > 0 {
		t.Errorf("asked %q", b.questions)
	}
}

func TestNothingOutsideOfTheFolderIsReached(t *testing.T) {
	b := open(t, true)
	for link, target := range map[string]string{
		"file-link": "../out/secret.txt", "folder-link": "../out", "absolute-link": filepath.Join(b.outside, "secret.txt"), "new-link": "../out/new",
	} {
		if err := os.Symlink(target, filepath.Join(b.path, link)); err != nil {
			t.Fatal(err)
		}
	}
	for _, action := range []*dap.Action{
		list(".."), list(b.outside), list("folder-link"), list("docs/../../out"),
		readFile("../out/secret.txt", nil, nil), readFile("/etc/passwd", nil, nil), readFile("file-link", nil, nil),
		readFile("absolute-link", nil, nil), readFile("folder-link/secret.txt", nil, nil),
		grep("..", "needle", false), grep("folder-link", "needle", false), grep("file-link", "needle", false),
		write("../out/new", "x"), write("new-link", "x"), write("folder-link/new", "x"), write("folder-link/a/b", "x"),
		edit("file-link", "secret", "x"), edit("../out/secret.txt", "secret", "x"),
		mkdir("../out/dir"), mkdir("folder-link/dir"),
	} {
		if text, failed := b.do(action); failed == "" || strings.Contains(failed, "declined") {
			t.Errorf("%v: got %q, error %q", action, text, failed)
		}
	}
	for _, action := range []*dap.Action{find("secret*"), grep("", "secret", false), readFiles("file-link", "../out/secret.txt")} {
		if text, _ := b.do(action); strings.Contains(text, "secret needle") || strings.HasPrefix(text, "folder-link") {
			t.Errorf("%v: got %q", action, text)
		}
	}
	left, err := os.ReadDir(b.outside)
	if err != nil || len(left) != 1 || b.read("../out/secret.txt") != "secret needle\n" {
		t.Errorf("outside there is now %v, %v", left, err)
	}
}

func TestWritingAndRunningNeedAYes(t *testing.T) {
	actions := []*dap.Action{
		write("new.txt", "x"), write("main.go", "x"), edit("main.go", "func main", "func run"), mkdir("new"),
		command("touch", nil, []string{"new.txt"}), shell("touch new.txt", 0), git("init", "new"),
	}
	no := open(t, false)
	silent, err := workdir.Open(no.path, workdir.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	for _, action := range actions {
		if text, failed := no.do(action); failed != "the user declined" || text != "" {
			t.Errorf("%v: got %q, error %q", action, text, failed)
		}
		if got := silent.Handle(t.Context(), action).GetPlainTextResponse().GetError(); got != "the user declined" {
			t.Errorf("%v, with nobody to ask: %q", action, got)
		}
	}
	if len(no.questions) != len(actions) {
		t.Errorf("%d questions for %d actions", len(no.questions), len(actions))
	}
	if text, _ := no.do(list("")); text != ".git/\ndocs/\nmain.go\n" {
		t.Errorf("the folder has changed: %q", text)
	}
}

// A yes after the connection has gone has no effect.
func TestAYesThatComesTooLateDoesNothing(t *testing.T) {
	b := open(t, true)
	ctx, cancel := context.WithCancel(t.Context())
	dir, err := workdir.Open(b.path, workdir.Options{Ask: func(context.Context, workdir.Question) bool { cancel(); return true }})
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	answer := dir.Handle(ctx, write("new.txt", "x"))
	if answer.GetPlainTextResponse().GetError() == "" || b.read("new.txt") != "no new.txt" {
		t.Errorf("got %v", answer)
	}
}

func TestAQuestionNamesWhatWillHappen(t *testing.T) {
	b := open(t, true)
	for _, test := range []struct {
		action *dap.Action
		want   string
	}{
		{write("a/b c.txt", "12345"), `create the file "a/b c.txt" with 5 bytes`},
		{write(b.path+"/main.go", "package main"), `replace the file main.go with 12 bytes`},
		{edit("main.go", "package main", "package\nother"), `in the file main.go replace "package main" by "package\nother"`},
		{mkdir("x/y"), `make the folder x/y`},
		{command("echo", []string{"-n"}, []string{"a b", "c", ""}), `run: echo -n "a b" c ""`},
		{shell("echo a; echo \"b\"", 0), `run in a shell: sh -c "echo a; echo \"b\""`},
		{git("log", `--format='%h %s' -1`), `run: git log "--format=%h %s" -1`},
	} {
		b.questions = nil
		b.do(test.action)
		if len(b.questions) != 1 || b.questions[0] != test.want {
			t.Errorf("asked %q, want %q", b.questions, test.want)
		}
	}
}

func TestAnAgentCanNotFakeTheQuestion(t *testing.T) {
	b := open(t, false)
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.StringMatching(`[a-z\r\n\x1b\[2K\x{202e}]{1,20}`)).Draw(t, "text")
		b.questions = nil
		for _, action := range []*dap.Action{
			write(text, text), mkdir(text), edit("main.go", "package main", text),
			command(text, []string{text}, []string{text}), shell(text, 0), git(text, strconv.Quote(text)),
		} {
			b.do(action)
		}
		for _, question := range b.questions {
			if i := strings.IndexFunc(question, func(r rune) bool { return !unicode.IsPrint(r) }); i >= 0 {
				t.Errorf("%q holds %q", question, question[i:])
			}
		}
	})
	b.questions = nil
	b.do(edit("main.go", "package main", strings.Repeat("é", 10_000)))
	if n := len(b.questions[0]); n > 1000 {
		t.Errorf("a question of %d bytes", n)
	}
	if _, failed := b.do(shell("echo "+strings.Repeat("x", 5000), 0)); !strings.Contains(failed, "over 4096 bytes") || len(b.questions) > 1 {
		t.Errorf("a command too long to be read: error %q, asked %d times", failed, len(b.questions))
	}
}

func TestWritesDoWhatTheyWereAllowed(t *testing.T) {
	b := open(t, true)
	for _, step := range []struct {
		action           *dap.Action
		file, want, fail string
	}{
		{write("a/b/new.txt", "hello\n"), "a/b/new.txt", "hello\n", ""},
		{write("a/b/new.txt", "bye"), "a/b/new.txt", "bye", ""},
		{edit("a/b/new.txt", "y", "oth"), "a/b/new.txt", "bothe", ""},
		{edit("main.go", "main", "run"), "main.go", "package main\n\nfunc main() {}\n", "occurs 2 times"},
		{edit("main.go", "none", "run"), "main.go", "package main\n\nfunc main() {}\n", "occurs 0 times"},
		{edit("main.go", "", "run"), "main.go", "package main\n\nfunc main() {}\n", "is empty"},
		{edit("none", "a", "b"), "none", "no none", "no such file"},
		{write("docs", "x"), "main.go", "package main\n\nfunc main() {}\n", "directory"},
	} {
		_, failed := b.do(step.action)
		if b.read(step.file) != step.want || !strings.Contains(failed, step.fail) || (failed == "") != (step.fail == "") {
			t.Errorf("%v: %q, error %q", step.action, b.read(step.file), failed)
		}
	}
	if _, failed := b.do(mkdir("p/q")); failed != "" {
		t.Error(failed)
	}
	if text, _ := b.do(list("p")); text != "q/\n" {
		t.Errorf("mkdir made %q", text)
	}
}

func TestACommandAnswersWithItsOutputAndStatus(t *testing.T) {
	b := open(t, true)
	for _, test := range []struct {
		action     *dap.Action
		want, fail string
	}{
		{shell("pwd; echo wrong >&2; cat; exit 3", 0), b.path + "\nwrong\n[exit status 3]", ""},
		{command("printf", nil, []string{"%s|", "a b", "$HOME"}), "a b|$HOME|", ""},
		{command("no-such-program", nil, nil), "", "executable file not found"},
		{git("init", "-q 'new repo'"), "", ""},
		{git("log", "'open"), "", "inside a quote"},
	} {
		if got, failed := b.do(test.action); got != test.want || !strings.Contains(failed, test.fail) || (failed == "") != (test.fail == "") {
			t.Errorf("%v: got %q, error %q", test.action, got, failed)
		}
	}
	if text, _ := b.do(list("new repo")); text != ".git/\n" {
		t.Errorf("git made %q", text)
	}
}

// waitGone returns when the process whose number is in the file has ended. The kernel says so; the
// test asks it again and again.
func (b *bench) waitGone(file string) {
	b.t.Helper()
	pid, err := strconv.Atoi(strings.TrimSpace(b.read(file)))
	if err != nil {
		b.t.Fatal(err)
	}
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); {
		// A zombie whose parent doesn't collect it is gone too.
		state, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil && syscall.Kill(pid, 0) != nil || strings.Contains(string(state), ") Z ") {
			return
		}
	}
	b.t.Errorf("process %d is still there", pid)
}

func TestACommandIsKilledWithItsChildren(t *testing.T) {
	t.Run("at its timeout", func(t *testing.T) {
		b := open(t, true)
		text, failed := b.do(shell("echo begun; sleep 1000 & echo $! >pid; wait", 1))
		if text != "begun\n[killed after 1s]" || failed != "" {
			t.Errorf("got %q, error %q", text, failed)
		}
		b.waitGone("pid")
	})
	t.Run("when nobody waits any more", func(t *testing.T) {
		b := open(t, true)
		pipe := filepath.Join(b.path, "pipe")
		if err := syscall.Mkfifo(pipe, 0o644); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			_, _ = os.ReadFile(pipe) // until the command closes its end
			cancel()
		}()
		if _, failed := b.doWith(ctx, shell("sleep 1000 & echo $! >pid; echo >pipe; wait", 0)); failed != "context canceled" {
			t.Errorf("error %q", failed)
		}
		b.waitGone("pid")
	})
	t.Run("when the command itself has ended", func(t *testing.T) {
		b := open(t, true)
		if text, failed := b.do(shell("sleep 1000 & echo $! >pid; echo done", 0)); text != "done\n" || failed != "" {
			t.Errorf("got %q, error %q", text, failed)
		}
		b.waitGone("pid")
	})
}

func TestAnAnswerIsBoundedAndValid(t *testing.T) {
	b := open(t, true)
	b.write("euro", "x"+strings.Repeat("€", 1<<20))
	b.write("zeros", strings.Repeat("\x00", 4<<20))
	b.write("mixed", strings.Repeat("\xff\x01", 2<<20))
	b.write("lines", strings.Repeat("needle\n", 1<<18))
	for _, action := range []*dap.Action{
		readFile("euro", nil, nil), readFile("zeros", nil, nil), readFile("mixed", nil, nil),
		readFiles("euro", "zeros", "mixed"), grep("", "needle", false), shell("cat zeros mixed", 0),
	} {
		text, failed := b.do(action)
		if failed != "" || !strings.HasSuffix(text, "[cut: the answer is over 512 KiB]") || !utf8.ValidString(text) {
			t.Errorf("%v: %d bytes, error %q", action, len(text), failed)
		}
	}
	if text, _ := b.do(readFile("euro", nil, nil)); strings.ContainsRune(text, utf8.RuneError) {
		t.Error("a rune was cut in two")
	}
	if text, _ := b.do(shell("printf 'a\\377b'", 0)); text != "a\uFFFDb" {
		t.Errorf("got %q", text)
	}
}

func TestWhatIsNoTextFileHangsNothing(t *testing.T) {
	b := open(t, true)
	if err := syscall.Mkfifo(filepath.Join(b.path, "pipe"), 0o644); err != nil {
		t.Fatal(err)
	}
	b.write("binary", "needle\x00needle\n")
	for _, action := range []*dap.Action{readFile("pipe", nil, nil), readFile("docs", nil, nil), list("pipe"), list("main.go"), write("pipe", "x"), edit("pipe", "a", "b"), readFile(strings.Repeat("x", 1<<20), nil, nil)} {
		if text, failed := b.do(action); failed == "" || len(failed) > 10_000 {
			t.Errorf("%v: got %q, error %q", action, text, failed)
		}
	}
	if text, failed := b.do(grep("", "needle", false)); text != "docs/deep/guide.md:3:third needle\n" || failed != "" {
		t.Errorf("grep: %q, error %q", text, failed)
	}
}

func TestASearchEndsWithItsContext(t *testing.T) {
	b := open(t, true)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, action := range []*dap.Action{grep("", "needle", false), find("*"), readFile("main.go", nil, nil), readFiles("main.go")} {
		if text, failed := b.doWith(ctx, action); failed != "context canceled" {
			t.Errorf("%v: got %q, error %q", action, text, failed)
		}
	}
}

// fading is a context that is done once its error has been asked for so many times.
type fading struct {
	context.Context
	left int
}

func (f *fading) Err() error {
	if f.left--; f.left < 0 {
		return context.DeadlineExceeded
	}
	return nil
}

func TestASearchThatIsCutShortSaysSo(t *testing.T) {
	b := open(t, false)
	b.write("zzz", "x\nneedle\n")
	const whole = "docs/deep/guide.md:3:third needle\nzzz:2:needle\n"
	complete := 0
	for steps := range 40 {
		text, err := b.Grep(&fading{t.Context(), steps}, grep("", "needle", false).GetGrep())
		if err == nil && text != whole {
			t.Errorf("after %d steps the answer is %q", steps, text)
		}
		if err == nil {
			complete++
		}
	}
	if complete == 0 || complete == 40 {
		t.Errorf("%d of 40 were complete", complete)
	}
}

func TestABadPatternIsTold(t *testing.T) {
	b := open(t, true)
	for _, action := range []*dap.Action{grep("", "(", false), find("["), grep("", "("+strings.Repeat("x", 2<<20), false)} {
		if text, failed := b.do(action); failed == "" || len(failed) > 600<<10 {
			t.Errorf("%v: got %q", action, text)
		}
	}
}

func TestAnUnknownActionIsToldByName(t *testing.T) {
	b := open(t, true)
	for _, test := range []struct {
		action *dap.Action
		want   string
	}{
		{&dap.Action{Action: &dap.Action_RunMCPTool{RunMCPTool: &dap.RunMCPTool{}}}, "this client does not support runMCPTool"},
		{&dap.Action{Action: &dap.Action_RunHTTPRequest{}}, "this client does not support runHTTPRequest"},
		{&dap.Action{}, "this client does not support this action"},
	} {
		if _, failed := b.do(test.action); failed != test.want {
			t.Errorf("got %q, want %q", failed, test.want)
		}
	}
}

func TestTheTimeoutOfACommandIsBounded(t *testing.T) {
	for seconds, want := range map[int64]time.Duration{
		math.MinInt64: time.Minute, 0: time.Minute, 1: time.Second, 600: 10 * time.Minute, 601: 10 * time.Minute, math.MaxInt64: 10 * time.Minute,
	} {
		if got := workdir.Bounded(seconds); got != want {
			t.Errorf("%d seconds: %v, want %v", seconds, got, want)
		}
	}
}

// path/filepath's patterns know no **: the reference tries all ways to place each.
func TestAPathMatchesAsItWouldByTryingEverything(t *testing.T) {
	element := rapid.SampledFrom([]string{"a", "b", "**", "*", "?"})
	name := rapid.SampledFrom([]string{"a", "b", "ab"})
	rapid.Check(t, func(t *rapid.T) {
		pattern := rapid.SliceOfN(element, 2, 6).Draw(t, "pattern")
		path := rapid.SliceOfN(name, 1, 6).Draw(t, "path")
		got := workdir.Matches(strings.Join(pattern, "/"), strings.Join(path, "/"))
		if want := reference(pattern, path); got != want {
			t.Fatalf("got %v, want %v", got, want)
		}
	})
}

func reference(pattern, path []string) bool {
	if len(pattern) == 0 {
		return len(path) == 0
	}
	if pattern[0] == "**" {
		return reference(pattern[1:], path) || len(path) > 0 && reference(pattern, path[1:])
	}
	if len(path) == 0 {
		return false
	}
	ok, _ := filepath.Match(pattern[0], path[0])
	return ok && reference(pattern[1:], path[1:])
}

// The shell is the reference for how words are split.
func TestArgumentsAreSplitAsAShellWould(t *testing.T) {
	for _, line := range []string{
		``, `a`, ` a  b `, `'a b' c`, `"a b"c`, `a\ b`, `'' ""`, `"it's"`, `'say "hi"'`, `"\"" '\'`, "a\tb\nc", `a'b'"c"`, `é 'ü ö'`, `"a\nb" a\nb 'a\nb'`,
	} {
		out, err := exec.Command("sh", "-c", `for w in `+strings.ReplaceAll(line, "\n", " ")+`; do printf '%s\0' "$w"; done`).Output()
		if err != nil {
			t.Fatal(line, err)
		}
		got, err := workdir.Split(line)
		if err != nil {
			t.Errorf("%q: %v", line, err)
		}
		text := ""
		for _, word := range got {
			text += word + "\x00"
		}
		if text != string(out) {
			t.Errorf("%q: got %q, the shell says %q", line, text, out)
		}
	}
}

// A question about a change shows it before it is asked.
func TestAQuestionHasTheChangeAsADiff(t *testing.T) {
	b := open(t, true)
	large := strings.Repeat("a line\n", 100_000)
	for _, test := range []struct {
		action *dap.Action
		want   string
	}{
		{write("new.txt", "one\ntwo\n"), "@@ -0,0 +1,2 @@\n+one\n+two\n"},
		{write("main.go", "package main\n\nfunc run() {}\n"), "@@ -1,3 +1,3 @@\n package main\n \n-func main() {}\n+func run() {}\n"},
		{edit("main.go", "package main", "package other"), "@@ -1,3 +1,3 @@\n-package main\n+package other\n \n func run() {}\n"},
		{write("main.go", "package other\n\nfunc run() {}\n"), ""},
		{write("large.txt", large), ""},
		{mkdir("x"), ""},
		{shell("true", 0), ""},
	} {
		b.diffs = nil
		if _, failed := b.do(test.action); failed != "" {
			t.Errorf("%v: %s", test.action, failed)
		}
		if len(b.diffs) != 1 || b.diffs[0] != test.want {
			t.Errorf("%.100v: %q, want %q", test.action, b.diffs, test.want)
		}
	}
}

func TestWhatWasDoneIsToldInAFewWords(t *testing.T) {
	b := open(t, true)
	for _, test := range []struct {
		action   *dap.Action
		result   string
		declined bool
		failed   bool
	}{
		{list(""), "3 lines", false, false},
		{readFile("main.go", nil, nil), "29 B", false, false},
		{readFile("nowhere", nil, nil), "", false, true},
		{write("new.txt", strings.Repeat("x", 2000)), "", false, false},
		{readFile("new.txt", nil, nil), "2.0 KiB", false, false},
		{shell("exit 3", 0), "exit 3", false, false},
		{shell("sleep 10", 1), "killed after 1s", false, false},
		{command("true", nil, nil), "exit 0", false, false},
	} {
		b.done = nil
		b.do(test.action)
		if len(b.done) != 1 || b.done[0].Action != test.action || b.done[0].Result != test.result ||
			(b.done[0].Err != nil) != test.failed || b.done[0].Declined() || b.done[0].Took <= 0 {
			t.Errorf("%v: %+v", test.action, b.done)
		}
	}
	no := open(t, false)
	no.do(mkdir("x"))
	if len(no.done) != 1 || !no.done[0].Declined() {
		t.Errorf("%+v", no.done)
	}
}
