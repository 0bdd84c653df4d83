package main

import (
	"io"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/charmbracelet/x/vt"
	"github.com/creack/pty"
)

// adminTerminal is a pty with an emulated terminal on it.
type adminTerminal struct {
	master, slave *os.File

	mu     sync.Mutex
	screen *vt.Emulator
}

// newAdminTerminal ends with the test, after the commands that were started before it.
func newAdminTerminal(t *testing.T, width, height int) *adminTerminal {
	t.Helper()
	master, slave, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	if err := pty.Setsize(master, &pty.Winsize{Cols: uint16(width), Rows: uint16(height)}); err != nil {
		t.Fatal(err)
	}
	term := &adminTerminal{master: master, slave: slave, screen: vt.NewEmulator(width, height)}
	var running sync.WaitGroup
	running.Go(term.read)
	running.Go(func() { _, _ = io.Copy(master, term.screen) }) // what the terminal answers
	t.Cleanup(func() {
		term.press("\x04") // the end of input, for a prompt that still reads
		time.Sleep(10 * time.Millisecond)
		if err := slave.Close(); err != nil {
			t.Error(err)
		}
		_ = term.screen.InputPipe().(io.Closer).Close() // Close itself races with Read
		running.Wait()
		_ = master.Close()
	})
	return term
}

func (t *adminTerminal) streams() streams { return streams{t.slave, t.slave, t.slave} }

// press types keys.
func (t *adminTerminal) press(keys string) { _, _ = t.master.WriteString(keys) }

// String is the screen.
func (t *adminTerminal) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	lines := strings.Split(t.screen.String(), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n")
}

var aColour = regexp.MustCompile("\x1b\\[([0-9]+;)*3[0-7]")

// coloured reports whether a character on the screen has a colour.
func (t *adminTerminal) coloured() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return aColour.MatchString(t.screen.Render())
}

func (t *adminTerminal) read() {
	buffer := make([]byte, 4096)
	for {
		n, err := t.master.Read(buffer)
		if err != nil {
			return
		}
		t.mu.Lock()
		_, _ = t.screen.Write(buffer[:n])
		t.mu.Unlock()
	}
}
