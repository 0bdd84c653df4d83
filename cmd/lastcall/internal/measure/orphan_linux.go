package measure

import (
	"os/exec"
	"syscall"
)

// endWithThread sends a command that is to be started SIGTERM when the thread that starts it ends, and so when
// this process is killed.
func endWithThread(command *exec.Cmd) {
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
}
