//go:build unix

package httpserver

import "syscall"

// DescriptorLimit is how many files and sockets the process may have open. Go has raised the soft limit
// to the hard one when the process started.
func DescriptorLimit() (limit int, known bool) {
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		return 0, false
	}
	return int(min(uint64(files.Cur), maxDescriptors)), true
}
