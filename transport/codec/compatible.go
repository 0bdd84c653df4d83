package codec

import (
	"fmt"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// This file decides whether a contract says the same as the built-in one about all that the latter knows. The
// gateway reads and writes some messages with the built-in one, and passes the others on with the new one.

// compared are the messages whose comparison has begun: messages can contain each other.
type compared map[protoreflect.FullName]bool

// message returns an error for the first field of known that is another one in newer.
func (c compared) message(known, newer protoreflect.MessageDescriptor) error {
	if c[known.FullName()] {
		return nil
	}
	c[known.FullName()] = true
	for i := range known.Fields().Len() {
		if err := c.field(known.Fields().Get(i), newer); err != nil {
			return err
		}
	}
	return nil
}

func (c compared) field(known protoreflect.FieldDescriptor, message protoreflect.MessageDescriptor) error {
	newer := message.Fields().ByName(known.Name())
	if newer == nil {
		return removed(known, message)
	}
	if newer.Number() != known.Number() {
		return fmt.Errorf("field %s has the number %d instead of %d", known.FullName(), newer.Number(), known.Number())
	}
	if of, want := typeOf(newer), typeOf(known); of != want {
		return fmt.Errorf("field %s is a %s instead of a %s", known.FullName(), of, want)
	}
	switch {
	case known.Message() != nil:
		return c.message(known.Message(), newer.Message())
	case known.Enum() != nil:
		return enumValues(known.Enum(), newer.Enum())
	}
	return nil
}

// removed fields are no matter, but for those that a session reads, and whose number has another meaning now.
func removed(known protoreflect.FieldDescriptor, message protoreflect.MessageDescriptor) error {
	other := message.Fields().ByNumber(known.Number())
	switch {
	case other != nil:
		return fmt.Errorf("field %s has the number %d, which is that of %s there", known.FullName(), known.Number(), other.Name())
	case needed[known.FullName()]:
		return fmt.Errorf("field %s is not there", known.FullName())
	}
	return nil
}

var needed = map[protoreflect.FullName]bool{
	"ClientEvent.startRequest":   true,
	"ClientEvent.actionResponse": true,
	"ClientEvent.stopWorkflow":   true,
	"ActionResponse.requestID":   true,
	"Action.requestID":           true,
	"Action.newCheckpoint":       true,
}

// typeOf describes all of a field that its JSON or its bytes depend on.
func typeOf(field protoreflect.FieldDescriptor) string {
	kind := field.Kind().String()
	if standard := field.Message(); standard != nil && standard.ParentFile().Package() == "google.protobuf" {
		kind = string(standard.FullName())
	}
	switch {
	case field.IsMap():
		return "map"
	case field.IsList():
		return "list of " + kind
	case field.ContainingOneof() != nil && !field.ContainingOneof().IsSynthetic():
		return kind + " in oneof " + string(field.ContainingOneof().Name())
	case field.HasOptionalKeyword():
		return "optional " + kind
	}
	return kind
}

func enumValues(known, newer protoreflect.EnumDescriptor) error {
	for i := range known.Values().Len() {
		value := known.Values().Get(i)
		if same := newer.Values().ByName(value.Name()); same == nil || same.Number() != value.Number() {
			return fmt.Errorf("value %s of enum %s is another one", value.Name(), known.FullName())
		}
	}
	return nil
}
