// Package codec turns the contract's messages into JSON and back. It is the only place that does:
// what the wire looks like, how large a message may be and what is said about a bad one is decided
// here, for the gateway and for its clients alike.
package codec

import (
	"fmt"
	"sync"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

const (
	// MaxMessage is the size in bytes that a message may have on the agent's wire, as protobuf, both
	// ways.
	MaxMessage = 4 << 20

	// MaxJSON is the size in bytes that such a message may have as JSON: there a byte of text becomes
	// up to six, \u0001, and the fields have their names.
	MaxJSON = 6*MaxMessage + 64<<10
)

// The contract's own field names, and unset fields written too: what the platform's clients read. The types
// that protojson has a JSON of its own for are left to it.
var marshal = protojson.MarshalOptions{UseProtoNames: true, EmitUnpopulated: true}

var unmarshal = protojson.UnmarshalOptions{DiscardUnknown: true}

// Append appends message as one JSON object to dst, as [Table.AppendJSON] does. It fails if a string of the
// message is not UTF-8.
func Append(dst []byte, message proto.Message) ([]byte, error) {
	table, err := tableOf(message)
	if err != nil {
		return dst, err
	}
	wire := NewBuffer()
	defer wire.Free()
	if wire.Bytes, err = (proto.MarshalOptions{}).MarshalAppend(wire.Bytes, message); err != nil {
		return dst, fmt.Errorf("encode %s as JSON: %w", table.name.Name(), err)
	}
	return table.AppendJSON(dst, wire.Bytes, nil)
}

// Decode parses data, one JSON object, into message, as [Table.AppendWire] reads it. It keeps nothing of
// data. Fields that the contract doesn't know are ignored. The error is a [*SyntaxError], or [ErrTooBig].
func Decode(data []byte, message proto.Message) error {
	table, err := tableOf(message)
	if err != nil {
		return err
	}
	wire := NewBuffer()
	defer wire.Free()
	if wire.Bytes, _, err = table.AppendWire(wire.Bytes, data); err != nil {
		return err
	}
	return proto.Unmarshal(wire.Bytes, message)
}

// made has the tables of the message types that were asked for.
var made sync.Map // protoreflect.MessageDescriptor -> *Table

func tableOf(message proto.Message) (*Table, error) {
	descriptor := message.ProtoReflect().Descriptor()
	if known, ok := made.Load(descriptor); ok {
		return known.(*Table), nil
	}
	table, err := NewTable(descriptor)
	if err == nil {
		made.Store(descriptor, table)
	}
	return table, err
}

// crowded reports whether data has more values than a message of [MaxMessage] bytes, where each takes two
// bytes at least. Decoded, a value can take a hundred bytes of memory.
func crowded(data []byte) bool {
	if len(data) <= MaxMessage {
		return false
	}
	commas, inString := 0, false
	for i := 0; i < len(data); i++ {
		switch data[i] {
		case '\\':
			i++
		case '"':
			inString = !inString
		case ',':
			if !inString {
				commas++
			}
		}
	}
	return commas > MaxMessage/2
}

// SyntaxError says that what a peer sent is not the message that it should be. Its text
// names fields of the contract and quotes nothing, so it may be sent back.
type SyntaxError struct {
	Message string // the contract's name for what was expected
	Detail  string // what is wrong, and where
}

func (e *SyntaxError) Error() string {
	return "not a " + e.Message + ": " + e.Detail
}
