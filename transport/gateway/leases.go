package gateway

import (
	"cmp"
	"context"
	"errors"

	"github.com/lastcall-go/lastcall/actors/relay"
	"github.com/lastcall-go/lastcall/transport/admin"
	"github.com/lastcall-go/lastcall/transport/lease"
	"github.com/lastcall-go/lastcall/transport/redislease"
)

// openLeaser fails where the store refuses to keep leases. A store that can't be reached is a warning.
func (g *Gateway) openLeaser() (err error) {
	options := g.options.LeaseStore
	if options.URL == "" {
		g.leaser = cmp.Or[relay.Leaser](g.options.Leaser, &lease.Memory{})
		return nil
	}
	log := g.options.Log
	if options.OnWarning == nil {
		options.OnWarning = func(err error) { log.Warn("lease store", "error", err) }
	}
	if g.store, err = redislease.New(options); err != nil {
		return err
	}
	g.leaser = g.store
	err = g.store.Check(context.Background())
	if errors.Is(err, redislease.ErrRefused) {
		return err
	}
	if err != nil {
		failure := "open"
		if g.failsClosed() {
			failure = "closed"
		}
		log.Warn("lease store can't be reached yet", "failure", failure, "error", err)
	}
	return nil
}

func (g *Gateway) failsClosed() bool { return g.options.LeaseStore.Failure == redislease.FailClosed }

// leaseStats is nil where leases are in this process.
func (g *Gateway) leaseStats() func() redislease.Stats {
	if g.store == nil {
		return nil
	}
	return g.store.Stats
}

// leaseStoreReached is an error until the store has been reached once, where no session can do without.
func (g *Gateway) leaseStoreReached() error {
	if g.store != nil && g.failsClosed() && !g.store.Stats().Reached {
		return errors.New("lease store not reached yet")
	}
	return nil
}

// leaseStoreView is nil where leases are in this process.
func (g *Gateway) leaseStoreView() func() admin.LeaseStore {
	if g.store == nil {
		return nil
	}
	ttl := cmp.Or(g.options.LeaseStore.TTL, redislease.DefaultTTL)
	return func() admin.LeaseStore {
		stats := g.store.Stats()
		view := admin.LeaseStore{Reachable: stats.Reachable, Since: stats.Since}
		if !stats.Reachable && g.failsClosed() {
			view.SessionsEnd = stats.Since.Add(ttl) // none was renewed after it
		}
		return view
	}
}
