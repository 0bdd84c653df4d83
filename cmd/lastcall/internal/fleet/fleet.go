// Package fleet asks several gateways as one: how they stand, in a terminal and on a page, and a drain of one
// after the other.
package fleet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/operator"
	adminapi "github.com/lastcall-go/lastcall/transport/admin"
)

// most is how many instances a fleet has at most: each is asked every second.
const most = 100

// Instance is one gateway of a fleet.
type Instance struct {
	Name   string // as --admin names it, or host:port of one of its addresses
	Client *adminapi.Client
}

// Fleet is several gateways, in the order in which they were named.
type Fleet []Instance

// Open makes the clients of the instances that the values of --admin name. A host name with several addresses is
// as many instances, unless it is this machine's or the scheme is https, whose certificate is for the name. It
// fails where an instance is named twice, or a name can't be resolved. The caller must call Close.
func Open(ctx context.Context, admin []string, token string) (Fleet, error) {
	return open(ctx, admin, token, net.DefaultResolver.LookupNetIP)
}

// lookup returns the addresses of a host name.
type lookup func(ctx context.Context, network, host string) ([]netip.Addr, error)

func open(ctx context.Context, admin []string, token string, addressesOf lookup) (Fleet, error) {
	var fleet Fleet
	seen := make(map[string]bool)
	for _, value := range admin {
		base, err := operator.URL(value)
		if err != nil {
			return nil, err
		}
		bases, err := instancesOf(ctx, value, base, addressesOf)
		if err != nil {
			return nil, err
		}
		for name, base := range bases {
			if seen[base.String()] {
				return nil, fmt.Errorf("--admin %s is given twice", name)
			}
			seen[base.String()] = true
			fleet = append(fleet, Instance{name, adminapi.NewClient(base, token)})
		}
	}
	if len(fleet) > most {
		return nil, fmt.Errorf("%d instances: a fleet has %d at most", len(fleet), most)
	}
	return fleet, nil
}

// Close lets go of the connections.
func (f Fleet) Close() {
	for _, instance := range f {
		instance.Client.Close()
	}
}

// instancesOf are the base URLs of one value of --admin, by the names of their instances.
func instancesOf(ctx context.Context, value string, base *url.URL, addressesOf lookup) (func(yield func(string, *url.URL) bool), error) {
	one := func(yield func(string, *url.URL) bool) { yield(value, base) }
	host := base.Hostname()
	if _, err := netip.ParseAddr(host); err == nil || base.Scheme == "https" || host == "localhost" {
		return one, nil
	}
	addresses, err := addressesOf(ctx, "ip", host)
	switch {
	case err != nil:
		return nil, fmt.Errorf("--admin %s: %w", value, err)
	case len(addresses) < 2:
		return one, nil
	}
	slices.SortFunc(addresses, netip.Addr.Compare)
	return func(yield func(string, *url.URL) bool) {
		for _, address := range slices.Compact(addresses) {
			u := *base
			u.Host = address.Unmap().String()
			if base.Port() != "" {
				u.Host = net.JoinHostPort(u.Host, base.Port())
			}
			if !yield(u.Host, &u) {
				return
			}
		}
	}, nil
}

// Standing is how one instance stands. Where it doesn't answer there is only Err.
type Standing struct {
	Name     string
	Sessions *adminapi.Sessions // the first page, oldest first
	State    *adminapi.State
	Err      error
}

// lookTimeout is how long an instance may take to say how it stands: one that hangs must not hide the others.
const lookTimeout = 3 * time.Second

// Look asks all instances at once, each for so many of its sessions. One that fails is shown with its error.
func (f Fleet) Look(ctx context.Context, sessions int) []Standing {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	all := make([]Standing, len(f))
	var asked sync.WaitGroup
	for i, instance := range f {
		asked.Go(func() {
			list, state, err := operator.LookAt(ctx, instance.Client, adminapi.Query{Limit: sessions})
			if errors.Is(err, context.DeadlineExceeded) {
				err = fmt.Errorf("no answer within %v", lookTimeout)
			}
			all[i] = Standing{instance.Name, list, state, operator.Explain(err)}
			if err != nil {
				all[i].Sessions, all[i].State = nil, nil
			}
		})
	}
	asked.Wait()
	return all
}

// serves reports whether an instance answers and admits sessions.
func (s *Standing) serves() bool { return s.Err == nil && s.State.State == actors.Serving }
