package daemon

import (
	"context"
	"io"
	"log/slog"
	"time"

	"github.com/lastcall-go/lastcall/transport/logqueue"
)

const (
	// FlushTimeout is what the log gets at the end of the process to write what still waits, and
	// leastFlush what it gets even where the deadline of the process has passed.
	FlushTimeout = time.Second
	leastFlush   = 100 * time.Millisecond
)

// Log is a server's log that waits for no reader. Records that find no room are dropped, and counted.
type Log struct {
	*slog.Logger
	lines *logqueue.Queue
}

// OpenLog opens a log whose records go through w, in the form that logger gives them. The caller must
// close it.
func OpenLog(w io.Writer, logger func(lines io.Writer) *slog.Logger) *Log {
	l := new(Log)
	l.lines = logqueue.New(w, logqueue.Options{OnDropped: l.dropped})
	l.Logger = logger(l.lines)
	return l
}

// Dropped is how many records were dropped.
func (l *Log) Dropped() uint64 { return l.lines.Dropped() }

// dropped is logged at every level: it says how complete the log is.
func (l *Log) dropped(records uint64) {
	level := slog.LevelWarn
	if !l.Enabled(context.Background(), level) {
		level = slog.LevelError
	}
	l.Log(context.Background(), level, "log records dropped", "records", records)
}

// Close returns when all is written, after a second, or at the process's deadline. A zero deadline is
// none.
func (l *Log) Close(deadline time.Time) {
	limit := FlushTimeout
	if !deadline.IsZero() {
		limit = min(limit, max(leastFlush, time.Until(deadline)))
	}
	Flush(l.lines, limit)
}

// Flush closes a queue, and waits for its lines as long as the limit says. What isn't read by then is lost.
func Flush(lines *logqueue.Queue, limit time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	_ = lines.Close(ctx)
}
