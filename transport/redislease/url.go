package redislease

import (
	"cmp"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// poolSize bounds the connections of a process to each server, unless the URL says otherwise. A call
// takes a fraction of a millisecond.
const poolSize = 16

// errURL shows nothing of the URL: an error of the parser's would quote it, and in one that is
// malformed any part can be the password's.
var errURL = errors.New("lease store URL: want redis://[user:password@]host[:port][,host...][/database], " +
	"redis+cluster://host[,host...], redis+sentinel://host[,host...]/master[/database] or redis+unix:///path; " +
	"rediss for TLS, valkey for redis")

// location is a URL in parts.
type location struct {
	secure bool     // by TLS
	kind   string   // "", "cluster", "sentinel" or "unix"
	user   string   // with the password and the @, or empty
	hosts  []string // as they were written; one empty string for a unix socket
	path   string   // from its slash
	query  url.Values
}

// clientOptions reads a URL. What bounds the time of a call is not the URL's to say.
func clientOptions(address string, secure *tls.Config, timeout time.Duration) (*redis.UniversalOptions, error) {
	at, ok := locate(address)
	if !ok {
		return nil, errURL
	}
	u := &redis.UniversalOptions{
		IsClusterMode:         at.kind == "cluster",
		DialTimeout:           timeout,
		ReadTimeout:           timeout,
		WriteTimeout:          timeout,
		PoolTimeout:           timeout,
		ContextTimeoutEnabled: true, // a call's deadline bounds all of these together
		MaxRetries:            1,    // a pooled connection may have died while it idled
		DialerRetries:         1,
		Protocol:              2,  // nothing of RESP3 is used
		PipelinePoolSize:      -1, // no second pool
		DisableIdentity:       true,
		MaintNotificationsConfig: &maintnotifications.Config{
			Mode: maintnotifications.ModeDisabled,
		},
	}
	if at.kind == "sentinel" {
		u.MasterName = at.master()
		u.SentinelUsername, u.SentinelPassword = at.take("sentinel_username"), at.take("sentinel_password")
	}
	for _, host := range at.hosts {
		o, err := redis.ParseURL(at.of(host))
		if err != nil || at.kind == "sentinel" && u.MasterName == "" {
			return nil, errURL
		}
		adopt(u, o, secure)
	}
	if u.DB != 0 && u.MasterName == "" && (u.IsClusterMode || len(u.Addrs) > 1) {
		return nil, errors.New("lease store URL: a cluster has no database but 0")
	}
	return u, nil
}

// adopt takes what go-redis read for one of the addresses. The name in a server's certificate is
// that of its own address.
func adopt(u *redis.UniversalOptions, o *redis.Options, secure *tls.Config) {
	u.Addrs = append(u.Addrs, o.Addr)
	u.Username, u.Password, u.DB, u.ClientName = o.Username, o.Password, o.DB, o.ClientName
	u.PoolFIFO, u.PoolSize = o.PoolFIFO, cmp.Or(o.PoolSize, poolSize)
	u.MinIdleConns, u.MaxIdleConns, u.MaxActiveConns = o.MinIdleConns, o.MaxIdleConns, o.MaxActiveConns
	u.ConnMaxIdleTime, u.ConnMaxLifetime = o.ConnMaxIdleTime, o.ConnMaxLifetime
	if o.TLSConfig == nil {
		return
	}
	o.TLSConfig.ServerName = ""
	u.TLSConfig = o.TLSConfig
	if secure != nil {
		u.TLSConfig = secure.Clone()
	}
}

// locate takes a URL apart. Package net/url does not know several hosts.
func locate(address string) (location, bool) {
	scheme, rest, ok := strings.Cut(address, "://")
	if scheme == "unix" {
		scheme = "redis+unix"
	}
	scheme, kind, _ := strings.Cut(strings.Replace(scheme, "valkey", "redis", 1), "+")
	end := strings.IndexAny(rest+"/", "/?#")
	authority, tail := rest[:end], rest[end:]
	at := strings.LastIndex(authority, "@") + 1
	path, query, _ := strings.Cut(tail, "?")
	values, err := url.ParseQuery(query)
	l := location{scheme == "rediss", kind, authority[:at], strings.Split(authority[at:], ","), path, values}
	return l, ok && err == nil && (scheme == "redis" || scheme == "rediss") && l.plausible()
}

func (l location) plausible() bool {
	switch l.kind {
	case "unix":
		return !l.secure && len(l.hosts) == 1 && l.hosts[0] == ""
	case "", "cluster", "sentinel":
		for _, host := range l.hosts {
			if host == "" && len(l.hosts) > 1 {
				return false
			}
		}
		return true
	}
	return false
}

// of returns the URL that go-redis knows for one of the hosts.
func (l location) of(host string) string {
	scheme := "redis"
	switch {
	case l.kind == "unix":
		scheme = "unix"
	case l.secure:
		scheme = "rediss"
	}
	if _, _, err := net.SplitHostPort(host); err != nil && l.kind == "sentinel" {
		host += ":26379"
	}
	return scheme + "://" + l.user + host + l.path + "?" + l.query.Encode()
}

// master takes the name of the master from the path of a sentinel's URL.
func (l *location) master() string {
	name, rest, more := strings.Cut(strings.TrimPrefix(l.path, "/"), "/")
	l.path = ""
	if more {
		l.path = "/" + rest
	}
	name, err := url.PathUnescape(name)
	if err != nil {
		return ""
	}
	return name
}

// take takes a parameter that go-redis doesn't know.
func (l *location) take(name string) string {
	value := l.query.Get(name)
	l.query.Del(name)
	return value
}

// secrets are passwords, which no error may show.
type secrets []string

// redact is for errors of the server's: a server that doesn't know a command quotes its arguments, and
// those of HELLO and AUTH hold the password.
func (s secrets) redact(err error) error {
	for _, secret := range s {
		if err != nil && secret != "" && strings.Contains(err.Error(), secret) {
			err = redacted{errors.New(strings.ReplaceAll(err.Error(), secret, "[password]"))}
		}
	}
	return err
}

// redacted is an answer of the server's. No other error has the password.
type redacted struct{ error }

// RedisError makes it a [redis.Error].
func (redacted) RedisError() {}

// maxPlainID is how long an ID may be, in bytes, to be part of a key as it is.
const maxPlainID = 64

// boundID bounds an ID, which a client may have chosen. A hash with its prefix is longer than any
// plain ID, so none can pose as one. A plain ID has no braces, which choose a key's slot in a
// cluster.
func boundID(id string) string {
	if len(id) <= maxPlainID && !strings.ContainsAny(id, "{}") {
		return id
	}
	sum := sha256.Sum256([]byte(id))
	return "sha256-" + hex.EncodeToString(sum[:])
}
