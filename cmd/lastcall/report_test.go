package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// What can never work is refused at start, and changes nothing.
func TestAReportThatCanNeverBeWrittenIsAUsageError(t *testing.T) {
	folder := t.TempDir()
	before := filepath.Join(folder, "before")
	if err := os.WriteFile(before, []byte("kept"), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, helps := range map[string]string{
		filepath.Join(folder, "missing", "report.json"): "no such file or directory",
		filepath.Join(before, "report.json"):            "not a directory",
		"/proc":                                         "can't be written",
		"/dev/full":                                     "is no regular file",
		"/proc/report.json":                             "can't be written",
	} {
		wantUsageError(t, "--report: ", "serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--report", path)
		wantUsageError(t, helps, "serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--report", path)
	}
	if is, err := os.Stat("/dev/full"); err != nil || is.Mode().IsRegular() {
		t.Errorf("/dev/full is not what it was: %v, %v", is, err)
	}
	if kept, err := os.ReadFile(before); err != nil || string(kept) != "kept" {
		t.Errorf("the report before holds %q, %v", kept, err)
	}
	wantFiles(t, folder, "before")
}

// A limit on the size of files stands for a disk that is full.
func TestAReportOnAFullDiskIsRefusedAtStart(t *testing.T) {
	args := serveArgs(t)
	p := startLimited(t, "no daemon", "ulimit -f 0", args...)
	if code := p.exit(patience); code != 2 {
		t.Errorf("exit code %d, want 2", code)
	}
	if !strings.HasPrefix(p.lastLine(), "lastcall: --report: ") {
		t.Errorf("last line %q", p.lastLine())
	}
	wantFiles(t, filepath.Dir(args[len(args)-1]))
}

// Later the place can be gone, or taken.
func TestAReportThatIsNotWrittenInTheEndFails(t *testing.T) {
	for name, spoil := range map[string]func(path string) error{
		"the folder is gone": func(path string) error { return os.Remove(filepath.Dir(path)) },
		"a folder is there":  func(path string) error { return os.MkdirAll(filepath.Join(path, "sub"), 0o700) },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "folder", "report.json")
			if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			p := startServe(t, "no daemon", "--report", path)
			if err := spoil(path); err != nil {
				t.Fatal(err)
			}
			p.drain(syscall.SIGTERM, 1)
			p.record("report not written")
			if !strings.HasPrefix(p.lastLine(), "lastcall: write the report: ") {
				t.Errorf("last line %q", p.lastLine())
			}
			if left, err := filepath.Glob(filepath.Join(filepath.Dir(path), ".*")); err != nil || len(left) > 0 {
				t.Errorf("left %v, %v", left, err)
			}
		})
	}
}

// wantFiles wants a folder to hold these alone.
func wantFiles(t *testing.T, folder string, want ...string) {
	t.Helper()
	files, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, file := range files {
		got = append(got, file.Name())
	}
	if !slices.Equal(got, want) {
		t.Errorf("the folder holds %q, want %q", got, want)
	}
}
