package actors

import (
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"github.com/anthdm/hollywood/actor"
)

// A listener is behind by so many events at most. The missed ones are reported where they would have
// come, and once.
func TestAListenerMissesWhatFindsNoRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := NewSupervisor(Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		var heard []any
		hold, goOn := make(chan struct{}), make(chan struct{})
		stop := listen(s.engine, func(event any) {
			if event == 0 {
				close(hold)
				<-goOn
			}
			if _, hollywoods := event.(actor.EventLogger); !hollywoods {
				heard = append(heard, event)
			}
		}, 3)
		synctest.Wait()
		tell := func(from, to int) {
			for i := from; i < to; i++ {
				s.engine.BroadcastEvent(i)
			}
			synctest.Wait()
		}
		tell(0, 1)
		<-hold
		tell(1, 6)
		close(goOn)
		synctest.Wait()
		tell(6, 8)
		stop()
		if want := []any{0, 1, 2, 3, EventsMissed{2}, 6, 7}; !reflect.DeepEqual(heard, want) {
			t.Errorf("heard %v, want %v", heard, want)
		}
	})
}

// A function that returns late sees nothing more.
func TestAListenerThatIsGivenUpHearsNothingMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := NewSupervisor(Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		calls, goOn := 0, make(chan struct{})
		stop := listen(s.engine, func(any) {
			calls++
			<-goOn
		}, maxBehind)
		for range 5 {
			s.engine.BroadcastEvent("news")
		}
		begun := time.Now()
		if stop(); time.Since(begun) != flushTimeout {
			t.Errorf("stop took %v", time.Since(begun))
		}
		close(goOn)
		synctest.Wait()
		if calls != 1 {
			t.Errorf("%d calls, want 1", calls)
		}
	})
}
