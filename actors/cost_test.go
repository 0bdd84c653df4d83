//go:build !race

package actors_test

import (
	"context"
	"runtime"
	"sync"
	"testing"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/actors/actorstest"
)

// What a session of Ticket.Run costs beside the handler's own goroutine, which waits for its context in
// both cases.
func BenchmarkRun(b *testing.B) {
	bytes, goroutines := runCost(b, 4000)
	b.ReportMetric(bytes, "B/connection")
	b.ReportMetric(goroutines, "goroutines/connection")
	for b.Loop() {
		supervisor, err := actors.NewSupervisor(actors.Options{})
		if err != nil {
			b.Fatal(err)
		}
		wait := runMany(b, supervisor, 100)
		supervisor.Close()
		wait()
	}
}

func TestAConnectionCostsNoGoroutineAndAtMost2KiB(t *testing.T) {
	bytes, goroutines := runCost(t, 4000)
	t.Logf("%.0f bytes and %.3f goroutines above the handler's own", bytes, goroutines)
	if bytes > 2<<10 || goroutines > 0.1 {
		t.Errorf("%.0f bytes and %.3f goroutines", bytes, goroutines)
	}
}

// runCost returns what each of n connections costs above a goroutine that waits for a context.
func runCost(t testing.TB, n int) (bytes, goroutines float64) {
	t.Helper()
	supervisor, err := actors.NewSupervisor(actors.Options{})
	if err != nil {
		t.Fatal(err)
	}
	bareCost(n)
	without := bareCost(n) // the runtime keeps what it has once made for so many goroutines
	warm := runMany(t, supervisor, n/10)
	if _, err := supervisor.Drain(context.Background(), actors.Drain{Standby: true}); err != nil {
		t.Fatal(err)
	}
	warm()
	if err := supervisor.Resume(context.Background()); err != nil {
		t.Fatal(err)
	}
	before := footprint()
	wait := runMany(t, supervisor, n)
	with := footprint().since(before)
	supervisor.Close()
	wait()

	return (with.bytes - without.bytes) / float64(n), (with.goroutines - without.goroutines) / float64(n)
}

// bareCost is what n goroutines cost that wait for a context.
func bareCost(n int) memory {
	ctx, cancel := context.WithCancel(context.Background())
	before := footprint()
	var running, begun sync.WaitGroup
	begun.Add(n)
	for range n {
		running.Go(func() {
			asHandler()
			own, cancel := context.WithCancel(ctx) // as net/http makes one for each request
			defer cancel()
			begun.Done()
			<-own.Done()
		})
	}
	begun.Wait()
	cost := footprint().since(before)
	cancel()
	running.Wait()
	return cost
}

func runMany(t testing.TB, supervisor *actors.Supervisor, n int) (wait func()) {
	t.Helper()
	var running, begun sync.WaitGroup
	begun.Add(n)
	for range n {
		ticket, err := supervisor.Admit(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		running.Go(func() {
			asHandler()
			_ = ticket.Run(actors.Connection{Kind: "terminal"}, func(ctx context.Context) error {
				begun.Done()
				<-ctx.Done()
				return nil
			})
		})
	}
	begun.Wait()
	return running.Wait
}

// memory is what the process holds.
type memory struct{ bytes, goroutines float64 }

func footprint() memory {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return memory{float64(m.HeapAlloc + m.StackInuse), float64(runtime.NumGoroutine())}
}

func (m memory) since(before memory) memory {
	return memory{m.bytes - before.bytes, m.goroutines - before.goroutines}
}

// asHandler has the goroutine use as much stack as that of an HTTP handler has before the handler is
// called: some 4 KiB.
//
//go:noinline
func asHandler() byte {
	var used [3 << 10]byte
	for i := range used {
		used[i] = byte(i)
	}
	return used[len(used)/2]
}

// What an estimate takes of the supervisor's time, beside a snapshot.
func BenchmarkEstimate(b *testing.B) {
	supervisor := actorstest.New(b, actors.Options{})
	for range 10_000 {
		supervisor.Session().Start()
	}
	for name, ask := range map[string]func() error{
		"snapshot": func() error { _, err := supervisor.Snapshot(b.Context()); return err },
		"estimate": func() error { _, err := supervisor.Estimate(b.Context(), actors.Drain{}); return err },
		"in batches": func() error {
			_, err := supervisor.Estimate(b.Context(), actors.Drain{BatchSize: 100})
			return err
		},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if err := ask(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
