// Package porttest finds addresses for servers that a test starts later, or that restart.
package porttest

import (
	"math/rand/v2"
	"net"
	"strconv"
	"sync/atomic"
	"testing"
)

// Systems give ports from 32768 up to connections and listeners that ask for any: one of those can be taken
// between the moment it was seen free and the moment it is needed. A Redis of a cluster also listens on its port
// plus 10000, which is below that too and none of these.
const first, ports = 10000, 10000

var next atomic.Uint32

func init() { next.Store(rand.Uint32N(ports)) } // another one in each process of go test

// Address returns an address of the loopback interface that nobody listens on and that no system gives away, each
// time another one. It fails the test if there is none.
func Address(t testing.TB) string {
	t.Helper()
	for range ports {
		address := net.JoinHostPort("127.0.0.1", strconv.FormatUint(uint64(first+next.Add(1)%ports), 10))
		listener, err := net.Listen("tcp", address)
		if err != nil {
			continue // somebody's
		}
		if err := listener.Close(); err != nil {
			t.Fatal(err)
		}
		return address
	}
	t.Fatal("no port is free")
	return ""
}
