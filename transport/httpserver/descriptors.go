package httpserver

import (
	"net"
	"syscall"
)

// A new descriptor has the lowest number that is free. So a socket whose number is n below the limit
// shows that n descriptors are free at most, whatever holds the others: nothing has to be counted.

// KeptFree is how many descriptors a server should leave free where the process may have limit of them:
// for its operator's requests, its agents' connections, its lease store and its files.
func KeptFree(limit int) int { return min(max(limit/8, 16), 256, limit/2) }

// LeaveFree returns a [net.Dialer]'s Control: it fails with EMFILE where the connection would leave fewer
// than so many descriptors free. It is for connections that can be many, and fail with less harm than
// what needs the descriptors. Where [DescriptorLimit] isn't known it never fails.
func LeaveFree(descriptors int) func(network, address string, conn syscall.RawConn) error {
	floor := floorBelow(descriptors)
	return func(_, _ string, conn syscall.RawConn) error {
		if numberOf(conn) >= floor {
			return syscall.EMFILE
		}
		return nil
	}
}

// floorBelow is the lowest number of a descriptor that leaves fewer than so many free.
func floorBelow(descriptors int) int {
	limit, known := DescriptorLimit()
	if !known || descriptors <= 0 {
		return maxDescriptors
	}
	return max(0, limit-descriptors)
}

// maxDescriptors is more than there can be.
const maxDescriptors = 1<<31 - 1

// descriptorOf is the number of a connection's descriptor, under TLS too, or -1 where it has none.
func descriptorOf(conn net.Conn) int {
	if wrapped, ok := conn.(interface{ NetConn() net.Conn }); ok {
		conn = wrapped.NetConn()
	}
	socket, ok := conn.(syscall.Conn)
	if !ok {
		return -1
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return -1
	}
	return numberOf(raw)
}

func numberOf(conn syscall.RawConn) (number int) {
	number = -1
	_ = conn.Control(func(fd uintptr) { number = int(fd) }) // closed: it has none any more
	return number
}
