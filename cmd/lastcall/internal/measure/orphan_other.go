//go:build !linux

package measure

import "os/exec"

// endWithThread does nothing where a process isn't told of its parent's end.
func endWithThread(*exec.Cmd) {}
