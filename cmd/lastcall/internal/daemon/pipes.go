// Package daemon is what keeps a server's process going: signals that drain, readers of its output that
// go or stop, and where its libraries log.
package daemon

import (
	"os"
	"os/signal"
	"syscall"
)

// OutliveReaders has writes to a standard output or error whose reader has gone fail, until stop is
// called. By default they end the process by SIGPIPE, as is right for a command that has nothing else to
// do than to write.
func OutliveReaders() (stop func()) {
	broken := make(chan os.Signal, 1) // nothing receives from it
	signal.Notify(broken, syscall.SIGPIPE)
	return func() { signal.Stop(broken) }
}
