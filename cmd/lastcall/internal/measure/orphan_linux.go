package measure

import (
	"os/exec"
	"syscall"
)

// endWithThread has a command that is to be started be told to end when the thread that starts it does,
// and so where this process is killed.
func endWithThread(command *exec.Cmd) {
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
}
