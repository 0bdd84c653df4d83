package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path"
	"strings"
	"sync"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/transport"
)

// ports are where the gateway is reached.
type ports struct {
	sessions, admin net.Listener
	inherited       bool // the sessions' socket outlives the process
}

// ports opens both, or none.
func (c *serveCmd) ports(passed sockets, log *slog.Logger) (ports, error) {
	sessions, err := listenOr(passed.sessions, "listen", c.Listen)
	if err != nil {
		return ports{}, err
	}
	encrypted, err := c.encrypt(c.behind(sessions, log), c.TLSClientCA, log)
	if err != nil {
		return ports{}, errors.Join(err, sessions.Close())
	}
	admin, err := c.adminPort(passed.admin, log)
	if err != nil {
		return ports{}, errors.Join(err, encrypted.Close())
	}
	return ports{encrypted, admin, passed.sessions != nil}, nil
}

// adminPort is encrypted, like the sessions', where others can reach it: tokens come by it too. It
// asks for no client certificate, which health checks don't have.
func (c *serveCmd) adminPort(passed net.Listener, log *slog.Logger) (net.Listener, error) {
	admin, err := listenOr(passed, "admin", c.Admin)
	if err != nil || isLoopback(addressOf(passed, c.Admin)) {
		return admin, err
	}
	encrypted, err := c.encrypt(admin, "", log)
	if err != nil {
		return nil, errors.Join(err, admin.Close())
	}
	return encrypted, nil
}

// urlOf is a port's. Its scheme has an s where it is encrypted.
func (c *serveCmd) urlOf(scheme string, port net.Listener) string {
	switch port.(type) {
	case *net.TCPListener, *transport.Listener:
	default:
		if c.TLSCert != "" {
			scheme += "s"
		}
	}
	return scheme + "://" + port.Addr().String()
}

func (p ports) close() error { return errors.Join(p.sessions.Close(), p.admin.Close()) }

func listenOr(passed net.Listener, flag, address string) (net.Listener, error) {
	if passed != nil {
		return passed, nil
	}
	return listen(flag, address)
}

func listen(flag, address string) (net.Listener, error) {
	listener, err := transport.Listen(address)
	if err != nil {
		return nil, fmt.Errorf("--%s %s: %w", flag, address, err)
	}
	return listener, nil
}

// checkPath refuses what an http.ServeMux would panic at, or take for a pattern of many paths.
func checkPath(p string) error {
	if !strings.HasPrefix(p, "/") || p == "/" || p != path.Clean(p) || strings.ContainsAny(p, "{}?#% ") {
		return fmt.Errorf("--path %q: must be a plain absolute path, such as %s", p, transport.DefaultPath)
	}
	return nil
}

// routes are those of the sessions' port.
func (c *serveCmd) routes(handler *transport.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET "+c.Path, handler)
	mux.Handle("POST "+transport.DefaultExecutePath, handler.Execute())
	trusted, _ := c.trusted() // has been checked
	if c.Auth == "" {
		// Both hosts must be local: that of the request, and that which a proxy says it was asked for.
		return onlyLoopback(trusted.Handler(onlyLoopback(mux, handler.Log)), handler.Log)
	}
	return trusted.Handler(mux)
}

// needsAuth says what to do about requests that are for another name than this machine's own.
const needsAuth = "without --auth this gateway is for localhost alone: behind a proxy, or under a name of its own, " +
	"start it with --auth tokens or --auth forward, or with --auth none if the proxy decides who may connect"

// onlyLoopback is for a gateway that lets everybody in because only this machine reaches it. What it
// refuses is logged once: behind a proxy it meets every request.
func onlyLoopback(next http.Handler, log *slog.Logger) http.Handler {
	var told sync.Once
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !transport.IsLocal(r.Host) {
			told.Do(func() { log.Warn("request refused: "+needsAuth, "host", actors.CutText(r.Host, maxShownHost)) })
			http.Error(w, needsAuth, http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// maxShownHost is how many bytes of a request's Host are logged.
const maxShownHost = 256
