package agentpool

import (
	"google.golang.org/grpc/resolver"

	"github.com/lastcall-go/lastcall/transport/grant"
)

// addressList resolves the targets ipv4:a,b and ipv6:a,b of the gRPC naming specification, which
// grpc-go doesn't know.
type addressList struct {
	scheme string

	// named says that the server's name is configured. Otherwise each address is its own name, by
	// which its certificate is verified.
	named bool
}

var _ resolver.Builder = addressList{}

// Scheme implements [resolver.Builder].
func (l addressList) Scheme() string { return l.scheme }

// Build implements [resolver.Builder].
func (l addressList) Build(target resolver.Target, conn resolver.ClientConn, _ resolver.BuildOptions) (resolver.Resolver, error) {
	addresses, err := grant.Addresses(l.scheme, target.Endpoint())
	if err != nil {
		return nil, err
	}
	var state resolver.State
	for _, address := range addresses {
		known := resolver.Address{Addr: address}
		if !l.named {
			known.ServerName = address
		}
		state.Addresses = append(state.Addresses, known)
	}
	return l, conn.UpdateState(state)
}

// ResolveNow implements [resolver.Resolver]: the addresses don't change.
func (addressList) ResolveNow(resolver.ResolveNowOptions) {}

// Close implements [resolver.Resolver].
func (addressList) Close() {}
