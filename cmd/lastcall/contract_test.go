package main

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/coder/websocket"
	"google.golang.org/grpc"
	"google.golang.org/grpc/reflection"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/lastcall-go/lastcall/proto/dap"
	"github.com/lastcall-go/lastcall/transport/porttest"
)

// newerContract has a field more in the startRequest, mood, and one in Action, note.
func newerContract() *descriptorpb.FileDescriptorProto {
	file := protodesc.ToFileDescriptorProto(dap.File_contract_proto)
	add := func(message, name string, number int32) {
		for _, m := range file.MessageType {
			if m.GetName() == message {
				m.Field = append(m.Field, &descriptorpb.FieldDescriptorProto{
					Name: &name, JsonName: &name, Number: &number,
					Type:  descriptorpb.FieldDescriptorProto_TYPE_STRING.Enum(),
					Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(),
				})
			}
		}
	}
	add("StartWorkflowRequest", "mood", 900)
	add("Action", "note", 901)
	return file
}

func writeContract(t *testing.T, path string, file *descriptorpb.FileDescriptorProto) {
	t.Helper()
	set, err := proto.Marshal(&descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{file}})
	if err == nil {
		err = os.WriteFile(path, set, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// newerAgent answers a startRequest with an Action whose note is the mood.
type newerAgent struct {
	dap.UnimplementedDuoWorkflowServer
}

func (newerAgent) ExecuteWorkflow(stream dap.DuoWorkflow_ExecuteWorkflowServer) error {
	event, err := stream.Recv()
	if err != nil {
		return err
	}
	_, mood, _ := strings.Cut(string(event.GetStartRequest().ProtoReflect().GetUnknown()), "\xa2\x38") // number 900
	action := &dap.Action{Action: &dap.Action_NewCheckpoint{NewCheckpoint: &dap.NewCheckpoint{}}}
	action.ProtoReflect().SetUnknown(protoreflect.RawFields("\xaa\x38" + mood)) // number 901
	if mood == "" {
		action.ProtoReflect().SetUnknown(protoreflect.RawFields("\xaa\x38\x04none"))
	}
	return stream.Send(action)
}

// serveNewerAgent serves at an address until the test ends.
func serveNewerAgent(t *testing.T, address string, tells bool) string {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	dap.RegisterDuoWorkflowServer(server, newerAgent{})
	if tells {
		files, err := protodesc.NewFiles(&descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{
			protodesc.ToFileDescriptorProto(dap.File_contract_proto.Imports().Get(0)), newerContract(),
		}})
		if err != nil {
			t.Fatal(err)
		}
		asked := reflection.NewServerV1(reflection.ServerOptions{Services: server, DescriptorResolver: files})
		reflectionpb.RegisterServerReflectionServer(server, asked)
	}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	return listener.Addr().String()
}

// wantNote opens a session with a mood, and reads what the agent notes of it.
func (p *process) wantNote(want string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, p.url, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	defer ws.CloseNow()
	err = ws.Write(ctx, websocket.MessageText, []byte(`{"startRequest":{"workflowID":"w","mood":"fine"}}`))
	var said []byte
	if err == nil {
		_, said, err = ws.Read(ctx)
	}
	if err != nil || strings.Contains(string(said), `"note":"`+want+`"`) != (want != "") || want == "" && strings.Contains(string(said), "note") {
		p.t.Errorf("the client got %s, %v; want a note %q", said, err, want)
	}
}

func TestAContractFromAFileIsReadAgainOnHangup(t *testing.T) {
	path := filepath.Join(t.TempDir(), "contract.binpb")
	writeContract(t, path, protodesc.ToFileDescriptorProto(dap.File_contract_proto))
	p := startServe(t, "no daemon", "--agent", serveNewerAgent(t, "127.0.0.1:0", false), "--contract", path)
	p.wantNote("")
	if dropped := p.record("the agent sends a field that the contract doesn't have, and clients don't get: see --contract"); dropped["number"] != 901.0 || dropped["message"] != "Action" {
		t.Errorf("the log says %v", dropped)
	}
	writeContract(t, path, newerContract())
	p.signal(syscall.SIGHUP)
	p.record("read again")
	p.wantNote("fine")
	if err := os.WriteFile(path, []byte("broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.signal(syscall.SIGHUP)
	p.record("not read again, what was read before stays in force")
	p.wantNote("fine")
	p.drain(syscall.SIGTERM, 0)
}

func TestAContractFromTheAgent(t *testing.T) {
	p := startServe(t, "no daemon", "--agent", serveNewerAgent(t, "127.0.0.1:0", true), "--contract", "reflect")
	p.wantNote("fine")
	p.drain(syscall.SIGTERM, 0)
}

func TestAnAgentThatIsNotThereYetIsAskedAgainForItsContract(t *testing.T) {
	address := porttest.Address(t)
	p := startServe(t, "no daemon", "--agent", address, "--contract", "reflect")
	serveNewerAgent(t, address, true)
	p.record("read again")
	p.wantNote("fine")
	p.drain(syscall.SIGTERM, 0)
}

func TestAContractThatCantBeIsRefusedAtStart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "contract.binpb")
	wrong := newerContract()
	for _, m := range wrong.MessageType {
		if m.GetName() == "StopWorkflowRequest" {
			m.Field[0].Number = proto.Int32(9)
		}
	}
	writeContract(t, path, wrong)
	silent := serveNewerAgent(t, "127.0.0.1:0", false)
	for want, args := range map[string][]string{
		"field StopWorkflowRequest.reason has the number 9 instead of 1": {"--contract", path},
		"no such file": {"--contract", path + ".missing"},
		"--contract reflect asks the agent, and needs --agent": {"--contract", "reflect"},
		"the agent has no gRPC reflection":                     {"--contract", "reflect", "--agent", silent},
	} {
		code, _, stderr := command(t, "", serveArgs(t, args...)...)
		if code != 2 || !strings.Contains(stderr, want) {
			t.Errorf("%v: exit %d, %s", args, code, stderr)
		}
	}
}
