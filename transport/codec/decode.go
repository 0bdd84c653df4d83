package codec

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// This file turns JSON into a message's bytes, in one pass: a value is written when it is read. The
// size of a message comes before its bytes and is known after them: room is left for it.

// AppendWire appends to dst the bytes of the message that data, one JSON object, says. It accepts and
// refuses what protojson does, except that half of a surrogate pair counts as U+FFFD. Fields and
// enum values that the table doesn't have are left out, and unknown reports whether there are some.
// The error is a [*SyntaxError], or [ErrTooBig]. It keeps nothing of data.
func (t *Table) AppendWire(dst, data []byte) (_ []byte, unknown bool, err error) {
	d := decoders.Get().(*decoder)
	defer d.free()
	out, err := d.whole(slices.Grow(dst, min(len(data), MaxMessage)), data, t) // JSON is longer than what it says
	if err == nil && len(out)-len(dst) > MaxMessage {
		err = ErrTooBig
	}
	if err == ErrTooBig {
		return dst, false, err
	}
	if err != nil {
		return dst, false, &SyntaxError{Message: string(t.name.Name()), Detail: d.detail(err)}
	}
	return out, d.unknown, nil
}

var decoders = sync.Pool{New: func() any { return new(decoder) }}

// decoder is the state of one message's reading.
type decoder struct {
	in      input
	text    []byte   // a string that was unquoted
	path    []string // the fields down to an error, the innermost first
	depth   int
	unknown bool
}

// keepText bounds what the pool keeps for a message that was unusual.
const keepText = 4 << 10

func (d *decoder) free() {
	d.in.rest, d.in.read = nil, bytes.Buffer{}
	d.path, d.depth, d.unknown = nil, 0, false
	if cap(d.text) > keepText {
		d.text = nil
	}
	decoders.Put(d)
}

// detail says where what is wrong.
func (d *decoder) detail(err error) string {
	text := err.Error()
	if errors.Is(err, io.ErrUnexpectedEOF) {
		text = "the JSON ends too early"
	}
	if len(d.path) == 0 {
		return text
	}
	slices.Reverse(d.path)
	return strings.Join(d.path, ".") + ": " + text
}

func (d *decoder) whole(dst, data []byte, t *Table) ([]byte, error) {
	if !utf8.Valid(data) {
		return dst, errUTF8
	}
	d.in.start(data)
	dst, err := d.message(dst, t)
	if err == nil && d.in.peek() != 0 {
		err = d.in.wrong()
	}
	return dst, err
}

var (
	errEscape = errors.New("a string with a wrong escape")
	errTwice  = errors.New("given twice")
	errOneof  = errors.New("only one of several fields may be given, and another one is")
)

// open reads the begin of an object or array. Another value is an error.
func (d *decoder) open(begin byte, what string) error {
	if c := d.in.peek(); c != begin && c != 0 {
		if _, err := d.in.value(); err != nil {
			return err
		}
		return errors.New("not " + what)
	}
	return d.in.take(begin)
}

func (d *decoder) message(dst []byte, t *Table) ([]byte, error) {
	if t.library != nil {
		return d.library(dst, t)
	}
	if d.depth++; d.depth > protowire.DefaultRecursionLimit {
		return dst, errNesting
	}
	if err := d.open('{', "an object"); err != nil {
		return dst, err
	}
	seen := newSeen(t)
	for first := true; ; first = false {
		if more, err := d.in.more(first, '}'); !more || err != nil {
			d.depth--
			return dst, err
		}
		f, err := d.name(t)
		if err != nil {
			return dst, err
		}
		if f == nil {
			d.unknown = true
			if _, err := d.in.value(); err != nil {
				return dst, err
			}
			continue
		}
		if dst, err = d.field(dst, f, &seen); err != nil {
			d.path = append(d.path, f.name())
			return dst, err
		}
	}
}

// seen has a bit for each of a message's fields, and after them for each of its oneofs, that was there.
type seen struct {
	few    uint64
	many   []bool
	fields int
}

func newSeen(t *Table) seen {
	s := seen{fields: len(t.fields)}
	if n := len(t.fields) + t.oneofs; n > 64 {
		s.many = make([]bool, n)
	}
	return s
}

