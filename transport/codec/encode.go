package codec

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"sync"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// This file turns a message's bytes into JSON. A message is read twice: once to find where the value
// of each field is, which may be anywhere and given several times, and once to write the fields in
// their order.

// Unknown is called with each field that a message has and its table doesn't.
type Unknown func(message protoreflect.FullName, number protowire.Number)

// AppendJSON appends message, the bytes of one message of t's type, to dst as one JSON object. It is
// what protojson writes with the contract's own field names and unset fields too, without spaces.
// Fields that the table doesn't have are left out; unknown is called for each, unless it is nil. It
// fails where the bytes are no message, and where a string is not UTF-8.
func (t *Table) AppendJSON(dst, message []byte, unknown Unknown) ([]byte, error) {
	e := encoders.Get().(*encoder)
	defer e.free()
	e.unknown = unknown
	out, err := e.message(slices.Grow(dst, len(message)+len(message)/8), message, t) // source code has that many escapes
	if err != nil {
		return dst, fmt.Errorf("encode %s as JSON: %w", t.name.Name(), err)
	}
	return out, nil
}

var encoders = sync.Pool{New: func() any { return new(encoder) }}

// encoder is the state of one message's writing.
type encoder struct {
	slots   []slot     // of the messages that are being written, the innermost last
	entries []mapEntry // of the maps that are being written
	unknown Unknown
	depth   int

	checking bool // what is written will be cut off again
}

// slot is where a field's value is.
type slot struct {
	set    bool
	number uint64 // of a scalar with a fixed size, or a varint
	bytes  []byte // of others; where the field is repeated, all of the message from its first value on
}

// mapEntry is one entry of a map.
type mapEntry struct {
	number uint64 // the key
	text   []byte // the key, if it is a string
	value  slot
}

// keepSlots bounds what the pool keeps for a message that was unusual.
const keepSlots = 256

func (e *encoder) free() {
	if cap(e.slots) > keepSlots || cap(e.entries) > keepSlots {
		return
	}
	clear(e.slots[:cap(e.slots)])
	clear(e.entries[:cap(e.entries)])
	*e = encoder{slots: e.slots[:0], entries: e.entries[:0]}
	encoders.Put(e)
}

func (e *encoder) message(dst, message []byte, t *Table) ([]byte, error) {
	if e.depth++; e.depth > protowire.DefaultRecursionLimit {
		return dst, errNesting
	}
	defer func() { e.depth-- }()
	if t.library != nil {
		return e.library(dst, message, t)
	}
	base := len(e.slots)
	defer func() { e.slots = e.slots[:base] }()
	dst, err := e.find(dst, message, t)
	if err != nil {
		return dst, err
	}
	dst = append(dst, '{')
	first := len(dst)
	for i := range t.fields {
		f, s := &t.fields[i], e.slots[base+i]
		if !s.set && f.zero == nil {
			continue
		}
		if len(dst) > first {
			dst = append(dst, ',')
		}
		dst = append(dst, f.prefix...)
		if !s.set {
			dst = append(dst, f.zero...)
		} else if dst, err = e.field(dst, f, s); err != nil {
			return dst, err
		}
	}
	return append(dst, '}'), nil
}

// library has protojson write the types whose JSON is not that of their fields.
func (e *encoder) library(dst, message []byte, t *Table) ([]byte, error) {
	m := t.library.New().Interface()
	if err := proto.Unmarshal(message, m); err != nil || e.checking {
		return dst, err
	}
	out, err := marshal.MarshalAppend(dst, m)
	if err != nil {
		return dst, err
	}
	text := jsontext.Value(out[len(dst):])
	err = text.Compact() // protojson adds spaces at random
	return out[:len(dst)+len(text)], err
}

