package terminal

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/charmbracelet/x/ansi"
	"golang.org/x/term"

	"github.com/lastcall-go/lastcall/transport/printable"
)

// terminalOf is the terminal that w writes to, or r reads.
func terminalOf(rw any) (file *os.File, isTerminal bool) {
	file, isFile := rw.(*os.File)
	return file, isFile && term.IsTerminal(int(file.Fd()))
}

// Is reports whether rw reads or writes a terminal.
func Is(rw any) bool {
	_, is := terminalOf(rw)
	return is
}

// Size is that of w's terminal, and 80x24 where it has none.
func Size(w io.Writer) (width, height int) {
	if file, isTerminal := terminalOf(w); isTerminal {
		if width, height, err := term.GetSize(int(file.Fd())); err == nil && width > 0 && height > 0 {
			return width, height
		}
	}
	return 80, 24
}

// OneLine is a text of a peer's as one line that is safe for a terminal, cut to 160 characters.
func OneLine(s string) string {
	const most = 160
	s = printable.Line(s)
	if runes := []rune(s); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return s
}

func Suffix(separator, text string) string {
	if text == "" {
		return ""
	}
	return separator + text
}

func Plural(n int, noun string) string {
	if n == 1 {
		return noun
	}
	return noun + "s"
}

// Counted is "1 session" or "2 sessions".
func Counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func PadCell(text string, width int, right bool) string {
	text = FitCell(text, width)
	space := strings.Repeat(" ", width-ansi.StringWidth(text))
	if right {
		return space + text
	}
	return text + space
}

// FitCell cuts a text to a width on the screen, on which a character may take two columns.
func FitCell(text string, width int) string { return ansi.Truncate(text, max(0, width), "…") }

// WriteJSON writes a value as a line of JSON that is safe for a terminal.
func WriteJSON(w io.Writer, value any) error {
	data, err := json.Marshal(value)
	if err == nil {
		_, err = fmt.Fprintln(w, printable.JSON(data))
	}
	return err
}