// add reports whether it was there before.
func (s *seen) add(i int) (before bool) {
	if s.many != nil {
		before, s.many[i] = s.many[i], true
		return before
	}
	before = s.few&(1<<i) != 0
	s.few |= 1 << i
	return before
}

// name reads a name and finds its field; nil: the table has none of that name.
func (d *decoder) name(t *Table) (*field, error) {
	name, err := d.string()
	if err != nil {
		return nil, err
	}
	return t.byName[string(name)], d.in.take(':')
}

// string reads a string and returns its text, which is valid until the next call.
func (d *decoder) string() ([]byte, error) {
	text, escaped, err := d.in.text()
	if escaped && err == nil {
		d.text, err = unquote(d.text[:0], text)
		text = d.text
	}
	return text, err
}

func (d *decoder) field(dst []byte, f *field, seen *seen) ([]byte, error) {
	if seen.add(f.index) {
		return dst, errTwice
	}
	if d.in.peek() == 'n' && !f.nullable {
		_, err := d.in.scalar()
		return dst, err
	}
	switch {
	case f.entry != nil:
		return d.mapped(dst, f)
	case f.packed:
		return d.packedList(dst, f)
	case f.list:
		return d.list(dst, f)
	}
	if f.oneof >= 0 && seen.add(seen.fields+f.oneof) {
		return dst, errOneof
	}
	before := len(dst)
	dst, known, err := d.value(append(dst, f.tag...), f)
	if err == nil && (!known || !f.presence && isZero(dst[before+len(f.tag):])) {
		dst = dst[:before]
	}
	return dst, err
}

// isZero reports whether a scalar's bytes are those of its zero value, which proto3 doesn't send.
func isZero(value []byte) bool {
	for _, b := range value {
		if b != 0 {
			return false
		}
	}
	return true
}

func (d *decoder) list(dst []byte, f *field) ([]byte, error) {
	if err := d.open('[', "an array"); err != nil {
		return dst, err
	}
	for first := true; ; first = false {
		if more, err := d.in.more(first, ']'); !more || err != nil {
			return dst, err
		}
		before := len(dst)
		out, known, err := d.value(append(dst, f.tag...), f)
		if err != nil {
			return dst, err
		}
		if dst = out; !known {
			dst = dst[:before]
		}
	}
}

func (d *decoder) packedList(dst []byte, f *field) ([]byte, error) {
	if err := d.open('[', "an array"); err != nil {
		return dst, err
	}
	before := len(dst)
	dst, size := d.begin(append(dst, f.tag...))
	values := len(dst)
	for first := true; ; first = false {
		if more, err := d.in.more(first, ']'); err != nil {
			return dst, err
		} else if !more {
			break
		}
		out, known, err := d.value(dst, f)
		if err != nil {
			return dst, err
		}
		if known {
			dst = out
		}
	}
	if len(dst) == values {
		return dst[:before], nil
	}
	return end(dst, size), nil
}

// begin leaves room for a size; end fills it in. The size is guessed to need as many bytes as that of
// what is left of the input: mostly it does, and nothing needs to be moved.
func (d *decoder) begin(dst []byte) ([]byte, place) {
	room := protowire.SizeVarint(uint64(len(d.in.rest)))
	return append(dst, make([]byte, room)...), place{len(dst), room}
}

// place is where a size will stand.
type place struct{ at, room int }

func end(dst []byte, p place) []byte {
	start := p.at + p.room
	size := uint64(len(dst) - start)
	if need := protowire.SizeVarint(size); need != p.room {
		dst = slices.Replace(dst, p.at, start, make([]byte, need)...)
	}
	protowire.AppendVarint(dst[:p.at], size)
	return dst
}

func (d *decoder) mapped(dst []byte, f *field) ([]byte, error) {
	if err := d.open('{', "an object"); err != nil {
		return dst, err
	}
	key, value := f.entry.byNumber[1], f.entry.byNumber[2]
	var keys keySet
	for first := true; ; first = false {
		if more, err := d.in.more(first, '}'); !more || err != nil {
			return dst, err
		}
		before := len(dst)
		out, size := d.begin(append(dst, f.tag...))
		mark := len(out) + len(key.tag)
		out, err := d.key(append(out, key.tag...), key)
		if err != nil {
			return dst, err
		}
		keyEnd := len(out)
		out, known, err := d.value(append(out, value.tag...), value)
		if err != nil {
			return dst, err
		}
		if dst = out[:before]; !known {
			continue
		}
		if keys.add(out[mark:keyEnd]) {
			return dst, errTwice
		}
		dst = end(out, size)
	}
}

