package codec

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/lastcall-go/lastcall/proto/dap"
)

// Contract is what is known of the messages that a client and its agent send each other.
type Contract struct {
	Events  *Table // of ClientEvent
	Actions *Table // of Action
	Start   *Table // of StartWorkflowRequest
}

// BuiltIn is the contract of package dap.
var BuiltIn = mustContract((*dap.ClientEvent)(nil).ProtoReflect().Descriptor(), (*dap.Action)(nil).ProtoReflect().Descriptor())

// HasAction reports whether a field of Action asks for something, and is known.
func (c *Contract) HasAction(field protowire.Number) bool {
	known := c.Actions.byNumber[field]
	return known != nil && known.oneof >= 0
}

// ParseContract reads a contract from the bytes of a FileDescriptorSet, as "buf build" and "protoc
// --descriptor_set_out" write it; google.protobuf's own files may be missing. It fails as [NewContract] does.
func ParseContract(set []byte) (*Contract, error) {
	var files descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(set, &files); err != nil || len(files.File) == 0 {
		return nil, errors.New("not a FileDescriptorSet, as 'buf build' and 'protoc --descriptor_set_out' write it")
	}
	if missing := addStandardFiles(&files); missing != "" {
		return nil, fmt.Errorf("%s is imported and not in it (protoc: --include_imports)", missing)
	}
	registry, err := protodesc.NewFiles(&files)
	if err != nil {
		return nil, err
	}
	service, err := registry.FindDescriptorByName(Service)
	if err != nil {
		return nil, errNoService
	}
	return NewContract(service)
}

const (
	// Service is the full name of the service in which a contract is looked for.
	Service protoreflect.FullName = "DuoWorkflow"

	methodName protoreflect.Name = "ExecuteWorkflow"
)

var errNoService = fmt.Errorf("no service %s with a method %s that streams both ways", Service, methodName)

// addStandardFiles adds those files of google.protobuf that are imported and not there. It returns another
// an import that is not there.
func addStandardFiles(files *descriptorpb.FileDescriptorSet) (missing string) {
	have := make(map[string]bool)
	for _, file := range files.File {
		have[file.GetName()] = true
	}
	for i := 0; i < len(files.File); i++ { // the added files import others
		for _, path := range files.File[i].GetDependency() {
			standard, err := protoregistry.GlobalFiles.FindFileByPath(path)
			switch {
			case have[path]:
			case err != nil || standard.Package() != "google.protobuf":
				return path
			default:
				have[path] = true
				files.File = append(files.File, protodesc.ToFileDescriptorProto(standard))
			}
		}
	}
	return ""
}

// NewContract makes a contract of the service DuoWorkflow's descriptor. It fails where that is another
// service, and names the field of [BuiltIn] that has another number, name or type there.
func NewContract(descriptor protoreflect.Descriptor) (*Contract, error) {
	service, ok := descriptor.(protoreflect.ServiceDescriptor)
	if !ok || service.FullName() != Service {
		return nil, errNoService
	}
	method := service.Methods().ByName(methodName)
	if method == nil || !method.IsStreamingClient() || !method.IsStreamingServer() {
		return nil, errNoService
	}
	events, actions := method.Input(), method.Output()
	known := make(compared)
	if err := known.message((*dap.ClientEvent)(nil).ProtoReflect().Descriptor(), events); err != nil {
		return nil, err
	}
	if err := known.message((*dap.Action)(nil).ProtoReflect().Descriptor(), actions); err != nil {
		return nil, err
	}
	return newContract(events, actions)
}

func newContract(events, actions protoreflect.MessageDescriptor) (*Contract, error) {
	made := &tables{}
	c := &Contract{}
	var err error
	if c.Events, err = made.of(events); err != nil {
		return nil, err
	}
	if c.Actions, err = made.of(actions); err != nil {
		return nil, err
	}
	c.Start = c.Events.byName["startRequest"].message
	return c, nil
}

func mustContract(events, actions protoreflect.MessageDescriptor) *Contract {
	contract, err := newContract(events, actions)
	if err != nil {
		panic(err) // package dap has no field that has no table
	}
	return contract
}
