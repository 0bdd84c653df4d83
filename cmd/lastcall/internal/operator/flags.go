// Package operator holds what the commands share that ask a gateway: their flags, how a gateway and its sessions
// stand in words, and how a drain is followed.
package operator

import (
	adminapi "github.com/lastcall-go/lastcall/transport/admin"
)

// Flags say which gateway is asked. Of the flags of the commands that embed them only these have
// environment variables: what was set for "lastcall serve" must not choose what is shown or drained.
type Flags struct {
	Admin string `default:"127.0.0.1:8081" placeholder:"ADDR" help:"Admin listener of the gateway: host:port or a URL (default ${default})."`
	Token string `placeholder:"TOKEN" help:"Bearer token for the admin listener. Better set as LASTCALL_TOKEN: others can see a command line."`
}

// Open makes the client, which the caller must close. An error is one of the flags'.
func (f *Flags) Open() (*adminapi.Client, error) {
	base, err := URL(f.Admin)
	if err != nil {
		return nil, err
	}
	return adminapi.NewClient(base, f.Token), nil
}
