package main

import (
	"testing"

	adminapi "github.com/lastcall-go/lastcall/transport/admin"
)

func TestDrainAsksForWhatItMissed(t *testing.T) {
	for _, news := range []drainNews{{missed: true}, {lost: true}} {
		g := newFakeGateway(t)
		g.state.Drains = []adminapi.Drain{{ID: "d0"}, {ID: "d1", Over: true}}
		flags := adminFlags{Admin: g.address}
		gateway, err := flags.open()
		if err != nil {
			t.Fatal(err)
		}
		f := drainFollower{gateway: gateway, drain: &adminapi.Drain{ID: "d1"}}
		if err := f.take(t.Context(), news); err != nil || !f.drain.Over {
			t.Errorf("%+v: it is at %+v, %v", news, f.drain, err)
		}
		gateway.Close()
	}
}
