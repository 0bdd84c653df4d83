//go:build !unix

package httpserver

// DescriptorLimit is how many files and sockets the process may have open, where there is such a limit.
func DescriptorLimit() (limit int, known bool) { return 0, false }
