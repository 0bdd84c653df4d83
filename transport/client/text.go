package client

import (
	"unicode/utf8"
)

// maxReason is the size in bytes of the longest reason that fits a close frame.
const maxReason = 123

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
