package codec_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
	_ "google.golang.org/protobuf/types/known/structpb"
	_ "google.golang.org/protobuf/types/known/timestamppb"

	"github.com/lastcall-go/lastcall/proto/dap"
	"github.com/lastcall-go/lastcall/transport/codec"
)

var (
	reference        = protojson.MarshalOptions{UseProtoNames: true, EmitUnpopulated: true}
	referenceDecoder = protojson.UnmarshalOptions{DiscardUnknown: true}
)

// everything is a message type with each kind of field in each form that proto3 has.
var everything = func() protoreflect.MessageDescriptor {
	field := func(name string, number int32, kind descriptorpb.FieldDescriptorProto_Type) *descriptorpb.FieldDescriptorProto {
		f := &descriptorpb.FieldDescriptorProto{
			Name: new(name), JsonName: new("j" + name), Number: new(number), Type: kind.Enum(),
			Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(),
		}
		switch kind {
		case descriptorpb.FieldDescriptorProto_TYPE_MESSAGE:
			f.TypeName = new(".test.Everything")
		case descriptorpb.FieldDescriptorProto_TYPE_ENUM:
			f.TypeName = new(".test.Color")
		}
		return f
	}
	message := &descriptorpb.DescriptorProto{Name: new("Everything")}
	message.OneofDecl = []*descriptorpb.OneofDescriptorProto{{Name: new("one")}}
	add := func(f *descriptorpb.FieldDescriptorProto) *descriptorpb.FieldDescriptorProto {
		message.Field = append(message.Field, f)
		return f
	}
	for kind := descriptorpb.FieldDescriptorProto_TYPE_DOUBLE; kind <= descriptorpb.FieldDescriptorProto_TYPE_SINT64; kind++ {
		if kind == descriptorpb.FieldDescriptorProto_TYPE_GROUP {
			continue
		}
		name := strings.ToLower(strings.TrimPrefix(kind.String(), "TYPE_"))
		n := int32(kind)
		add(field("s_"+name, n, kind))
		add(field("r_"+name, n+100, kind)).Label = descriptorpb.FieldDescriptorProto_LABEL_REPEATED.Enum()
		if kind != descriptorpb.FieldDescriptorProto_TYPE_MESSAGE && kind != descriptorpb.FieldDescriptorProto_TYPE_STRING && kind != descriptorpb.FieldDescriptorProto_TYPE_BYTES {
			loose := add(field("u_"+name, n+200, kind))
			loose.Label = descriptorpb.FieldDescriptorProto_LABEL_REPEATED.Enum()
			loose.Options = &descriptorpb.FieldOptions{Packed: new(false)}
		}
	}
	for kind := descriptorpb.FieldDescriptorProto_TYPE_DOUBLE; kind <= descriptorpb.FieldDescriptorProto_TYPE_SINT64; kind++ {
		if kind != descriptorpb.FieldDescriptorProto_TYPE_GROUP {
			add(field("o_"+strings.ToLower(strings.TrimPrefix(kind.String(), "TYPE_")), int32(kind)+300, kind)).OneofIndex = new(int32(0))
		}
	}
	mapped := func(number int32, key, value descriptorpb.FieldDescriptorProto_Type) {
		entry := fmt.Sprintf("M%dEntry", number)
		message.NestedType = append(message.NestedType, &descriptorpb.DescriptorProto{
			Name: new(entry), Options: &descriptorpb.MessageOptions{MapEntry: new(true)},
			Field: []*descriptorpb.FieldDescriptorProto{field("key", 1, key), field("value", 2, value)},
		})
		f := add(field(fmt.Sprintf("m%d", number), number, descriptorpb.FieldDescriptorProto_TYPE_MESSAGE))
		f.TypeName = new(".test.Everything." + entry)
		f.Label = descriptorpb.FieldDescriptorProto_LABEL_REPEATED.Enum()
	}
	for kind := descriptorpb.FieldDescriptorProto_TYPE_DOUBLE; kind <= descriptorpb.FieldDescriptorProto_TYPE_SINT64; kind++ {
		switch kind {
		case descriptorpb.FieldDescriptorProto_TYPE_GROUP:
			continue
		case descriptorpb.FieldDescriptorProto_TYPE_DOUBLE, descriptorpb.FieldDescriptorProto_TYPE_FLOAT, descriptorpb.FieldDescriptorProto_TYPE_BYTES, descriptorpb.FieldDescriptorProto_TYPE_ENUM, descriptorpb.FieldDescriptorProto_TYPE_MESSAGE:
			mapped(int32(kind)+400, descriptorpb.FieldDescriptorProto_TYPE_STRING, kind)
		default:
			mapped(int32(kind)+400, kind, kind)
		}
	}
	// After all other oneofs come the synthetic ones, as the compiler has it.
	for kind := descriptorpb.FieldDescriptorProto_TYPE_DOUBLE; kind <= descriptorpb.FieldDescriptorProto_TYPE_SINT64; kind++ {
		if kind == descriptorpb.FieldDescriptorProto_TYPE_GROUP {
			continue
		}
		f := add(field("p_"+strings.ToLower(strings.TrimPrefix(kind.String(), "TYPE_")), int32(kind)+500, kind))
		f.Proto3Optional = new(true)
		f.OneofIndex = new(int32(len(message.OneofDecl)))
		message.OneofDecl = append(message.OneofDecl, &descriptorpb.OneofDescriptorProto{Name: new("_" + f.GetName())})
	}
	for i, known := range []string{"Value", "Struct", "ListValue", "NullValue", "Timestamp"} {
		f := add(field("w_"+strings.ToLower(known), int32(600+i), descriptorpb.FieldDescriptorProto_TYPE_MESSAGE))
		f.TypeName = new(".google.protobuf." + known)
		if known == "NullValue" {
			f.Type = descriptorpb.FieldDescriptorProto_TYPE_ENUM.Enum()
		}
	}
	file, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name: new("everything.proto"), Package: new("test"), Syntax: new("proto3"),
		Dependency:  []string{"google/protobuf/struct.proto", "google/protobuf/timestamp.proto"},
		MessageType: []*descriptorpb.DescriptorProto{message},
		EnumType: []*descriptorpb.EnumDescriptorProto{{Name: new("Color"), Options: &descriptorpb.EnumOptions{AllowAlias: new(true)}, Value: []*descriptorpb.EnumValueDescriptorProto{
			{Name: new("BLACK"), Number: new(int32(0))}, {Name: new("RED"), Number: new(int32(1))},
			{Name: new("ROUGE"), Number: new(int32(1))}, {Name: new("NO"), Number: new(int32(-1))},
		}}},
	}, protoregistry.GlobalFiles)
	if err != nil {
		panic(err)
	}
	return file.Messages().Get(0)
}()

