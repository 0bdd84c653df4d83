package main

import (
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/creack/pty"
)

// bubbletea would ask the terminal for its colours, and wait 5 s for the answer, before any command.
func TestNoCommandAsksTheTerminalAtItsStart(t *testing.T) {
	c := exec.Command(os.Args[0], "version")
	c.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "CI=") || strings.HasPrefix(v, "TERM=") })
	c.Env = append(c.Env, "TERM=xterm-256color", roleVariable+"=no daemon")
	master, err := pty.Start(c)
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	written, _ := io.ReadAll(master) // until the process has closed the terminal
	if err := c.Wait(); err != nil || !strings.HasPrefix(string(written), "lastcall ") {
		t.Errorf("%v, wrote %q", err, written)
	}
}
