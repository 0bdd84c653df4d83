package lease_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/lastcall-go/lastcall/transport/lease"
	"github.com/lastcall-go/lastcall/transport/lease/leasetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestMemoryKeepsTheContract(t *testing.T) {
	var store lease.Memory
	leasetest.Run(t, &store, &store)
}

func TestMemoryForgetsWhatIsReleased(t *testing.T) {
	var store lease.Memory
	leasetest.Release(t, leasetest.Acquire(t, &store, "w"))
	if n := lease.Held(&store); n != 0 {
		t.Errorf("%d workflows are still in memory", n)
	}
}
