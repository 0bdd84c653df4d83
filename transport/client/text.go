package client

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxReason is the size in bytes of the longest reason that fits a close frame.
const maxReason = 123

// printable returns text as it may be shown on a terminal: words of the gateway must not move the
// cursor.
func printable(text string) string {
	if strings.ContainsFunc(text, func(r rune) bool { return !strconv.IsPrint(r) }) {
		return strconv.Quote(text)
	}
	return text
}

// cut returns the beginning of text, at most max bytes, ended on a rune boundary.
func cut(text string, max int) string {
	if len(text) <= max {
		return text
	}
	for max > 0 && !utf8.RuneStart(text[max]) {
		max--
	}
	return text[:max]
}
