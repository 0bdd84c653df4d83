package redislease

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"
)

// The scripts get the two keys of a lease, which are in one slot of a cluster, and its owner, its
// token (0: none yet) and its time to live in milliseconds. They are sent as text, not by hash,
// which a restarted server would have forgotten.
const (
	// takeScript takes what is free and prolongs what is the owner's. It returns the lease's token,
	// negative where the lease was free, or 0 where another session has it, or has had it since.
	// Said twice it changes nothing, so an answer that got lost does no harm, as it would with
	// SET NX: the second one would find the lease held, by itself.
	//
	// A token is larger than the last one of the workflow, which the server keeps for a day, and
	// no smaller than the server's clock in microseconds.
	takeScript = `
local value = redis.call('GET', KEYS[1])
local mine = value and string.sub(value, 1, #ARGV[1]) == ARGV[1]
if value and not mine then return 0 end
local last = tonumber(redis.call('GET', KEYS[2]) or '') or 0
local token = tonumber(ARGV[2])
if token == 0 and mine then
  token = last
elseif token == 0 then
  local now = redis.call('TIME')
  token = math.max(last + 1, now[1] * 1000000 + now[2])
elseif last > token and not mine then
  return 0
end
if last < token then
  redis.call('SET', KEYS[2], string.format('%.0f', token), 'PX', 86400000)
end
redis.call('SET', KEYS[1], ARGV[1] .. ':' .. string.format('%.0f', token), 'PX', ARGV[3])
return mine and token or -token`

	// freeScript deletes what is the owner's.
	freeScript = `
local value = redis.call('GET', KEYS[1])
if value and string.sub(value, 1, #ARGV[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 0`
)

// batchSize is how many leases are asked about in one round trip. Each has a script of its own, so
// that a failure concerns one lease, and a cluster can have the keys on any node.
const batchSize = 1000

// errHeld says that the server answered, and that it said no.
var errHeld = errors.New("another session has the lease")

// answer is what the server says of one lease.
type answer struct {
	token uint64
	taken bool // it was free
	err   error
}

// take takes or prolongs leases whose turn the caller has. After an error that is not errHeld
// nothing is known: the server may have done it.
func (s *Store) take(ctx context.Context, batch []*lease) []answer {
	sent := sending(ctx)
	answers := s.eval(ctx, takeScript, batch)
	for i, l := range batch {
		if a := answers[i]; a.err == nil && a.token == 0 {
			answers[i].err = errHeld
		} else if a.err == nil {
			l.extend(sent, a.token)
		} else {
			l.missed(sent, a.err)
		}
	}
	return answers
}

// sending returns the time at which a question that is asked with ctx is sent. It is zero where the
// time of ctx is up, as after the process was suspended during a round: the question isn't sent, so
// the lack of an answer is no outage of the server.
func sending(ctx context.Context) time.Time {
	now := time.Now()
	if limit, ok := ctx.Deadline(); ok && !now.Before(limit) {
		return time.Time{}
	}
	return now
}

// eval runs a script for each lease, for as long as the store's timeout at most.
func (s *Store) eval(ctx context.Context, script string, batch []*lease) []answer {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	pipeline := s.client.Pipeline()
	calls := make([]*redis.Cmd, len(batch))
	for i, l := range batch {
		calls[i] = pipeline.Eval(ctx, script, []string{l.key, l.counter}, l.owner, l.Token(), s.options.TTL.Milliseconds())
	}
	_, failure := pipeline.Exec(ctx)
	answers := make([]answer, len(batch))
	for i, call := range calls {
		n, err := call.Int64()
		if err != nil && call.Err() == nil { // it wasn't sent
			err = failure
		}
		answers[i] = answer{uint64(max(n, -n)), n < 0, s.secrets.redact(err)}
	}
	return answers
}
