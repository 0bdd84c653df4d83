package actors_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"testing"
	"time"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/actors/actorstest"
)

// start runs f as the session of a connection.
func start(h *actorstest.Supervisor, c actors.Connection, f handler) *actorstest.Connection {
	r := h.Connection(c)
	return r.Run(func(ctx context.Context) error { return f(r, ctx) })
}

// handler is the function of a connection.
type handler func(r *actorstest.Connection, ctx context.Context) error

// untilTold is a function that says goodbye when it is asked to stop.
func untilTold(r *actorstest.Connection, ctx context.Context) error {
	<-ctx.Done()
	var stop *actors.Stop
	if errors.As(context.Cause(ctx), &stop) {
		r.Note("told %s %q, gone by %v", stop.Cause, stop.Reason, time.Until(stop.Deadline))
	}
	return ctx.Err()
}

// ended returns how the only session so far has ended.
func ended(t *testing.T, h *actorstest.Supervisor) actors.SessionStopped {
	t.Helper()
	all := h.Ended()
	if len(all) != 1 {
		t.Fatalf("%d sessions have stopped", len(all))
	}
	return all[0]
}

func TestAConnectionIsToldWhyAndByWhen(t *testing.T) {
	for name, c := range map[string]struct {
		options actors.Options
		drain   func(h *actorstest.Supervisor)
		want    string
	}{
		"by a drain": {actors.Options{}, func(h *actorstest.Supervisor) { h.Send(actors.Drain{Reason: "new version"}) }, `told drain "new version", gone by 24.95s`},
		"by a drain of a part": {actors.Options{}, func(h *actorstest.Supervisor) {
			h.Send(actors.Drain{Only: &actors.Selection{Kind: "terminal"}})
		}, `told part "server shutdown", gone by 24.95s`},
		"by its age":  {actors.Options{MaxSessionAge: time.Second}, func(*actorstest.Supervisor) { time.Sleep(time.Second) }, `told age "session age limit", gone by 15s`},
		"by the kill": {actors.Options{}, func(h *actorstest.Supervisor) { h.Send(actorstest.Within(0)) }, `told drain "server shutdown", gone by -50ms`},
	} {
		t.Run(name, func(t *testing.T) {
			actorstest.Run(t, c.options, func(t *testing.T, h *actorstest.Supervisor) {
				r := start(h, actors.Connection{Kind: "terminal"}, untilTold)
				c.drain(h)
				if r.Wait(); r.Count(c.want) != 1 {
					t.Errorf("%q, want %q", r.Lines(), c.want)
				}
			})
		})
	}
}

func TestHowAConnectionEnds(t *testing.T) {
	broken := errors.New("write: broken pipe")
	returns := func(err error) handler {
		return func(*actorstest.Connection, context.Context) error { return err }
	}
	afterwards := func(err error) handler {
		return func(_ *actorstest.Connection, ctx context.Context) error { <-ctx.Done(); return err }
	}
	for name, c := range map[string]struct {
		f       handler
		outcome actors.Outcome
		code    int
		err     error // in the event
	}{
		"done":                {returns(nil), actors.Completed, 0, nil},
		"broken":              {returns(broken), actors.Failed, 0, broken},
		"a context error":     {returns(context.Canceled), actors.Failed, 0, context.Canceled},
		"closed by client":    {returns(fmt.Errorf("read: %w", &actors.ClosedError{Code: 1000})), actors.ClientGone, 1000, nil},
		"refused by an error": {returns(&actors.CloseError{Code: 1013, Reason: "busy"}), actors.Refused, 1013, nil},
		"drained":             {afterwards(nil), actors.Drained, 0, nil},
		"drained, closed":     {afterwards(&actors.ClosedError{Code: 1001}), actors.Drained, 1001, nil},
		"drained, ctx's err":  {untilTold, actors.Drained, 0, nil},
		"drained, its cause":  {func(_ *actorstest.Connection, ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) }, actors.Drained, 0, nil},
		"broken when drained": {afterwards(broken), actors.Failed, 0, broken},
	} {
		t.Run(name, func(t *testing.T) {
			actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
				r := start(h, actors.Connection{}, c.f)
				h.Drained(actors.Drain{})
				if end := ended(t, h); end.Outcome != c.outcome || end.Code != c.code || c.err != nil && !errors.Is(end.Err, c.err) || end.Outcome == actors.Drained && end.Err != nil {
					t.Errorf("%+v", end)
				}
				r.Wait()
				if left := h.Actors(); len(left) > 0 || r.Count("cut") > 0 {
					t.Errorf("%d actors are left; %q", len(left), r.Lines())
				}
			})
		})
	}
}

func TestAConnectionWhoseClientHasGone(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		ctx, leave := context.WithCancel(context.Background())
		r := start(h, actors.Connection{Context: ctx}, func(_ *actorstest.Connection, ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		leave()
		if err := r.Wait(); !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
		if end := ended(t, h); end.Outcome != actors.ClientGone || end.Err != nil {
			t.Errorf("%+v", end)
		}
	})
}

