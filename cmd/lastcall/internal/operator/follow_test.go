package operator

import (
	"testing"

	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/operator/operatortest"
	adminapi "github.com/lastcall-go/lastcall/transport/admin"
)

func TestDrainAsksForWhatItMissed(t *testing.T) {
	for _, news := range []drainNews{{missed: true}, {lost: true}} {
		g := operatortest.New(t)
		g.State.Drains = []adminapi.Drain{{ID: "d0"}, {ID: "d1", Over: true}}
		flags := Flags{Admin: g.Address}
		gateway, err := flags.Open()
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
