package codec_test

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/lastcall-go/lastcall/proto/dap"
	"github.com/lastcall-go/lastcall/transport/codec"
)

// changed is the contract as a FileDescriptorSet, after a change to its file.
func changed(t *testing.T, change func(*descriptorpb.FileDescriptorProto)) []byte {
	t.Helper()
	file := protodesc.ToFileDescriptorProto(dap.File_contract_proto)
	change(file)
	set, err := proto.Marshal(&descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{file}})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func message(file *descriptorpb.FileDescriptorProto, name string) *descriptorpb.DescriptorProto {
	for _, m := range file.MessageType {
		if m.GetName() == name {
			return m
		}
	}
	panic(name)
}

func field(file *descriptorpb.FileDescriptorProto, of, name string) *descriptorpb.FieldDescriptorProto {
	for _, f := range message(file, of).Field {
		if f.GetName() == name {
			return f
		}
	}
	panic(name)
}

func newField(name string, number int32, kind descriptorpb.FieldDescriptorProto_Type, typeName string) *descriptorpb.FieldDescriptorProto {
	f := &descriptorpb.FieldDescriptorProto{
		Name: proto.String(name), JsonName: proto.String(name), Number: proto.Int32(number), Type: kind.Enum(),
		Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(),
	}
	if typeName != "" {
		f.TypeName = proto.String(typeName)
	}
	return f
}

const text, nested = descriptorpb.FieldDescriptorProto_TYPE_STRING, descriptorpb.FieldDescriptorProto_TYPE_MESSAGE

// grown has a new field in both directions, and a new action.
func grown(file *descriptorpb.FileDescriptorProto) {
	start := message(file, "StartWorkflowRequest")
	start.Field = append(start.Field, newField("mood", 900, text, ""))
	action := message(file, "Action")
	dance := newField("dance", 902, nested, ".Dance")
	dance.OneofIndex = proto.Int32(0)
	action.Field = append(action.Field, dance, newField("note", 901, text, ""))
	file.MessageType = append(file.MessageType, &descriptorpb.DescriptorProto{
		Name: proto.String("Dance"), Field: []*descriptorpb.FieldDescriptorProto{newField("steps", 1, text, "")},
	})
}

func TestANewContractsFieldsPassBothWays(t *testing.T) {
	newer, err := codec.ParseContract(changed(t, grown))
	if err != nil {
		t.Fatal(err)
	}
	const event = `{"startRequest":{"goal":"g","mood":"fine"}}`
	wire, unknown, err := newer.Events.AppendWire(nil, []byte(event))
	if err != nil || unknown || !strings.Contains(string(wire), "fine") {
		t.Errorf("%q, unknown %v, %v", wire, unknown, err)
	}
	if _, unknown, err = codec.BuiltIn.Events.AppendWire(nil, []byte(event)); err != nil || !unknown {
		t.Errorf("the contract before knows it: %v, %v", unknown, err)
	}
	action := append([]byte("\x0a\x01r\xaa\x38\x01n"), "\xb2\x38\x03\x0a\x01s"...)
	out, err := newer.Actions.AppendJSON(nil, action, nil)
	if err != nil || string(out) != `{"requestID":"r","dance":{"steps":"s"},"note":"n"}` {
		t.Errorf("%s, %v", out, err)
	}
	if !newer.HasAction(902) || newer.HasAction(901) || codec.BuiltIn.HasAction(902) || !codec.BuiltIn.HasAction(8) || codec.BuiltIn.HasAction(1) {
		t.Error("what is an action is not told")
	}
}

func TestWhatIsNotTheContractIsRefusedByTheFieldsName(t *testing.T) {
	for want, change := range map[string]func(*descriptorpb.FileDescriptorProto){
		"field ClientEvent.stopWorkflow has the number 77 instead of": func(f *descriptorpb.FileDescriptorProto) {
			field(f, "ClientEvent", "stopWorkflow").Number = proto.Int32(77)
		},
		"field StartWorkflowRequest.goal is a int32 instead of a string": func(f *descriptorpb.FileDescriptorProto) {
			field(f, "StartWorkflowRequest", "goal").Type = descriptorpb.FieldDescriptorProto_TYPE_INT32.Enum()
		},
		"field Grep.pattern is a list of string instead of a string": func(f *descriptorpb.FileDescriptorProto) {
			field(f, "Grep", "pattern").Label = descriptorpb.FieldDescriptorProto_LABEL_REPEATED.Enum()
		},
		"field Grep.pattern has the number 2, which is that of motif there": func(f *descriptorpb.FileDescriptorProto) {
			pattern := field(f, "Grep", "pattern")
			pattern.Name, pattern.JsonName = proto.String("motif"), proto.String("motif")
		},
		"field Action.requestID is not there": func(f *descriptorpb.FileDescriptorProto) {
			m := message(f, "Action")
			m.Field = m.Field[1:]
		},
		"no service DuoWorkflow": func(f *descriptorpb.FileDescriptorProto) { f.Service[0].Name = proto.String("Duo") },
		"no service DuoWorkflow with a method ExecuteWorkflow that streams both ways": func(f *descriptorpb.FileDescriptorProto) {
			for _, m := range f.Service[0].Method {
				if m.GetName() == "ExecuteWorkflow" {
					m.ServerStreaming = nil
				}
			}
		},
	} {
		if _, err := codec.ParseContract(changed(t, change)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	incomplete, err := proto.Marshal(&descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{{
		Name: proto.String("contract.proto"), Dependency: []string{"other.proto"},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := codec.ParseContract(incomplete); err == nil || !strings.Contains(err.Error(), "--include_imports") {
		t.Errorf("%v", err)
	}
	for _, set := range []string{"", "hello", "\x0a\x00"} {
		if _, err := codec.ParseContract([]byte(set)); err == nil {
			t.Errorf("%q is a contract", set)
		}
	}
}

// An action that is no longer there is no reason to refuse all that is.
func TestAContractMayHaveLessThanTheBuiltInOne(t *testing.T) {
	less, err := codec.ParseContract(changed(t, func(f *descriptorpb.FileDescriptorProto) {
		m := message(f, "Grep")
		m.Field = m.Field[:1]
	}))
	if err != nil {
		t.Fatal(err)
	}
	out, err := less.Actions.AppendJSON(nil, []byte("\x0a\x01r\x52\x00"), nil)
	if err != nil || strings.Contains(string(out), "pattern") {
		t.Errorf("%s, %v", out, err)
	}
}
