//go:build unix

package main

import "syscall"

// maxOpenFiles is how many files and sockets this process may have open.
func maxOpenFiles() (limit uint64, known bool) {
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		return 0, false
	}
	return uint64(files.Cur), true
}
