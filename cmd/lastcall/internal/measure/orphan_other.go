//go:build !linux

package measure

import "os/exec"

// endWithThread does nothing: the system has no signal for a parent's end.
func endWithThread(*exec.Cmd) {}
