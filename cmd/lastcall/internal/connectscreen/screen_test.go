package connectscreen

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lastcall-go/lastcall/proto/dap"
	"github.com/lastcall-go/lastcall/transport/client"
	"github.com/lastcall-go/lastcall/transport/client/workdir"
	"github.com/lastcall-go/lastcall/transport/printable"
)

func checkpoint(text string, errors ...string) client.Received {
	return client.Received{Action: &dap.Action{Action: &dap.Action_NewCheckpoint{NewCheckpoint: &dap.NewCheckpoint{Status: "RUNNING", Checkpoint: text, Errors: errors}}}}
}

func TestEachActionIsALineOfVerbObjectResultAndDuration(t *testing.T) {
	for _, test := range []struct {
		action *dap.Action
		done   workdir.Done
		want   string
	}{
		{&dap.Action{Action: &dap.Action_RunReadFile{RunReadFile: &dap.ReadFile{Filepath: "src/main.go"}}}, workdir.Done{Result: "2.1 KiB", Took: 3 * time.Millisecond}, "read   src/main.go  2.1 KiB  3ms"},
		{&dap.Action{Action: &dap.Action_RunReadFiles{RunReadFiles: &dap.ReadFiles{Filepaths: []string{"a", "b"}}}}, workdir.Done{Result: "1 B"}, "read   a b  1 B  0s"},
		{&dap.Action{Action: &dap.Action_RunWriteFile{RunWriteFile: &dap.WriteFile{Filepath: "a.txt"}}}, workdir.Done{Took: 4200 * time.Millisecond}, "write  a.txt  4.2s"},
		{&dap.Action{Action: &dap.Action_RunEditFile{RunEditFile: &dap.EditFile{Filepath: "a.txt"}}}, workdir.Done{Err: errors.New("the text occurs 2 times")}, "edit   a.txt  failed: the text occurs 2 times  0s"},
		{&dap.Action{Action: &dap.Action_Mkdir{Mkdir: &dap.Mkdir{DirectoryPath: "x/y"}}}, workdir.Done{}, "mkdir  x/y  0s"},
		{&dap.Action{Action: &dap.Action_ListDirectory{ListDirectory: &dap.ListDirectory{}}}, workdir.Done{Result: "3 lines"}, "list   .  3 lines  0s"},
		{&dap.Action{Action: &dap.Action_FindFiles{FindFiles: &dap.FindFiles{NamePattern: "*.go"}}}, workdir.Done{Result: "1 line"}, "find   *.go  1 line  0s"},
		{&dap.Action{Action: &dap.Action_Grep{Grep: &dap.Grep{SearchDirectory: "docs", Pattern: "TO\x1b[2JDO\nrm"}}}, workdir.Done{Result: "0 lines"}, `grep   TO\x1b[2JDO rm in docs  0 lines  0s`},
		{&dap.Action{Action: &dap.Action_RunCommand{RunCommand: &dap.RunCommandAction{Program: "go", Flags: []string{"test"}, Arguments: []string{"./..."}}}}, workdir.Done{Result: "exit 1", Took: time.Minute}, "run    go test ./...  exit 1  1m0s"},
		{&dap.Action{Action: &dap.Action_RunShellCommand{RunShellCommand: &dap.RunShellCommand{Command: "ls | wc"}}}, workdir.Done{Result: "exit 0"}, "run    ls | wc  exit 0  0s"},
		{&dap.Action{Action: &dap.Action_RunMCPTool{}}, workdir.Done{Err: errors.New("not supported")}, "runMCPTool  failed: not supported  0s"},
		{&dap.Action{}, workdir.Done{Err: errors.New("what")}, "unknown an action that this client doesn't know  failed: what  0s"},
	} {
		var out bytes.Buffer
		test.done.Action = test.action
		New(&out, false).Done(test.done)
		if got := out.String(); got != test.want+"\n" {
			t.Errorf("%q, want %q", got, test.want)
		}
	}
	long := &dap.Action{Action: &dap.Action_RunShellCommand{RunShellCommand: &dap.RunShellCommand{Command: strings.Repeat("é", 10_000)}}}
	var out bytes.Buffer
	New(&out, false).Done(workdir.Done{Action: long})
	if n := len([]rune(out.String())); n > 120 {
		t.Errorf("%d characters", n)
	}
}

