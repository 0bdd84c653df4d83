package workdir

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path"
	"regexp"
	"strings"

	"github.com/lastcall-go/lastcall/proto/dap"
)

const (
	maxFiles     = 100_000 // files that one search looks at
	maxMatchLine = 500     // bytes shown of a line that matches
)

// findFiles answers with the paths of files whose name matches a glob, one a line. A pattern with a
// slash is matched with the path, relative to the folder, in which ** stands for any number of
// folders.
func (w *Workdir) findFiles(ctx context.Context, action *dap.FindFiles) (string, error) {
	pattern := path.Clean(action.NamePattern)
	if _, err := path.Match(pattern, ""); err != nil {
		return "", fmt.Errorf("pattern %s: %w", quoted(action.NamePattern), err)
	}
	var out text
	err := w.walk(ctx, ".", &out, func(name string) {
		if matches(pattern, name) {
			out.add(name + "\n")
		}
	})
	return out.result(), err
}

// matches reports whether a well-formed pattern matches the file called name.
func matches(pattern, name string) bool {
	if !strings.Contains(pattern, "/") {
		return matchesOne(pattern, path.Base(name))
	}
	return matchesPath(strings.Split(pattern, "/"), strings.Split(name, "/"))
}

// matchesPath matches element by element. Only the last ** is ever tried again with one element
// more: that suffices, and keeps the time from growing with the number of them.
func matchesPath(pattern, name []string) bool {
	p, n := 0, 0
	retryPattern, retryName := -1, 0
	for n < len(name) {
		switch {
		case p < len(pattern) && pattern[p] == "**":
			retryPattern, retryName = p+1, n
			p++
		case p < len(pattern) && matchesOne(pattern[p], name[n]):
			p++
			n++
		case retryPattern >= 0:
			retryName++
			p, n = retryPattern, retryName
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == "**" {
		p++
	}
	return p == len(pattern)
}

func matchesOne(pattern, element string) bool {
	ok, err := path.Match(pattern, element)
	return ok && err == nil
}

// grep answers with the lines that match an RE2 pattern, each as path:line:text, lines counted from
// 1. It searches the files below a folder, or one file. Files with a zero byte in a line are left
// at that line: they are not text.
func (w *Workdir) grep(ctx context.Context, action *dap.Grep) (string, error) {
	flags := ""
	if action.CaseInsensitive {
		flags = "(?i)"
	}
	expression, err := regexp.Compile(flags + action.Pattern)
	if err != nil {
		return "", err
	}
	from, err := w.local(action.SearchDirectory)
	if err != nil {
		return "", err
	}
	var out text
	err = w.walk(ctx, from, &out, func(name string) { w.grepFile(ctx, &out, name, expression) })
	return out.result(), err
}

// grepFile adds the lines of one file. A file that can't be read is passed over, as files come and
// go.
func (w *Workdir) grepFile(ctx context.Context, out *text, name string, expression *regexp.Regexp) {
	file, err := w.open(name, os.O_RDONLY)
	if err != nil {
		return
	}
	defer file.Close()
	_ = eachLine(ctx, file, func(number int64, line []byte) bool {
		if bytes.IndexByte(line, 0) >= 0 || out.full() {
			return false
		}
		line = bytes.TrimRight(line, "\r\n")
		if expression.Match(line) {
			out.add(fmt.Sprintf("%s:%d:%s\n", name, number+1, line[:min(len(line), maxMatchLine)]))
		}
		return true
	})
}

// walk calls do with every regular file at or below from, in lexical order. It doesn't follow
// symbolic links and leaves .git out. It ends early, with a note in out, when it has seen maxFiles
// or out is full, and with an error when ctx is done.
func (w *Workdir) walk(ctx context.Context, from string, out *text, do func(name string)) error {
	files := 0
	err := fs.WalkDir(w.root.FS(), from, func(name string, entry fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && name == from:
			return err
		case err != nil:
			return nil // a folder that can't be read
		case entry.Name() == ".git":
			return skip(entry)
		case !entry.Type().IsRegular():
			return nil
		case out.full():
			return fs.SkipAll
		case files == maxFiles:
			out.note(fmt.Sprintf("cut: only %d files were searched", maxFiles))
			return fs.SkipAll
		}
		files++
		do(name)
		return nil
	})
	return cmp.Or(err, ctx.Err()) // the last file too may have been cut short
}

// skip leaves a folder out, or, as fs.SkipDir would leave out its neighbours too, just a file.
func skip(entry fs.DirEntry) error {
	if entry.IsDir() {
		return fs.SkipDir
	}
	return nil
}