// keySet finds a map's duplicate keys.
type keySet struct {
	few  [4]string
	n    int
	many map[string]struct{}
}

func (s *keySet) add(key []byte) (before bool) {
	if s.many == nil {
		if slices.Contains(s.few[:s.n], string(key)) {
			return true
		}
		if s.n < len(s.few) {
			s.few[s.n] = string(key)
			s.n++
			return false
		}
		s.many = make(map[string]struct{})
		for _, k := range s.few {
			s.many[k] = struct{}{}
		}
	}
	n := len(s.many)
	s.many[string(key)] = struct{}{}
	return len(s.many) == n
}

// key reads a map's key and the colon.
func (d *decoder) key(dst []byte, f *field) ([]byte, error) {
	name, err := d.string()
	if err != nil {
		return dst, err
	}
	switch text := string(name); {
	case f.kind == protoreflect.StringKind:
		return protowire.AppendString(dst, text), d.in.take(':')
	case f.kind == protoreflect.BoolKind:
		if text == "true" || text == "false" {
			return protowire.AppendVarint(dst, protowire.EncodeBool(text == "true")), d.in.take(':')
		}
	case f.signed():
		if n, err := strconv.ParseInt(text, 10, f.bits()); err == nil {
			return f.appendScalar(dst, uint64(n)), d.in.take(':')
		}
	default:
		if n, err := strconv.ParseUint(text, 10, f.bits()); err == nil {
			return f.appendScalar(dst, n), d.in.take(':')
		}
	}
	return dst, fmt.Errorf("a key is not %s", f.what())
}

// value reads one value. known is false for an enum's value that has no number.
func (d *decoder) value(dst []byte, f *field) (_ []byte, known bool, err error) {
	switch c := d.in.peek(); {
	case f.kind == protoreflect.MessageKind:
		dst, size := d.begin(dst)
		if dst, err = d.message(dst, f.message); err != nil {
			return dst, true, err
		}
		return end(dst, size), true, nil
	case c == '"' && f.kind == protoreflect.StringKind:
		dst, err = d.appendString(dst)
		return dst, true, err
	case c == '"':
		return d.quoted(dst, f)
	case c == '{' || c == '[':
		_, err := d.in.value()
		return dst, true, cmp.Or(err, f.mismatch())
	}
	text, err := d.in.scalar()
	if err != nil {
		return dst, true, err
	}
	switch {
	case f.kind == protoreflect.BoolKind && (text[0] == 't' || text[0] == 'f'):
		return protowire.AppendVarint(dst, protowire.EncodeBool(text[0] == 't')), true, nil
	case f.nullable && text[0] == 'n':
		return protowire.AppendVarint(dst, 0), true, nil
	case f.numeric() || f.kind == protoreflect.EnumKind:
		if number, err := f.number64(text); err == nil {
			return f.appendScalar(dst, number), true, nil
		}
	}
	return dst, true, f.mismatch()
}

// quoted reads a string that is the value of another type than a string.
func (d *decoder) quoted(dst []byte, f *field) (_ []byte, known bool, err error) {
	text, err := d.string()
	if err != nil {
		return dst, true, err
	}
	switch {
	case f.kind == protoreflect.BytesKind:
		if data, err := unbase64(text); err == nil {
			return protowire.AppendBytes(dst, data), true, nil
		}
	case f.kind == protoreflect.EnumKind:
		number, known := f.enum.numbers[string(text)]
		d.unknown = d.unknown || !known
		return protowire.AppendVarint(dst, uint64(int64(number))), known, nil
	case f.numeric():
		if number, err := f.number64(text); err == nil && len(bytes.Trim(text, "\" \t\r\n")) == len(text) {
			return f.appendScalar(dst, number), true, nil
		}
	}
	return dst, true, f.mismatch()
}

// appendString reads a string and writes it with its size.
func (d *decoder) appendString(dst []byte) ([]byte, error) {
	text, escaped, err := d.in.text()
	if err != nil {
		return dst, err
	}
	if !escaped {
		return protowire.AppendBytes(dst, text), nil
	}
	room := protowire.SizeVarint(uint64(len(text)))
	size := place{len(dst), room}
	if dst, err = unquote(append(dst, make([]byte, room)...), text); err != nil {
		return dst, err
	}
	return end(dst, size), nil
}