// types are what is compared with protojson.
var types = []protoreflect.MessageDescriptor{
	(*dap.Action)(nil).ProtoReflect().Descriptor(),
	(*dap.ClientEvent)(nil).ProtoReflect().Descriptor(),
	everything,
}

var tables = func() map[protoreflect.FullName]*codec.Table {
	made := make(map[protoreflect.FullName]*codec.Table)
	for _, descriptor := range types {
		table, err := codec.NewTable(descriptor)
		if err != nil {
			panic(err)
		}
		made[descriptor.FullName()] = table
	}
	return made
}()

func table(descriptor protoreflect.MessageDescriptor) *codec.Table {
	return tables[descriptor.FullName()]
}

// sameJSON holds AppendJSON against protojson, for one message's bytes.
func sameJSON(t *testing.T, descriptor protoreflect.MessageDescriptor, wire []byte) {
	t.Helper()
	want, wantErr := protojsonOf(descriptor, wire)
	if wantErr == errPanicked {
		return
	}
	before := bytes.Clone(wire)
	got, err := table(descriptor).AppendJSON([]byte("x"), wire, nil)
	if !bytes.Equal(wire, before) {
		t.Error("the message's bytes were changed")
	}
	if (err == nil) != (wantErr == nil) {
		t.Fatalf("%x: error %v, protojson's %v", wire, err, wantErr)
	}
	if err != nil {
		if string(got) != "x" {
			t.Errorf("after an error there is %q", got)
		}
		return
	}
	if got[0] != 'x' || !bytes.Equal(got[1:], compact(t, want)) {
		t.Fatalf("%x is\n%s\nprotojson's\n%s", wire, got[1:], compact(t, want))
	}
}

// errPanicked is for bytes at which the library itself panics: some map entries of a dynamic message.
var errPanicked = errors.New("panicked")

func protojsonOf(descriptor protoreflect.MessageDescriptor, wire []byte) (_ []byte, err error) {
	defer func() {
		if recover() != nil {
			err = errPanicked
		}
	}()
	message := dynamicpb.NewMessage(descriptor)
	if err := proto.Unmarshal(wire, message); err != nil {
		return nil, err
	}
	return reference.Marshal(message)
}

