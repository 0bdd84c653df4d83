// Package systemdtest stands in for systemd: it starts processes with sockets, and reads what they notify.
package systemdtest

import (
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Passing is a command that is started as systemd does, with sockets in its environment.
func Passing(files []*os.File, names, binary string, args ...string) *exec.Cmd {
	cmd := exec.Command("sh", append([]string{"-c", `LISTEN_PID=$$ exec "$0" "$@"`, binary}, args...)...)
	cmd.ExtraFiles = files
	cmd.Env = append(os.Environ(), "LISTEN_FDS="+strconv.Itoa(len(files)), "LISTEN_FDNAMES="+names)
	return cmd
}

// Socket makes a socket that can be passed on. The test's own listener is closed: only the file holds it.
func Socket(t *testing.T, network, address string) (file *os.File, at net.Addr) {
	t.Helper()
	listener, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if unix, ok := listener.(*net.UnixListener); ok {
		unix.SetUnlinkOnClose(false)
	}
	file, err = listener.(interface{ File() (*os.File, error) }).File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	return file, listener.Addr()
}

// Notice is a message to a service manager.
type Notice struct {
	At   time.Time
	Text string
}

// Has reports whether the message has this line.
func (m Notice) Has(line string) bool {
	return slices.Contains(strings.Split(m.Text, "\n"), line)
}

// Extends is by how much systemd is asked to wait longer. 0: it isn't.
func (m Notice) Extends() time.Duration {
	for line := range strings.SplitSeq(m.Text, "\n") {
		if usec, found := strings.CutPrefix(line, "EXTEND_TIMEOUT_USEC="); found {
			n, err := strconv.Atoi(usec)
			if err != nil {
				panic(err)
			}
			return time.Duration(n) * time.Microsecond
		}
	}
	return 0
}

// CountNotices counts those with this line.
func CountNotices(heard []Notice, line string) (n int) {
	for _, m := range heard {
		if m.Has(line) {
			n++
		}
	}
	return n
}

// NotifySocket is where a service manager listens: a path, or a name that is nowhere in the file
// system.
func NotifySocket(t *testing.T, name string) *net.UnixConn {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// NextNotice waits for one.
func NextNotice(t *testing.T, conn *net.UnixConn) Notice {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 4096)
	n, err := conn.Read(buffer)
	if err != nil {
		t.Fatal(err)
	}
	return Notice{time.Now(), string(buffer[:n])}
}