// find reads a message and fills a slot for each of the table's fields. dst is returned as it was:
// what counts no more, but must be right all the same, is written to its end and cut off again.
func (e *encoder) find(dst, message []byte, t *Table) ([]byte, error) {
	base := len(e.slots)
	e.slots = append(e.slots, make([]slot, len(t.fields))...)
	for rest := message; len(rest) > 0; {
		number, wire, n := protowire.ConsumeTag(rest)
		if n < 0 {
			return dst, protowire.ParseError(n)
		}
		if number > protowire.MaxValidNumber {
			return dst, errNumber
		}
		f := t.byNumber[number]
		if f != nil && wire != f.wire && !(wire == protowire.BytesType && f.list && f.wire != protowire.BytesType) {
			f = nil // a value of another type is an unknown field
		}
		value, size, err := consume(rest[n:], number, wire)
		if err != nil {
			return dst, err
		}
		if f == nil {
			if e.unknown != nil {
				e.unknown(t.name, number)
			}
		} else if f.list || f.entry != nil {
			if s := &e.slots[base+f.index]; !s.set {
				*s = slot{set: true, bytes: rest}
			}
		} else if dst, err = e.put(dst, t, f, base, value); err != nil {
			return dst, err
		}
		rest = rest[n+size:]
	}
	return dst, nil
}

// consume reads one value and returns its size.
func consume(data []byte, number protowire.Number, wire protowire.Type) (value slot, size int, err error) {
	value.set = true
	switch wire {
	case protowire.VarintType:
		value.number, size = protowire.ConsumeVarint(data)
	case protowire.Fixed32Type:
		var v uint32
		v, size = protowire.ConsumeFixed32(data)
		value.number = uint64(v)
	case protowire.Fixed64Type:
		value.number, size = protowire.ConsumeFixed64(data)
	case protowire.BytesType:
		value.bytes, size = protowire.ConsumeBytes(data)
	default:
		size = protowire.ConsumeFieldValue(number, wire, data)
	}
	if size < 0 {
		return value, 0, protowire.ParseError(size)
	}
	return value, size, nil
}

// put keeps the last value of a field, or of a oneof. Messages given twice are merged, which their
// bytes are when put together.
func (e *encoder) put(dst []byte, t *Table, f *field, base int, value slot) (_ []byte, err error) {
	if f.oneof >= 0 {
		for i := range t.fields {
			if other := &t.fields[i]; other.oneof == f.oneof && other != f && e.slots[base+i].set {
				if dst, err = e.check(dst, other, e.slots[base+i]); err != nil {
					return dst, err
				}
				e.slots[base+i] = slot{}
			}
		}
	}
	before := e.slots[base+f.index]
	if before.set {
		if dst, err = e.check(dst, f, before); err != nil {
			return dst, err
		}
		if f.message != nil {
			if dst, err = e.check(dst, f, value); err != nil {
				return dst, err
			}
			value.bytes = slices.Concat(before.bytes, value.bytes)
		}
	}
	e.slots[base+f.index] = value
	return dst, nil
}

// check finds out whether a value that is not written is one.
func (e *encoder) check(dst []byte, f *field, value slot) ([]byte, error) {
	before := *e
	e.unknown, e.checking = nil, true
	out, err := e.value(dst, f, value)
	e.unknown, e.checking = before.unknown, before.checking
	return out[:len(dst)], err
}

func (e *encoder) field(dst []byte, f *field, s slot) ([]byte, error) {
	switch {
	case f.entry != nil:
		return e.entriesOf(dst, f, s.bytes)
	case f.list:
		return e.list(dst, f, s.bytes)
	}
	return e.value(dst, f, s)
}

// list writes the values of a repeated field: rest is the message from the first of them on.
func (e *encoder) list(dst []byte, f *field, rest []byte) (_ []byte, err error) {
	dst = append(dst, '[')
	first := len(dst)
	next := func(value slot) error {
		if len(dst) > first {
			dst = append(dst, ',')
		}
		dst, err = e.value(dst, f, value)
		return err
	}
	for len(rest) > 0 {
		var value slot
		var match, packed bool
		if value, match, packed, rest, err = following(rest, f); err != nil {
			return dst, err
		}
		switch {
		case packed:
			err = unpack(value.bytes, f, next)
		case match:
			err = next(value)
		}
		if err != nil {
			return dst, err
		}
	}
	return append(dst, ']'), nil
}

