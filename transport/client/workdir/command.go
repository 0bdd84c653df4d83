package workdir

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/lastcall-go/lastcall/proto/dap"
)

const (
	defaultTimeout = time.Minute
	maxTimeout     = 10 * time.Minute
	// How long output is waited for that a child holds open after the command itself ended.
	outputTimeout = time.Second
	// The longest command, in bytes: more can't be read in a question.
	maxCommand = 4 << 10
)

// runCommand runs a program without a shell, flags before arguments.
func (w *Workdir) runCommand(ctx context.Context, action *dap.RunCommandAction, done *Done) (string, error) {
	line := append([]string{action.Program}, action.Flags...)
	line = append(line, action.Arguments...)
	return w.run(ctx, "run", line, action.GetTimeout(), done)
}

// runShellCommand runs a line in sh.
func (w *Workdir) runShellCommand(ctx context.Context, action *dap.RunShellCommand, done *Done) (string, error) {
	return w.run(ctx, "run in a shell", []string{"sh", "-c", action.Command}, action.GetTimeout(), done)
}

// runGitCommand runs git in the folder; its repository is the one that the folder belongs to.
func (w *Workdir) runGitCommand(ctx context.Context, action *dap.RunGitCommand, done *Done) (string, error) {
	arguments, err := split(action.GetArguments())
	if err != nil {
		return "", err
	}
	line := append([]string{"git", action.Command}, arguments...)
	return w.run(ctx, "run", line, 0, done)
}

// run asks, runs line in the folder with nothing on its input and answers with its output, both
// streams together, and its exit status. A timeout in seconds that is not positive is the default.
func (w *Workdir) run(ctx context.Context, what string, line []string, timeout int64, done *Done) (string, error) {
	shown := make([]string, len(line))
	size := 0
	for i, word := range line {
		shown[i] = quoted(word)
		size += len(word)
	}
	if size > maxCommand {
		return "", fmt.Errorf("the command is over %d bytes", maxCommand)
	}
	if err := w.allowed(ctx, Question{Text: what + ": " + strings.Join(shown, " ")}); err != nil {
		return "", err
	}
	return w.execute(ctx, line, bounded(timeout), done)
}

// bounded returns the time that a command gets when its action asks for so many seconds.
func bounded(seconds int64) time.Duration {
	if seconds <= 0 {
		return defaultTimeout
	}
	return time.Duration(min(seconds, int64(maxTimeout/time.Second))) * time.Second
}

func (w *Workdir) execute(ctx context.Context, line []string, timeout time.Duration, done *Done) (string, error) {
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var out text
	command := exec.CommandContext(limited, line[0], line[1:]...)
	command.Dir = w.path
	command.Stdout = &out
	command.Stderr = &out
	command.WaitDelay = outputTimeout
	ownGroup(command)
	if err := command.Start(); err != nil {
		return "", err
	}
	err := command.Wait()
	killGroup(command) // what the command left running
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	done.Result = fmt.Sprintf("exit %d", command.ProcessState.ExitCode())
	if limited.Err() != nil {
		done.Result = fmt.Sprintf("killed after %v", timeout)
		out.note(fmt.Sprintf("killed after %v", timeout))
	} else if err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		out.note(err.Error())
	}
	return out.result(), nil
}

// split splits a command line into words as a shell would, with single and double quotes and
// backslashes, and expands nothing.
func split(line string) ([]string, error) {
	var s splitter
	for _, r := range line {
		s.next(r)
	}
	if s.quote != 0 || s.escaped {
		return nil, errors.New("the arguments end inside a quote")
	}
	s.endWord()
	return s.words, nil
}

type splitter struct {
	words   []string
	word    strings.Builder
	inWord  bool // an empty word in quotes is one too
	quote   rune // the quote that is open, or 0
	escaped bool
}

func (s *splitter) next(r rune) {
	switch {
	case s.escaped:
		s.escaped = false
		if s.quote == '"' && !strings.ContainsRune("\"\\$`", r) {
			s.keep('\\') // within double quotes it escapes nothing else
		}
		s.keep(r)
	case r == '\\' && s.quote != '\'':
		s.escaped, s.inWord = true, true
	case r == s.quote:
		s.quote = 0
	case s.quote != 0:
		s.keep(r)
	case r == '\'' || r == '"':
		s.quote, s.inWord = r, true
	case r == ' ' || r == '\t' || r == '\n':
		s.endWord()
	default:
		s.keep(r)
	}
}

func (s *splitter) keep(r rune) {
	s.inWord = true
	s.word.WriteRune(r)
}

func (s *splitter) endWord() {
	if s.inWord {
		s.words = append(s.words, s.word.String())
	}
	s.word.Reset()
	s.inWord = false
}
