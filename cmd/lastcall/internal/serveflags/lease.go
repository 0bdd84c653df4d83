package serveflags

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/lastcall-go/lastcall/transport/redislease"
	"github.com/lastcall-go/lastcall/transport/tlsconfig"
)

// leaseFlags make sure that a workflow runs in one place.
type leaseFlags struct {
	Lock         bool          `help:"Lease every workflow, also those whose grant doesn't ask for it."`
	LeaseURL     string        `placeholder:"URL" help:"Where instances share their leases: redis://host:port, redis+cluster://host:port, redis+sentinel://host:port,host:port/master or redis+unix:///path, with rediss for TLS. Without it they are this process's own."`
	LeaseFailure string        `default:"open" enum:"open,closed" placeholder:"HOW" help:"While the store is unreachable, sessions start and go on without a lease (open), or are refused and end when their lease runs out (closed) (default ${default})."`
	LeaseTTL     time.Duration `default:"30s" placeholder:"D" help:"How long a killed instance keeps its workflows; leases are renewed three times as often (default ${default})."`
	LeaseCA      string        `name:"lease-ca" type:"path" placeholder:"FILE" help:"Authorities of the store's certificate, in PEM (default: the system's)."`
	LeaseCert    string        `type:"path" placeholder:"FILE" help:"Certificate that the store is shown, in PEM. Read again when it changes."`
	LeaseKey     string        `type:"path" placeholder:"FILE" help:"Its key, in PEM."`
}

// store has no URL where leases are this process's own.
func (f *leaseFlags) store(log *slog.Logger) (redislease.Options, error) {
	if f.LeaseTTL < time.Second || f.LeaseTTL > MaxDuration {
		return redislease.Options{}, fmt.Errorf("--lease-ttl %v: must be from 1s to %v", f.LeaseTTL, MaxDuration)
	}
	secure, err := f.leaseTLS(log)
	if err != nil {
		return redislease.Options{}, err
	}
	if f.LeaseURL != "" {
		redis.SetLogger(redisLog{log}) // it has one for the process, and would write to stderr
	}
	failure := redislease.FailOpen
	if f.LeaseFailure == "closed" {
		failure = redislease.FailClosed
	}
	return redislease.Options{URL: f.LeaseURL, TLS: secure, TTL: f.LeaseTTL, Failure: failure}, nil
}

// leaseTLS is nil if no file is named.
func (f *leaseFlags) leaseTLS(log *slog.Logger) (*tls.Config, error) {
	scheme, _, _ := strings.Cut(f.LeaseURL, "://")
	encrypted := strings.HasPrefix(scheme, "rediss") || strings.HasPrefix(scheme, "valkeys")
	switch {
	case f.LeaseCA == "" && f.LeaseCert == "" && f.LeaseKey == "":
		return nil, nil
	case !encrypted:
		return nil, errors.New("--lease-ca, --lease-cert and --lease-key need a --lease-url with TLS, such as rediss://host:port")
	case (f.LeaseCert == "") != (f.LeaseKey == ""):
		return nil, errors.New("--lease-cert and --lease-key go together")
	}
	config, err := tlsconfig.Client{
		CA: f.LeaseCA, Cert: f.LeaseCert, Key: f.LeaseKey,
		Failed: func(err error) {
			log.Error("certificate for the lease store not read again, the one before stays in use", "error", err)
		},
	}.Config()
	if err != nil {
		return nil, fmt.Errorf("--lease-ca, --lease-cert, --lease-key: %w", err)
	}
	return config, nil
}

// redisLog takes what go-redis says of its connections; what matters of it comes as a warning of the
// store's.
type redisLog struct{ *slog.Logger }

// Printf implements go-redis' logger.
func (l redisLog) Printf(_ context.Context, format string, args ...any) {
	l.Debug(fmt.Sprintf(format, args...), "from", "go-redis")
}
