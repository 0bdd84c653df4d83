package dap_test

import (
	"bufio"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/lastcall-go/lastcall/proto/dap"
)

// The contract stands as a table of facts in testdata/contract.tsv. The descriptor must hold each
// row of it and nothing else: a field too many is as wrong on the wire as one missing.
func TestDescriptorHoldsTheContractAndNothingElse(t *testing.T) {
	want := readTable(t)
	got := describe(dap.File_contract_proto)
	slices.Sort(want)
	slices.Sort(got)
	for _, row := range want {
		if _, found := slices.BinarySearch(got, row); !found {
			t.Errorf("missing from contract.proto: %s", row)
		}
	}
	for _, row := range got {
		if _, found := slices.BinarySearch(want, row); !found {
			t.Errorf("not in the contract: %s", row)
		}
	}
	if dap.File_contract_proto.Package() != "" {
		t.Errorf("the contract has no package, got %q", dap.File_contract_proto.Package())
	}
}

func readTable(t *testing.T) (rows []string) {
	file, err := os.Open("testdata/contract.tsv")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		line := lines.Text()
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		cells := append(strings.Split(line, "\t"), make([]string, 6)...)
		switch {
		case cells[1] == "(reserved name)":
			rows = append(rows, row(cells[0], "reserved name", strings.Join(cells[2:], "")))
		case cells[1] == "(reserved)":
			rows = append(rows, row(cells[0], "reserved", cells[2]))
		case cells[1] == "":
			rows = append(rows, row(cells[0]))
		default:
			rows = append(rows, row(cells[:7]...))
		}
	}
	if len(rows) < 190 {
		t.Fatalf("testdata/contract.tsv has %d rows: it was cut", len(rows))
	}
	return rows
}

func row(cells ...string) string {
	return strings.TrimRight(strings.Join(cells, "\t"), "\t")
}

func describe(file protoreflect.FileDescriptor) (rows []string) {
	for service := range all(file.Services()) {
		for method := range all(service.Methods()) {
			rows = append(rows, row("rpc", string(method.Name()),
				streamed(method.IsStreamingClient(), method.Input()),
				streamed(method.IsStreamingServer(), method.Output())))
		}
	}
	for message := range all(file.Messages()) {
		rows = append(rows, describeMessage(message)...)
	}
	return rows
}

func describeMessage(message protoreflect.MessageDescriptor) (rows []string) {
	name := string(message.FullName())
	for field := range all(message.Fields()) {
		rows = append(rows, describeField(name, field))
	}
	for i := range message.ReservedRanges().Len() {
		for n := message.ReservedRanges().Get(i)[0]; n < message.ReservedRanges().Get(i)[1]; n++ {
			rows = append(rows, row(name, "reserved", strconv.Itoa(int(n))))
		}
	}
	for i := range message.ReservedNames().Len() {
		rows = append(rows, row(name, "reserved name", string(message.ReservedNames().Get(i))))
	}
	for enum := range all(message.Enums()) {
		for value := range all(enum.Values()) {
			rows = append(rows, row(string(enum.FullName()), string(value.Name()), strconv.Itoa(int(value.Number())), "enum"))
		}
	}
	nested := 0
	for inner := range all(message.Messages()) {
		if !inner.IsMapEntry() {
			rows = append(rows, describeMessage(inner)...)
			nested++
		}
	}
	if len(rows) == 0 && nested == 0 {
		rows = append(rows, row(name))
	}
	return rows
}

func describeField(message string, field protoreflect.FieldDescriptor) string {
	label, oneof, note := "", "", ""
	switch {
	case field.HasOptionalKeyword():
		label = "optional"
	case field.IsList():
		label = "repeated"
	}
	if group := field.ContainingOneof(); group != nil && !group.IsSynthetic() {
		oneof = string(group.Name())
	}
	if field.Options().(*descriptorpb.FieldOptions).GetDeprecated() {
		note = "deprecated"
	} else if field.JSONName() != defaultJSONName(string(field.Name())) {
		note = field.JSONName()
	}
	return row(message, string(field.Name()), strconv.Itoa(int(field.Number())), label, typeOf(field), oneof, note)
}

func typeOf(field protoreflect.FieldDescriptor) string {
	switch {
	case field.IsMap():
		return fmt.Sprintf("map<%s, %s>", typeOf(field.MapKey()), typeOf(field.MapValue()))
	case field.Message() != nil:
		return string(field.Message().FullName())
	case field.Enum() != nil:
		return string(field.Enum().FullName())
	}
	return field.Kind().String()
}

func streamed(stream bool, message protoreflect.MessageDescriptor) string {
	if stream {
		return "stream " + string(message.Name())
	}
	return string(message.Name())
}

// defaultJSONName is the name that protoc gives a field unless the contract says otherwise: lower
// camel case.
func defaultJSONName(name string) string {
	parts := strings.Split(name, "_")
	for i, part := range parts[1:] {
		parts[i+1] = strings.ToUpper(part[:1]) + part[1:]
	}
	return strings.Join(parts, "")
}

func all[D any](list interface {
	Len() int
	Get(i int) D
}) func(yield func(D) bool) {
	return func(yield func(D) bool) {
		for i := range list.Len() {
			if !yield(list.Get(i)) {
				return
			}
		}
	}
}
