package relay

import "context"

// held is a session's lease while the session has it.
type held struct {
	Lease
	relaying context.Context // done when nothing more may be relayed
	end      context.CancelFunc
	released bool // release's
}

// takeLease leaves the session's lease nil where the workflow is not leased, and after an error.
func (s *session) takeLease(workflow string) error {
	if s.Leaser == nil || workflow == "" {
		return nil
	}
	h := &held{}
	h.relaying, h.end = context.WithCancel(s.stream)
	lease, err := s.Leaser.Acquire(s.stream, workflow, func(why error) { s.leaseLost(h, why) })
	if err != nil {
		h.end()
		return err
	}
	h.Lease, s.lease = lease, h
	return nil
}

// confirm reports whether a message may be relayed now. It is asked before each one, in the
// goroutine that relays it, and after every wait: a process that was suspended in between may have
// lost the lease without notice. If the lease is lost, the session ends.
//
// It may block as long as [Lease].Confirm does, but not once the agent's stream is severed or the
// lease is released: so a session is stopped in its time.
func (s *session) confirm() bool {
	h := s.lease
	if h == nil {
		return true
	}
	if h.relaying.Err() != nil {
		return false
	}
	err := h.Confirm(h.relaying)
	if err != nil && h.relaying.Err() == nil {
		s.leaseLost(h, err)
	}
	return err == nil
}

// leaseLost is called by the store, or by confirm, or by both. Another session may have the workflow
// now: nothing more is relayed, and the agent is stopped in a way that leaves the workflow to that
// session. The message comes first: a goroutine that finds that it may not relay reports its own end
// after it.
func (s *session) leaseLost(h *held, why error) {
	s.post(&message{event: event{kind: leaseLost, end: leaseLostEnding, stop: stopPingFailed}, err: why})
	h.end()
}

type fencingTokenKey struct{}

func (s *session) withFencingToken(ctx context.Context) context.Context {
	if s.lease == nil {
		return ctx
	}
	return context.WithValue(ctx, fencingTokenKey{}, s.lease.Token())
}

// FencingToken returns the [Lease].Token of the session for which an agent's stream is opened, from
// the context that [Agent].Open is given. 0: the workflow is not leased, or its lease has no token.
func FencingToken(ctx context.Context) uint64 {
	token, _ := ctx.Value(fencingTokenKey{}).(uint64)
	return token
}
