package tracing

import (
	"encoding/binary"
	"fmt"
	"net/http/httptest"
	"slices"
	"testing"

	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/lastcall-go/lastcall/actors"
)

func recorded() (*Tracing, *tracetest.SpanRecorder) {
	recorder := tracetest.NewSpanRecorder()
	provider := sdk.NewTracerProvider(sdk.WithSpanProcessor(recorder), sdk.WithRawSpanLimits(limits()))
	return &Tracing{tracer: provider.Tracer(""), sessions: make(map[string]trace.Span), drains: make(map[string]*drain)}, recorder
}

// end has n sessions end, and returns them.
func (t *Tracing) end(prefix string, n int) (sessions []actors.SessionReport) {
	for i := range n {
		id := fmt.Sprint(prefix, i)
		span := trace.SpanContextConfig{TraceID: trace.TraceID{1}, TraceFlags: trace.FlagsSampled}
		binary.BigEndian.PutUint64(span.SpanID[:], uint64(i+1))
		t.rememberEnd(id, trace.NewSpanContext(span))
		sessions = append(sessions, actors.SessionReport{ID: id})
	}
	return sessions
}

func (t *Tracing) finish(id string, sessions []actors.SessionReport) {
	t.observe(actors.DrainFinished{DrainStatus: actors.DrainStatus{ID: id}, Report: &actors.Report{Sessions: sessions}})
}

func TestADrainIsLinkedToTheLastTenThousandOfItsSessions(t *testing.T) {
	traced, recorder := recorded()
	for _, id := range []string{"first", "second"} {
		traced.observe(actors.DrainStarted{DrainStatus: actors.DrainStatus{ID: id}})
	}
	before := traced.end("before", 1)
	traced.observe(actors.DrainStarted{DrainStatus: actors.DrainStatus{ID: "third"}})
	during := traced.end("during", maxLinks+500)
	traced.finish("first", before) // which is not remembered any more
	traced.finish("second", during)
	traced.finish("third", during[:maxLinks])

	spans := recorder.Ended()
	for i, want := range []struct {
		links int
		first string
	}{{0, ""}, {maxLinks, "during500"}, {maxLinks - 500, "during500"}} {
		links := spans[i].Links()
		if len(links) != want.links || spans[i].DroppedLinks() != 0 {
			t.Errorf("drain %d has %d links, and %d were dropped; want %d", i, len(links), spans[i].DroppedLinks(), want.links)
		} else if want.links > 0 && links[0].Attributes[0].Value.AsString() != want.first {
			t.Errorf("drain %d is linked from %v on, want %s", i, links[0].Attributes, want.first)
		}
	}
}

func TestASessionThatEndedBeforeADrainIsNotLinked(t *testing.T) {
	traced, recorder := recorded()
	traced.observe(actors.DrainStarted{DrainStatus: actors.DrainStatus{ID: "long"}})
	before := traced.end("before", 3)
	traced.observe(actors.DrainStarted{DrainStatus: actors.DrainStatus{ID: "last"}})
	after := traced.end("after", 2)
	traced.concludeDrains()
	var links []int
	for _, span := range recorder.Ended() {
		links = append(links, len(span.Links()))
	}
	slices.Sort(links)
	if want := []int{len(after), len(before) + len(after)}; !slices.Equal(links, want) {
		t.Errorf("the drains have %v links, want %v", links, want)
	}
}

func TestNothingIsKeptOfWhatHasEnded(t *testing.T) {
	traced, _ := recorded()
	traced.observe(actors.SessionStarted{ID: "a", Info: actors.Info{Context: traced.Context(httptest.NewRequest("GET", "/", nil))}})
	traced.observe(actors.SessionStopped{SessionReport: actors.SessionReport{ID: "a"}})
	if len(traced.sessions) != 0 {
		t.Error("a session that has stopped is kept")
	}
	traced.end("before any", 3)
	if len(traced.ended) != 0 {
		t.Errorf("without a drain %d sessions are remembered", len(traced.ended))
	}
	traced.observe(actors.DrainStarted{DrainStatus: actors.DrainStatus{ID: "d"}})
	traced.finish("d", traced.end("of it", 3))
	if len(traced.ended) != 0 || traced.dropped != 0 || len(traced.drains) != 0 {
		t.Errorf("left are %d sessions and %d drains", len(traced.ended), len(traced.drains))
	}
}

func TestAnEndpointIsTakenWithItsPortOrWith4317(t *testing.T) {
	for endpoint, want := range map[string]string{
		"http://localhost":   "http://localhost:4317",
		"https://localhost/": "https://localhost:4317",
		"https://[::1]:99":   "https://[::1]:99",
	} {
		if got, err := parseEndpoint(endpoint); got != want || err != nil {
			t.Errorf("%s is %s, %v; want %s", endpoint, got, err, want)
		}
	}
}
