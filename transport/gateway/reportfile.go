package gateway

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/transport/history"
)

// reportFile is where the reports of drains are left.
type reportFile struct {
	path   string // empty: nowhere
	folder bool   // it is a folder, with a file of each of the last drains

	mu   sync.Mutex
	kept bool // there is one of a standby
}

// check returns why a report could not be written. It leaves the file as it is.
func (f *reportFile) check() error {
	if f.path == "" {
		return nil
	}
	switch is, err := os.Stat(f.path); {
	case err == nil && is.IsDir():
		f.folder = true
	case err == nil && !is.Mode().IsRegular():
		return fmt.Errorf("%s is no regular file and no folder", f.path)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	temporary, err := writeTemporary(f.fileOf("check"), make([]byte, leastRoom))
	if err == nil {
		return os.Remove(temporary)
	}
	if inner := new(fs.PathError); errors.As(err, &inner) {
		err = inner.Err // without the temporary file's name
	}
	return fmt.Errorf("%s can't be written: %w", f.path, err)
}

// leastRoom is how many bytes there must be on the disk at the start: those of a report of some sessions.
const leastRoom = 16 << 10

// write replaces the file in one step: a reader never sees half of it, and a failed write leaves nothing
// of it. After a standby, a final drain that found no session doesn't replace the report of the
// standby's drain.
func (f *reportFile) write(report *actors.Report) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.replace(report)
}

// standby writes the report of a drain that the process survives.
func (f *reportFile) standby(report *actors.Report) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.kept = false
	err := f.replace(report)
	f.kept = err == nil && len(report.Sessions) > 0
	return err
}

func (f *reportFile) replace(report *actors.Report) error {
	if f.path == "" || report == nil || !f.folder && f.kept && len(report.Sessions) == 0 && report.Err() == nil {
		return nil
	}
	path := f.fileOf(report.Started.UTC().Format("20060102T150405.000Z") + "-" + report.ID)
	data, err := json.MarshalIndent(report, "", "  ")
	if err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	temporary, err := writeTemporary(path, append(data, '\n'))
	if err == nil {
		err = os.Rename(temporary, path)
	}
	if err != nil {
		return fmt.Errorf("write the report: %w", errors.Join(err, removed(temporary)))
	}
	return f.prune()
}

// fileOf is the file of a drain: the one that there is, or one of the folder, whose names sort by their time.
func (f *reportFile) fileOf(name string) string {
	if !f.folder {
		return f.path
	}
	return filepath.Join(f.path, "drain-"+name+".json")
}

// prune leaves the files of the last drains in the folder.
func (f *reportFile) prune() error {
	if !f.folder {
		return nil
	}
	files, err := filepath.Glob(filepath.Join(f.path, "drain-*.json")) // in their order
	if err != nil || len(files) <= history.Drains {
		return err
	}
	for _, old := range files[:len(files)-history.Drains] {
		err = errors.Join(err, os.Remove(old))
	}
	return err
}

// writeTemporary writes a file beside the report's, under a name that no other process uses.
func writeTemporary(beside string, data []byte) (path string, err error) {
	path = filepath.Join(filepath.Dir(beside), fmt.Sprintf(".%s.%s.tmp", filepath.Base(beside), rand.Text()[:8]))
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return "", err
	}
	_, err = file.Write(data)
	if err := errors.Join(err, file.Close()); err != nil {
		return "", errors.Join(err, os.Remove(path))
	}
	return path, nil
}

// keepReport leaves the report of a drain that the process survives.
func (g *Gateway) keepReport(event any) {
	e, is := event.(actors.DrainFinished)
	if is && (e.Standby || g.report.folder && e.Part && !e.Age && !e.Revoked) {
		if err := g.report.standby(e.Report); err != nil {
			g.options.Log.Error("report not written", "error", err)
		}
	}
}

// leastReport is what the report gets to be written in any case, such as on a network's file system.
const leastReport = time.Second

// writeReport returns when the report is written, or when there is no time left for it.
func (g *Gateway) writeReport(report *actors.Report, deadline time.Time) (err error) {
	written := make(chan error, 1)
	go func() { written <- g.report.write(report) }()
	select {
	case err = <-written:
	case <-time.After(max(leastReport, time.Until(deadline))):
		err = errors.New("write the report: it takes too long")
	}
	if err != nil {
		g.options.Log.Error("report not written", "error", err)
	}
	return err
}

// removed removes a file that was written.
func removed(path string) error {
	if path == "" {
		return nil
	}
	return os.Remove(path)
}
