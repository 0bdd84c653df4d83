package tracing_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"go.opentelemetry.io/otel"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/transport/scripted"
	"github.com/lastcall-go/lastcall/transport/tracing"
)

// wantDrained looks whether tracing stopped in order, and no session was killed.
func wantDrained(t *testing.T, report *actors.Report) {
	t.Helper()
	for _, service := range report.Services {
		if service.Name == "tracing" && service.Outcome == actors.Drained {
			return
		}
	}
	t.Errorf("tracing was not drained: %+v", report.Services)
}

func TestAReceiverThatIsNotThereChangesNothingForSessionsAndDrains(t *testing.T) {
	h := open(t, "http://"+nowhere(t), furniture{agent: scripted.Options{Steps: []scripted.Step{scripted.Checkpoint("done")}}})
	for i := range 20 {
		_ = read(h.start(fmt.Sprintf("w%d", i), http.Header{}))
		if stopped := <-h.stopped; stopped.Outcome != actors.Completed {
			t.Errorf("a session ends %+v", stopped)
		}
	}
	report := h.drain(30 * time.Second)
	wantDrained(t, report)
	if took := time.Duration(report.Took); took > 15*time.Second {
		t.Errorf("the drain takes %v", took)
	}
	if errs := h.errors(); len(errs) != 1 {
		t.Errorf("OnError is told %d times, want once: %v", len(errs), errs)
	}
}

func TestAReceiverThatNeverAnswersIsNotWaitedForPastHalfOfTheTime(t *testing.T) {
	r := newReceiver(t)
	r.behave(true, false)
	w := watch(t, "http://"+r.address)
	w.session("a")
	w.supervisor.AddService("slow", actors.WithSessions, actors.ServiceFunc(func(ctx context.Context) error {
		<-ctx.Done()
		time.Sleep(2500 * time.Millisecond)
		return nil
	}))
	wantDrained(t, w.drain(4*time.Second)) // after the slow one there is less than flushLimit
	if errs := w.errors(); len(errs) != 1 {
		t.Errorf("OnError is told %v, want once", errs)
	}
}

func TestFailuresAreToldOncePerOutage(t *testing.T) {
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "5") // ms
	r := newReceiver(t)
	w := watch(t, "http://"+r.address)
	for outage := 1; outage <= 2; outage++ {
		r.behave(false, true)
		for before := r.refusals(); r.refusals() < before+3; {
			lost := r.refusals()
			w.session("lost")
			w.await("a refusal", func() bool { return r.refusals() > lost })
		}
		if got := w.errors(); len(got) != outage {
			t.Errorf("after %d outages OnError was told %v", outage, got)
		}
		r.behave(false, false)
		w.session("received")
		w.await("the span", func() bool { return len(r.spans("session")) == outage })
	}
	w.drain(10 * time.Second)
}

func TestServeMayBeCalledAgain(t *testing.T) {
	made, err := tracing.New(context.Background(), tracing.Options{Endpoint: "http://" + newReceiver(t).address})
	if err != nil {
		t.Fatal(err)
	}
	release(t, made)
	release(t, made)
}

// release lets go of what New has made, outside of a drain.
func release(t *testing.T, made *tracing.Tracing) {
	t.Helper()
	done, cancel := context.WithCancel(context.Background())
	cancel()
	if err := made.Serve(done); err != nil {
		t.Error(err)
	}
}

func TestNothingGlobalIsSet(t *testing.T) {
	provider, propagator, meter := otel.GetTracerProvider(), otel.GetTextMapPropagator(), otel.GetMeterProvider()
	w := watch(t, "http://"+newReceiver(t).address)
	w.drain(10 * time.Second)
	if otel.GetTracerProvider() != provider || otel.GetTextMapPropagator() != propagator || otel.GetMeterProvider() != meter {
		t.Error("a global of OpenTelemetry's was set")
	}
}
