package codec

import (
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/lastcall-go/lastcall/proto/dap"
)

// The tables of the contract's two messages of a session.
var (
	Events  = mustTable((*dap.ClientEvent)(nil).ProtoReflect().Descriptor())
	Actions = mustTable((*dap.Action)(nil).ProtoReflect().Descriptor())
)

func mustTable(message protoreflect.MessageDescriptor) *Table {
	table, err := NewTable(message)
	if err != nil {
		panic(err) // the contract has no such field
	}
	return table
}
