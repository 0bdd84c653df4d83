package tests

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	spans "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/proto/dap"
	"github.com/lastcall-go/lastcall/transport/admin/page/pagetest"
	"github.com/lastcall-go/lastcall/transport/client"
	"github.com/lastcall-go/lastcall/transport/scripted"
)

// TestOperator is about the built binary as its operator sees it: the page, the commands, the metrics,
// and the traces.
func TestOperator(t *testing.T) {
	runWithBinary(t, []binaryTest{
		{"the page drains one, all, and resumes", pageDrains},
		{"the commands drain a part, all, and resume", commandsDrain},
		{"a delay gives way to a short deadline", delayGivesWay},
		{"the metrics have what happened", metricsHaveIt},
		{"one trace goes from the client to the tool", oneTrace},
		{"sessions reach their age limit alone", ageLimit},
	})
}

// patientAgent waits in each workflow, and never acknowledges the stop of those named "stubborn".
func patientAgent(t *testing.T) (address string) {
	return startAgent(t, scripted.Options{
		Steps: []scripted.Step{scripted.Checkpoint("begun"), scripted.Wait()},
		Misbehave: func(workflow string) scripted.Misbehaviour {
			return scripted.Misbehaviour{NeverAcknowledge: strings.HasPrefix(workflow, "stubborn")}
		},
	})
}

func pageDrains(t *testing.T, binary string) {
	p := startServe(t, binary, "--agent", patientAgent(t), "--stop-timeout", "5s")
	tab := pagetest.Open(t, p.admin+"/", "net::ERR_") // the last act is the gateway's end
	tab.WaitText("#state-word", "serving")
	tab.WaitText("#nothing", "No sessions are open.")

	talks := make(map[string]*talk)
	for _, workflow := range []string{"one", "two", "stubborn"} {
		talks[workflow] = p.talk(workflow)
		talks[workflow].waitBegun()
		tab.WaitContains("#rows tr:last-child th", workflow)
	}
	tab.WaitText("#count-serving", "3")
	tab.Screenshot("gateway-serving")

	tab.Click("#rows tr:first-child button")
	tab.WaitText("#confirm-title", "Drain one?")
	tab.Click("#confirm-go")
	talks["one"].wantClose(actors.CloseGoingAway, "server shutdown")
	tab.WaitText("#count-all", "2")
	tab.WaitContains("#ended-list li", "one")
	tab.WaitText("#state-word", "serving")

	tab.Click("#drain-all")
	tab.WaitText("#confirm-title", "Drain all 2 sessions?")
	tab.Click("#confirm-go")
	tab.WaitText("#state-word", "draining")
	talks["two"].wantClose(actors.CloseGoingAway, "server shutdown")
	tab.WaitContains("#holding-list .who", "stubborn")
	tab.WaitText("#holding-list .why", "agent has not ended its stream")
	tab.WaitFor(`[...document.querySelectorAll("[data-what=drained]")].some((part) => part.getBoundingClientRect().width > 0)`)
	tab.Screenshot("gateway-draining")
	talks["stubborn"].wantClose(actors.CloseGoingAway, "server shutdown")
	tab.WaitText("#state-word", "drained")
	wantStatus(t, p.admin+"/readyz", http.StatusServiceUnavailable)
	p.wantRefused()

	tab.Click("#resume")
	tab.WaitText("#confirm-title", "Resume?")
	tab.Click("#confirm-go")
	tab.WaitText("#state-word", "serving")
	wantStatus(t, p.admin+"/readyz", http.StatusOK)
	p.talk("three").waitBegun()
	tab.WaitContains("#rows th", "three")

	p.drain(syscall.SIGTERM, 0)
	tab.WaitText("#state-word", "connection lost")
	tab.Do(chromedp.Navigate("about:blank")) // it would go on trying
}

// command runs another command of the binary against the gateway, to its end.
func (p *process) command(wantCode int, args ...string) string {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, p.cmd.Path, append(args, "--admin", p.admin)...)
	cmd.Stdout, cmd.Stderr = &out, &out
	if _ = cmd.Run(); cmd.ProcessState.ExitCode() != wantCode {
		p.t.Errorf("%q: exit code %d, want %d:\n%s", args, cmd.ProcessState.ExitCode(), wantCode, &out)
	}
	return out.String()
}

