package metrics_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/actors/actorstest"
	"github.com/lastcall-go/lastcall/actors/relay"
	"github.com/lastcall-go/lastcall/transport/metrics"
)

// One session's events: its start, four phases, its end.
func BenchmarkObserveASession(b *testing.B) {
	m := open(b, quiet())
	b.ReportAllocs()
	for b.Loop() {
		m.Observe(actors.SessionStarted{ID: "s1", Info: actors.Info{Transport: "websocket"}})
		for phase := actors.PhaseServing; phase <= actors.PhaseClosing; phase++ {
			m.Observe(actors.SessionPhase{ID: "s1", Phase: phase})
		}
		m.Observe(actors.SessionStopped{SessionReport: actors.SessionReport{ID: "s1", Outcome: actors.Drained, Age: actors.Seconds(time.Hour)}, Code: 1001})
	}
}

func BenchmarkScrape(b *testing.B) {
	for _, sessions := range []int{0, 10_000} {
		b.Run(fmt.Sprint(sessions, " sessions"), func(b *testing.B) {
			supervisor := actorstest.New(b, actors.Options{MaxSessions: sessions + 1})
			for range sessions {
				if _, err := relay.Start(supervisor.Ticket(), relay.Session{Client: &actorstest.Client{}, Agent: &actorstest.Agent{}, Transport: "websocket"}); err != nil {
					b.Fatal(err)
				}
			}
			handler := open(b, metrics.Options{Snapshot: supervisor.Snapshot}).Handler()
			b.ReportAllocs()
			for b.Loop() {
				handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/metrics", nil))
			}
		})
	}
}

// The part of a scrape during which the supervisor does nothing else.
func BenchmarkSnapshotOf10000Sessions(b *testing.B) {
	supervisor := actorstest.New(b, actors.Options{})
	for range 10_000 {
		if _, err := relay.Start(supervisor.Ticket(), relay.Session{Client: &actorstest.Client{}, Agent: &actorstest.Agent{}}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := supervisor.Snapshot(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
}