func compact(t *testing.T, text []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := json.Compact(&out, text); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return out.Bytes()
}

// sameWire holds AppendWire against protojson, for one text.
func sameWire(t *testing.T, descriptor protoreflect.MessageDescriptor, text string) {
	t.Helper()
	want := dynamicpb.NewMessage(descriptor)
	wantErr := referenceDecoder.Unmarshal([]byte(text), want)
	strict := protojson.Unmarshal([]byte(text), dynamicpb.NewMessage(descriptor))
	got, unknown, err := table(descriptor).AppendWire([]byte("x"), []byte(text))
	if (err == nil) != (wantErr == nil) {
		if wantErr != nil && strings.Contains(text, `\u`) {
			return // half of a surrogate pair
		}
		if wantErr == nil && !json.Valid([]byte(text)) {
			return // protojson takes some numbers that are not JSON, such as 0E
		}
		t.Fatalf("%s: error %v, protojson's %v", text, err, wantErr)
	}
	if err != nil {
		if string(got) != "x" || !utf8.ValidString(err.Error()) {
			t.Errorf("after %q there is %q", err, got)
		}
		return
	}
	message := dynamicpb.NewMessage(descriptor)
	if err := proto.Unmarshal(got[1:], message); err != nil || got[0] != 'x' {
		t.Fatalf("%s is %x: %v", text, got, err)
	}
	if !proto.Equal(message, want) {
		t.Fatalf("%s is\n%s\nprotojson's\n%s", text, protojson.Format(message), protojson.Format(want))
	}
	if unknown != (strict != nil) {
		t.Fatalf("%s: unknown is %v, and strictly it is %v", text, unknown, strict)
	}
	if n := proto.Size(want); len(got)-1 != n {
		t.Fatalf("%s takes %d bytes, want %d", text, len(got)-1, n)
	}
}

func FuzzJSON(f *testing.F) {
	for _, seed := range wires {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, wire []byte) {
		for _, descriptor := range types {
			sameJSON(t, descriptor, wire)
		}
	})
}

func FuzzWire(f *testing.F) {
	for _, seed := range texts {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, descriptor := range types {
			sameWire(t, descriptor, text)
		}
	})
}

