package workdir

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/aymanbagabas/go-udiff"

	"github.com/lastcall-go/lastcall/proto/dap"
	"github.com/lastcall-go/lastcall/transport/codec"
)

// maxShown is how many bytes of an edit's old and new text a question shows.
const maxShown = 200

// writeFile creates or replaces a file, and makes the folders that it needs.
func (w *Workdir) writeFile(ctx context.Context, action *dap.WriteFile) (string, error) {
	name, err := w.local(action.Filepath)
	if err != nil {
		return "", err
	}
	what, before := "create", ""
	if _, err := w.root.Lstat(name); err == nil {
		what = "replace"
		before, _ = w.load(name) // if it can't be read there is nothing to compare
	}
	question := Question{
		Text: fmt.Sprintf("%s the file %s with %d bytes", what, quoted(name), len(action.Contents)),
		Diff: diff(before, action.Contents),
	}
	if err := w.allowed(ctx, question); err != nil {
		return "", err
	}
	if err := w.root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return "", err
	}
	if err := w.store(name, action.Contents); err != nil {
		return "", err
	}
	return fmt.Sprintf("wrote %d bytes to %s", len(action.Contents), utf8Only(name)), nil
}

// editFile replaces a text that occurs exactly once in a file. Whether it does is found out before
// the user is asked, and again after, since that may take a while.
func (w *Workdir) editFile(ctx context.Context, action *dap.EditFile) (string, error) {
	name, err := w.local(action.Filepath)
	if err != nil {
		return "", err
	}
	before, after, err := w.edited(name, action)
	if err != nil {
		return "", err
	}
	question := Question{
		Text: fmt.Sprintf("in the file %s replace %s by %s", quoted(name), excerpt(action.OldString), excerpt(action.NewString)),
		Diff: diff(before, after),
	}
	if err := w.allowed(ctx, question); err != nil {
		return "", err
	}
	_, contents, err := w.edited(name, action)
	if err != nil {
		return "", err
	}
	if err := w.store(name, contents); err != nil {
		return "", err
	}
	return "edited " + utf8Only(name), nil
}

// edited returns the file's contents, and as the edit would leave them.
func (w *Workdir) edited(name string, action *dap.EditFile) (before, after string, err error) {
	before, err = w.load(name)
	if err != nil {
		return "", "", err
	}
	if action.OldString == "" {
		return "", "", errors.New("the text to replace is empty")
	}
	if n := strings.Count(before, action.OldString); n != 1 {
		return "", "", fmt.Errorf("the text to replace occurs %d times, not once", n)
	}
	return before, strings.Replace(before, action.OldString, action.NewString, 1), nil
}

// maxCompared is how many bytes of two contents are compared for a question, which must come soon.
const maxCompared = 256 << 10

// diff is what changes between two contents, without the lines that name the files. Empty: they are too large, or the
// same.
func diff(before, after string) string {
	if len(before)+len(after) > maxCompared {
		return ""
	}
	_, lines, _ := strings.Cut(udiff.Unified("", "", before, after), "\n+++ \n")
	return lines
}

// load returns the contents of a file that is small enough to be edited.
func (w *Workdir) load(name string) (string, error) {
	file, err := w.open(name, os.O_RDONLY)
	if err != nil {
		return "", err
	}
	defer file.Close()
	contents, err := io.ReadAll(io.LimitReader(file, codec.MaxMessage+1))
	if err != nil {
		return "", err
	}
	if len(contents) > codec.MaxMessage {
		return "", errors.New("the file is over 4 MiB")
	}
	return string(contents), nil
}

// store writes into the file itself, not into a replacement: its mode and its links stay.
func (w *Workdir) store(name, contents string) error {
	file, err := w.open(name, os.O_WRONLY|os.O_CREATE)
	if err != nil {
		return err
	}
	err = file.Truncate(0)
	if err == nil {
		_, err = file.WriteString(contents)
	}
	return errors.Join(err, file.Close())
}

// mkdir makes a folder and those above it.
func (w *Workdir) mkdir(ctx context.Context, action *dap.Mkdir) (string, error) {
	name, err := w.local(action.DirectoryPath)
	if err != nil {
		return "", err
	}
	if err := w.allowed(ctx, Question{Text: "make the folder " + quoted(name)}); err != nil {
		return "", err
	}
	if err := w.root.MkdirAll(name, 0o755); err != nil {
		return "", err
	}
	return "made " + utf8Only(name), nil
}

// excerpt quotes the beginning of s and says how long it is.
func excerpt(s string) string {
	if len(s) <= maxShown {
		return quoted(s)
	}
	return fmt.Sprintf("%s… (%d bytes)", quoted(trimPartialRune(s[:maxShown])), len(s))
}