// following reads the next value of a message, and reports whether it is one, or many, of f's.
func following(data []byte, f *field) (value slot, match, packed bool, rest []byte, err error) {
	number, wire, n := protowire.ConsumeTag(data)
	if n < 0 {
		return slot{}, false, false, nil, protowire.ParseError(n)
	}
	value, size, err := consume(data[n:], number, wire)
	if err != nil {
		return slot{}, false, false, nil, err
	}
	match = number == f.number && wire == f.wire
	packed = number == f.number && !match && wire == protowire.BytesType && f.list
	return value, match, packed, data[n+size:], nil
}

func unpack(data []byte, f *field, next func(slot) error) error {
	for len(data) > 0 {
		value, size, err := consume(data, f.number, f.wire)
		if err == nil {
			err = next(value)
		}
		if err != nil {
			return err
		}
		data = data[size:]
	}
	return nil
}

// entriesOf writes a map, sorted by key. The last of several entries with one key counts.
func (e *encoder) entriesOf(dst []byte, f *field, rest []byte) (_ []byte, err error) {
	base := len(e.entries)
	defer func() { e.entries = e.entries[:base] }()
	key, value := f.entry.byNumber[1], f.entry.byNumber[2]
	for len(rest) > 0 {
		var entry slot
		var match bool
		if entry, match, _, rest, err = following(rest, f); err != nil {
			return dst, err
		}
		if match {
			if dst, err = e.entry(dst, f, entry.bytes); err != nil {
				return dst, err
			}
		}
	}
	slices.SortStableFunc(e.entries[base:], func(a, b mapEntry) int { return compareKeys(key, a, b) })
	dst = append(dst, '{')
	first := len(dst)
	for i := base; i < len(e.entries); i++ {
		entry := e.entries[i]
		if i+1 < len(e.entries) && compareKeys(key, entry, e.entries[i+1]) == 0 {
			if dst, err = e.check(dst, value, entry.value); err != nil {
				return dst, err
			}
			continue
		}
		if len(dst) > first {
			dst = append(dst, ',')
		}
		if dst, err = appendKey(dst, key, entry); err != nil {
			return dst, err
		}
		if dst, err = e.value(dst, value, entry.value); err != nil {
			return dst, err
		}
	}
	return append(dst, '}'), nil
}

// entry notes one entry of a map.
func (e *encoder) entry(dst []byte, f *field, data []byte) ([]byte, error) {
	base := len(e.slots)
	defer func() { e.slots = e.slots[:base] }()
	unknown := e.unknown
	e.unknown = nil
	dst, err := e.find(dst, data, f.entry)
	e.unknown = unknown
	if err != nil {
		return dst, err
	}
	key, value := f.entry.byNumber[1], f.entry.byNumber[2]
	at := e.slots[base+key.index]
	e.entries = append(e.entries, mapEntry{key.scalar(at.number), at.bytes, e.slots[base+value.index]})
	return dst, nil
}

func compareKeys(key *field, a, b mapEntry) int {
	if key.kind == protoreflect.StringKind {
		return bytes.Compare(a.text, b.text)
	}
	if key.signed() {
		return cmp.Compare(int64(a.number), int64(b.number))
	}
	return cmp.Compare(a.number, b.number)
}

// appendKey writes a map's key, which is a string whatever its type, and the colon.
func appendKey(dst []byte, key *field, entry mapEntry) ([]byte, error) {
	var err error
	if key.kind == protoreflect.StringKind {
		dst, err = appendString(dst, entry.text)
		return append(dst, ':'), err
	}
	dst = append(dst, '"')
	dst = key.appendInteger(dst, entry.number)
	return append(dst, '"', ':'), nil
}

