package measure

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
)

func fullResult() *Result {
	quantiles := quantiles{0.0012345, 0.123456, 1.23456, 12.3456}
	return &Result{
		URL: "ws://127.0.0.1:1/ws", Gateway: "own", Shares: "gateway and agent", CPUs: 2,
		Sessions: &openFigures{
			Asked: 100, Open: 90, Silent: 3, Failed: map[string]int{"503 Service Unavailable": 10},
			Concurrency: 32, Seconds: 2, PerSecond: 45, Connect: quantiles, FirstAction: quantiles,
		},
		Memory: Memory{Empty: 20 << 20, Idle: 24 << 20, PerSession: 46603, AfterLoad: 30 << 20},
		Load: &loadFigures{
			Sessions: 64, Seconds: 10, RoundTrips: 12345, RoundTripsPerSec: 1234.5, MessagesPerSec: 2469, RoundTrip: quantiles,
			Unanswered: 5, Reopened: 7, FailedToReopen: map[string]int{"timeout": 1},
		},
		EndedEarly: []Closing{{1011, "agent\x1b[2J error", 2}},
		Drain: Drain{
			Seconds: 0.5, Closed: []Closing{{1001, "server shutdown", 87}, {1006, "", 1}},
			GatewaySeconds: 0.456, Totals: map[string]int{"drained": 87, "killed": 1},
		},
	}
}

func TestBenchTable(t *testing.T) {
	var out bytes.Buffer
	if err := fullResult().Print(&out, false); err != nil {
		t.Fatal(err)
	}
	const want = `
gateway       started for this, ws://127.0.0.1:1/ws
sessions      90 of 100 open in 2s: 45.0 a second, 32 at a time
              10 failed: 503 Service Unavailable
              3 whose agent sent nothing
connect       p50 1.23ms  p90 123ms  p99 1.23s  max 12.3s
first action  p50 1.23ms  p90 123ms  p99 1.23s  max 12.3s
memory        20.0 MiB without sessions, 24.0 MiB with 90 idle ones: 45.5 KiB each
              30.0 MiB right after the load
load          64 sessions for 10s: 1234 round trips a second, 2469 messages a second
round trip    p50 1.23ms  p90 123ms  p99 1.23s  max 12.3s
              7 workflows were completed, and others begun
              1 could not be begun: timeout
ended early   2 with 1011 agent\x1b[2J error
drain         the last client was closed after 500ms; the gateway took 456ms: 87 drained, 1 killed
closed        87 with 1001 server shutdown
              1 with 1006
machine       gateway and agent shared the clients' 2 CPUs: each had less of them than alone
`
	if got := "\n" + out.String(); got != want {
		t.Errorf("got%s\nwant%s", got, want)
	}
}

func TestBenchTableOfWhatWasNotMeasured(t *testing.T) {
	result := &Result{
		URL: "wss://gateway.example/ws", Gateway: "given", Shares: "none known", CPUs: 4,
		Sessions: &openFigures{Asked: 10, Open: 10, Seconds: 1, PerSecond: 10, Concurrency: 32},
		Memory:   Memory{NotMeasured: "give --admin"},
		Load:     &loadFigures{Sessions: 10, Seconds: 10},
		Drain:    Drain{NotMeasured: "give --drain and --admin"},
	}
	var out bytes.Buffer
	if err := result.Print(&out, false); err != nil {
		t.Fatal(err)
	}
	const want = `
gateway       wss://gateway.example/ws
sessions      10 of 10 open in 1s: 10.0 a second, 32 at a time
connect       -
first action  -
memory        not measured: give --admin
load          10 sessions for 10s: 0.0 round trips a second, 0.0 messages a second
round trip    -
              none: the agent has asked nothing, or not gone on
drain         not measured: give --drain and --admin
machine       the clients had 4 CPUs
`
	if got := "\n" + out.String(); got != want {
		t.Errorf("got%s\nwant%s", got, want)
	}
	result.Memory = Memory{Empty: 20 << 20, Idle: 20 << 20}
	out.Reset()
	if err := result.Print(&out, false); err != nil || !strings.Contains(out.String(), "with 10 idle ones: too few to say what one takes\n") {
		t.Errorf("%v, memory of too few sessions in\n%s", err, out.String())
	}
}

// Programs read it: a name is a promise.
func TestBenchJSONHasTheseNames(t *testing.T) {
	result := fullResult()
	var out bytes.Buffer
	if err := result.Print(&out, true); err != nil {
		t.Fatal(err)
	}
	var tree map[string]any
	if err := json.Unmarshal(out.Bytes(), &tree); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"":                              "cpus drain ended_early gateway load memory sessions shares url",
		"sessions":                      "asked concurrency connect_seconds failed first_action_seconds open per_second seconds silent",
		"sessions connect_seconds":      "max p50 p90 p99",
		"memory":                        "after_load_bytes empty_bytes idle_bytes per_session_bytes",
		"load":                          "failed_to_reopen messages_per_second reopened round_trip_seconds round_trips round_trips_per_second seconds sessions unanswered",
		"drain":                         "closed gateway_seconds seconds totals",
		"drain closed":                  "clients code reason",
		"sessions failed":               "503 Service Unavailable",
		"ended_early":                   "clients code reason",
		"load round_trip_seconds":       "max p50 p90 p99",
		"sessions first_action_seconds": "max p50 p90 p99",
		"load failed_to_reopen":         "timeout",
		"drain totals":                  "drained killed",
	}
	for path, names := range want {
		node := any(tree)
		for _, step := range strings.Fields(path) {
			node = node.(map[string]any)[step]
			if list, is := node.([]any); is {
				node = list[0]
			}
		}
		if got := strings.Join(slices.Sorted(maps.Keys(node.(map[string]any))), " "); got != names {
			t.Errorf("%q has %s, want %s", path, got, names)
		}
	}
}
