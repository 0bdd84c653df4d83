// Package workdir answers an agent's actions inside one folder.
//
// What only reads is answered at once: listDirectory, runReadFile, runReadFiles, findFiles, grep.
// What writes or runs (runWriteFile, runEditFile, mkdir, runCommand, runShellCommand,
// runGitCommand) is done only after the user said yes to a question that names it. Every other
// action is answered with an error.
//
// Files outside the folder are not reached, symbolic links included. That holds for the actions on
// files; a command that the user allows starts in the folder and may do whatever it can.
package workdir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/lastcall-go/lastcall/proto/dap"
)

const (
	walkTimeout = 30 * time.Second // for what is answered without a question
	maxPath     = 4096             // bytes
)

var (
	errDeclined = errors.New("the user declined")
	errOutside  = errors.New("the path is outside of the folder")
	errPath     = errors.New("the path is too long")
)

// Workdir answers actions inside one folder. It may be used concurrently if its ask may.
type Workdir struct {
	root *os.Root
	path string // absolute
	Options
}

// Options are the user of a Workdir.
type Options struct {
	// Ask puts a question to the user; ctx is done when the answer is of no use any more. Nil: the answer is no.
	Ask func(ctx context.Context, question Question) bool

	// Done is called with each action that was answered. Nil: it isn't.
	Done func(Done)
}

// Question asks whether an action may be done.
type Question struct {
	// Text is one line. Everything in it that the agent chose is quoted where it could look like something else.
	Text string

	// Diff is what the action changes in a file, as a unified diff. It is what the agent and the file say, and
	// not escaped. Empty: it changes no file, or one that is too large to compare.
	Diff string
}

// Done is an action that was answered.
type Done struct {
	Action *dap.Action
	Result string        // in a few words: "2.1 KiB", "12 lines", "exit 1". Empty: there is no more to say than that it is done
	Err    error         // it failed, or the user declined. A command that fails is none
	Took   time.Duration // with what the user took to answer
}

// Declined reports whether the user said no.
func (d *Done) Declined() bool { return errors.Is(d.Err, errDeclined) }

// Open returns a Workdir for the folder at path.
func Open(path string, options Options) (*Workdir, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open the working folder: %w", err)
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, fmt.Errorf("open the working folder: %w", err)
	}
	if options.Ask == nil {
		options.Ask = func(context.Context, Question) bool { return false }
	}
	if options.Done == nil {
		options.Done = func(Done) {}
	}
	return &Workdir{root: root, path: path, Options: options}, nil
}

// Close releases the folder.
func (w *Workdir) Close() error { return w.root.Close() }

// Handle does what action asks and returns the answer, with the action's requestID. It fits what
// the package client takes as Config.Handle. Its text is valid UTF-8 and at most about 512 KiB, cut
// with a note past that. If ctx is done Handle returns soon, with what it has or an error.
//
// Reading and searching take at most 30 s; a command takes what its action says, 60 s by default
// and 10 minutes at most, and is then killed with its children.
func (w *Workdir) Handle(ctx context.Context, action *dap.Action) *dap.ActionResponse {
	began, done := time.Now(), Done{Action: action}
	text, err := w.do(ctx, action, &done)
	done.Err, done.Took = err, time.Since(began)
	w.Done(done)
	plain := &dap.PlainTextResponse{Response: text}
	if err != nil {
		plain = &dap.PlainTextResponse{Error: clean(err.Error())}
	}
	return &dap.ActionResponse{
		RequestID:    action.GetRequestID(),
		ResponseType: &dap.ActionResponse_PlainTextResponse{PlainTextResponse: plain},
	}
}

func (w *Workdir) do(ctx context.Context, action *dap.Action, done *Done) (string, error) {
	switch a := action.GetAction().(type) {
	case *dap.Action_RunWriteFile:
		return w.writeFile(ctx, a.RunWriteFile)
	case *dap.Action_RunEditFile:
		return w.editFile(ctx, a.RunEditFile)
	case *dap.Action_Mkdir:
		return w.mkdir(ctx, a.Mkdir)
	case *dap.Action_RunCommand:
		return w.runCommand(ctx, a.RunCommand, done)
	case *dap.Action_RunShellCommand:
		return w.runShellCommand(ctx, a.RunShellCommand, done)
	case *dap.Action_RunGitCommand:
		return w.runGitCommand(ctx, a.RunGitCommand, done)
	}
	ctx, cancel := context.WithTimeout(ctx, walkTimeout)
	defer cancel()
	text, err := w.look(ctx, action)
	if err == nil {
		done.Result = measure(action, text)
	}
	return text, err
}

// look does what needs no question.
func (w *Workdir) look(ctx context.Context, action *dap.Action) (string, error) {
	switch a := action.GetAction().(type) {
	case *dap.Action_ListDirectory:
		return w.listDirectory(a.ListDirectory)
	case *dap.Action_RunReadFile:
		return w.readFile(ctx, a.RunReadFile)
	case *dap.Action_RunReadFiles:
		return w.readFiles(ctx, a.RunReadFiles)
	case *dap.Action_FindFiles:
		return w.findFiles(ctx, a.FindFiles)
	case *dap.Action_Grep:
		return w.grep(ctx, a.Grep)
	}
	return "", fmt.Errorf("this client does not support %s", kind(action))
}

// kind returns the contract's name for what action asks.
func kind(action *dap.Action) string {
	message := action.ProtoReflect()
	field := message.WhichOneof(message.Descriptor().Oneofs().ByName("action"))
	if field == nil {
		return "this action"
	}
	return string(field.Name())
}

// allowed asks the user; no means errDeclined.
func (w *Workdir) allowed(ctx context.Context, question Question) error {
	yes := w.Ask(ctx, question)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if !yes {
		return errDeclined
	}
	return nil
}

// local returns name relative to the folder, with slashes. Agents use absolute paths too. Where
// symbolic links lead is checked by os.Root when the path is used.
func (w *Workdir) local(name string) (string, error) {
	if len(name) > maxPath {
		return "", errPath
	}
	if filepath.IsAbs(name) {
		relative, err := filepath.Rel(w.path, name)
		if err != nil {
			return "", errOutside
		}
		name = relative
	}
	name = filepath.Clean(name) // "" becomes "."
	if !filepath.IsLocal(name) {
		return "", errOutside
	}
	return filepath.ToSlash(name), nil
}

// open opens a regular file. O_NONBLOCK keeps the open of a pipe from waiting for its other end.
func (w *Workdir) open(name string, flags int) (*os.File, error) {
	file, err := w.root.OpenFile(name, flags|syscall.O_NONBLOCK, 0o644)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: name, Err: errors.New("not a regular file")}
	}
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	return file, nil
}
