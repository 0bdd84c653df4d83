package fleet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/operator"
	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/terminal"
	adminapi "github.com/lastcall-go/lastcall/transport/admin"
)

// Rolling is a drain of one instance after the other.
type Rolling struct {
	Fleet   Fleet
	Options adminapi.DrainOptions

	// Resume has each instance admit again after its drain. Otherwise its process is started anew, or it is
	// resumed, by another hand.
	Resume bool

	// ReadyTimeout is how long an instance may take from its drain until it is ready.
	ReadyTimeout time.Duration

	Out io.Writer // each step is shown here
}

// KilledError says that an instance's drain killed a session or a service. The instances after it were not drained.
type KilledError struct{ Instance, Summary string }

func (e *KilledError) Error() string { return e.Instance + ": " + e.Summary }

// readyPause is between two questions whether an instance is ready.
const readyPause = 250 * time.Millisecond

// Run drains. Before each instance all others must be ready, so that its clients find a place. It stops at the
// first error: what was drained by then stays as it is, and is named. It fails with a [*KilledError] at the
// first kill.
func (r *Rolling) Run(ctx context.Context) error {
	for i, instance := range r.Fleet {
		err := r.next(ctx, i)
		if err == nil {
			continue
		}
		if left := r.Fleet[i+1:]; len(left) > 0 {
			fmt.Fprintf(r.Out, "stopped: %s not drained: %s\n", haveOrHas(len(left)), left.names())
		}
		if killed := new(KilledError); errors.As(err, &killed) {
			return err
		}
		return fmt.Errorf("%s: %w", terminal.OneLine(instance.Name), err)
	}
	return nil
}

func (f Fleet) names() string {
	names := make([]string, len(f))
	for i, instance := range f {
		names[i] = terminal.OneLine(instance.Name)
	}
	return strings.Join(names, ", ")
}

func haveOrHas(n int) string {
	if n == 1 {
		return "1 instance was"
	}
	return fmt.Sprintf("%d instances were", n)
}

// next drains one instance, and waits until it is ready again.
func (r *Rolling) next(ctx context.Context, i int) error {
	instance := r.Fleet[i]
	for j, standing := range r.Fleet.Look(ctx, 1) {
		switch {
		case standing.serves():
		case j == i && standing.Err == nil:
			return fmt.Errorf("it is %s, and not drained again", terminal.OneLine(string(standing.State.State)))
		case standing.Err != nil:
			return fmt.Errorf("not drained, since %s does not answer: %w", terminal.OneLine(standing.Name), standing.Err)
		default:
			return fmt.Errorf("not drained, since %s is %s", terminal.OneLine(standing.Name), terminal.OneLine(string(standing.State.State)))
		}
	}
	r.say(i, "drains")
	drain, err := operator.Follow(ctx, instance.Client, r.Out, func(ctx context.Context, client *adminapi.Client) (*adminapi.Drain, error) {
		return client.Drain(ctx, r.Options)
	})
	switch {
	case err != nil: // also where how the drain ended is not known
		return err
	case len(drain.Killed) > 0 || drain.Totals[actors.Killed] > 0:
		return &KilledError{terminal.OneLine(instance.Name), operator.Summary(drain)}
	}
	return r.awaitReady(ctx, i)
}

// awaitReady returns when an instance is ready again.
func (r *Rolling) awaitReady(ctx context.Context, i int) error {
	client, began := r.Fleet[i].Client, time.Now()
	if r.Resume {
		if _, err := client.Resume(ctx); err != nil {
			return fmt.Errorf("drained, and not resumed: %w", err)
		}
	} else {
		r.say(i, "drained: start it anew, or 'lastcall resume' it; waits %v until it is ready", r.ReadyTimeout)
	}
	waiting, cancel := context.WithTimeout(ctx, r.ReadyTimeout)
	defer cancel()
	pause := time.NewTicker(readyPause)
	defer pause.Stop()
	for {
		err := client.Ready(waiting)
		if err == nil {
			r.say(i, "ready again after %v", time.Since(began).Round(100*time.Millisecond))
			return nil
		}
		select {
		case <-pause.C:
		case <-waiting.Done():
			if ctx.Err() != nil {
				return errors.New("interrupted: drained, and not ready again")
			}
			return fmt.Errorf("drained, and not ready again within %v: %w", r.ReadyTimeout, err)
		}
	}
}

// say shows a step: "2/3 b:8081 drains".
func (r *Rolling) say(i int, format string, args ...any) {
	fmt.Fprintf(r.Out, "%d/%d %s %s\n", i+1, len(r.Fleet), terminal.OneLine(r.Fleet[i].Name), fmt.Sprintf(format, args...))
}
