package workdir

import (
	"bufio"
	"context"
	"errors"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/lastcall-go/lastcall/proto/dap"
)

// maxText is the size in bytes of the text that an answer carries. In JSON a byte becomes six at
// most, so that an answer of this size never exceeds a message's 4 MiB.
const maxText = 512 << 10

// text gathers an answer of at most maxText bytes and drops the rest.
type text struct {
	strings.Builder
	notes   []string
	dropped bool
}

// Write keeps what fits of p. It never fails, so that a command that writes too much isn't killed by it.
func (t *text) Write(p []byte) (int, error) {
	t.add(string(p[:min(len(p), maxText+1)]))
	return len(p), nil
}

func (t *text) add(s string) {
	room := maxText - t.Len()
	if len(s) > room {
		s = s[:room]
		t.dropped = true
	}
	t.WriteString(s)
}

func (t *text) full() bool { return t.dropped }

// note has a line added to the answer's end, however long the answer is.
func (t *text) note(s string) { t.notes = append(t.notes, "["+s+"]") }

// result returns what was gathered, and the notes.
func (t *text) result() string {
	body := t.String()
	if t.dropped {
		body = trimPartialRune(body)
		t.note("cut: the answer is over " + strconv.Itoa(maxText>>10) + " KiB")
	}
	body = utf8Only(body)
	if len(t.notes) > 0 && body != "" && !strings.HasSuffix(body, "\n") {
		body += "\n"
	}
	return body + strings.Join(t.notes, "\n")
}

// clean bounds a text that has no notes, such as an error's.
func clean(s string) string {
	var t text
	t.add(s)
	return t.result()
}

// JSON takes nothing but UTF-8, files hold anything.
func utf8Only(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

// trimPartialRune removes the beginning of a rune that the end of s cuts.
func trimPartialRune(s string) string {
	for i := 1; i < utf8.UTFMax && i <= len(s); i++ {
		if tail := s[len(s)-i:]; utf8.RuneStart(tail[0]) {
			if !utf8.FullRuneInString(tail) {
				return s[:len(s)-i]
			}
			return s
		}
	}
	return s
}

// quoted returns s as it may stand in a question: as it is if it is one plain word, else in double
// quotes, with everything escaped that a terminal doesn't show as itself.
func quoted(s string) string {
	plain := func(r rune) bool {
		return r < utf8.RuneSelf && (r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./=:,+@%", r))
	}
	if s != "" && strings.TrimFunc(s, plain) == "" {
		return s
	}
	return strconv.Quote(s)
}

// maxLine is the longest line that is looked at in one piece; longer ones come in several.
const maxLine = 64 << 10

// eachLine calls do with the lines of r, counted from 0, line ends included, until it returns
// false. do must not keep the line.
func eachLine(ctx context.Context, r io.Reader, do func(number int64, line []byte) bool) error {
	lines := bufio.NewReaderSize(r, maxLine)
	for number := int64(0); ; {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		line, err := lines.ReadSlice('\n')
		if len(line) > 0 && !do(number, line) {
			return nil
		}
		switch {
		case err == nil:
			number++
		case err == io.EOF:
			return nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return err
		}
	}
}

// measure is the result of an action that only looks, in a few words.
func measure(action *dap.Action, text string) string {
	switch action.GetAction().(type) {
	case *dap.Action_RunReadFile, *dap.Action_RunReadFiles:
		return size(len(text))
	}
	n := strings.Count(text, "\n")
	if n == 1 {
		return "1 line"
	}
	return strconv.Itoa(n) + " lines"
}

// size is a number of bytes as a person reads it: "512 B", "2.1 KiB".
func size(n int) string {
	if n < 1024 {
		return strconv.Itoa(n) + " B"
	}
	return strconv.FormatFloat(float64(n)/1024, 'f', 1, 64) + " KiB"
}
