package codec

import (
	"encoding/json"
	"fmt"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"
)

// Table is what is known of one message type: enough to turn its bytes into JSON and back without a
// message in between. It is made once, from the type's descriptor, and never changes.
type Table struct {
	name   protoreflect.FullName
	fields []field // in the order of their declaration, which is that of protojson's output
	oneofs int

	byNumber map[protowire.Number]*field
	byName   map[string]*field // both the contract's name and the JSON name

	// library is set where the JSON is not that of the type's fields, as for google.protobuf.Struct:
	// protojson does it.
	library protoreflect.MessageType
}

// field is one field of a message, or the key or value of a map's entry.
type field struct {
	number   protowire.Number
	index    int // in Table.fields
	kind     protoreflect.Kind
	wire     protowire.Type // of one value
	oneof    int            // index of the oneof, synthetic ones too; -1: none
	list     bool
	packed   bool
	presence bool
	nullable bool // null is a value of it, and not its absence

	prefix []byte // what comes before the value in JSON
	zero   []byte // the value in JSON where the message doesn't have the field; nil: not written
	tag    []byte // what comes before the value on the wire, or before all of them where packed

	message *Table // of a message
	entry   *Table // of a map: the table of its entries, whose fields are key and value
	enum    *enum  // of an enum
}

// enum has the names of an enum's values.
type enum struct {
	null    bool // google.protobuf.NullValue
	names   map[protoreflect.EnumNumber]string
	numbers map[string]protoreflect.EnumNumber
}

// NewTable returns the table of a message type and of all that it contains. It fails if a field is of
// a kind that has no place in proto3: a group, or an extension's message set.
func NewTable(message protoreflect.MessageDescriptor) (*Table, error) {
	return (&tables{}).of(message)
}

// tables are those made so far: types may contain each other.
type tables struct {
	made map[protoreflect.FullName]*Table
}

func (ts *tables) of(message protoreflect.MessageDescriptor) (*Table, error) {
	if made := ts.made[message.FullName()]; made != nil {
		return made, nil
	}
	t := &Table{
		name:     message.FullName(),
		oneofs:   message.Oneofs().Len(),
		byNumber: make(map[protowire.Number]*field),
		byName:   make(map[string]*field),
	}
	if ts.made == nil {
		ts.made = make(map[protoreflect.FullName]*Table)
	}
	ts.made[message.FullName()] = t
	if hasOwnJSON(message) {
		t.library = messageType(message)
		return t, nil
	}
	return t, ts.fill(t, message.Fields())
}

func (ts *tables) fill(t *Table, fields protoreflect.FieldDescriptors) error {
	t.fields = make([]field, fields.Len())
	for i := range t.fields {
		fd := fields.Get(i)
		f := &t.fields[i]
		if err := ts.field(f, fd); err != nil {
			return err
		}
		t.byNumber[f.number] = f
		t.byName[fd.TextName()] = f
	}
	for i := range t.fields { // where one field's name is another's JSON name, the latter counts
		t.byName[fields.Get(i).JSONName()] = &t.fields[i]
	}
	return nil
}

func (ts *tables) field(f *field, fd protoreflect.FieldDescriptor) (err error) {
	*f = field{
		number:   fd.Number(),
		index:    fd.Index(),
		kind:     fd.Kind(),
		wire:     wireType(fd.Kind()),
		oneof:    -1,
		list:     fd.IsList(),
		packed:   fd.IsPacked(),
		presence: fd.HasPresence(),
		prefix:   append(quoted(fd.TextName()), ':'),
	}
	if oneof := fd.ContainingOneof(); oneof != nil {
		f.oneof = oneof.Index()
	}
	f.tag = protowire.AppendTag(nil, f.number, f.wire)
	if f.packed {
		f.tag = protowire.AppendTag(nil, f.number, protowire.BytesType)
	}
	switch {
	case fd.Kind() == protoreflect.GroupKind:
		return fmt.Errorf("field %s is a group, which JSON can't hold", fd.FullName())
	case fd.IsMap():
		f.entry, err = ts.of(fd.Message())
	case fd.Message() != nil:
		f.message, err = ts.of(fd.Message())
		f.nullable = fd.Message().FullName() == "google.protobuf.Value"
	case fd.Enum() != nil:
		f.enum = newEnum(fd.Enum())
		f.nullable = f.enum.null
	}
	f.zero = zero(fd, f.enum)
	return err
}

func newEnum(descriptor protoreflect.EnumDescriptor) *enum {
	e := &enum{
		null:    descriptor.FullName() == "google.protobuf.NullValue",
		names:   make(map[protoreflect.EnumNumber]string),
		numbers: make(map[string]protoreflect.EnumNumber),
	}
	for i := range descriptor.Values().Len() {
		value := descriptor.Values().Get(i)
		e.numbers[string(value.Name())] = value.Number()
		if _, alias := e.names[value.Number()]; !alias {
			e.names[value.Number()] = string(value.Name())
		}
	}
	return e
}

// zero is what protojson writes for a field that the message doesn't have.
func zero(fd protoreflect.FieldDescriptor, e *enum) []byte {
	switch {
	case fd.ContainingOneof() != nil:
		return nil
	case fd.IsMap():
		return []byte("{}")
	case fd.IsList():
		return []byte("[]")
	case fd.HasPresence():
		return []byte("null")
	case e != nil:
		return e.append(nil, fd.Default().Enum())
	}
	switch fd.Kind() {
	case protoreflect.BoolKind:
		return []byte("false")
	case protoreflect.StringKind, protoreflect.BytesKind:
		return []byte(`""`)
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Uint64Kind, protoreflect.Sfixed64Kind, protoreflect.Fixed64Kind:
		return []byte(`"0"`)
	}
	return []byte("0")
}

// hasOwnJSON reports whether protojson has a JSON of its own for a type.
func hasOwnJSON(message protoreflect.MessageDescriptor) bool {
	return message.ParentFile().Package() == "google.protobuf" && slices.Contains([]protoreflect.Name{
		"Any", "Timestamp", "Duration", "FieldMask", "Struct", "Value", "ListValue", "Empty",
		"BoolValue", "Int32Value", "Int64Value", "UInt32Value", "UInt64Value", "FloatValue", "DoubleValue", "StringValue", "BytesValue",
	}, message.Name())
}

func messageType(message protoreflect.MessageDescriptor) protoreflect.MessageType {
	if known, err := protoregistry.GlobalTypes.FindMessageByName(message.FullName()); err == nil {
		return known
	}
	return dynamicpb.NewMessageType(message)
}

func wireType(kind protoreflect.Kind) protowire.Type {
	switch kind {
	case protoreflect.Fixed32Kind, protoreflect.Sfixed32Kind, protoreflect.FloatKind:
		return protowire.Fixed32Type
	case protoreflect.Fixed64Kind, protoreflect.Sfixed64Kind, protoreflect.DoubleKind:
		return protowire.Fixed64Type
	case protoreflect.StringKind, protoreflect.BytesKind, protoreflect.MessageKind:
		return protowire.BytesType
	}
	return protowire.VarintType
}

func quoted(text string) []byte {
	out, _ := json.Marshal(text) // a field's name always can be
	return out
}
