package actors

import (
	"sync"
	"time"

	"github.com/anthdm/hollywood/actor"
)

// flush travels the event stream behind all earlier events.
type flush struct{ seen chan struct{} }

// flushTimeout bounds the wait for a listener that doesn't return.
const flushTimeout = time.Second

func listen(engine *actor.Engine, f func(event any)) (stop func()) {
	last := flush{make(chan struct{})}
	pid := engine.SpawnFunc(func(c *actor.Context) {
		switch m := c.Message().(type) {
		case actor.Initialized, actor.Started, actor.Stopped:
		case flush:
			if m == last {
				close(last.seen)
			}
		default:
			hear(engine, f, m)
		}
	}, "listener", actor.WithInboxSize(inboxSize))
	engine.Subscribe(pid)
	return sync.OnceFunc(func() {
		engine.BroadcastEvent(last)
		select {
		case <-last.seen:
		case <-time.After(flushTimeout):
		}
		engine.Unsubscribe(pid)
		engine.Poison(pid)
	})
}

// hear calls f, and keeps its panic from hollywood. One at the news of a panic is not told again.
func hear(engine *actor.Engine, f func(event any), event any) {
	defer func() {
		v := recover()
		if _, again := event.(SupervisorPanicked); v != nil && !again {
			engine.BroadcastEvent(SupervisorPanicked{NewPanicError(v)})
		}
	}()
	f(event)
}