// texts are messages, right and wrong ones, for any of the types.
var texts = func() []string {
	all := []string{
		``, ` `, "{}\x00", `{`, `}`, `[]`, `null`, `1`, `"x"`, `{}`, ` {	} `, `{}{}`, `{},`, `{"a"}`, `{"a":}`, `{"a":1,}`, "{\"\x80\":1}", "\xef\xbb\xbf{}",
		`{"unknown":{"a":[1,{"b":null}],"a":2}}`, `{"unknown":1,"unknown":2}`, `{"unknown":{]}`, `{"[a.b]":1}`, `{"@type":"x"}`,
		`{"requestID":"r","newCheckpoint":{"status":"RUNNING","checkpoint":"{\"a\":1}","errors":["a","b"],"agent_context_usage":{"b":{"total_tokens":1},"a":{}}}}`,
		`{"requestID":"r","runCommand":{"program":"ls","arguments":["-l"],"timeout":"5"}}`,
		`{"requestID":"r","runCommand":{},"grep":{}}`, `{"requestID":"r","runCommand":null,"grep":{}}`,
		`{"startRequest":{"workflowID":"1","goal":"g","clientCapabilities":["a"],"mcpTools":[{"name":"n","trusted":true}],"flowConfig":{"a":[1,null,{"b":"c"}]},"approval":{"approval":{"approval_source":"APPROVAL_SOURCE_AUTO_MODE"}}}}`,
		`{"startRequest":{"approval":{"approval":{"approval_source":"NEW_ONE"}}}}`,
		`{"actionResponse":{"requestID":"r","plainTextResponse":{"response":"a\nb\u0001\u00e9\ud83d\ude00"}}}`,
		`{"actionResponse":{"requestID":"r","plainTextResponse":{"response":"\ud800 \udc00\ud800x"}}}`,
		`{"actionResponse":{"requestID":"r","httpResponse":{"headers":{"a":"b","c":"d"},"statusCode":200,"body":"x"}}}`,
		`{"actionResponse":{"httpResponse":{"headers":{"a":"b","a":"d"}}}}`, `{"actionResponse":{"httpResponse":{"headers":{"a":null}}}}`,
		`{"actionResponse":{"httpResponse":{"headers":{"a":"1","b":"1","c":"1","d":"1","e":"1","f":"1","e":"2"}}}}`,
		`{"actionResponse":{"imageResponse":{"mime_type":"image/png","data":"AAEC/+8="}}}`, `{"heartbeat":{"timestamp":"17"}}`, `{"heartbeat":{"timestamp":17}}`,
		`{"stopWorkflow":{"reason":"x"},"stopWorkflow":{}}`, `{"stopWorkflow":{"reason":7}}`, `{"stopWorkflow":[]}`, `{"stopWorkflow":{"reason":"` + strings.Repeat(`\n`, 100) + `"}}`,
		`{"s_string":"","s_bool":false,"s_int32":0,"s_enum":0,"s_double":-0,"s_bytes":""}`, `{"js_string":"x","s_string":"y"}`, `{"js_string":"x"}`, `{"s_str\u0069ng":"x"}`,
		`{"p_string":"","p_bool":false,"p_int32":0,"p_enum":0,"p_double":0,"p_bytes":"","p_message":{}}`,
		`{"s_message":{"s_message":{"s_message":{"s_string":"` + strings.Repeat("x", 200) + `"}}}}`, `{"s_message":null,"r_message":[{},{"s_int32":1}]}`, `{"r_message":[null]}`,
		`{"m411":{"a":{"s_int32":1},"b":{}}}`, `{"m408":{"true":true,"false":false}}`, `{"m408":{"TRUE":true}}`, `{"m414":{"a":"RED","b":"GREEN","b":"ROUGE","c":7}}`,
		`{"w_value":null}`, `{"w_value":{"a":null}}`, `{"w_nullvalue":null}`, `{"w_nullvalue":"NULL_VALUE"}`, `{"w_nullvalue":"x"}`, `{"w_listvalue":[1,"a"]}`, `{"w_timestamp":"2026-01-02T03:04:05.678Z"}`, `{"w_timestamp":1}`,
		`{"r_enum":["RED",-1,"BLACK","GREEN",1000]}`, `{"o_string":"a","o_int32":1}`, `{"o_enum":"GREEN","o_int32":1}`, `{"o_message":{},"o_int32":null}`,
		`{"s_message":` + strings.Repeat(`{"s_message":`, 50) + `{}` + strings.Repeat(`}`, 50) + `}`,
		`{"x":` + strings.Repeat(`[`, 2000) + strings.Repeat(`]`, 2000) + `}`,
	}
	values := []string{`0`, `-0`, `1`, `-1`, `01`, `1.0`, `1.5`, `1e2`, `1E-2`, `100e-2`, `1e400`, `2147483647`, `2147483648`, `-2147483649`, `4294967295`, `4294967296`, `9223372036854775807`, `9223372036854775808`, `-9223372036854775809`, `18446744073709551615`, `18446744073709551616`,
		`"1"`, `"-1"`, `" 1"`, `"1 "`, `"1e2"`, `"0x1"`, `"+1"`, `"1_0"`, `"\u0031"`, `""`, `"NaN"`, `"Infinity"`, `"-Infinity"`, `"inf"`, `3.4e39`, `1e-7`, `true`, `"true"`, `null`, `{}`, `[]`, `[1,2,3]`, `"YQ=="`, `"YQ"`, `"_-8"`, `"YR=="`, `"Y\nQ=="`, `"RED"`}
	for _, form := range []string{"s_", "p_", "o_", "r_", "u_"} {
		for _, kind := range []string{"double", "float", "int64", "uint64", "int32", "fixed64", "fixed32", "bool", "string", "bytes", "uint32", "enum", "sfixed32", "sfixed64", "sint32", "sint64", "message"} {
			for _, value := range values {
				if form == "r_" || form == "u_" {
					value = "[" + value + "," + value + "]"
				}
				all = append(all, `{"`+form+kind+`":`+value+`}`)
			}
		}
	}
	for number := 401; number <= 418; number++ {
		for _, key := range []string{"1", "-1", "x", "", "1.0", "true", "+1", "01"} {
			for _, value := range []string{`1`, `"x"`, `true`, `{}`, `"1"`} {
				all = append(all, fmt.Sprintf(`{"m%d":{%q:%s}}`, number, key, value))
			}
		}
	}
	return all
}()

