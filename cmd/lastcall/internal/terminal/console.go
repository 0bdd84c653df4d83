// Package terminal writes to terminals and asks on them, and does the same where there is none.
package terminal

import (
	"fmt"
	"io"
	"sync"
)

// Console is where logs and progress are shown. On a terminal the progress is one line at the
// bottom, which log records push down.
type Console struct {
	mu       sync.Mutex
	w        io.Writer
	terminal bool
	status   string
}

// NewConsole shows on w, which leads to a terminal or doesn't.
func NewConsole(w io.Writer, isTerminal bool) *Console {
	return &Console{w: w, terminal: isTerminal}
}

// IsTerminal reports whether progress is shown.
func (c *Console) IsTerminal() bool { return c.terminal }

// clearLine moves to the line's begin and erases it.
const clearLine = "\r\x1b[K"

// Write writes log records.
func (c *Console) Write(p []byte) (int, error) {
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

// Show puts the status in place of the one before. Elsewhere than on a terminal it does nothing.
func (c *Console) Show(status string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.terminal {
		c.status = status
		fmt.Fprint(c.w, clearLine, status)
	}
}

// Conclude replaces the status by a last line.
func (c *Console) Conclude(line string) {
	c.Show("")
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.terminal {
		fmt.Fprintln(c.w, line)
	}
}
