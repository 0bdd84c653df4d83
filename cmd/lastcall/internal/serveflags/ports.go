package serveflags

import (
	"errors"
	"fmt"
	"log/slog"
	"net"

	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/systemd"
	"github.com/lastcall-go/lastcall/transport/gateway"
	"github.com/lastcall-go/lastcall/transport/httpserver"
)

// ports are where the gateway is reached.
type ports struct {
	sessions, admin net.Listener
}

// ports opens both, or none.
func (f *Flags) ports(passed systemd.Sockets, log *slog.Logger) (ports, error) {
	sessions, err := listenOr(passed.Sessions, "listen", f.Listen)
	if err != nil {
		return ports{}, err
	}
	encrypted, err := f.encrypt(f.behind(sessions, log), f.TLSClientCA, log)
	if err != nil {
		return ports{}, errors.Join(err, sessions.Close())
	}
	admin, err := f.adminPort(passed.Admin, log)
	if err != nil {
		return ports{}, errors.Join(err, encrypted.Close())
	}
	return ports{encrypted, admin}, nil
}

// adminPort is encrypted, like the sessions', where others can reach it: tokens come by it too. It
// asks for no client certificate, which health checks don't have.
func (f *Flags) adminPort(passed net.Listener, log *slog.Logger) (net.Listener, error) {
	admin, err := listenOr(passed, "admin", f.Admin)
	if err != nil || gateway.IsLoopback(addressOf(passed, f.Admin)) {
		return admin, err
	}
	encrypted, err := f.encrypt(admin, "", log)
	if err != nil {
		return nil, errors.Join(err, admin.Close())
	}
	return encrypted, nil
}

// urlOf is a port's. Its scheme has an s where it is encrypted.
func (f *Flags) urlOf(scheme string, port net.Listener) string {
	switch port.(type) {
	case *net.TCPListener, *httpserver.Listener:
	default:
		if f.TLSCert != "" {
			scheme += "s"
		}
	}
	return scheme + "://" + port.Addr().String()
}

func listenOr(passed net.Listener, flag, address string) (net.Listener, error) {
	if passed != nil {
		return passed, nil
	}
	return Listen(flag, address)
}

// Listen names the flag where an address can't be had.
func Listen(flag, address string) (net.Listener, error) {
	listener, err := httpserver.Listen(address)
	if err != nil {
		return nil, fmt.Errorf("--%s %s: %w", flag, address, err)
	}
	return listener, nil
}

// addressOf is where a listener is reached: itself, or if there is none where the flag says.
func addressOf(listener net.Listener, flag string) string {
	if listener == nil {
		return flag
	}
	return listener.Addr().String()
}
