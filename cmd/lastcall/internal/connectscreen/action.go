package connectscreen

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/lastcall-go/lastcall/proto/dap"
)

// describe says what an action does, and to what: "read", "src/main.go".
func describe(action *dap.Action) (verb, object string) {
	switch a := action.GetAction().(type) {
	case *dap.Action_RunReadFile:
		return "read", a.RunReadFile.GetFilepath()
	case *dap.Action_RunReadFiles:
		return "read", strings.Join(a.RunReadFiles.GetFilepaths(), " ")
	case *dap.Action_RunWriteFile:
		return "write", a.RunWriteFile.GetFilepath()
	case *dap.Action_RunEditFile:
		return "edit", a.RunEditFile.GetFilepath()
	case *dap.Action_Mkdir:
		return "mkdir", a.Mkdir.GetDirectoryPath()
	case *dap.Action_ListDirectory:
		return "list", folder(a.ListDirectory.GetDirectory())
	case *dap.Action_FindFiles:
		return "find", a.FindFiles.GetNamePattern()
	case *dap.Action_Grep:
		return "grep", fmt.Sprintf("%s in %s", a.Grep.GetPattern(), folder(a.Grep.GetSearchDirectory()))
	case *dap.Action_RunCommand:
		c := a.RunCommand
		return "run", strings.Join(append(append([]string{c.GetProgram()}, c.GetFlags()...), c.GetArguments()...), " ")
	case *dap.Action_RunShellCommand:
		return "run", a.RunShellCommand.GetCommand()
	case *dap.Action_RunGitCommand:
		return "git", strings.TrimSpace(a.RunGitCommand.GetCommand() + " " + a.RunGitCommand.GetArguments())
	}
	message := action.ProtoReflect()
	if field := message.WhichOneof(message.Descriptor().Oneofs().ByName("action")); field != nil {
		return string(field.Name()), ""
	}
	return "unknown", "an action that this client doesn't know"
}

func folder(name string) string {
	if name == "" {
		return "."
	}
	return name
}

// checkpointText is what is read of a checkpoint: the scripted agent's message, or the chat of the platform's agents.
type checkpointText struct {
	Message string `json:"message"`
	Values  struct {
		Chat []struct {
			Kind    string `json:"message_type"`
			Content string `json:"content"`
		} `json:"ui_chat_log"`
	} `json:"channel_values"`
}

// wordsOf are the agent's last words in a checkpoint. Empty: it has none, or not where they are looked for.
func wordsOf(checkpoint *dap.NewCheckpoint) string {
	var text checkpointText
	_ = json.Unmarshal([]byte(checkpoint.GetCheckpoint()), &text) // what is no JSON has no words
	for i := len(text.Values.Chat) - 1; i >= 0; i-- {
		if said := text.Values.Chat[i]; said.Kind == "agent" && said.Content != "" {
			return said.Content
		}
	}
	return text.Message
}
