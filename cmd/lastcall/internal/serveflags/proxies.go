package serveflags

import (
	"errors"
	"fmt"
	"log/slog"
	"net"

	"github.com/lastcall-go/lastcall/transport/httpserver"
)

// proxyFlags say what is in front of the gateway.
type proxyFlags struct {
	TrustedProxies []string `placeholder:"CIDR" help:"Reverse proxies whose X-Forwarded-For, -Proto and -Host are taken: addresses, blocks such as 10.0.0.0/8, or unix for peers of a Unix-domain socket."`
	ProxyProtocol  bool     `help:"Connections of --trusted-proxies to --listen begin with a header of the PROXY protocol, version 1 or 2."`
}

func (f *proxyFlags) check() error {
	if f.ProxyProtocol && len(f.TrustedProxies) == 0 {
		return errors.New("--proxy-protocol needs --trusted-proxies: from others the header is not taken")
	}
	_, err := f.trusted()
	return err
}

func (f *proxyFlags) trusted() (httpserver.Proxies, error) {
	proxies, err := httpserver.ParseProxies(f.TrustedProxies)
	if err != nil {
		return httpserver.Proxies{}, fmt.Errorf("--trusted-proxies %w", err)
	}
	return proxies, nil
}

// behind has a plain listener read the PROXY protocol, if the flags say so.
func (f *proxyFlags) behind(listener net.Listener, log *slog.Logger) net.Listener {
	if !f.ProxyProtocol {
		return listener
	}
	trusted, _ := f.trusted() // has been checked
	return &httpserver.ProxyListener{Listener: listener, Trusted: trusted, Log: log}
}
