package serveflags

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"

	"github.com/lastcall-go/lastcall/transport"
	"github.com/lastcall-go/lastcall/transport/auth"
	"github.com/lastcall-go/lastcall/transport/gateway"
	"github.com/lastcall-go/lastcall/transport/grant"
	"github.com/lastcall-go/lastcall/transport/tlsconfig"
)

// authFlags say how requests are authorized.
type authFlags struct {
	Auth       string `enum:",none,tokens,forward" default:"" placeholder:"HOW" help:"What authorizes a session: none (each request is admitted), tokens (--auth-tokens) or forward (--auth-url). Needed where --listen is no loopback address."`
	AuthTokens string `type:"path" placeholder:"FILE" help:"Bearer tokens that are let in, a line each, made by 'lastcall token'. Read again on SIGHUP."`
	AuthURL    string `placeholder:"URL" help:"Endpoint that is asked about each request, and answers with a grant."`
	AuthSecret string `type:"path" placeholder:"FILE" help:"Base64 of 32 bytes, to sign what --auth-url is asked."`

	MaxSessionsPerPrincipal int      `default:"0" placeholder:"N" help:"Sessions at a time of one principal; 0 is no limit."`
	AllowOrigin             []string `placeholder:"ORIGIN" help:"Pages that may connect from a browser, besides those of the gateway's own host: a host, or scheme://host. A pattern, such as *.example.com or vscode-webview://*."`
	Subprotocol             []string `placeholder:"NAME" help:"WebSocket subprotocols that a client may be answered with, the preferred one first (default: the first that it offers). A page's token may be one: lastcall.bearer.TOKEN."`

	TLSCert     string `name:"tls-cert" type:"path" placeholder:"FILE" help:"Certificate for --listen, in PEM, and for --admin where others can reach it. Read again when it changes."`
	TLSKey      string `name:"tls-key" type:"path" placeholder:"FILE" help:"Its key, in PEM."`
	TLSClientCA string `name:"tls-client-ca" type:"path" placeholder:"FILE" help:"Ask clients for a certificate of these authorities, in PEM."`
}

// authorizer returns the authorizer of the flags, or nil where --auth is not set, with what of it can be read again.
// listen and admin are the addresses of the ports.
func (f *authFlags) authorizer(listen, admin string) (grant.Authorizer, []reloadable, error) {
	if err := f.CheckAuth(listen, admin); err != nil {
		return nil, nil, err
	}
	switch f.Auth {
	case "tokens":
		tokens, err := auth.OpenTokens(f.AuthTokens, grant.Grant{})
		if err != nil {
			return nil, nil, fmt.Errorf("--auth-tokens: %w", err)
		}
		return tokens, []reloadable{{what: "tokens", read: func(context.Context) error { return tokens.Reload() }}}, nil
	case "forward":
		forward, err := f.forward()
		if err != nil {
			return nil, nil, err
		}
		return forward, nil, nil
	case "none":
		return &auth.None{}, nil, nil
	}
	return nil, nil, nil
}

// CheckAuth wants the flags that go together, and no door open by mistake. listen and admin are the
// addresses of the listeners.
func (f *authFlags) CheckAuth(listen, admin string) error {
	switch {
	case f.Auth == "" && !gateway.IsLoopback(listen):
		return fmt.Errorf("--listen %s can be reached by others: authorize with --auth tokens or --auth forward, or use --auth none if something else guards it", listen)
	case f.Auth == "" && !gateway.IsLoopback(admin):
		return fmt.Errorf("--admin %s can be reached by others, which could drain: authorize with --auth tokens or --auth forward, or use --auth none if something else guards it", admin)
	case (f.Auth == "tokens") != (f.AuthTokens != ""):
		return errors.New("--auth tokens and --auth-tokens go together")
	case (f.Auth == "forward") != (f.AuthURL != ""):
		return errors.New("--auth forward and --auth-url go together")
	case f.AuthSecret != "" && f.AuthURL == "":
		return errors.New("--auth-secret signs what --auth-url is asked, and needs it")
	case (f.TLSCert == "") != (f.TLSKey == ""):
		return errors.New("--tls-cert and --tls-key go together")
	case f.TLSClientCA != "" && f.TLSCert == "":
		return errors.New("--tls-client-ca needs --tls-cert and --tls-key")
	case f.MaxSessionsPerPrincipal < 0:
		return fmt.Errorf("--max-sessions-per-principal %d: must be at least 0", f.MaxSessionsPerPrincipal)
	}
	return f.checkPages()
}

// checkPages refuses what would let no page in.
func (f *authFlags) checkPages() error {
	for _, pattern := range f.AllowOrigin {
		if err := transport.CheckOrigin(pattern); err != nil {
			return fmt.Errorf("--allow-origin %q matches no page: %w", pattern, err)
		}
	}
	for _, name := range f.Subprotocol {
		if err := transport.CheckSubprotocol(name); err != nil {
			return fmt.Errorf("--subprotocol %q: %w", name, err)
		}
	}
	return nil
}

func (f *authFlags) forward() (*auth.Forward, error) {
	options := auth.ForwardOptions{URL: f.AuthURL}
	if f.AuthSecret != "" {
		secret, err := auth.ReadSecret(f.AuthSecret)
		if err != nil {
			return nil, fmt.Errorf("--auth-secret: %w", err)
		}
		options.Secret = secret
	}
	forward, err := auth.NewForward(options)
	if err != nil {
		return nil, fmt.Errorf("--auth-url: %w", err)
	}
	return forward, nil
}

// encrypt puts TLS on a listener where the flags say so.
func (f *authFlags) encrypt(listener net.Listener, clientCA string, log *slog.Logger) (net.Listener, error) {
	if f.TLSCert == "" {
		return listener, nil
	}
	certificate, err := tlsconfig.NewCertificate(f.TLSCert, f.TLSKey, func(err error) {
		log.Error("certificate not read again, the one before stays in use", "error", err)
	})
	if err != nil {
		return nil, fmt.Errorf("--tls-cert: %w", err)
	}
	config, err := certificate.ServerConfig(clientCA)
	if err != nil {
		return nil, fmt.Errorf("--tls-client-ca: %w", err)
	}
	return tls.NewListener(listener, config), nil
}
