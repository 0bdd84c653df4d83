// Package logqueue keeps the reader of a log from stopping the program that writes it. A write to a
// full pipe, or to a terminal that was stopped, waits for its reader, and holds up every goroutine that
// logs behind it. A [Queue] is a writer that never waits: lines go through a bounded queue, and are
// dropped and counted where it is full.
//
//	var log *slog.Logger
//	queue := logqueue.New(os.Stderr, logqueue.Options{
//		OnDropped: func(lines uint64) { log.Warn("log records dropped", "records", lines) },
//	})
//	defer queue.Close(ctx) // ctx bounds the time for what still waits
//	log = slog.New(slog.NewJSONHandler(queue, nil))
//
// A write to a pipe on descriptor 1 or 2 whose reader has gone ends a Go program by SIGPIPE. A program
// that is to go on takes that signal: signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE).
package logqueue

import (
	"context"
	"io"
	"sync"
)

// DefaultLimit is the limit of a [Queue] whose options name none. It holds the records of a drain of
// 15,000 sessions.
const DefaultLimit = 8 << 20

// keptBuffer is the size, in bytes, of a buffer that is kept when its lines were written.
const keptBuffer = 1 << 20

// Options bound a queue. A zero value is what the field names.
type Options struct {
	// Limit is how many bytes of lines may wait. As many may be on their way to the writer. A line that
	// is longer than the limit is dropped. 0: [DefaultLimit].
	Limit int

	// OnDropped is called with how many lines were dropped since its last call, once lines are written again.
	// It is called by the queue's goroutine, and may write to the queue: there is room for what it writes,
	// up to half of the limit, between the lines before the gap and those after it. Nil: the lines are
	// only counted.
	OnDropped func(lines uint64)
}

// Queue is a writer that never waits for the one behind it. Each Write is a line, which is written by
// one Write of the writer behind, or dropped as a whole. Its methods may be called by any goroutine.
type Queue struct {
	w         io.Writer
	limit     int
	onDropped func(lines uint64)
	ended     chan struct{} // closed when the goroutine has ended

	mu      sync.Mutex
	news    *sync.Cond // for the goroutine
	waiting lines
	closed  bool
	telling bool   // OnDropped is running
	dropped uint64 // only grows
	told    uint64 // of these
}

// lines are whole lines in one buffer.
type lines struct {
	text []byte
	ends []int // in text
}

// New returns a queue in front of w, which is written to by a goroutine of the queue's own, one line at
// a time. The caller must close it.
func New(w io.Writer, o Options) *Queue {
	if o.Limit <= 0 {
		o.Limit = DefaultLimit
	}
	q := &Queue{w: w, limit: o.Limit, onDropped: o.OnDropped, ended: make(chan struct{})}
	q.news = sync.NewCond(&q.mu)
	go q.run()
	return q
}

// Write implements [io.Writer]. It never fails: a line that is dropped is counted. It keeps no
// reference to line.
func (q *Queue) Write(line []byte) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	limit := q.limit
	if q.telling {
		limit += q.limit / 2
	}
	if q.closed && !q.telling || len(q.waiting.text)+len(line) > limit {
		q.dropped++
		return len(line), nil
	}
	q.waiting.text = append(q.waiting.text, line...)
	q.waiting.ends = append(q.waiting.ends, len(q.waiting.text))
	q.news.Signal()
	return len(line), nil
}

// Dropped is how many lines were dropped: where the queue was full or closed, or the writer behind it
// failed. It only grows.
func (q *Queue) Dropped() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.dropped
}

// Close takes no more lines, and waits until the queued ones are written, or until ctx is done, whose
// error it returns then. The queue's goroutine is left behind in that case, in a Write that doesn't
// return. Close may be called again, to wait longer. The writer behind stays open.
func (q *Queue) Close(ctx context.Context) error {
	q.mu.Lock()
	q.closed = true
	q.news.Signal()
	q.mu.Unlock()
	select {
	case <-q.ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// run writes lines until the queue is closed and empty.
func (q *Queue) run() {
	defer close(q.ended)
	var taken lines
	for flows, more := true, true; ; {
		var dropped uint64
		taken, dropped, more = q.take(taken, flows)
		if !more {
			return
		}
		if dropped > 0 {
			q.tell(dropped)
		}
		flows = q.write(taken, flows)
	}
}

// take waits for something to do, and returns the lines that wait. dropped is how many are to be reported
// of, which is for a time when lines flow. The buffer is used again.
func (q *Queue) take(buffer lines, flows bool) (taken lines, dropped uint64, more bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		if flows && q.onDropped != nil {
			dropped = q.dropped - q.told
		}
		if len(q.waiting.ends) > 0 || dropped > 0 {
			break
		}
		if q.closed {
			return lines{}, 0, false
		}
		q.news.Wait()
	}
	if cap(buffer.text) > keptBuffer {
		buffer = lines{}
	}
	taken, q.waiting = q.waiting, lines{buffer.text[:0], buffer.ends[:0]}
	q.told += dropped
	return taken, dropped, true
}

// tell calls OnDropped. Nothing waits now, so that what it writes comes between what was taken and what
// comes next: where the gap is.
func (q *Queue) tell(dropped uint64) {
	q.setTelling(true)
	defer q.setTelling(false)
	q.onDropped(dropped)
}

func (q *Queue) setTelling(is bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.telling = is
}

// write writes lines, and returns whether the last of them was written: lines flow then.
func (q *Queue) write(taken lines, flowed bool) (flows bool) {
	flows = flowed
	begin, failed := 0, uint64(0)
	for _, end := range taken.ends {
		_, err := q.w.Write(taken.text[begin:end])
		begin, flows = end, err == nil
		if err != nil {
			failed++
		}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.dropped += failed
	return flows
}