func unbase64(text []byte) ([]byte, error) {
	encoding := base64.StdEncoding
	if bytes.ContainsAny(text, "-_") {
		encoding = base64.URLEncoding
	}
	if len(text)%4 != 0 {
		encoding = encoding.WithPadding(base64.NoPadding)
	}
	return encoding.AppendDecode(nil, text)
}

// number64 reads a number: the bits of an int64, a uint64, a float32 or a float64. protojson reads
// numbers that are not plain integers.
func (f *field) number64(text []byte) (uint64, error) {
	switch {
	case f.kind == protoreflect.FloatKind:
		var v wrapperspb.FloatValue
		err := unmarshalNumber(text, &v)
		return uint64(math.Float32bits(v.Value)), err
	case f.kind == protoreflect.DoubleKind:
		var v wrapperspb.DoubleValue
		err := unmarshalNumber(text, &v)
		return math.Float64bits(v.Value), err
	case plain(text) && f.signed():
		n, err := strconv.ParseInt(string(text), 10, f.bits())
		return uint64(n), err
	case plain(text):
		return strconv.ParseUint(string(text), 10, f.bits())
	case f.signed() && f.large():
		var v wrapperspb.Int64Value
		err := unmarshalNumber(text, &v)
		return uint64(v.Value), err
	case f.signed():
		var v wrapperspb.Int32Value
		err := unmarshalNumber(text, &v)
		return uint64(int64(v.Value)), err
	case f.large():
		var v wrapperspb.UInt64Value
		err := unmarshalNumber(text, &v)
		return v.Value, err
	}
	var v wrapperspb.UInt32Value
	err := unmarshalNumber(text, &v)
	return uint64(v.Value), err
}

// unmarshalNumber reads a number, or one of the words that stand for one.
func unmarshalNumber(text []byte, wrapper proto.Message) error {
	if bytes.ContainsAny(text, "NI") {
		text = quote(nil, text)
	}
	return protojson.Unmarshal(text, wrapper)
}

// appendScalar writes a number as the wire has it.
func (f *field) appendScalar(dst []byte, number uint64) []byte {
	switch {
	case f.wire == protowire.Fixed32Type:
		return protowire.AppendFixed32(dst, uint32(number))
	case f.wire == protowire.Fixed64Type:
		return protowire.AppendFixed64(dst, number)
	case f.kind == protoreflect.Sint32Kind, f.kind == protoreflect.Sint64Kind:
		return protowire.AppendVarint(dst, protowire.EncodeZigZag(int64(number)))
	}
	return protowire.AppendVarint(dst, number)
}

// numeric reports whether a field's values are numbers.
func (f *field) numeric() bool {
	switch f.kind {
	case protoreflect.StringKind, protoreflect.BytesKind, protoreflect.BoolKind, protoreflect.EnumKind, protoreflect.MessageKind:
		return false
	}
	return true
}

func (f *field) mismatch() error { return errors.New("not " + f.what()) }

func (f *field) bits() int {
	if f.large() {
		return 64
	}
	return 32
}

// name is the field's name, for an error.
func (f *field) name() string {
	return string(f.prefix[1 : len(f.prefix)-2])
}

// what names the type of a field's values, for an error.
func (f *field) what() string {
	switch f.kind {
	case protoreflect.StringKind:
		return "a string"
	case protoreflect.BytesKind:
		return "base64"
	case protoreflect.BoolKind:
		return "true or false"
	case protoreflect.EnumKind:
		return "a value of the enum"
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		return "a number"
	}
	return fmt.Sprintf("an integer of %d bits", f.bits())
}

// library has protojson read the types whose JSON is not that of their fields.
func (d *decoder) library(dst []byte, t *Table) ([]byte, error) {
	raw, err := d.in.value()
	if err != nil {
		return dst, err
	}
	if crowded(raw) {
		return dst, ErrTooBig
	}
	m := t.library.New().Interface()
	if err := unmarshal.Unmarshal(raw, m); err != nil {
		return dst, fmt.Errorf("not a %s", t.name.Name())
	}
	return proto.MarshalOptions{}.MarshalAppend(dst, m)
}
