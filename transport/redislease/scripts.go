package redislease

import (
	"context"
	"time"
)

// Both scripts get keys, the time to live in milliseconds, and a token for each key. They are sent
// as text, not by hash: they are shorter than the keys of a batch, and a restarted server would have
// forgotten the hash.
const (
	// takeScript takes what is free, prolongs what is the token's, and returns which keys (from 1)
	// somebody else has. Said twice it changes nothing, so an answer that got lost does no harm, as
	// it would with SET NX: the second one would find the lease held, by itself.
	takeScript = `
local foreign = {}
for i, key in ipairs(KEYS) do
  local owner = redis.call('GET', key)
  if not owner then
    redis.call('SET', key, ARGV[i + 1], 'PX', ARGV[1])
  elseif owner == ARGV[i + 1] then
    redis.call('PEXPIRE', key, ARGV[1])
  else
    foreign[#foreign + 1] = i
  end
end
return foreign`

	// freeScript deletes what is the token's.
	freeScript = `
for i, key in ipairs(KEYS) do
  if redis.call('GET', key) == ARGV[i + 1] then
    redis.call('DEL', key)
  end
end
return {}`
)

// batchSize is how many leases one call of a script asks about: the server does nothing else
// meanwhile, about a millisecond.
const batchSize = 500

// take takes or prolongs leases whose turn the caller has, and returns those that somebody else has.
// After an error nothing is known: the server may have done it.
func (s *Store) take(ctx context.Context, batch []*lease) (foreign []*lease, err error) {
	sent := time.Now()
	positions, err := s.eval(ctx, takeScript, batch)
	if err != nil {
		return nil, err
	}
	next := 0
	for i, l := range batch {
		if next < len(positions) && positions[next] == int64(i+1) {
			foreign = append(foreign, l)
			next++
		} else {
			l.extend(sent)
		}
	}
	return foreign, nil
}

// eval runs a script, for as long as the store's timeout at most.
func (s *Store) eval(ctx context.Context, script string, batch []*lease) ([]int64, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	keys := make([]string, len(batch))
	args := make([]any, len(batch)+1)
	args[0] = s.options.TTL.Milliseconds()
	for i, l := range batch {
		keys[i], args[i+1] = l.key, l.token
	}
	positions, err := s.client.Eval(ctx, script, keys, args...).Int64Slice()
	return positions, s.secret.redact(err)
}
