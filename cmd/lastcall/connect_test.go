package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/lastcall-go/lastcall/proto/dap"
	"github.com/lastcall-go/lastcall/transport/client"
)

func TestEachEventIsOneLine(t *testing.T) {
	grep := &dap.Action{Action: &dap.Action_Grep{Grep: &dap.Grep{SearchDirectory: ".", Pattern: "TO\x1b[2JDO\nrm -rf"}}}
	command := &dap.Action{Action: &dap.Action_RunCommand{RunCommand: &dap.RunCommandAction{Program: "ls", Arguments: []string{"-l", "."}}}}
	for _, test := range []struct {
		event client.Event
		want  string
	}{
		{client.Connected{WorkflowID: "w1"}, "connected, workflow w1\n"},
		{client.Received{Action: grep}, "  grep  search_directory=. pattern=TO [2JDO rm -rf\n"},
		{client.Received{Action: command}, "  runCommand  program=ls arguments=-l,.\n"},
		{client.Received{Action: &dap.Action{}}, "  an action that this client doesn't know\n"},
		{client.Closed{Code: 1000}, "closed: 1000\n"},
		{client.Closed{Code: 1001, Reason: "server\nshutdown"}, "closed: 1001 server shutdown\n"},
		{client.Reconnecting{Attempt: 2, Delay: 1500 * time.Millisecond, Cause: errors.New("a\nb")}, "connecting again in 1.5s (attempt 2): a b\n"},
	} {
		var out bytes.Buffer
		show(&out, test.event)
		if out.String() != test.want {
			t.Errorf("%#v: %q, want %q", test.event, out.String(), test.want)
		}
	}
}

func TestALongActionIsCut(t *testing.T) {
	action := &dap.Action{Action: &dap.Action_RunWriteFile{RunWriteFile: &dap.WriteFile{Contents: strings.Repeat("é", 10_000)}}}
	if line := actionLine(action); len([]rune(line)) > 200 || !strings.HasSuffix(line, "…") {
		t.Errorf("%d runes: %q", len([]rune(line)), line)
	}
}

func TestOnlyALineAfterTheQuestionAnswersIt(t *testing.T) {
	for line, want := range map[string]bool{"y": true, " YES ": true, "": false, "n": false, "yes please": false} {
		typed, keyboard := io.Pipe()
		screen := &bytes.Buffer{}
		p := &prompt{w: notify{screen, func() { _, _ = io.WriteString(keyboard, line+"\n") }}}
		read := make(chan struct{})
		go func() { p.read(typed); close(read) }()
		_, _ = io.WriteString(keyboard, "y\n") // typed before anybody asked
		_, _ = keyboard.Write(nil)             // taken by the read that follows that line
		if got := p.ask(t.Context(), "Remove everything?"); got != want {
			t.Errorf("%q answers %v, want %v", line, got, want)
		}
		if screen.String() != "Remove everything? [y/N] " {
			t.Errorf("asked %q", screen)
		}
		_ = keyboard.Close()
		<-read
	}
}

func TestAQuestionThatIsOfNoUseAnyMoreIsANo(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	p := &prompt{w: notify{io.Discard, cancel}}
	if p.ask(ctx, "Go on?") {
		t.Error("nobody said yes")
	}
	if p.open(nil) != nil {
		t.Error("the question is still open: the next line would answer it")
	}
}

func TestWithoutATerminalTheAnswerIsNo(t *testing.T) {
	if newPrompt(streams{in: strings.NewReader("y\n"), out: io.Discard}).ask(t.Context(), "Go on?") {
		t.Error("a pipe said yes")
	}
}

// notify calls back after the question is on the screen.
type notify struct {
	io.Writer
	after func()
}

func (n notify) Write(p []byte) (int, error) {
	defer n.after()
	return n.Writer.Write(p)
}