func TestAReconnectSaysHowLongTheConnectionWasAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		s := New(&out, false)
		s.Event(client.Connected{WorkflowID: "w1"})
		s.Event(client.Closed{Code: 1001, Reason: "server\nshutdown"})
		s.Event(client.Reconnecting{Attempt: 1, Delay: 300 * time.Millisecond, Cause: errors.New("a\nb")})
		time.Sleep(1300 * time.Millisecond)
		s.Event(client.Connected{WorkflowID: "w1"})
		s.Event(client.Closed{Code: 1000})
		const want = "connected, workflow w1\nclosed 1001 server shutdown\nconnecting again in 300ms (attempt 1): a b\n" +
			"connected again after 1.3s, the workflow goes on\nclosed 1000\n"
		if out.String() != want {
			t.Errorf("%s", &out)
		}
	})
}

func TestTheAgentsWordsAreShownOnceEach(t *testing.T) {
	var out bytes.Buffer
	s := New(&out, false)
	for _, text := range []string{
		`{"message": "Looking around"}`, `{"message": "Looking around"}`,
		`{"channel_values": {"ui_chat_log": [{"message_type": "user", "content": "hi"}, {"message_type": "agent", "content": "Two\nlines"}, {"message_type": "tool", "content": "ls"}]}}`,
		`not JSON`, `{"message": 3}`,
	} {
		s.Event(checkpoint(text))
	}
	s.Event(checkpoint("{}", "out of credits"))
	if got, want := out.String(), "agent  Looking around\nagent  Two lines\nagent  RUNNING\nagent  RUNNING; error: out of credits\n"; got != want {
		t.Errorf("%s", got)
	}
	out.Reset()
	s.Event(checkpoint(fmt.Sprintf(`{"message": %q}`, strings.Repeat("x", 100_000))))
	if out.Len() > maxWords+100 {
		t.Errorf("%d bytes", out.Len())
	}
}

func TestAQuestionShowsTheChangeBeforeItAsks(t *testing.T) {
	s := New(new(bytes.Buffer), false)
	got := s.Question(workdir.Question{Text: "replace the file a", Diff: "@@ -1 +1 @@\n-old\n+new\x1b[2J\n"})
	if want := "  @@ -1 +1 @@\n  -old\n  +new\\x1b[2J\nreplace the file a"; got != want {
		t.Errorf("%q", got)
	}
	if got := s.Question(workdir.Question{Text: "run: ls"}); got != "run: ls" {
		t.Errorf("%q", got)
	}
	many := s.Question(workdir.Question{Text: "replace", Diff: strings.Repeat("+"+strings.Repeat("x", 500)+"\n", 1000)})
	lines := strings.Split(many, "\n")
	if len(lines) != maxDiff+2 || lines[maxDiff] != "  and 960 more lines" || len([]rune(lines[0])) > maxDiffLine+2 {
		t.Errorf("%d lines, %q", len(lines), lines[maxDiff:])
	}
}

// All that comes from the gateway and the agent, as lines and as JSON.
func TestNothingOfAPeerReachesTheTerminalUnescaped(t *testing.T) {
	const evil = "\x1b]0;evil\x07\u009b2J\u202e\r\n"
	text, err := json.Marshal(map[string]string{"message": evil})
	if err != nil {
		t.Fatal(err)
	}
	for _, asJSON := range []bool{false, true} {
		var out bytes.Buffer
		s := New(&out, asJSON)
		s.Event(client.Connected{WorkflowID: evil})
		s.Event(checkpoint(string(text), evil))
		s.Event(client.Closed{Code: 1001, Reason: evil})
		s.Event(client.Reconnecting{Cause: errors.New(evil)})
		s.Done(workdir.Done{Action: &dap.Action{Action: &dap.Action_RunReadFile{RunReadFile: &dap.ReadFile{Filepath: evil}}}, Err: errors.New(evil)})
		lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
		if len(lines) != 5 {
			t.Errorf("%d lines: %q", len(lines), lines)
		}
		for _, line := range lines {
			if !printable.Is(line) || !strings.Contains(line, "evil") || asJSON && !json.Valid([]byte(line)) {
				t.Errorf("JSON %v: %q", asJSON, line)
			}
		}
	}
}

func TestJSONHasTheSameEvents(t *testing.T) {
	var out bytes.Buffer
	s := New(&out, true)
	s.Event(client.Connected{WorkflowID: "w1"})
	s.Event(checkpoint(`{"message": "hello"}`))
	s.Done(workdir.Done{Action: &dap.Action{Action: &dap.Action_Mkdir{Mkdir: &dap.Mkdir{DirectoryPath: "x"}}}, Took: 1500 * time.Millisecond})
	s.Event(client.Closed{Code: 1000})
	const want = `{"event":"connected","workflow":"w1"}
{"event":"checkpoint","status":"RUNNING","message":"hello"}
{"event":"action","verb":"mkdir","object":"x","took_seconds":1.5}
{"event":"closed","code":1000,"reason":""}
`
	if out.String() != want {
		t.Errorf("%s", &out)
	}
}