func commandsDrain(t *testing.T, binary string) {
	p := startServe(t, binary, "--agent", patientAgent(t), "--stop-timeout", "30s", "--shutdown-timeout", "60s")
	var talks []*talk
	for i := range 3 {
		talks = append(talks, p.talk(fmt.Sprint("w", i)))
		talks[i].waitBegun()
	}
	if shown := p.command(0, "sessions"); strings.Count(shown, "serving") < 3 || !strings.Contains(shown, "w2") {
		t.Errorf("the sessions are shown as\n%s", shown)
	}
	p.command(0, "healthcheck")
	p.command(0, "drain", "--sessions", "1")
	talks[0].wantClose(actors.CloseGoingAway, "server shutdown")
	p.command(2, "drain") // everything is not drained without being asked about, or --yes
	p.command(0, "drain", "--older-than", "1h")
	for _, talk := range talks[1:] {
		select {
		case err := <-talk.end:
			t.Errorf("%s was hit: %v", talk.workflow, err)
		default:
		}
	}

	p.command(0, "drain", "--yes", "--reason", "maintenance")
	for _, talk := range talks[1:] {
		talk.wantClose(actors.CloseGoingAway, "maintenance")
	}
	p.command(1, "healthcheck")
	p.command(0, "healthcheck", "--live")
	p.wantRefused()
	p.command(0, "resume")
	p.silent("stubborn")
	for late := time.Now().Add(patience); !strings.Contains(p.command(0, "sessions"), "serving  "); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(late) {
			t.Fatal("the session is not served")
		}
	}
	p.command(3, "drain", "--yes", "--deadline", "2s") // it had to be killed
	p.drain(syscall.SIGTERM, 0)
	p.wantOutcomes(map[string]actors.Outcome{"stubborn": actors.Killed}) // the last drain that had a session
	if shown := p.command(1, "sessions"); !strings.Contains(shown, "is the gateway running") {
		t.Errorf("without a gateway: %s", shown)
	}
}

// The gateway's own delay is longer than all of the drain that was asked for.
func delayGivesWay(t *testing.T, binary string) {
	p := startServe(t, binary, "--agent", patientAgent(t), "--drain-delay", "5s")
	talk := p.talk("w1")
	talk.waitBegun()
	p.command(0, "drain", "--yes", "--deadline", "3s")
	talk.wantClose(actors.CloseGoingAway, "server shutdown")
	p.drain(syscall.SIGTERM, 0)
	p.wantOutcomes(map[string]actors.Outcome{"w1": actors.Drained})
}

func metricsHaveIt(t *testing.T, binary string) {
	p := startServe(t, binary, "--agent", patientAgent(t), "--max-sessions", "2")
	first, second := p.talk("w1"), p.talk("w2")
	first.waitBegun()
	second.waitBegun()
	p.wantRefused()
	p.command(0, "drain", "--sessions", "1")
	want := map[string]float64{
		`lastcall_sessions{kind="dap",phase="serving",transport="websocket"}`: 1,
		`lastcall_sessions_opened_total{kind="dap",transport="websocket"}`:    2,
		`lastcall_sessions_ended_total{code="1001",outcome="drained"}`:        1,
		`lastcall_requests_refused_total{reason="full"}`:                      1,
		`lastcall_messages_total{direction="received"}`:                       2,
		`lastcall_messages_total{direction="sent"}`:                           3, // a begin each, and an end
		`lastcall_drains_total{result="drained",scope="part"}`:                1,
		`lastcall_agent_streams{}`:                                            1,
		`lastcall_draining{}`:                                                 0,
	}
	var got map[string]float64
	for late := time.Now().Add(patience); time.Now().Before(late); time.Sleep(20 * time.Millisecond) {
		got = p.scrape()
		if got[`lastcall_agent_streams{}`] == 1 && got[`lastcall_sessions_ended_total{code="1001",outcome="drained"}`] == 1 {
			break // the rest is behind it
		}
	}
	got = p.scrape()
	for series, value := range want {
		if had, found := got[series]; !found || had != value {
			t.Errorf("%s is %v, want %v", series, had, value)
		}
	}
}

