package actorstest

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Journal is what happened, in order, a line each, with the time since the supervisor was started:
//
//	0s lease on w1 taken
//	0s agent got startRequest
//	3s agent got stopWorkflow WORKHORSE_SERVER_SHUTDOWN
//	4s client got checkpoint
//	4s agent ended
//	4s lease released
//	4s client told 1001 server shutdown
//	4s client cut
//
// [Supervisor.Journal] returns a new one. Its methods may be called from any goroutine. Note does nothing
// for a nil Journal. Saw, Has and HasNot wait until everything in the bubble has come to rest.
type Journal struct {
	t     testing.TB
	mu    sync.Mutex
	began time.Time
	lines []string
}

// Note adds a line.
func (j *Journal) Note(format string, args ...any) {
	if j == nil {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, fmt.Sprintf("%v ", time.Since(j.began))+fmt.Sprintf(format, args...))
}

// Rebase has the lines from here on count their time from began.
func (j *Journal) Rebase(began time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.began = began
}

// Lines returns all lines so far.
func (j *Journal) Lines() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.lines)
}

// Count returns how many lines contain what.
func (j *Journal) Count(what string) (n int) {
	for _, line := range j.Lines() {
		if strings.Contains(line, what) {
			n++
		}
	}
	return n
}

// Index returns the index of the first line that contains what, or -1.
func (j *Journal) Index(what string) int {
	return slices.IndexFunc(j.Lines(), func(line string) bool { return strings.Contains(line, what) })
}

// Saw checks that these are all lines so far.
func (j *Journal) Saw(want ...string) {
	j.t.Helper()
	synctest.Wait()
	if got := j.Lines(); !slices.Equal(got, want) {
		j.t.Errorf("got:\n  %s\nwant:\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

// Has checks that each of these is in exactly one line so far, in whatever order.
func (j *Journal) Has(want ...string) {
	j.t.Helper()
	synctest.Wait()
	for _, what := range want {
		if n := j.Count(what); n != 1 {
			j.t.Errorf("%q is in %d lines of %q", what, n, j.Lines())
		}
	}
}

// HasNot checks that none of these is in a line so far.
func (j *Journal) HasNot(unwanted ...string) {
	j.t.Helper()
	synctest.Wait()
	for _, what := range unwanted {
		if j.Count(what) > 0 {
			j.t.Errorf("%q is in %q", what, j.Lines())
		}
	}
}
