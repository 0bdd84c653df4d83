package operator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/terminal"
	adminapi "github.com/lastcall-go/lastcall/transport/admin"
)

// Follow shows a drain of a gateway until it is over, and returns it. begin has it begin, once events come.
func Follow(ctx context.Context, gateway *adminapi.Client, w io.Writer, begin func(context.Context, *adminapi.Client) (*adminapi.Drain, error)) (*adminapi.Drain, error) {
	following, cancel := context.WithCancel(ctx)
	news, ended := make(chan drainNews, 64), make(chan struct{})
	go func() {
		defer close(ended)
		followDrains(following, gateway, news)
	}()
	defer func() {
		cancel()
		<-ended
	}()
	f := &drainFollower{gateway: gateway, w: w, console: terminal.NewConsole(w, terminal.Is(w)), news: news}
	f.awaitStream(ctx) // before the drain can cause an event
	if ctx.Err() != nil {
		return nil, errors.New("interrupted: nothing was drained")
	}
	begun, err := begin(context.WithoutCancel(ctx), gateway) // half of a request would leave it open whether it drains
	if err != nil {
		return nil, err
	}
	f.drain = begun
	err = f.follow(ctx)
	return f.drain, err
}

// How a drain is followed.
const (
	streamPatience = 5 * time.Second        // what the stream of events may take to begin, before it is done without
	followPulse    = 500 * time.Millisecond // how often the line is drawn anew; without the stream, how often the gateway is asked
	newsPatience   = 3 * time.Second        // there is news every second, if only of the time
	lostPatience   = 5 * time.Second        // how long a gateway may not answer
)

// drainNews is what came from the stream of events: the state of a drain, or that events were missed, or that the
// stream began.
type drainNews struct {
	drain  *adminapi.Drain
	missed bool
	lost   bool // the stream; there is no other news after it
}

// followDrains sends news until the stream is lost or ctx ends.
func followDrains(ctx context.Context, gateway *adminapi.Client, news chan<- drainNews) {
	tell := func(n drainNews) error {
		select {
		case news <- n:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	_ = gateway.Events(ctx, func(e adminapi.Event) error { // however it ends, it is lost
		switch e.Name {
		case adminapi.EventState:
			return tell(drainNews{})
		case adminapi.EventLagged:
			return tell(drainNews{missed: true})
		case adminapi.EventDrainProgress, adminapi.EventDrainFinished: // its start is what the request was answered
			drain := new(adminapi.Drain)
			if err := json.Unmarshal(e.Data, drain); err != nil {
				return err
			}
			return tell(drainNews{drain: drain})
		}
		return nil
	})
	_ = tell(drainNews{lost: true}) // fails only if the receiver has gone
}

// drainFollower shows a drain. It learns of it from events, and without them by asking.
type drainFollower struct {
	gateway *adminapi.Client
	w       io.Writer
	console *terminal.Console
	news    <-chan drainNews // nil: the stream is lost
	drain   *adminapi.Drain
	heard   time.Time // when there was news last
	shown   string
}

func (f *drainFollower) awaitStream(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, streamPatience)
	defer cancel()
	select {
	case n := <-f.news:
		f.lose(n)
	case <-ctx.Done():
	}
}

func (f *drainFollower) lose(n drainNews) {
	if n.lost {
		f.news = nil
	}
}

// follow returns when the drain is over. It shows each change, and a summary at the end.
func (f *drainFollower) follow(ctx context.Context) error {
	pulse := time.NewTicker(followPulse)
	defer pulse.Stop()
	f.heard = time.Now()
	for !f.drain.Over {
		f.show()
		var err error
		select {
		case n := <-f.news:
			err = f.take(ctx, n)
		case <-pulse.C:
			if f.news == nil || time.Since(f.heard) > newsPatience {
				err = f.ask(ctx)
			}
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			err = errors.New("interrupted: the drain goes on at the gateway")
		}
		if err != nil {
			f.conclude(f.shown)
			return err
		}
	}
	f.show()
	f.conclude(Summary(f.drain))
	return nil
}

func (f *drainFollower) take(ctx context.Context, n drainNews) error {
	f.lose(n)
	if n.missed || n.lost {
		return f.ask(ctx)
	}
	if n.drain != nil && n.drain.ID == f.drain.ID {
		f.drain, f.heard = n.drain, time.Now()
	}
	return nil
}

// ask bears for a while that the gateway doesn't answer.
func (f *drainFollower) ask(ctx context.Context) error {
	state, err := f.gateway.State(ctx)
	if err != nil {
		if time.Since(f.heard) > lostPatience {
			return fmt.Errorf("the gateway is lost, and how its drain ends: %w", err)
		}
		return nil
	}
	for i := range state.Drains {
		if d := &state.Drains[i]; d.ID == f.drain.ID {
			f.drain, f.heard = d, time.Now()
			return nil
		}
	}
	return errors.New("the gateway knows nothing of the drain any more: was it started anew?")
}

// show draws the bar, or prints a line where the counts have changed.
func (f *drainFollower) show() {
	if f.console.IsTerminal() {
		width, _ := terminal.Size(f.w)
		f.shown = DrainLine(f.drain, time.Now(), width-1)
		f.console.Show(f.shown)
		return
	}
	counts := *f.drain
	counts.Over = true // without the time, which always changes
	if text := drainText(&counts, time.Time{}); text != f.shown {
		f.shown = text
		fmt.Fprintln(f.console, drainText(f.drain, time.Now()))
	}
}

// conclude leaves a last line. What was printed already isn't printed again.
func (f *drainFollower) conclude(line string) {
	if f.console.IsTerminal() {
		f.console.Conclude(line)
	} else if line != f.shown {
		fmt.Fprintln(f.console, line)
	}
}
