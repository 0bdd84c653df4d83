package relay

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/proto/dap"
)

// Message is one message of the contract as it stands on the agent's wire, in protobuf: a ClientEvent
// on its way to the agent, or an Action on its way to the client. A session reads of it what it needs
// and passes it on as it is, with fields that this contract doesn't know.
type Message struct {
	Bytes []byte

	// Owner, if not nil, is called once when Bytes are not used any more.
	Owner Owner
}

// Owner owns the bytes of a message, such as a buffer of a pool.
type Owner interface {
	// Free takes the bytes back. It doesn't block.
	Free()
}

// MessageOf returns a message struct as a Message.
func MessageOf(message proto.Message) (Message, error) {
	bytes, err := proto.Marshal(message)
	return Message{Bytes: bytes}, err
}

// Decode reads the message into a message struct, which keeps nothing of it.
func (m Message) Decode(into proto.Message) error { return proto.Unmarshal(m.Bytes, into) }

func (m Message) free() {
	if m.Owner != nil {
		m.Owner.Free()
	}
}

// The fields of the contract that a session looks at.
const (
	eventStart, eventResponse protowire.Number = 1, 2 // of ClientEvent
	requestIDField            protowire.Number = 1    // of Action and of ActionResponse
	actionCheckpoint          protowire.Number = 8    // of Action
)

// builtInAction reports whether a field of Action asks for something, and is known to package dap.
func builtInAction(field protowire.Number) bool {
	known := (*dap.Action)(nil).ProtoReflect().Descriptor().Fields().ByNumber(field)
	return known != nil && known.ContainingOneof() != nil
}

// eventView is what a session looks at of a ClientEvent.
type eventView struct {
	kind      protowire.Number // the field of ClientEvent that is set; 0: none
	requestID string           // of a response
}

// viewEvent reads a ClientEvent. An error is a [*actors.CloseError].
func viewEvent(bytes []byte) (view eventView, err error) {
	err = eachField(bytes, func(number protowire.Number, value []byte) error {
		if value == nil {
			return nil
		}
		view = eventView{kind: number}
		if number != eventResponse {
			return nil
		}
		view.requestID, err = requestIDOf(value)
		return err
	})
	if err != nil {
		err = &actors.CloseError{Code: actors.CloseInternal, Reason: internalError.reason, Err: err}
	}
	return view, err
}

func requestIDOf(response []byte) (id string, err error) {
	err = eachField(response, func(number protowire.Number, value []byte) error {
		if number == requestIDField && value != nil {
			id = string(value)
		}
		return nil
	})
	return id, err
}

// actionView is what a session looks at of an Action.
type actionView struct {
	requestID string
	kind      protowire.Number // the field of Action that says what is asked for; 0: none that is known
	unknown   []int            // the fields that this contract doesn't know, where kind is 0; at most maxUnknown
}

// maxUnknown bounds how many fields of an unknown action are named.
const maxUnknown = 8

// viewAction reads an Action. An error is a [*actors.CloseError].
func viewAction(bytes []byte, has func(field protowire.Number) bool) (view actionView, err error) {
	err = eachField(bytes, func(number protowire.Number, value []byte) error {
		switch {
		case number == requestIDField && value != nil:
			view.requestID = string(value)
		case value != nil && has(number):
			view.kind = number
		case len(view.unknown) < maxUnknown && !slices.Contains(view.unknown, int(number)):
			view.unknown = append(view.unknown, int(number))
		}
		return nil
	})
	if view.kind != 0 {
		view.unknown = nil
	}
	if err != nil {
		err = &actors.CloseError{Code: actors.CloseInternal, Reason: "agent error: a message that is no action", Err: err, Side: actors.SideAgent}
	}
	return view, err
}

// eachField calls f with the fields of a message, one after the other. value is nil for one that has
// neither text, bytes nor a message.
func eachField(message []byte, f func(number protowire.Number, value []byte) error) error {
	for len(message) > 0 {
		number, wire, n := protowire.ConsumeTag(message)
		if n < 0 {
			return fmt.Errorf("read a message: %w", protowire.ParseError(n))
		}
		size := protowire.ConsumeFieldValue(number, wire, message[n:])
		if size < 0 {
			return fmt.Errorf("read a message: %w", protowire.ParseError(size))
		}
		var value []byte
		if wire == protowire.BytesType {
			value, _ = protowire.ConsumeBytes(message[n:])
		}
		if err := f(number, value); err != nil {
			return err
		}
		message = message[n+size:]
	}
	return nil
}
