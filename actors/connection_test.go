package actors_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lastcall-go/lastcall/actors"
)

// run is a connection's function under way in a session.
type run struct {
	*house
	*journal
	connection actors.Connection
	err        chan error // what Run has returned
}

// run admits a connection and runs f as its session.
func (h *house) run(c actors.Connection, f func(r *run, ctx context.Context) error) *run {
	h.t.Helper()
	ticket, err := h.Admit(context.Background())
	if err != nil {
		h.t.Fatal(err)
	}
	r := &run{house: h, journal: &journal{began: h.began}, connection: c, err: make(chan error, 1)}
	if c.Cut == nil {
		c.Cut = func() { r.note("cut") }
	}
	go func() { r.err <- ticket.Run(c, func(ctx context.Context) error { return f(r, ctx) }) }()
	synctest.Wait()
	return r
}

// untilTold is a function that says goodbye when it is told to.
func untilTold(r *run, ctx context.Context) error {
	<-ctx.Done()
	var stop *actors.Stop
	if errors.As(context.Cause(ctx), &stop) {
		r.note("told %s %q, gone by %v", stop.Cause, stop.Reason, time.Until(stop.Deadline))
	}
	return ctx.Err()
}

// ended returns how the only session so far has ended.
func (r *run) ended() actors.SessionStopped {
	r.t.Helper()
	all := heard[actors.SessionStopped](r.house)
	if len(all) != 1 {
		r.t.Fatalf("%d sessions have stopped", len(all))
	}
	return all[0]
}

func TestAConnectionIsToldWhyAndByWhen(t *testing.T) {
	for name, c := range map[string]struct {
		options actors.Options
		drain   func(h *house)
		want    string
	}{
		"by a drain": {actors.Options{}, func(h *house) { h.send(actors.Drain{Reason: "new version"}) }, `told drain "new version", gone by 24.95s`},
		"by a drain of a part": {actors.Options{}, func(h *house) {
			h.send(actors.Drain{Only: &actors.Selection{Kind: "terminal"}})
		}, `told part "server shutdown", gone by 24.95s`},
		"by its age":  {actors.Options{MaxSessionAge: time.Second}, func(*house) { time.Sleep(time.Second) }, `told age "session age limit", gone by 15s`},
		"by the kill": {actors.Options{}, func(h *house) { h.send(within(0)) }, `told drain "server shutdown", gone by -50ms`},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T) {
				h := open(t, c.options)
				r := h.run(actors.Connection{Kind: "terminal"}, untilTold)
				c.drain(h)
				if <-r.err; r.count(c.want) != 1 {
					t.Errorf("%q, want %q", r.all(), c.want)
				}
			})
		})
	}
}

func TestHowAConnectionEnds(t *testing.T) {
	broken := errors.New("write: broken pipe")
	returns := func(err error) func(*run, context.Context) error {
		return func(*run, context.Context) error { return err }
	}
	afterwards := func(err error) func(*run, context.Context) error {
		return func(_ *run, ctx context.Context) error { <-ctx.Done(); return err }
	}
	for name, c := range map[string]struct {
		f       func(*run, context.Context) error
		outcome actors.Outcome
		code    int
		err     error // in the event
	}{
		"done":                {returns(nil), actors.Completed, 0, nil},
		"broken":              {returns(broken), actors.Failed, 0, broken},
		"a context error":     {returns(context.Canceled), actors.Failed, 0, context.Canceled},
		"closed by client":    {returns(fmt.Errorf("read: %w", &actors.ClosedError{Code: 1000})), actors.ClientGone, 1000, nil},
		"refused by a fault":  {returns(&actors.Fault{Code: 1013, Reason: "busy"}), actors.Refused, 1013, nil},
		"drained":             {afterwards(nil), actors.Drained, 0, nil},
		"drained, closed":     {afterwards(&actors.ClosedError{Code: 1001}), actors.Drained, 1001, nil},
		"drained, ctx's err":  {untilTold, actors.Drained, 0, nil},
		"drained, its cause":  {func(_ *run, ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) }, actors.Drained, 0, nil},
		"broken when drained": {afterwards(broken), actors.Failed, 0, broken},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T) {
				h := open(t, actors.Options{})
				r := h.run(actors.Connection{}, c.f)
				h.drained(actors.Drain{})
				if end := r.ended(); end.Outcome != c.outcome || end.Code != c.code || c.err != nil && !errors.Is(end.Err, c.err) || end.Outcome == actors.Drained && end.Err != nil {
					t.Errorf("%+v", end)
				}
				<-r.err
				if left := h.actors(); len(left) > 0 || r.count("cut") > 0 {
					t.Errorf("%d actors are left; %q", len(left), r.all())
				}
			})
		})
	}
}

