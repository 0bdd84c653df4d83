package codec

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"slices"

	"github.com/go-json-experiment/json/jsontext"
)

// This file reads and writes JSON's tokens. Strings are nearly all that a message is made of: what
// is done for each of their bytes is done here, eight at a time. The rest is left to package
// jsontext.

// special returns the index of the first byte of text that can't stand in a JSON string as it is: a
// quote, a backslash or a control character; len(text) if there is none.
func special(text []byte) int {
	const ones = 0x0101010101010101
	i := 0
	for ; len(text)-i >= 8; i += 8 {
		word := binary.LittleEndian.Uint64(text[i:])
		quote, slash, control := word^ones*'"', word^ones*'\\', word&(ones*0xe0)
		// The lowest of the bits left is that of the first byte that is zero in one of the three.
		found := ((quote-ones)&^quote | (slash-ones)&^slash | (control-ones)&^control) & (ones << 7)
		if found != 0 {
			return i + bits.TrailingZeros64(found)/8
		}
	}
	for ; i < len(text); i++ {
		if c := text[i]; c < ' ' || c == '"' || c == '\\' {
			return i
		}
	}
	return i
}

// short has the letter of each escape of two characters.
var short = [256]byte{'"': '"', '\\': '\\', '\b': 'b', '\f': 'f', '\n': 'n', '\r': 'r', '\t': 't'}

// longText is the size in bytes from which on it is measured before it is written to a buffer that has no
// room for it: a buffer that grows by and by is copied again and again, and becomes larger than it must be.
const longText = 4 << 10

