package main

import (
	"fmt"
	"io"
	"sync"
)

// console is where logs and progress are shown. On a terminal the progress is one line at the
// bottom, which log records push down.
type console struct {
	mu       sync.Mutex
	w        io.Writer
	terminal bool
	status   string
}

// newConsole shows on w, which leads to a terminal or doesn't.
func newConsole(w io.Writer, isTerminal bool) *console {
	return &console{w: w, terminal: isTerminal}
}

// isTerminal reports whether progress is shown.
func (c *console) isTerminal() bool { return c.terminal }

// clearLine moves to the line's begin and erases it.
const clearLine = "\r\x1b[K"

// Write writes log records.
func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.status == "" {
		return c.w.Write(p)
	}
	if _, err := fmt.Fprint(c.w, clearLine, string(p), c.status); err != nil {
		return 0, err
	}
	return len(p), nil
}

// show puts the status in place of the one before. Elsewhere than on a terminal it does nothing.
func (c *console) show(status string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.terminal {
		c.status = status
		fmt.Fprint(c.w, clearLine, status)
	}
}

// conclude replaces the status by a last line.
func (c *console) conclude(line string) {
	c.show("")
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.terminal {
		fmt.Fprintln(c.w, line)
	}
}
