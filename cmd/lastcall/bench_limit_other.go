//go:build !unix

package main

// maxOpenFiles is how many files and sockets this process may have open.
func maxOpenFiles() (limit uint64, known bool) { return 0, false }
