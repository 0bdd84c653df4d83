package main

import (
	"context"
	"io"
	"log/slog"
	"time"

	"github.com/lastcall-go/lastcall/transport/logqueue"
)

const (
	// flushTimeout is what the log gets at the end of the process to write what still waits, and
	// leastFlush what it gets even where the deadline of the process has passed.
	flushTimeout = time.Second
	leastFlush   = 100 * time.Millisecond
)

// serverLog is a server's log and console on the standard error. Neither waits for its reader.
type serverLog struct {
	*slog.Logger
	console *console
	lines   *logqueue.Queue
}

// openLog returns a log that the caller must close.
func openLog(w io.Writer, format, level string) *serverLog {
	l := new(serverLog)
	l.lines = logqueue.New(w, logqueue.Options{OnDropped: l.dropped})
	l.console = newConsole(w)
	l.console.w = l.lines
	l.Logger = newLogger(l.console, format, level)
	return l
}

// dropped is logged at every level: it tells how far the log can be relied on.
func (l *serverLog) dropped(records uint64) {
	level := slog.LevelWarn
	if !l.Enabled(context.Background(), level) {
		level = slog.LevelError
	}
	l.Log(context.Background(), level, "log records dropped", "records", records)
}

// close returns when all is written, after a second, or at the process's deadline. A zero deadline is
// none.
func (l *serverLog) close(deadline time.Time) {
	limit := flushTimeout
	if !deadline.IsZero() {
		limit = min(limit, max(leastFlush, time.Until(deadline)))
	}
	flush(l.lines, limit)
}

// flush closes a queue, and waits for its lines as long as the limit says. What isn't read by then is lost.
func flush(lines *logqueue.Queue, limit time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	_ = lines.Close(ctx)
}
