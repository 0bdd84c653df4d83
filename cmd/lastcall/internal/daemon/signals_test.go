package daemon

import (
	"os"
	"syscall"
	"testing"
)

// The default would end the process with all its sessions.
func TestAHangupDrainsWhereItHasNoOtherMeaning(t *testing.T) {
	signals := WatchSignals(true, nil)
	defer signals.Stop()
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	if received := <-signals.first; received != syscall.SIGHUP {
		t.Errorf("received %v", received)
	}
}
