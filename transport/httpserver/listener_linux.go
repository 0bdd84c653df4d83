package httpserver

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// Where the flags of a TCP header are, and the two that tell a first packet from all others.
const (
	tcpFlags = 13
	tcpSYN   = 0x02
	tcpACK   = 0x10
)

// deafen makes a listening TCP socket ignore new connections. Handshakes under way go on: their packets
// have ACK set. So have all those of the connections that are accepted, which inherit the filter.
func deafen(listener syscall.Conn) error {
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: tcpFlags},
		{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: tcpSYN | tcpACK},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: tcpSYN, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},          // drop it
		{Code: unix.BPF_RET | unix.BPF_K, K: 0xffffffff}, // keep all of it
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	return control(listener, func(fd int) error {
		return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &program)
	})
}

// isQueued reports whether a connection waits to be accepted. From a closed listener none is.
func isQueued(listener syscall.Conn) bool {
	n := 0
	_ = control(listener, func(fd int) (err error) {
		n, err = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		return err
	})
	return n > 0
}

// control calls f with a listener's descriptor, which stays open meanwhile.
func control(listener syscall.Conn, f func(fd int) error) error {
	raw, err := listener.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = f(int(fd)) }); err != nil {
		return err
	}
	return failed
}
