package terminal

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"
)

func TestOnlyALineAfterTheQuestionAnswersIt(t *testing.T) {
	for line, want := range map[string]bool{"y": true, " YES ": true, "": false, "n": false, "yes please": false} {
		typed, keyboard := io.Pipe()
		screen := &bytes.Buffer{}
		p := &Prompt{w: notify{screen, func() { _, _ = io.WriteString(keyboard, line+"\n") }}}
		read := make(chan struct{})
		go func() { p.read(typed); close(read) }()
		_, _ = io.WriteString(keyboard, "y\n") // typed before the question
		_, _ = keyboard.Write(nil)             // taken by the read that follows that line
		if got := p.Ask(t.Context(), "Remove everything?"); got != want {
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
	p := &Prompt{w: notify{io.Discard, cancel}}
	if p.Ask(ctx, "Go on?") {
		t.Error("nobody said yes")
	}
	if p.open(nil) != nil {
		t.Error("the question is still open: the next line would answer it")
	}
}

func TestWithoutATerminalTheAnswerIsNo(t *testing.T) {
	if NewPrompt(strings.NewReader("y\n"), io.Discard).Ask(t.Context(), "Go on?") {
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
