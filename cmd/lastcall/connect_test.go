package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/lastcall-go/lastcall/proto/dap"
	"github.com/lastcall-go/lastcall/transport/client"
)

func TestEachEventIsOneLine(t *testing.T) {
	grep := &dap.Action{Action: &dap.Action_Grep{Grep: &dap.Grep{SearchDirectory: ".", Pattern: "TO\x1b[2JDO\nrm -rf"}}}
	command := &dap.Action{Action: &dap.Action_RunCommand{RunCommand: &dap.RunCommandAction{Program: "ls", Arguments: []string{"-l", "."}}}}
	for _, test := range []struct {
		event client.Event
		want  string
	}{
		{client.Connected{WorkflowID: "w1"}, "connected, workflow w1\n"},
		{client.Received{Action: grep}, "  grep  search_directory=. pattern=TO [2JDO rm -rf\n"},
		{client.Received{Action: command}, "  runCommand  program=ls arguments=-l,.\n"},
		{client.Received{Action: &dap.Action{}}, "  an action that this client doesn't know\n"},
		{client.Closed{Code: 1000}, "closed: 1000\n"},
		{client.Closed{Code: 1001, Reason: "server\nshutdown"}, "closed: 1001 server shutdown\n"},
		{client.Reconnecting{Attempt: 2, Delay: 1500 * time.Millisecond, Cause: errors.New("a\nb")}, "connecting again in 1.5s (attempt 2): a b\n"},
	} {
		var out bytes.Buffer
		show(&out, test.event)
		if out.String() != test.want {
			t.Errorf("%#v: %q, want %q", test.event, out.String(), test.want)
		}
	}
}

func TestALongActionIsCut(t *testing.T) {
	action := &dap.Action{Action: &dap.Action_RunWriteFile{RunWriteFile: &dap.WriteFile{Contents: strings.Repeat("é", 10_000)}}}
	if line := actionLine(action); len([]rune(line)) > 200 || !strings.HasSuffix(line, "…") {
		t.Errorf("%d runes: %q", len([]rune(line)), line)
	}
}
