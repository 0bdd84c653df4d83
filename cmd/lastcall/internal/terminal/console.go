// Package terminal writes to terminals and asks on them, and does the same where there is none.
package terminal

import (
	"fmt"
	"io"
	"strings"
	"sync"
)

// Console is where logs and progress are shown. On a terminal the progress is at the bottom, and log records push it
// down. Its lines must fit the terminal's width.
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

// clearLine moves to the line's begin and erases it; clearAbove does the same with the line above.
const (
	clearLine  = "\r\x1b[K"
	clearAbove = "\x1b[A\x1b[K"
)

// erase is what erases the status.
func (c *Console) erase() string {
	return clearLine + strings.Repeat(clearAbove, strings.Count(c.status, "\n"))
}

// Write writes log records.
func (c *Console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.status == "" {
		return c.w.Write(p)
	}
	if _, err := fmt.Fprint(c.w, c.erase(), string(p), c.status); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Show puts the status, of one line or more, in place of the one before. Elsewhere than on a terminal it does nothing.
func (c *Console) Show(status string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.terminal {
		fmt.Fprint(c.w, c.erase(), status)
		c.status = status
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
