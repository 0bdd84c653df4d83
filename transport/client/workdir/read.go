package workdir

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"slices"
	"syscall"

	"github.com/lastcall-go/lastcall/proto/dap"
)

// maxEntries is how many entries of one folder are listed.
const maxEntries = 10_000

// listDirectory answers with the names in a folder, sorted, one a line, folders with a slash at
// the end.
func (w *Workdir) listDirectory(action *dap.ListDirectory) (string, error) {
	name, err := w.local(action.Directory)
	if err != nil {
		return "", err
	}
	folder, err := w.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0) // as in open
	if err != nil {
		return "", err
	}
	defer folder.Close()
	entries, err := folder.ReadDir(maxEntries)
	if err != nil && err != io.EOF { // EOF: the folder is empty
		return "", err
	}
	return listing(entries), nil
}

func listing(entries []os.DirEntry) string {
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return cmp.Compare(a.Name(), b.Name()) })
	var out text
	for _, entry := range entries {
		out.add(entry.Name())
		if entry.IsDir() {
			out.add("/")
		}
		out.add("\n")
	}
	if len(entries) == maxEntries {
		out.note(fmt.Sprintf("cut: %d entries or more", maxEntries))
	}
	return out.result()
}

// readFile answers with a file's contents: the lines from offset, counted from 0, and of these as
// many as limit says. Without a limit, or with one that is not positive, all of them.
func (w *Workdir) readFile(ctx context.Context, action *dap.ReadFile) (string, error) {
	limit := action.GetLimit()
	if limit <= 0 {
		limit = math.MaxInt64
	}
	var out text
	if err := w.readLines(ctx, &out, action.Filepath, max(0, action.GetOffset()), limit); err != nil {
		return "", err
	}
	return out.result(), nil
}

func (w *Workdir) readLines(ctx context.Context, out *text, name string, offset, limit int64) error {
	name, err := w.local(name)
	if err != nil {
		return err
	}
	file, err := w.open(name, os.O_RDONLY)
	if err != nil {
		return err
	}
	defer file.Close()
	return eachLine(ctx, file, func(number int64, line []byte) bool {
		if number < offset {
			return true
		}
		if number-offset >= limit || out.full() {
			return false
		}
		out.add(string(line))
		return true
	})
}

// readFiles answers with all files in one text, each after a line with its name; what can't be read
// has its error in its place. All of them together are bounded as one answer is.
func (w *Workdir) readFiles(ctx context.Context, action *dap.ReadFiles) (string, error) {
	var out text
	for _, name := range action.Filepaths {
		if out.full() || ctx.Err() != nil {
			break
		}
		out.add("==> " + quoted(name) + " <==\n")
		if err := w.readLines(ctx, &out, name, 0, math.MaxInt64); err != nil {
			out.add("[error: " + err.Error() + "]")
		}
		out.add("\n")
	}
	return out.result(), ctx.Err()
}