func TestAConnectionThatPanicsFailsAlone(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		other := h.Session().Serve()
		r := start(h, actors.Connection{}, func(*actorstest.Connection, context.Context) error { panic("in a handler") })
		var panicked *actors.PanicError
		if err := r.Wait(); !errors.As(err, &panicked) || panicked.Value != "in a handler" {
			t.Errorf("%v", err)
		}
		if end := ended(t, h); end.Outcome != actors.Failed || !errors.As(end.Err, &panicked) || !other.Running() {
			t.Errorf("%+v", end)
		}
	})
}

// The function heeds only its cut connection, or nothing at all: the drain is over by its deadline.
func TestAConnectionThatHangsIsCutAndGivenUp(t *testing.T) {
	for name, heeds := range map[string]bool{"heeds the cut": true, "heeds nothing": false} {
		t.Run(name, func(t *testing.T) {
			actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
				cut, forever := make(chan struct{}), make(chan struct{})
				r := start(h, actors.Connection{Workflow: "room", Cut: func() { close(cut) }}, func(r *actorstest.Connection, ctx context.Context) error {
					if heeds {
						<-cut
						<-actors.OutOfTime(ctx).Done()
						return io.ErrClosedPipe
					}
					<-forever
					return nil
				})
				report, took, err := h.TimedDrain(actorstest.Within(3 * time.Second))
				if err == nil || took < 3*time.Second || took > 3100*time.Millisecond || report.Sessions[0].Workflow != "room" {
					t.Errorf("%v after %v: %+v", err, took, report.Sessions)
				}
				if end := ended(t, h); end.Outcome != actors.Killed {
					t.Errorf("%+v", end)
				}
				<-cut
				close(forever)
				r.Wait()
			})
		})
	}
}

func TestAPanicInCutIsThatConnectionsAlone(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		r := start(h, actors.Connection{Cut: func() { panic("in Cut") }}, func(_ *actorstest.Connection, ctx context.Context) error {
			<-actors.OutOfTime(ctx).Done()
			return nil
		})
		if report, _, _ := h.TimedDrain(actorstest.Within(time.Second)); report.Totals[actors.Killed] != 1 {
			t.Errorf("%+v", report)
		}
		if end := ended(t, h); !errors.As(end.Err, new(*actors.PanicError)) {
			t.Errorf("%+v", end)
		}
		r.Wait()
	})
}

func TestAConnectionCountsInEverything(t *testing.T) {
	actorstest.Run(t, actors.Options{MaxSessions: 1}, func(t *testing.T, h *actorstest.Supervisor) {
		r := start(h, actors.Connection{Workflow: "room", Remote: "192.0.2.1:1", Transport: "sse", AgentName: "a"}, func(r *actorstest.Connection, ctx context.Context) error {
			<-ctx.Done()
			time.Sleep(time.Second)
			return nil
		})
		if err := h.Admits(); !errors.Is(err, actors.ErrFull) {
			t.Errorf("admission: %v", err)
		}
		want := actors.SessionInfo{
			Kind: actors.DefaultKind, Workflow: "room", Phase: actors.PhaseServing, Since: h.Began, Started: h.Began,
			Remote: "192.0.2.1:1", Transport: "sse", AgentName: "a",
		}
		look := func() actors.SessionInfo {
			got := h.View().Sessions[0]
			want.ID = got.ID
			return got
		}
		if got := look(); !reflect.DeepEqual(got, want) {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
		time.Sleep(time.Second)
		h.Send(actors.Drain{})
		want.Phase, want.WaitsFor, want.Since, want.Told = actors.PhaseStopping, actors.AwaitsHandler, time.Now(), time.Now()
		if got := look(); !reflect.DeepEqual(got, want) {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
		started, phases := actorstest.Heard[actors.SessionStarted](h), actorstest.Heard[actors.SessionPhase](h)
		if len(started) != 1 || started[0].Kind != actors.DefaultKind || len(phases) != 1 || phases[0].Phase != actors.PhaseStopping || phases[0].Workflow != "room" {
			t.Errorf("%+v, %+v", started, phases)
		}
		r.Wait()
		report := h.Drained(actors.Drain{})
		if s := report.Sessions; len(s) != 1 || s[0].Workflow != "room" || s[0].Took != actors.Seconds(time.Second) || s[0].Age != actors.Seconds(2*time.Second) {
			t.Errorf("%+v", report)
		}
	})
}

func TestAConnectionIsNotRunWithoutASession(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		ticket, _ := h.Admit(context.Background())
		ticket.Cancel()
		err := ticket.Run(actors.Connection{}, func(context.Context) error { t.Error("it is run"); return nil })
		if !errors.Is(err, actors.ErrTicketVoid) || !actors.IsRefused(err) || actors.IsRefused(io.EOF) {
			t.Errorf("%v", err)
		}
	})
}

// A later drain brings the kill forward, of a connection that was asked to stop already.
func TestALaterDrainLeavesAConnectionLessTime(t *testing.T) {
	actorstest.Run(t, actors.Options{}, func(t *testing.T, h *actorstest.Supervisor) {
		r := start(h, actors.Connection{}, func(r *actorstest.Connection, ctx context.Context) error {
			<-actors.OutOfTime(ctx).Done()
			r.Note("out of time")
			return nil
		})
		h.Send(actorstest.Within(20 * time.Second))
		h.Send(actorstest.Within(5 * time.Second))
		r.Wait()
		r.Has("5s out of time", "5s cut")
	})
}
