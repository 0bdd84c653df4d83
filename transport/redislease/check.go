package redislease

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// ErrRefused says that the server will never keep leases for this configuration.
var ErrRefused = errors.New("lease store refuses")

// checkScript does what the other scripts do.
const checkScript = `
redis.call('SET', KEYS[1], '1', 'PX', 1000)
redis.call('GET', KEYS[2])
redis.call('TIME')
redis.call('DEL', KEYS[1])
return 0`

// Check asks the server whether it would keep leases, which takes 6 s at most. An error that is
// [ErrRefused] says that it won't, however often it is asked: a wrong password, too few rights, a
// database or a certificate that it doesn't have, a replica. Any other error says that it can't be
// reached, or can't answer yet. Check is for before Serve.
func (s *Store) Check(ctx context.Context) error {
	err := s.check(ctx)
	if silent := err != nil && !errors.As(err, new(redis.Error)); silent && !s.refusal(err) {
		if why := s.explain(ctx); why != nil {
			err = fmt.Errorf("%w: %w", why, err)
		}
	}
	s.health.note(err)
	if err != nil && s.refusal(err) {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return err
}

func (s *Store) check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	key := s.options.Prefix + "check-" + rand.Text()
	err := s.client.Eval(ctx, checkScript, []string{key, s.options.Prefix + "{" + key + "}"}).Err()
	if s.redirected {
		return s.secrets.redact(err)
	}
	if err == nil {
		// Keys of two slots, which no node of a cluster allows.
		err = s.client.Eval(ctx, "return 0", []string{s.options.Prefix + "{a}", s.options.Prefix + "{b}"}).Err()
	}
	if contains(err, "CROSSSLOT") || contains(err, "MOVED ") || contains(err, "CLUSTERDOWN") {
		err = fmt.Errorf("a node of a cluster: redis+cluster:// instead of redis://: %w", err)
	}
	return s.secrets.redact(err)
}

var (
	errPlain = errors.New("the server speaks no TLS: redis:// instead of rediss://")
	errTLS   = errors.New("the server speaks TLS: rediss:// instead of redis://")
)

// explain returns the reason of a server that gives no answer, or nil: one side speaks TLS and the
// other one doesn't, or the server wants a certificate. A client that writes first sees no more of
// the latter than a reset.
func (s *Store) explain(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	dialer := tls.Dialer{Config: s.tls}
	conn, err := dialer.DialContext(ctx, "tcp", s.address)
	if err == nil {
		defer conn.Close()
	}
	verified := err == nil || errors.As(err, new(*tls.CertificateVerificationError)) || isAlert(err)
	switch {
	case s.tls == nil && verified:
		return errTLS
	case err == nil:
		deadline, _ := ctx.Deadline()
		_ = conn.SetReadDeadline(deadline)
		if _, err = conn.Read(make([]byte, 1)); isAlert(err) {
			return err
		}
	case s.tls != nil && s.speaksPlain():
		return errPlain
	}
	return nil
}

// speaksPlain reports that the server answers a command in the clear.
func (s *Store) speaksPlain() bool {
	conn, err := net.DialTimeout("tcp", s.address, s.timeout)
	if err != nil {
		return false
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(s.timeout))
	first := make([]byte, 1)
	if _, err = conn.Write([]byte("PING\r\n")); err == nil {
		_, err = conn.Read(first)
	}
	return err == nil && (first[0] == '+' || first[0] == '-')
}

// passing are the errors of a server that may answer otherwise soon.
var passing = []string{"LOADING", "BUSY", "OOM", "MISCONF", "MASTERDOWN", "NOREPLICAS", "max number of clients"}

// redirecting are the errors that a client of a cluster or of sentinels gets over.
var redirecting = []string{"READONLY", "CLUSTERDOWN", "TRYAGAIN", "MOVED ", "ASK "}

// refusal distinguishes a refusal from a server that can't be reached or can't answer yet.
func (s *Store) refusal(err error) bool {
	if !errors.As(err, new(redis.Error)) {
		return errors.Is(err, errPlain) || errors.Is(err, errTLS) ||
			errors.As(err, new(*tls.CertificateVerificationError)) || isAlert(err) || errors.As(err, new(tls.RecordHeaderError))
	}
	has := func(word string) bool { return contains(err, word) }
	return !slices.ContainsFunc(passing, has) && !(s.redirected && slices.ContainsFunc(redirecting, has))
}

// isAlert says that the server ended TLS, for want of a certificate for example.
func isAlert(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error"
}

// isWrongType says that a key holds something else: it concerns this key alone.
func isWrongType(err error) bool { return contains(err, "WRONGTYPE") }

// contains looks for the word that an answer begins with, unless it is that of a script.
func contains(err error, word string) bool { return err != nil && strings.Contains(err.Error(), word) }

// health is what became of the last round, probe or check.
type health struct {
	mu     sync.Mutex
	good   bool
	before bool // it was good at some time
	since  time.Time
}

func (h *health) note(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if good := err == nil; good != h.good || h.since.IsZero() {
		h.good, h.since = good, time.Now()
		h.before = h.before || good
	}
}

// tell fills in what it knows.
func (h *health) tell(stats *Stats) {
	h.mu.Lock()
	defer h.mu.Unlock()
	stats.Reachable, stats.Reached, stats.Since = h.good, h.before, h.since
}
