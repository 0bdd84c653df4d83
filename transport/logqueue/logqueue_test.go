package logqueue_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/lastcall-go/lastcall/transport/logqueue"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// reader is behind a queue, and may stop reading, or go.
type reader struct {
	mu    sync.Mutex
	stuck chan struct{} // nil: it reads
	err   error         // of a write
	lines []string
}

func (r *reader) Write(p []byte) (int, error) {
	r.mu.Lock()
	stuck := r.stuck
	r.mu.Unlock()
	if stuck != nil {
		<-stuck
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return 0, r.err
	}
	r.lines = append(r.lines, string(p))
	return len(p), nil
}

func (r *reader) stop() (resume func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	stuck := make(chan struct{})
	r.stuck = stuck
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.stuck = nil
		close(stuck)
	}
}

func (r *reader) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
}

func (r *reader) read() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.lines, "")
}

// open returns a queue for lines of 8 bytes, which reports the dropped ones.
func open(w io.Writer, lines int) *logqueue.Queue {
	var q *logqueue.Queue
	q = logqueue.New(w, logqueue.Options{Limit: 8 * lines, OnDropped: func(n uint64) { fmt.Fprintf(q, "%2d lost\n", n) }})
	return q
}

func say(q *logqueue.Queue, from, to int) {
	for i := from; i < to; i++ {
		fmt.Fprintf(q, "line %2d\n", i)
	}
}

func said(from, to int) string {
	var b strings.Builder
	for i := from; i < to; i++ {
		fmt.Fprintf(&b, "line %2d\n", i)
	}
	return b.String()
}

func closeIn(t *testing.T, q *logqueue.Queue, limit time.Duration) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	return q.Close(ctx)
}

func want(t *testing.T, r *reader, lines string) {
	t.Helper()
	if got := r.read(); got != lines {
		t.Errorf("the reader got\n%swant\n%s", got, lines)
	}
}

func TestLinesComeInTheirOrder(t *testing.T) {
	r := new(reader)
	q := open(r, 100)
	say(q, 0, 50)
	if err := closeIn(t, q, time.Minute); err != nil {
		t.Error(err)
	}
	want(t, r, said(0, 50))
	if len(r.lines) != 50 {
		t.Errorf("%d writes, want one a line", len(r.lines))
	}
}

// A reader that stops holds up no writer. Once it reads again it gets the gap, where the gap is.
func TestAReaderThatStopsCostsItsLinesAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := new(reader)
		q := open(r, 4)
		resume := r.stop()
		say(q, 0, 1)
		synctest.Wait() // the first is on its way
		say(q, 1, 10)
		if n := q.Dropped(); n != 5 {
			t.Errorf("%d dropped, want 5", n)
		}
		resume()
		synctest.Wait()
		say(q, 10, 12)
		if err := closeIn(t, q, time.Minute); err != nil {
			t.Error(err)
		}
		want(t, r, said(0, 5)+" 5 lost\n"+said(10, 12))
		if n := q.Dropped(); n != 5 {
			t.Errorf("%d dropped, want 5", n)
		}
	})
}

// The gap is written where nothing is logged after it, too, and where the queue is closed meanwhile.
func TestAGapAtTheEndIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, closes := range []bool{false, true} {
			r := new(reader)
			q := open(r, 4)
			resume := r.stop()
			say(q, 0, 1)
			synctest.Wait()
			say(q, 1, 10)
			if closes && !errors.Is(closeIn(t, q, time.Second), context.DeadlineExceeded) {
				t.Error("Close didn't wait for the reader")
			}
			resume()
			synctest.Wait()
			want(t, r, said(0, 5)+" 5 lost\n")
			if err := closeIn(t, q, time.Minute); err != nil {
				t.Error(err)
			}
		}
	})
}

// A reader that has gone costs its lines, and no loop of news of them.
func TestWhatCannotBeWrittenIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := new(reader)
		q := open(r, 4)
		r.fail(errors.New("gone"))
		for i := range 10 {
			say(q, i, i+1)
			synctest.Wait()
		}
		if n := q.Dropped(); n != 10 {
			t.Errorf("%d dropped, want 10", n)
		}
		r.fail(nil)
		say(q, 10, 11)
		if err := closeIn(t, q, time.Minute); err != nil {
			t.Error(err)
		}
		want(t, r, said(10, 11)+"10 lost\n")
	})
}

func TestALineLongerThanTheLimitIsDropped(t *testing.T) {
	r := new(reader)
	q := logqueue.New(r, logqueue.Options{Limit: 8})
	fmt.Fprintln(q, "a line of more than eight bytes")
	say(q, 0, 1)
	if err := closeIn(t, q, time.Minute); err != nil {
		t.Error(err)
	}
	want(t, r, said(0, 1))
	if n := q.Dropped(); n != 1 {
		t.Errorf("%d dropped, want 1", n)
	}
}

func TestAClosedQueueDrops(t *testing.T) {
	r := new(reader)
	q := open(r, 4)
	if err := closeIn(t, q, time.Minute); err != nil {
		t.Error(err)
	}
	say(q, 0, 3)
	if n := q.Dropped(); n != 3 {
		t.Errorf("%d dropped, want 3", n)
	}
	want(t, r, "")
}

// Each line arrives, or is counted.
func TestManyWriters(t *testing.T) {
	const writers, each = 8, 1000
	var out bytes.Buffer
	q := logqueue.New(&out, logqueue.Options{Limit: 4 << 10})
	log := slog.New(slog.NewJSONHandler(q, nil))
	var group sync.WaitGroup
	for i := range writers {
		group.Go(func() {
			for j := range each {
				log.Info("hello", "writer", i, "line", j)
			}
		})
	}
	group.Wait()
	if err := closeIn(t, q, time.Minute); err != nil {
		t.Error(err)
	}
	if n := uint64(bytes.Count(out.Bytes(), []byte("\n"))) + q.Dropped(); n != writers*each {
		t.Errorf("%d lines arrived or were dropped, want %d", n, writers*each)
	}
}

// A line is copied into a buffer that is used again.
func TestWriteAllocatesNothing(t *testing.T) {
	q := logqueue.New(io.Discard, logqueue.Options{})
	line := bytes.Repeat([]byte("x"), 400)
	if n := testing.AllocsPerRun(1000, func() { _, _ = q.Write(line) }); n > 0.5 {
		t.Errorf("%v allocations a line", n)
	}
	if err := closeIn(t, q, time.Minute); err != nil {
		t.Error(err)
	}
}

func BenchmarkWrite(b *testing.B) {
	q := logqueue.New(io.Discard, logqueue.Options{})
	line := bytes.Repeat([]byte("x"), 400)
	b.ReportAllocs()
	for b.Loop() {
		_, _ = q.Write(line)
	}
	_ = q.Close(b.Context())
}