// quotedSize returns how many bytes quote appends.
func quotedSize(text []byte) int {
	size := len(text) + len(`""`)
	for {
		n := special(text)
		if n == len(text) {
			return size
		}
		if short[text[n]] != 0 {
			size += len(`\`)
		} else {
			size += len(`\u000`)
		}
		text = text[n+1:]
	}
}

const hex = "0123456789abcdef"

// quote appends text, which is UTF-8, as a JSON string.
func quote(dst, text []byte) []byte {
	if len(text) >= longText && cap(dst)-len(dst) < len(text) {
		dst = slices.Grow(dst, quotedSize(text))
	}
	dst = append(dst, '"')
	for {
		n := special(text)
		dst = append(dst, text[:n]...)
		if n == len(text) {
			return append(dst, '"')
		}
		if letter := short[text[n]]; letter != 0 {
			dst = append(dst, '\\', letter)
		} else {
			dst = append(dst, '\\', 'u', '0', '0', hex[text[n]>>4], hex[text[n]&15])
		}
		text = text[n+1:]
	}
}

// long has the character of each escape of two characters.
var long = [256]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

// unquote appends what a JSON string without its quotes says. Half of a surrogate pair is U+FFFD.
func unquote(dst, inner []byte) ([]byte, error) {
	for {
		n := special(inner)
		dst = append(dst, inner[:n]...)
		switch {
		case n == len(inner):
			return dst, nil
		case inner[n] != '\\' || n+1 == len(inner):
			return dst, errEscape
		case long[inner[n+1]] != 0:
			dst = append(dst, long[inner[n+1]])
			inner = inner[n+2:]
		default:
			var err error
			if dst, inner, err = unquoteHex(dst, inner[n:]); err != nil {
				return dst, err
			}
		}
	}
}

// unquoteHex reads \uXXXX, or two of them that are a surrogate pair.
func unquoteHex(dst, inner []byte) (_, rest []byte, err error) {
	size := 6
	if len(inner) < size || inner[1] != 'u' {
		return dst, nil, errEscape
	}
	if bytes.HasPrefix(inner[size:], []byte(`\u`)) && len(inner) >= 2*size && high(inner[2:size]) && low(inner[size+2:2*size]) {
		size *= 2
	}
	var quoted [14]byte
	text := append(append(append(quoted[:0], '"'), inner[:size]...), '"')
	before := len(dst)
	dst, err = jsontext.AppendUnquote(dst, text)
	if err != nil && string(dst[before:]) != "\ufffd" {
		return dst, nil, errEscape
	}
	return dst, inner[size:], nil
}

func high(hex []byte) bool { return surrogate(hex) && hex[1]|0x20 < 'c' }
func low(hex []byte) bool  { return surrogate(hex) && hex[1]|0x20 >= 'c' }

func surrogate(hex []byte) bool { return hex[0]|0x20 == 'd' && hex[1] >= '8' }

// input is what is left of a JSON text.
type input struct {
	rest []byte
	size int // of all of it
	json jsontext.Decoder
	read bytes.Buffer // what json reads
}

func (in *input) start(data []byte) {
	in.rest, in.size = data, len(data)
}

// peek returns the first byte of the next token, and 0 at the end. A byte 0, which begins none, is 1.
func (in *input) peek() byte {
	for i, c := range in.rest {
		if c != ' ' && c != '\n' && c != '\r' && c != '\t' {
			in.rest = in.rest[i:]
			return max(c, 1)
		}
	}
	in.rest = nil
	return 0
}

// take reads one byte, which must be c.
func (in *input) take(c byte) error {
	switch in.peek() {
	case c:
		in.rest = in.rest[1:]
		return nil
	case 0:
		return io.ErrUnexpectedEOF
	}
	return in.wrong()
}

func (in *input) wrong() error {
	if len(in.rest) == 0 {
		return io.ErrUnexpectedEOF
	}
	return fmt.Errorf("not JSON at byte %d", in.size-len(in.rest))
}

// more reports whether an object or array, which ends with last, has another element, and reads what
// is between the two; or its end.
func (in *input) more(first bool, last byte) (bool, error) {
	if in.peek() == last {
		in.rest = in.rest[1:]
		return false, nil
	}
	if first {
		return true, nil
	}
	return true, in.take(',')
}

// text reads a string, and returns it without its quotes; escaped reports whether it must be unquoted.
func (in *input) text() (inner []byte, escaped bool, err error) {
	if in.peek() != '"' {
		return nil, false, in.wrong()
	}
	for i := 1; ; {
		i += special(in.rest[i:])
		switch {
		case i >= len(in.rest):
			return nil, false, io.ErrUnexpectedEOF
		case in.rest[i] == '"':
			inner, in.rest = in.rest[1:i], in.rest[i+1:]
			return inner, escaped, nil
		case in.rest[i] == '\\' && i+1 < len(in.rest):
			escaped = true
			i += 2
		default:
			in.rest = in.rest[i:]
			return nil, false, in.wrong()
		}
	}
}

// value reads any value, as it stands there.
func (in *input) value() ([]byte, error) {
	if in.peek() == 0 {
		return nil, io.ErrUnexpectedEOF
	}
	in.read = *bytes.NewBuffer(in.rest)
	in.json.Reset(&in.read, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	value, err := in.json.ReadValue()
	if err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, io.ErrUnexpectedEOF
		}
		return nil, fmt.Errorf("not JSON, or nested too deep, after byte %d", in.size-len(in.rest)+int(in.json.InputOffset()))
	}
	in.rest = in.rest[in.json.InputOffset():]
	return value, nil
}

// scalar reads a value that is no string, object or array.
func (in *input) scalar() ([]byte, error) {
	end := 0
	for end < len(in.rest) && word(in.rest[end]) {
		end++
	}
	text := in.rest[:end]
	if plain(text) || string(text) == "true" || string(text) == "false" || string(text) == "null" {
		in.rest = in.rest[end:]
		return text, nil
	}
	return in.value()
}

// word reports whether a byte can be part of a number or a literal.
func word(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z' || c == '-' || c == '+' || c == '.'
}

// plain reports whether text is an integer, written without an exponent or a fraction, and not -0.
func plain(text []byte) bool {
	digits := bytes.TrimPrefix(text, []byte("-"))
	if len(digits) == 0 || digits[0] == '0' && len(text) > 1 {
		return false
	}
	for _, c := range digits {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}
