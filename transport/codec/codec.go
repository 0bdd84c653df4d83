// Package codec turns the contract's messages into JSON and back. It is the only place that does:
// what the wire looks like, how large a message may be and what is said about a bad one is decided
// here, for the gateway and for its clients alike.
package codec

import (
	"fmt"
	"strings"

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

// The contract's own field names, and unset fields written too: what the platform's clients read.
var marshal = protojson.MarshalOptions{UseProtoNames: true, EmitUnpopulated: true}

// A newer client may say more than this contract knows. That is found out by trying strictly first:
// most messages hold nothing unknown, and protojson drops what does in silence.
var (
	unmarshalStrict = protojson.UnmarshalOptions{}
	unmarshal       = protojson.UnmarshalOptions{DiscardUnknown: true}
)

// Append appends message as one JSON object to dst. It fails if a string of the message is not
// UTF-8. The output's white space is random by protojson's design: compare it parsed, never as text.
func Append(dst []byte, message proto.Message) ([]byte, error) {
	out, err := marshal.MarshalAppend(dst, message)
	if err != nil {
		return dst, fmt.Errorf("encode %s as JSON: %w", message.ProtoReflect().Descriptor().Name(), err)
	}
	return out, nil
}

// Decode parses data, one JSON object, into message. It keeps nothing of data. Fields that the
// contract doesn't know are ignored. The error is a [*SyntaxError], or [ErrTooBig].
func Decode(data []byte, message proto.Message) error {
	_, err := DecodeCounting(data, message)
	return err
}

// DecodeCounting is Decode, and tells whether data holds fields that the contract doesn't know.
func DecodeCounting(data []byte, message proto.Message) (unknown bool, err error) {
	if crowded(data) {
		return false, ErrTooBig
	}
	unknown, err = decode(data, message)
	if err == nil && proto.Size(message) > MaxMessage {
		err = ErrTooBig
	}
	return unknown, err
}

// crowded tells whether data has more values than a message of [MaxMessage] bytes, where each takes two
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

func decode(data []byte, message proto.Message) (unknown bool, err error) {
	if unmarshalStrict.Unmarshal(data, message) == nil {
		return false, nil
	}
	if err := unmarshal.Unmarshal(data, message); err != nil {
		return false, &SyntaxError{Message: string(message.ProtoReflect().Descriptor().Name()), Detail: detail(err)}
	}
	return true, nil
}

// SyntaxError says that what a peer sent is not the message that it should be. Its text quotes the
// peer's own words and nothing else, so it may be sent back.
type SyntaxError struct {
	Message string // the contract's name for what was expected
	Detail  string // what is wrong, and where
}

func (e *SyntaxError) Error() string {
	return "not a " + e.Message + ": " + e.Detail
}

// detail strips protojson's prefix, which is written with a space or a no-break space at random so
// that nobody parses it.
func detail(err error) string {
	text := strings.TrimLeft(strings.TrimPrefix(err.Error(), "proto:"), " \u00a0")
	if len(text) > maxDetail {
		text = strings.ToValidUTF8(text[:maxDetail], "") + "…"
	}
	return text
}

// maxDetail bounds, in bytes, what an error quotes of a message, which can be all of it.
const maxDetail = 200