// scrape reads the gateway's counters and gauges.
func (p *process) scrape() map[string]float64 {
	p.t.Helper()
	answer, err := http.Get(p.admin + "/metrics")
	if err != nil {
		p.t.Fatal(err)
	}
	defer answer.Body.Close()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(answer.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	values := make(map[string]float64)
	for name, family := range families {
		for _, metric := range family.GetMetric() {
			var labels []string
			for _, label := range metric.GetLabel() {
				labels = append(labels, fmt.Sprintf("%s=%q", label.GetName(), label.GetValue()))
			}
			slices.Sort(labels)
			values[name+"{"+strings.Join(labels, ",")+"}"] = metric.GetCounter().GetValue() + metric.GetGauge().GetValue()
		}
	}
	return values
}

// receiver is an OpenTelemetry collector that keeps what it gets.
type receiver struct {
	collector.UnimplementedTraceServiceServer
	mu  sync.Mutex
	got []*spans.Span
}

func (r *receiver) Export(_ context.Context, request *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, resource := range request.GetResourceSpans() {
		for _, scope := range resource.GetScopeSpans() {
			r.got = append(r.got, scope.GetSpans()...)
		}
	}
	return new(collector.ExportTraceServiceResponse), nil
}

// named is the one span of that name.
func (r *receiver) named(t *testing.T, name string) *spans.Span {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	var found []*spans.Span
	for _, span := range r.got {
		if span.GetName() == name {
			found = append(found, span)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d spans %q of %d", len(found), name, len(r.got))
	}
	return found[0]
}

func startReceiver(t *testing.T) (r *receiver, endpoint string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r = new(receiver)
	server := grpc.NewServer()
	collector.RegisterTraceServiceServer(server, r)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return r, "http://" + listener.Addr().String()
}

// oneTrace has an agent ask for a page of the API: the client's trace is in its stream, in the request
// for the page, and in what the collector gets.
func oneTrace(t *testing.T, binary string) {
	const traceID = "4bf92f3577b34da6a3ce929d0e0e4736"
	receiver, endpoint := startReceiver(t)
	started := make(chan scripted.Started, 1)
	agent := startAgent(t, scripted.Options{
		Steps: []scripted.Step{scripted.Ask(&dap.Action{Action: &dap.Action_RunHTTPRequest{RunHTTPRequest: &dap.RunHTTPRequest{Method: "GET", Path: "/page"}}}), scripted.Checkpoint("asked"), scripted.Wait()},
		Observe: func(event scripted.Event) {
			if e, ok := event.(scripted.Started); ok {
				started <- e
			}
		},
	})
	asked := make(chan string, 1)
	var api *httptest.Server
	api = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/grant" {
			w.Header().Set("Content-Type", "application/vnd.gitlab-workhorse+json")
			fmt.Fprintf(w, `{"GL_ID": "user-1", "ApiURL": %q, "DuoWorkflow": {"Service": {"URI": %q, "Headers": {"x-gitlab-oauth-token": "token"}}}}`, api.URL, agent)
			return
		}
		asked <- r.Header.Get("Traceparent")
	}))
	defer api.Close()
	p := startServe(t, binary, "--log-sessions", "--otlp-endpoint", endpoint, "--auth", "forward", "--auth-url", api.URL+"/grant")
	conn, err := client.Dial(context.Background(), client.Config{
		URL:    p.url,
		Header: http.Header{"Traceparent": {"00-" + traceID + "-00f067aa0ba902b7-01"}, "X-Request-Id": {"request-1"}},
		Start:  &dap.StartWorkflowRequest{WorkflowID: "w1"},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Cut()
	if _, err := conn.Receive(context.Background()); err != nil { // the checkpoint after the page
		t.Fatal(err)
	}
	toAgent := wait(t, started, "the agent's stream").Metadata.Get("traceparent")
	toAPI := wait(t, asked, "the request for the page")
	if len(toAgent) != 1 || !strings.Contains(toAgent[0], traceID) || !strings.Contains(toAPI, traceID) {
		t.Errorf("the agent got %q, the API %q", toAgent, toAPI)
	}
	if record := p.record("session started"); record["trace_id"] != traceID || record["request_id"] != "request-1" {
		t.Errorf("log says %v", record)
	}
	p.drain(syscall.SIGTERM, 0)

	session, call, drain := receiver.named(t, "session"), receiver.named(t, "tool runHTTPRequest"), receiver.named(t, "drain")
	for _, span := range []*spans.Span{session, call} {
		if got := fmt.Sprintf("%x", span.GetTraceId()); got != traceID {
			t.Errorf("%s is in the trace %s", span.GetName(), got)
		}
	}
	if !bytes.Equal(call.GetParentSpanId(), session.GetSpanId()) {
		t.Error("the tool call's span is not the session's child")
	}
	if links := drain.GetLinks(); len(links) != 1 || !bytes.Equal(links[0].GetSpanId(), session.GetSpanId()) {
		t.Errorf("the drain links to %v", links)
	}
}

func ageLimit(t *testing.T, binary string) {
	p := startServe(t, binary, "--agent", patientAgent(t), "--max-session-age", "2s")
	talk := p.talk("w1")
	begun := time.Now()
	talk.wantClose(actors.CloseGoingAway, "session age limit")
	if age := time.Since(begun); age < time.Second {
		t.Errorf("the session was ended at %v", age)
	}
	wantStatus(t, p.admin+"/readyz", http.StatusOK)
	p.talk("w1").waitBegun() // again
}
