package redislease

import (
	"cmp"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// poolSize bounds the connections of a process, unless the URL says otherwise. A call takes a
// fraction of a millisecond.
const poolSize = 16

// errURL tells nothing of the URL: an error of the parser's would quote it, and in one that is
// malformed any part can be the password's.
var errURL = errors.New("lease store URL: want redis://[user:password@]host[:port][/database], or rediss:// or valkey:// or valkeys://")

// clientOptions reads a URL. What bounds the time of a call is not the URL's to say.
func clientOptions(url string, secure *tls.Config, timeout time.Duration) (*redis.Options, error) {
	scheme, rest, _ := strings.Cut(url, "://")
	switch scheme {
	case "redis", "rediss":
	case "valkey":
		scheme = "redis"
	case "valkeys":
		scheme = "rediss"
	default:
		return nil, errURL
	}
	o, err := redis.ParseURL(scheme + "://" + rest)
	if err != nil {
		return nil, errURL
	}
	if o.TLSConfig != nil && secure != nil {
		server := o.TLSConfig.ServerName
		o.TLSConfig = secure.Clone()
		o.TLSConfig.ServerName = cmp.Or(secure.ServerName, server)
	}
	o.PoolSize = cmp.Or(o.PoolSize, poolSize)
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = timeout, timeout, timeout, timeout
	o.ContextTimeoutEnabled = true // a call's deadline bounds all of these together
	o.MaxRetries = 1               // a pooled connection may have died while it idled
	o.DialerRetries = 1
	o.Protocol = 2 // nothing of RESP3 is used
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	o.DisableIdentity = true
	return o, nil
}

// secret is a password, which no error may show.
type secret string

// redact is for errors of the server's: one that doesn't know a command quotes its arguments, and
// those of HELLO and AUTH hold the password.
func (s secret) redact(err error) error {
	if err == nil || s == "" || !strings.Contains(err.Error(), string(s)) {
		return err
	}
	return errors.New(strings.ReplaceAll(err.Error(), string(s), "[password]"))
}

// maxPlainID is how long an ID may be, in bytes, to be part of a key as it is.
const maxPlainID = 64

// boundID bounds an ID, which a client may have chosen. A hash with its prefix is longer than any
// plain ID, so none can pose as one.
func boundID(id string) string {
	if len(id) <= maxPlainID {
		return id
	}
	sum := sha256.Sum256([]byte(id))
	return "sha256-" + hex.EncodeToString(sum[:])
}
