package main

import (
	"os"
	"os/signal"
	"syscall"
)

// outliveReaders has writes to a standard output or error whose reader has gone fail, until stop is
// called. By default they end the process by SIGPIPE, as is right for a command that has nothing else to
// do than to write.
func outliveReaders() (stop func()) {
	broken := make(chan os.Signal, 1) // nothing receives from it
	signal.Notify(broken, syscall.SIGPIPE)
	return func() { signal.Stop(broken) }
}
