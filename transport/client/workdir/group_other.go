//go:build !unix

package workdir

import "os/exec"

// Without process groups a command's children can't be identified: only the command itself is
// killed when its time is over.
func ownGroup(*exec.Cmd)  {}
func killGroup(*exec.Cmd) {}