// wires are the bytes of all messages that the texts hold, and some that no text makes.
var wires = func() [][]byte {
	all := [][]byte{{0xc2, 0x25, 0, 0xc2, 0x25, 2, 0x32, 0}, nil, {0}, {0x0a}, {0x0a, 5, 'a'}, {0x0a, 1, 0x80}, {0x0c}, {0x0b, 0x0c}, {0xff, 0xff, 0xff, 0xff, 0x7f, 0}, bytes.Repeat([]byte{0x80}, 11)}
	for _, text := range texts {
		for _, descriptor := range types {
			message := dynamicpb.NewMessage(descriptor)
			if referenceDecoder.Unmarshal([]byte(text), message) != nil {
				continue
			}
			if wire, err := proto.Marshal(message); err == nil && len(wire) > 0 {
				all = append(all, wire, append(bytes.Clone(wire), wire...), wire[:len(wire)-1])
			}
		}
	}
	return all
}()

func TestJSONIsThatOfProtojson(t *testing.T) {
	for i, wire := range wires {
		for _, descriptor := range types {
			sameJSON(t, descriptor, wire)
			sameJSON(t, descriptor, append(bytes.Clone(wire), wires[(i*7+1)%len(wires)]...))
		}
	}
}

func TestWireIsThatOfProtojson(t *testing.T) {
	for _, text := range texts {
		for _, descriptor := range types {
			sameWire(t, descriptor, text)
		}
	}
}

func TestHalfOfASurrogatePairIsReplaced(t *testing.T) {
	events := table(types[1])
	for text, want := range map[string]string{`\ud800`: "\ufffd", `a\udc00b`: "a\ufffdb", `\ud800\ud800\udc00`: "\ufffd\U00010000", `\ud800\n`: "\ufffd\n"} {
		wire, _, err := events.AppendWire(nil, []byte(`{"stopWorkflow":{"reason":"`+text+`"}}`))
		var event dap.ClientEvent
		if err == nil {
			err = proto.Unmarshal(wire, &event)
		}
		if got := event.GetStopWorkflow().GetReason(); err != nil || got != want {
			t.Errorf("%s is %q, %v; want %q", text, got, err, want)
		}
	}
}

func TestUnknownFieldsAreCounted(t *testing.T) {
	wire, err := proto.Marshal(&dap.Action{RequestID: "r", Action: &dap.Action_Grep{Grep: &dap.Grep{Pattern: "p"}}})
	if err != nil {
		t.Fatal(err)
	}
	wire = append(wire, 0xa2, 6, 1, 'x', 0x52, 2, 0x78, 7) // 100: "x", and grep with 15: 7
	var got []string
	text, err := table(types[0]).AppendJSON(nil, wire, func(message protoreflect.FullName, number protoreflect.FieldNumber) {
		got = append(got, fmt.Sprintf("%s %d", message, number))
	})
	if want := []string{"Action 100", "Grep 15"}; err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("unknown are %q, %v; want %q", got, err, want)
	}
	if want := `{"requestID":"r","grep":{"search_directory":"","pattern":"p","case_insensitive":false}}`; string(text) != want {
		t.Errorf("it is %s, want %s", text, want)
	}
}

// The same work with message structs and protojson is the baseline.
func BenchmarkTranscode(b *testing.B) {
	for _, size := range []int{256, 64 << 10} {
		text := strings.Repeat("some text of a tool's, \"quoted\"\n", size/32)
		action, _ := proto.Marshal(&dap.Action{RequestID: "1234", Action: &dap.Action_NewCheckpoint{NewCheckpoint: &dap.NewCheckpoint{Status: "RUNNING", Checkpoint: text}}})
		response, _ := reference.Marshal(&dap.ClientEvent{Response: &dap.ClientEvent_ActionResponse{ActionResponse: &dap.ActionResponse{RequestID: "1234", ResponseType: &dap.ActionResponse_PlainTextResponse{PlainTextResponse: &dap.PlainTextResponse{Response: text}}}}})
		var out []byte
		b.Run(fmt.Sprintf("action/%d/table", size), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				out, _ = table(types[0]).AppendJSON(out[:0], action, nil)
			}
		})
		b.Run(fmt.Sprintf("action/%d/protojson", size), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				var message dap.Action
				_ = proto.Unmarshal(action, &message)
				out, _ = reference.MarshalAppend(out[:0], &message)
			}
		})
		data := make([]byte, len(response))
		b.Run(fmt.Sprintf("response/%d/table", size), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				copy(data, response)
				out, _, _ = table(types[1]).AppendWire(out[:0], data)
			}
		})
		b.Run(fmt.Sprintf("response/%d/protojson", size), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				var message dap.ClientEvent
				_ = protojson.Unmarshal(response, &message)
				out, _ = proto.MarshalOptions{}.MarshalAppend(out[:0], &message)
			}
		})
	}
}
