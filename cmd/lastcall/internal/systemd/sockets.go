// Package systemd is what a service manager and a gateway exchange: sockets that the process is
// started with, and notifications of how it is.
package systemd

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/coreos/go-systemd/v22/activation"
)

// The names that a socket unit can give its sockets (FileDescriptorName=).
const (
	SessionsSocket = "sessions"
	AdminSocket    = "admin"
)

// Sockets are listeners that the process was started with, in place of --listen and --admin. Nil:
// there is none.
//
// Any process with permission can reach a socket in the file system, and lastcall doesn't know which:
// its address is no loopback address, and so needs an authorization.
type Sockets struct {
	Sessions, Admin net.Listener
}

// Inherited takes the sockets that systemd passes (sd_listen_fds(3)). One that comes alone is for
// sessions, whatever its name. None of them is inherited further. An error says what to change in the
// socket units; all sockets are closed then.
func Inherited() (Sockets, error) {
	files := activation.Files(true) // closed on exec, and gone from the environment
	defer closeAll(files)           // a listener has a descriptor of its own
	var found Sockets
	for _, file := range files {
		listener, err := listenerOf(file)
		if err == nil {
			err = found.take(listener, file.Name(), len(files) == 1)
		}
		if err != nil {
			return Sockets{}, errors.Join(err, found.Close())
		}
	}
	return found, nil
}

func closeAll(files []*os.File) {
	for _, file := range files {
		_ = file.Close()
	}
}

// listenerOf accepts from a socket. net.FileListener alone would also take one for datagrams, or one
// end of a connection.
func listenerOf(file *os.File) (net.Listener, error) {
	wrong := fmt.Errorf("inherited socket %q: must be a stream socket that listens (ListenStream=, Accept=no)", file.Name())
	listener, err := net.FileListener(file)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", wrong, err)
	}
	network := listener.Addr().Network()
	if network != "tcp" && network != "unix" || connected(file) {
		return nil, errors.Join(wrong, listener.Close())
	}
	return listener, nil
}

// connected reports whether a socket is one end of a connection, as Accept=yes passes it.
func connected(file *os.File) bool {
	conn, err := net.FileConn(file)
	if err != nil {
		return false
	}
	defer conn.Close()
	return conn.RemoteAddr() != nil
}

// take puts a listener in its place, or closes it.
func (s *Sockets) take(listener net.Listener, name string, alone bool) error {
	place := &s.Sessions
	switch {
	case name == AdminSocket:
		place = &s.Admin
	case name != SessionsSocket && !alone:
		return errors.Join(fmt.Errorf("inherited socket %q: of several, each needs FileDescriptorName=%s or FileDescriptorName=%s", name, SessionsSocket, AdminSocket), listener.Close())
	}
	if *place != nil {
		return errors.Join(fmt.Errorf("inherited sockets: two are named %q, give that one a single ListenStream=", name), listener.Close())
	}
	*place = listener
	return nil
}

// Close closes the listeners that are not closed yet.
func (s Sockets) Close() (err error) {
	for _, listener := range []net.Listener{s.Sessions, s.Admin} {
		if listener == nil {
			continue
		}
		if e := listener.Close(); !errors.Is(e, net.ErrClosed) {
			err = cmp.Or(err, e)
		}
	}
	return err
}
