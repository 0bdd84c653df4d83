package relay

import (
	"context"
	"errors"
	"io"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/anthdm/hollywood/actor"

	"github.com/lastcall-go/lastcall/actors"
)

// still are the peers of a session that is served and in which nothing happens.
type still struct {
	first chan Message
	cut   chan struct{}
	once  sync.Once
}

func newStill() *still {
	p := &still{first: make(chan Message, 1), cut: make(chan struct{})}
	p.first <- theStart
	return p
}

func (p *still) Receive() (Message, error) {
	select {
	case start := <-p.first:
		return start, nil
	case <-p.cut:
		return Message{}, io.EOF
	}
}
func (p *still) Send(Message) error            { return nil }
func (p *still) Close(actors.CloseError) error { return nil }
func (p *still) Abort()                        { p.once.Do(func() { close(p.cut) }) }

func (p *still) Open(ctx context.Context) (Stream, error) { return stillStream{ctx}, nil }

type stillStream struct{ ctx context.Context }

func (s stillStream) Send(Message) error { return nil }
func (s stillStream) Receive() (Message, error) {
	<-s.ctx.Done()
	return Message{}, io.EOF
}

// A defect of the session itself is a panic like any other: it is reported, has its stack in the log,
// and ends the session once. Where even that panics, the session is cut.
func TestAPanicInReceiveEndsTheSession(t *testing.T) {
	for name, c := range map[string]struct {
		defect  func(*session)
		trigger any
		want    actors.Stopped
	}{
		"once": {
			func(s *session) { s.out = nil },
			&message{event: event{kind: startReceived}}, // which comes only once
			actors.Stopped{ID: "s1", Outcome: actors.Failed, Code: actors.CloseInternal, Reason: "internal error"},
		},
		"and again while ending": {
			func(s *session) { s.now.Store(nil) },
			actors.Stop{},
			actors.Stopped{ID: "s1", Outcome: actors.Killed},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				engine, err := actor.NewEngine(actor.NewEngineConfig())
				if err != nil {
					t.Fatal(err)
				}
				stopped := make(chan actors.Stopped, 2)
				supervisor := engine.SpawnFunc(func(c *actor.Context) {
					if m, ok := c.Message().(actors.Stopped); ok {
						stopped <- m
					}
				}, "supervisor")
				peers := newStill()
				s := newSession(actors.Place{ID: "s1", Supervisor: supervisor, CloseTimeout: time.Second, Context: context.Background(), Began: time.Now()}, Session{Client: peers, Agent: peers})
				pid := engine.Spawn(func() actor.Receiver { return s }, "session")
				synctest.Wait()
				c.defect(s)
				engine.Send(pid, c.trigger)
				synctest.Wait()
				if len(stopped) != 1 {
					t.Fatalf("stopped %d times", len(stopped))
				}
				got := <-stopped
				var panicked *actors.PanicError
				if !errors.As(got.Err, &panicked) || !strings.Contains(string(panicked.Stack), "session.go") {
					t.Errorf("error %v", got.Err)
				}
				if got.Err, got.Left, got.StopBegan = nil, (actors.PhaseSpan{}), (time.Time{}); !reflect.DeepEqual(got, c.want) {
					t.Errorf("got %+v, want %+v", got, c.want)
				}
			})
		})
	}
}