// value writes one value.
func (e *encoder) value(dst []byte, f *field, s slot) ([]byte, error) {
	switch f.kind {
	case protoreflect.StringKind:
		return appendString(dst, s.bytes)
	case protoreflect.MessageKind:
		return e.message(dst, s.bytes, f.message)
	case protoreflect.BytesKind:
		dst = append(dst, '"')
		dst = base64.StdEncoding.AppendEncode(dst, s.bytes)
		return append(dst, '"'), nil
	case protoreflect.EnumKind:
		return f.enum.append(dst, protoreflect.EnumNumber(int32(s.number))), nil
	case protoreflect.FloatKind:
		return appendFloat(dst, float64(math.Float32frombits(uint32(s.number))), 32), nil
	case protoreflect.DoubleKind:
		return appendFloat(dst, math.Float64frombits(s.number), 64), nil
	}
	number := f.scalar(s.number)
	if !f.large() {
		return f.appendInteger(dst, number), nil
	}
	dst = append(dst, '"')
	dst = f.appendInteger(dst, number)
	return append(dst, '"'), nil
}

// scalar is the value of an integer or a boolean as it stands on the wire: a signed one as the bits
// of an int64.
func (f *field) scalar(wire uint64) uint64 {
	switch f.kind {
	case protoreflect.BoolKind:
		return protowire.EncodeBool(wire != 0)
	case protoreflect.Int32Kind, protoreflect.Sfixed32Kind:
		return uint64(int64(int32(wire)))
	case protoreflect.Sint32Kind:
		return uint64(int64(int32(protowire.DecodeZigZag(wire & math.MaxUint32))))
	case protoreflect.Sint64Kind:
		return uint64(protowire.DecodeZigZag(wire))
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return uint64(uint32(wire))
	}
	return wire
}

func (f *field) signed() bool {
	switch f.kind {
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind, protoreflect.EnumKind,
		protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		return true
	}
	return false
}

// large reports whether a field's values are strings in JSON, since a float64 can't hold them.
func (f *field) large() bool {
	switch f.kind {
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind,
		protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return true
	}
	return false
}

func (f *field) appendInteger(dst []byte, number uint64) []byte {
	switch {
	case f.kind == protoreflect.BoolKind:
		return strconv.AppendBool(dst, number != 0)
	case f.signed():
		return strconv.AppendInt(dst, int64(number), 10)
	}
	return strconv.AppendUint(dst, number, 10)
}

func (e *enum) append(dst []byte, number protoreflect.EnumNumber) []byte {
	if e.null {
		return append(dst, "null"...)
	}
	if name, ok := e.names[number]; ok {
		return append(append(append(dst, '"'), name...), '"')
	}
	return strconv.AppendInt(dst, int64(number), 10)
}

func appendString(dst, text []byte) ([]byte, error) {
	if !utf8.Valid(text) {
		return dst, errUTF8
	}
	return quote(dst, text), nil
}

// appendFloat writes a number as JavaScript would, and NaN and infinities by name.
func appendFloat(dst []byte, number float64, size int) []byte {
	switch {
	case math.IsNaN(number):
		return append(dst, `"NaN"`...)
	case math.IsInf(number, 1):
		return append(dst, `"Infinity"`...)
	case math.IsInf(number, -1):
		return append(dst, `"-Infinity"`...)
	}
	format := byte('f')
	if abs := math.Abs(number); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		format = 'e'
	}
	dst = strconv.AppendFloat(dst, number, format, -1, size)
	if n := len(dst); format == 'e' && n >= 4 && bytes.HasPrefix(dst[n-4:], []byte("e-0")) {
		dst = append(dst[:n-2], dst[n-1]) // e-09 is e-9
	}
	return dst
}

var (
	errUTF8    = errors.New("a string that is not UTF-8")
	errNumber  = errors.New("a field number out of range")
	errNesting = fmt.Errorf("nested more than %d deep", protowire.DefaultRecursionLimit)
)