func TestAConnectionWhoseClientHasGone(t *testing.T) {
	in(t, func(t *testing.T) {
		h := open(t, actors.Options{})
		ctx, leave := context.WithCancel(context.Background())
		r := h.run(actors.Connection{Context: ctx}, func(_ *run, ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		leave()
		if err := <-r.err; !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
		if end := r.ended(); end.Outcome != actors.ClientGone || end.Err != nil {
			t.Errorf("%+v", end)
		}
	})
}

func TestAConnectionThatPanicsFailsAlone(t *testing.T) {
	in(t, func(t *testing.T) {
		h := open(t, actors.Options{})
		other := h.prepare().serve()
		r := h.run(actors.Connection{}, func(*run, context.Context) error { panic("in a handler") })
		var panicked *actors.PanicError
		if err := <-r.err; !errors.As(err, &panicked) || panicked.Value != "in a handler" {
			t.Errorf("%v", err)
		}
		if end := r.ended(); end.Outcome != actors.Failed || !errors.As(end.Err, &panicked) || !other.running() {
			t.Errorf("%+v", end)
		}
	})
}

// The function heeds only its cut connection, or nothing at all: the drain is over by its deadline.
func TestAConnectionThatHangsIsCutAndGivenUp(t *testing.T) {
	for name, heeds := range map[string]bool{"heeds the cut": true, "heeds nothing": false} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T) {
				h := open(t, actors.Options{})
				cut, forever := make(chan struct{}), make(chan struct{})
				r := h.run(actors.Connection{Workflow: "room", Cut: func() { close(cut) }}, func(r *run, ctx context.Context) error {
					if heeds {
						<-cut
						<-actors.OutOfTime(ctx).Done()
						return io.ErrClosedPipe
					}
					<-forever
					return nil
				})
				report, took, err := h.drain(within(3 * time.Second))
				if err == nil || took < 3*time.Second || took > 3100*time.Millisecond || report.Sessions[0].Workflow != "room" {
					t.Errorf("%v after %v: %+v", err, took, report.Sessions)
				}
				if end := r.ended(); end.Outcome != actors.Killed {
					t.Errorf("%+v", end)
				}
				<-cut
				close(forever)
				<-r.err
			})
		})
	}
}

func TestAPanicInCutIsThatConnectionsAlone(t *testing.T) {
	in(t, func(t *testing.T) {
		h := open(t, actors.Options{})
		r := h.run(actors.Connection{Cut: func() { panic("in Cut") }}, func(_ *run, ctx context.Context) error {
			<-actors.OutOfTime(ctx).Done()
			return nil
		})
		if report, _, _ := h.drain(within(time.Second)); report.Totals[actors.Killed] != 1 {
			t.Errorf("%+v", report)
		}
		if end := r.ended(); !errors.As(end.Err, new(*actors.PanicError)) {
			t.Errorf("%+v", end)
		}
		<-r.err
	})
}

func TestAConnectionCountsInEverything(t *testing.T) {
	in(t, func(t *testing.T) {
		h := open(t, actors.Options{MaxSessions: 1})
		r := h.run(actors.Connection{Workflow: "room", Remote: "192.0.2.1:1", Transport: "sse", AgentName: "a"}, func(r *run, ctx context.Context) error {
			<-ctx.Done()
			time.Sleep(time.Second)
			return nil
		})
		if err := h.admits(); !errors.Is(err, actors.ErrFull) {
			t.Errorf("admission: %v", err)
		}
		want := actors.SessionInfo{
			Kind: actors.DefaultKind, Workflow: "room", Phase: actors.PhaseServing, Since: h.began, Started: h.began,
			Remote: "192.0.2.1:1", Transport: "sse", AgentName: "a",
		}
		look := func() actors.SessionInfo {
			got := h.look().Sessions[0]
			want.ID = got.ID
			return got
		}
		if got := look(); !reflect.DeepEqual(got, want) {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
		time.Sleep(time.Second)
		h.send(actors.Drain{})
		want.Phase, want.WaitsFor, want.Since, want.Told = actors.PhaseStopping, actors.AwaitsHandler, time.Now(), time.Now()
		if got := look(); !reflect.DeepEqual(got, want) {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
		started, phases := heard[actors.SessionStarted](h), heard[actors.SessionPhase](h)
		if len(started) != 1 || started[0].Kind != actors.DefaultKind || len(phases) != 1 || phases[0].Phase != actors.PhaseStopping || phases[0].Workflow != "room" {
			t.Errorf("%+v, %+v", started, phases)
		}
		<-r.err
		report := h.drained(actors.Drain{})
		if s := report.Sessions; len(s) != 1 || s[0].Workflow != "room" || s[0].Took != actors.Seconds(time.Second) || s[0].Age != actors.Seconds(2*time.Second) {
			t.Errorf("%+v", report)
		}
	})
}

func TestAConnectionIsNotRunWithoutASession(t *testing.T) {
	in(t, func(t *testing.T) {
		h := open(t, actors.Options{})
		ticket, _ := h.Admit(context.Background())
		ticket.Cancel()
		err := ticket.Run(actors.Connection{}, func(context.Context) error { t.Error("it is run"); return nil })
		if !errors.Is(err, actors.ErrTicketVoid) || !actors.IsRefused(err) || actors.IsRefused(io.EOF) {
			t.Errorf("%v", err)
		}
	})
}

// A later drain brings the kill forward, of a connection that has been told already.
func TestALaterDrainLeavesAConnectionLessTime(t *testing.T) {
	in(t, func(t *testing.T) {
		h := open(t, actors.Options{})
		r := h.run(actors.Connection{}, func(r *run, ctx context.Context) error {
			<-actors.OutOfTime(ctx).Done()
			r.note("out of time")
			return nil
		})
		h.send(within(20 * time.Second))
		h.send(within(5 * time.Second))
		<-r.err
		r.has("5s out of time", "5s cut")
	})
}

func (r *run) has(lines ...string) {
	r.t.Helper()
	for _, line := range lines {
		if r.count(line) != 1 {
			r.t.Errorf("%q is not in %q", line, r.all())
		}
	}
}
