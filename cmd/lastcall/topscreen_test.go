package main

import (
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/creack/pty"
)

// adminTerminal is a real one, a pty, with what its user sees of it.
type adminTerminal struct {
	master, slave *os.File

	mu      sync.Mutex
	cells   [][]rune
	x, y    int
	pending []byte // of a sequence that isn't whole
	unknown []string
	styles  int // sequences that style what follows
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
	term := &adminTerminal{master: master, slave: slave, cells: make([][]rune, height)}
	for y := range term.cells {
		term.cells[y] = []rune(strings.Repeat(" ", width))
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		term.read()
	}()
	t.Cleanup(func() {
		term.press("\x04") // the end of input, for a prompt that still reads
		time.Sleep(10 * time.Millisecond)
		if err := slave.Close(); err != nil {
			t.Error(err)
		}
		<-ended
		_ = master.Close()
		if len(term.unknown) > 0 {
			t.Errorf("sequences that this terminal doesn't know: %q", term.unknown)
		}
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
	lines := make([]string, len(t.cells))
	for y, line := range t.cells {
		lines[y] = strings.TrimRight(string(line), " ")
	}
	return strings.Join(lines, "\n")
}

func (t *adminTerminal) styled() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.styles > 0
}

func (t *adminTerminal) read() {
	buffer := make([]byte, 4096)
	for {
		n, err := t.master.Read(buffer)
		if err != nil {
			return
		}
		t.mu.Lock()
		t.pending = append(t.pending, buffer[:n]...)
		for t.step() {
		}
		t.mu.Unlock()
	}
}

// step takes one character or sequence off what is pending, if it is whole.
func (t *adminTerminal) step() bool {
	if len(t.pending) == 0 || !utf8.FullRune(t.pending) {
		return false
	}
	r, size := utf8.DecodeRune(t.pending)
	switch r {
	case '\r':
		t.x = 0
	case '\n':
		t.lineFeed()
	case '\x1b':
		return t.escape()
	default:
		if r >= ' ' && t.x < len(t.cells[t.y]) {
			t.cells[t.y][t.x] = r
			t.x++
		}
	}
	t.pending = t.pending[size:]
	return true
}

func (t *adminTerminal) lineFeed() {
	if t.y++; t.y == len(t.cells) {
		t.y--
		t.cells = append(t.cells[1:], []rune(strings.Repeat(" ", len(t.cells[0]))))
	}
}

// escape takes a sequence: ESC [ numbers letter.
func (t *adminTerminal) escape() bool {
	if len(t.pending) < 2 {
		return false
	}
	if t.pending[1] != '[' {
		t.unknown = append(t.unknown, string(t.pending[:2]))
		t.pending = t.pending[2:]
		return true
	}
	end := 2
	for ; end < len(t.pending) && (t.pending[end] < '@' || t.pending[end] > '~'); end++ {
	}
	if end == len(t.pending) {
		return false
	}
	t.control(string(t.pending[2:end]), t.pending[end])
	t.pending = t.pending[end+1:]
	return true
}

func (t *adminTerminal) control(numbers string, command byte) {
	first, second, _ := strings.Cut(numbers, ";")
	n, err := strconv.Atoi(first)
	if err != nil {
		n = 1
	}
	switch command {
	case 'A':
		t.y = max(0, t.y-n)
	case 'B':
		t.y = min(len(t.cells)-1, t.y+n)
	case 'C':
		t.x += n
	case 'D':
		t.x = max(0, t.x-n)
	case 'H':
		column, err := strconv.Atoi(second)
		if err != nil {
			column = 1
		}
		t.y, t.x = min(len(t.cells), n)-1, column-1
	case 'J', 'K':
		t.erase(command == 'J', first == "2")
	case 'm':
		t.styles++
	case 'h', 'l': // modes
	default:
		t.unknown = append(t.unknown, numbers+string(command))
	}
}

// erase erases from the cursor on, or all: of the line, or of the screen.
func (t *adminTerminal) erase(screen, all bool) {
	for y := range t.cells {
		for x := range t.cells[y] {
			behind := y == t.y && x >= t.x || screen && y > t.y
			if behind || all && (screen || y == t.y) {
				t.cells[y][x] = ' '
			}
		}
	}
}
