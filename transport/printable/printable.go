// Package printable makes text that a peer chose safe to show. A terminal acts upon control characters; a reader is
// misled by characters that change the direction of text, or are not seen.
//
// Every text of a client, an agent, a tool or a server goes through here before it is shown on a terminal or written as a
// line. It has no dependencies, so that all packages can use it.
package printable

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Rune reports whether a character is shown as itself: a letter, mark, number, punctuation, symbol, or the ASCII space.
// Control and format characters are not, nor are other spaces, and code points that are private or not assigned.
func Rune(r rune) bool { return unicode.IsPrint(r) }

// Is reports whether a text is valid UTF-8, and all of its characters are shown as themselves.
func Is(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, func(r rune) bool { return !Rune(r) })
}

// Line is a text in one line. Line breaks, tabs and other spaces become a space. Whatever else is not shown as itself is
// escaped as in Go: "\x1b", "\u202e". A byte that is not UTF-8 is escaped as "\xff".
func Line(text string) string {
	if Is(text) {
		return text
	}
	var line strings.Builder
	for i, r := range text {
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(text[i:], string(utf8.RuneError)):
			fmt.Fprintf(&line, `\x%02x`, text[i])
		case Rune(r):
			line.WriteRune(r)
		case unicode.IsSpace(r):
			line.WriteByte(' ')
		case r < 0x100:
			fmt.Fprintf(&line, `\x%02x`, r)
		case r < 0x10000:
			fmt.Fprintf(&line, `\u%04x`, r)
		default:
			fmt.Fprintf(&line, `\U%08x`, r)
		}
	}
	return line.String()
}

// JSON is a JSON text in which what is not shown as itself is escaped, which changes no value: it can only be in strings.
// Line feeds stay.
func JSON(text []byte) string {
	if s := string(text); Is(s) {
		return s
	}
	var safe strings.Builder
	for _, r := range string(text) {
		if r == '\n' || Rune(r) {
			safe.WriteRune(r)
			continue
		}
		for _, unit := range utf16.AppendRune(nil, r) {
			fmt.Fprintf(&safe, `\u%04x`, unit)
		}
	}
	return safe.String()
}
